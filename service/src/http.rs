//! Around every handler: request ids, limits, panics turned into answers; and serving until told to stop.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use axum::serve::ListenerExt;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::layer::layer_fn;
use tower::util::ServiceExt;
use tower::{Layer, Service, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use crate::error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request being served.
struct Current {
    id: Arc<str>,
    method: Method,
    uri: Uri,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The id of the request being served, as its answer carries it; empty outside one.
pub fn current_request_id() -> String {
    CURRENT.try_with(|current| current.id.to_string()).unwrap_or_default()
}

/// What log lines say of the request being served, by name: its id, method and path; nothing outside one.
pub(crate) fn current_request() -> Option<[(&'static str, String); 3]> {
    let told = |current: &Current| {
        [
            ("request_id", current.id.to_string()),
            ("method", current.method.to_string()),
            ("path", current.uri.path().to_owned()),
        ]
    };
    CURRENT.try_with(told).ok()
}

/// Bounds on what a server accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body in bytes; a larger one is a 413.
    pub body_bytes: usize,
    /// How long a body may take to arrive; a slower one is a 408.
    pub body_within: Duration,
    /// Requests served at once; one more is a 429 at once.
    pub in_flight: usize,
}

impl Limits {
    /// The default of `body_within`.
    pub const BODY_WITHIN: Duration = Duration::from_secs(10);
}

/// Puts `limits` around `router`. For the routes that do work: health and metrics must answer under load too.
///
/// A request counts as in flight once its body is there: a caller that sends slowly costs its connection, and takes no
/// one's place.
pub fn limited(router: Router, limits: Limits) -> Router {
    Gate::new(limits).around(router, IntoResponse::into_response)
}

/// Limits with the places for requests in flight, which all routers share that it is put around.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Gate {
    /// With every place free.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: Arc::new(Semaphore::new(limits.in_flight)),
        }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Puts the limits around `router`, as [`limited`] does. What is refused is answered in the protocol's own way.
    pub fn around(&self, router: Router, answer: fn(ApiError) -> Response) -> Router {
        let (limits, places) = (self.limits, Arc::clone(&self.places));
        // Not by `from_fn`, which costs some microseconds a request.
        router.layer(layer_fn(move |inner: Route| {
            let places = Arc::clone(&places);
            service_fn(move |request: Request| {
                let (inner, places) = (inner.clone(), Arc::clone(&places));
                async move { Ok::<_, Infallible>(admitted(inner, request, (limits, &places)).await.unwrap_or_else(answer)) }
            })
        }))
    }
}

/// What `inner` answers, if there is a place for the request.
async fn admitted(
    inner: Route,
    request: Request,
    (limits, places): (Limits, &Semaphore),
) -> Result<Response, ApiError> {
    // Under load it is not worth reading what will be refused.
    if places.available_permits() == 0 {
        return Err(refused(ApiError::overloaded()));
    }
    let request = arrived(request, limits).await.map_err(refused)?;
    let Ok(_place) = places.try_acquire() else {
        return Err(refused(ApiError::overloaded()));
    };
    let Ok(response) = inner.oneshot(request).await;
    Ok(response)
}

/// The request with its body in memory.
async fn arrived(mut request: Request, limits: Limits) -> Result<Request, ApiError> {
    // What the body is unpacked to has the same limit.
    let limit = DefaultBodyLimit::max(limits.body_bytes);
    limit.apply(&mut request);
    let (parts, body) = request.into_parts();
    let mut reading = Request::new(body);
    limit.apply(&mut reading);
    let late = |_| {
        let message = format!(
            "the request body did not arrive within {} s",
            limits.body_within.as_secs()
        );
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    };
    let RawBody(body) = tokio::time::timeout(limits.body_within, RawBody::from_request(reading, &()))
        .await
        .map_err(late)??;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Counts what is refused before any handler sees it.
fn refused(error: ApiError) -> ApiError {
    metrics::counter!("larder_http_refused_total", "code" => error.code).increment(1);
    error
}

/// Puts what every answer needs around the whole `router`: request ids, the envelope for unknown paths and methods, and
/// an answer instead of a dropped connection when a handler panics.
pub fn finished(router: Router) -> Router {
    let router = router
        .fallback(|request: Request| async move {
            ApiError::not_found("unknown_path", format!("there is nothing at {}", request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("{} is not possible at {}", request.method(), request.uri().path()),
            )
        });
    guarded(router, IntoResponse::into_response)
}

/// Puts request ids around the whole `router`, and an answer in the protocol's own way instead of a dropped connection when
/// a handler panics.
pub fn guarded(router: Router, answer: fn(ApiError) -> Response) -> Router {
    let panics = CatchPanicLayer::custom(move |panic: Box<dyn Any + Send>| {
        let cause = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a message");
        answer(ApiError::internal(&cause))
    });
    let guarded = panics.layer(router);
    Router::new().fallback_service(service_fn(move |request: Request| {
        with_request_id(request, guarded.clone())
    }))
}

/// Takes the caller's `x-request-id`, or makes one; every answer and log line of the request carries it.
async fn with_request_id<S, B>(request: Request, mut inner: S) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    Response<B>: IntoResponse,
{
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    let id: Arc<str> = match given {
        Some(id) if !id.is_empty() && id.len() <= 128 => id.into(),
        _ => uuid::Uuid::now_v7().to_string().into(),
    };
    let current = Current {
        id: Arc::clone(&id),
        method: request.method().clone(),
        uri: request.uri().clone(),
    };
    let mut response = CURRENT.scope(current, inner.call(request)).await.into_response();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// A request body in whole, with our envelope when it is too large or breaks off.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection: BytesRejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    let message = "the request body is larger than this server takes; send fewer instances at once";
                    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
                } else {
                    ApiError::bad_request("broken_body", "the request body broke off")
                }
            })
    }
}

