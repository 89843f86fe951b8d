//! The one error body of both servers: `{"error", "code", "details", "request_id"}`.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::http::current_request_id;

/// What a caller is told when something goes wrong: a status, a code programs can match, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable and snake_case, for programs.
    pub code: &'static str,
    /// One sentence: what happened and what to do.
    pub message: String,
    /// What the sentence is about, by name. Empty if there is nothing to add.
    pub details: Map<String, Value>,
    /// When it makes sense to try again, sent as `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with this status, code and sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Map::new(),
            retry_after: None,
        }
    }

    /// 400: the request can't be understood.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404: what the path names does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 429: more load than capacity; nothing was done.
    pub fn overloaded() -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded",
            "the server has as many requests as it can serve; try again shortly",
        );
        error.retry_after = Some(Duration::from_secs(1));
        error
    }

    /// 503: something the server depends on does not answer.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 504: the deadline passed first.
    pub fn deadline_exceeded(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message)
    }

    /// 500: our fault. The cause goes to the log, here, and never to the caller.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause:#}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed at this request; its log has the cause under this request id",
        )
    }

    /// The envelope.
    pub fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("error".to_owned(), self.message.as_str().into());
        body.insert("code".to_owned(), self.code.into());
        body.insert("details".to_owned(), self.details.clone().into());
        body.insert("request_id".to_owned(), current_request_id().into());
        body
    }

    /// The same error with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(after) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
