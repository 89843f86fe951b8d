//! Around every handler: request ids, limits, panics turned into answers.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tower::layer::layer_fn;
use tower::util::ServiceExt;
use tower::{Layer, service_fn};
use tower_http::compression::predicate::SizeAbove;
use tower_http::compression::{Compression, CompressionLayer};
use tower_http::decompression::{RequestDecompression, RequestDecompressionLayer};

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
        self.with(router, (answer, None))
    }

    /// The same of HTTP, where callers may pack what they send, and have answers of more than so many bytes packed.
    pub fn around_packing(&self, router: Router, above: u16) -> Router {
        self.with(router, (IntoResponse::into_response, Some(above)))
    }

    fn with(&self, router: Router, (answer, packed_above): (fn(ApiError) -> Response, Option<u16>)) -> Router {
        let (limits, places) = (self.limits, Arc::clone(&self.places));
        // Not by `from_fn` and a layer each, which cost some microseconds a request.
        router.layer(layer_fn(move |plain: Route| {
            let places = Arc::clone(&places);
            let packing = packed_above.map(|bytes| packing(plain.clone(), bytes));
            service_fn(move |request: Request| {
                let packing = packing.as_ref().filter(|_| is_packing(&request));
                let inner = match packing {
                    Some(packing) => Inner::Packing(Box::new(packing.clone())),
                    None => Inner::Plain(plain.clone()),
                };
                let places = Arc::clone(&places);
                async move { Ok::<_, Infallible>(admitted(inner, request, (limits, &places)).await.unwrap_or_else(answer)) }
            })
        }))
    }
}

/// Who is asked when there is a place.
enum Inner {
    Plain(Route),
    /// For callers that pack, or take what is packed: the others do not pay for it.
    Packing(Box<Packing>),
}

type Packing = Compression<RequestDecompression<Route>, SizeAbove>;

fn packing(plain: Route, above: u16) -> Packing {
    let packs = CompressionLayer::new().compress_when(SizeAbove::new(above.into()));
    (packs, RequestDecompressionLayer::new()).layer(plain)
}

fn is_packing(request: &Request) -> bool {
    let headers = request.headers();
    headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key(header::ACCEPT_ENCODING)
}

/// What `inner` answers, if there is a place for the request.
async fn admitted(
    inner: Inner,
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
    match inner {
        Inner::Plain(route) => {
            let Ok(response) = route.oneshot(request).await;
            Ok(response)
        }
        Inner::Packing(packing) => match packing.oneshot(request).await {
            Ok(response) => Ok(response.into_response()),
            Err(error) => Err(ApiError::internal(&error)),
        },
    }
}

/// The request with its body in memory.
async fn arrived(request: Request, limits: Limits) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let limit = BodyLimit(limits.body_bytes);
    // What the body is unpacked to has the same limit.
    parts.extensions.insert(limit);
    let late = |_| {
        let message = format!(
            "the request body did not arrive within {} s",
            limits.body_within.as_secs()
        );
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    };
    let body = tokio::time::timeout(limits.body_within, limit.read(body))
        .await
        .map_err(late)??;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
struct BodyLimit(usize);

impl BodyLimit {
    /// Where nothing else is said.
    const DEFAULT: Self = Self(2 << 20);

    async fn read(self, body: Body) -> Result<Bytes, ApiError> {
        to_bytes(body, self.0).await.map_err(|error| {
            if error.source().is_some_and(|source| source.is::<LengthLimitError>()) {
                let message = "the request body is larger than this server takes; send fewer instances at once";
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
            } else {
                ApiError::bad_request("broken_body", "the request body broke off")
            }
        })
    }
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

/// Puts request ids around the whole `router`, as it is by now, and an answer in the protocol's own way instead of a dropped
/// connection when a handler panics.
pub fn guarded(router: Router, answer: fn(ApiError) -> Response) -> Router {
    router.layer(layer_fn(move |inner: Route| {
        service_fn(move |request| answered(request, inner.clone(), answer))
    }))
}

/// What `inner` answers, under the caller's `x-request-id` or one that is made here; every answer and log line carries it.
async fn answered(request: Request, inner: Route, answer: fn(ApiError) -> Response) -> Result<Response, Infallible> {
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
    let answering = async {
        // Whatever a handler leaves half-way is its request's own.
        let answering = AssertUnwindSafe(inner.oneshot(request));
        match answering.catch_unwind().await {
            Ok(Ok(response)) => response,
            Err(panic) => answer(ApiError::internal(&cause(&*panic))),
        }
    };
    let mut response = CURRENT.scope(current, answering).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// What a panic says.
fn cause(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

/// A request body in whole, with our envelope when it is too large or breaks off.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let limit = request.extensions().get::<BodyLimit>().copied();
        let body = limit.unwrap_or(BodyLimit::DEFAULT).read(request.into_body()).await?;
        Ok(Self(body))
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

#[cfg(test)]
mod tests {
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
    async fn a_body_is_limited_as_it_comes_and_as_it_is_unpacked() {
        const MIB: usize = 1 << 20;
        let echo = || Router::new().route("/echo", post(|body: RawBody| async move { body.0 }));
        let of_at_most = |body_bytes| {
            let limits = Limits {
                body_bytes,
                body_within: Duration::from_secs(10),
                in_flight: 1,
            };
            finished(Gate::new(limits).around_packing(echo(), 0))
        };
        let post = |body: Bytes, header: Option<(HeaderName, &'static str)>| {
            let request = Request::post("/echo");
            let request = header
                .into_iter()
                .fold(request, |request, (name, value)| request.header(name, value));
            request.body(Body::from(body)).unwrap()
        };
        let packed = async |bytes: usize| {
            let request = post(vec![b'x'; bytes].into(), Some((header::ACCEPT_ENCODING, "gzip")));
            let response = of_at_most(bytes).oneshot(request).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
            let packed = to_bytes(response.into_body(), MIB).await.unwrap();
            post(packed, Some((header::CONTENT_ENCODING, "gzip")))
        };
        let plain = |bytes: usize| post(vec![b'x'; bytes].into(), None);
        for (app, request, status) in [
            (of_at_most(3 * MIB), plain(3 * MIB), 200),
            (of_at_most(3 * MIB), plain(3 * MIB + 1), 413),
            (of_at_most(3 * MIB), packed(3 * MIB).await, 200),
            (of_at_most(3 * MIB), packed(3 * MIB + 1).await, 413),
            (finished(echo()), plain(2 * MIB), 200),
            (finished(echo()), plain(2 * MIB + 1), 413),
        ] {
            let what = format!("{request:?}");
            assert_eq!(app.oneshot(request).await.unwrap().status().as_u16(), status, "{what}");
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
}