/// What a path's parameters are, with our envelope when they are not UTF-8.
#[derive(Debug)]
pub struct PathParams<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(params)| Self(params))
            .map_err(|rejection: PathRejection| {
                if rejection.status().is_server_error() {
                    return ApiError::internal(&rejection);
                }
                ApiError::bad_request(
                    "invalid_path",
                    format!("the path can't be understood: {}", rejection.body_text()),
                )
            })
    }
}

/// Serves `router` until `stop`, then lets requests in flight finish, for at most `drain`.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, drain: Duration) -> io::Result<()> {
    // Small answers must not wait for the acknowledgement of the ones before.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("could not set TCP_NODELAY: {error}");
        }
    });
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    within(serving, stop, drain).await
}

/// Awaits a server that stops at `stop` by itself, for at most `drain` after that.
///
/// # Errors
/// What the server says.
pub async fn within(
    serving: impl Future<Output = io::Result<()>>,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        done = serving => done,
        () = too_late => {
            tracing::warn!("stopped with requests unfinished after {} s", drain.as_secs());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::routing::{get, post};
    use serde_json::Value;

    use super::*;

    fn app(in_flight: usize) -> Router {
        let work = Router::new()
            .route("/echo", post(|body: RawBody| async move { body.0 }))
            .route(
                "/one/{name}",
                get(|PathParams(name): PathParams<String>| async move { name }),
            )
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("secret cause")
                    }
                }),
            );
        finished(limited(
            work,
            Limits {
                body_bytes: 8,
                body_within: Duration::from_secs(10),
                in_flight,
            },
        ))
    }

    async fn ask(app: Router, request: Request) -> (StatusCode, Response<()>, Value) {
        let response = app.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        (parts.status, Response::from_parts(parts, ()), json)
    }

    fn request(method: &str, path: &str, body: &'static str) -> Request {
        Request::builder()
            .method(method)
            .uri(path)
            .header("x-request-id", "r1")
            .body(Body::from(body))
            .unwrap()
    }

    #[tokio::test]
    async fn every_failure_has_the_envelope() {
        let cases = [
            (request("GET", "/nowhere", ""), 404, "unknown_path"),
            (request("GET", "/echo", ""), 405, "method_not_allowed"),
            (request("POST", "/echo", "123456789"), 413, "body_too_large"),
            (request("GET", "/panic", ""), 500, "internal"),
            (request("GET", "/one/%FF", ""), 400, "invalid_path"),
        ];
        for (request, status, code) in cases {
            let (got, response, json) = ask(app(1), request).await;
            assert_eq!((got.as_u16(), json["code"].as_str()), (status, Some(code)));
            assert_eq!(json["request_id"], "r1");
            assert_eq!(response.headers()["x-request-id"], "r1");
            assert!(!json.to_string().contains("secret"), "{json}");
        }
    }

    #[tokio::test]
    async fn more_than_the_limit_is_refused_at_once_and_counted() {
        let metrics = crate::telemetry::metrics_handle();
        let (status, response, json) = ask(app(0), request("POST", "/echo", "")).await;
        assert_eq!((status.as_u16(), json["code"].as_str()), (429, Some("overloaded")));
        assert_eq!(response.headers()["retry-after"], "1");
        let counted = metrics.render();
        assert!(
            counted.contains(r#"larder_http_refused_total{code="overloaded"} 1"#),
            "{counted}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_takes_no_place_and_times_out() {
        let app = app(1);
        let mut slow = request("POST", "/echo", "");
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        *slow.body_mut() = Body::from_stream(never);
        let slow = tokio::spawn(ask(app.clone(), slow));
        // Time is stopped: the slow one is waiting for its body from here on.
        tokio::task::yield_now().await;
        let (status, ..) = ask(app.clone(), request("POST", "/echo", "quick")).await;
        assert_eq!(status.as_u16(), 200);
        let (status, _, json) = slow.await.unwrap();
        assert_eq!((status.as_u16(), json["code"].as_str()), (408, Some("body_timeout")));
    }

    #[tokio::test]
    async fn stopping_waits_for_requests_in_flight() {
        let (entered, mut has_entered) = tokio::sync::mpsc::channel(1);
        let release = CancellationToken::new();
        let released = release.clone();
        let slow = move || {
            let (entered, released) = (entered.clone(), released.clone());
            async move {
                entered.send(()).await.expect("the test waits for this");
                released.cancelled().await;
                "done"
            }
        };
        let router = finished(Router::new().route("/slow", get(slow)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, stop.clone(), Duration::from_secs(60)));
        let client = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        has_entered.recv().await.unwrap();
        stop.cancel();
        release.cancel();
        assert!(client.await.unwrap().ends_with("done"));
        server.await.unwrap().unwrap();
    }
}
