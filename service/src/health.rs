//! `/health/live`: the process answers. `/health/ready`: it can do its work, or says what is in the way.

use std::future::Future;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

/// What a server says of its readiness.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// Whether to send it requests.
    pub ready: bool,
    /// One a thing it depends on.
    pub checks: Vec<Check>,
}

/// One thing a server depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What it is: `redis`, `postgres`, `model flight_delay`, …
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// Whether requests should stay away when it does not work: a predictor without Redis still answers.
    pub required: bool,
    /// What is wrong, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Readiness {
    /// Ready if every required check is ok.
    pub fn of(checks: Vec<Check>) -> Self {
        Self {
            ready: checks.iter().all(|c| c.ok || !c.required),
            checks,
        }
    }
}

impl Check {
    /// A required check with its outcome.
    pub fn required(name: impl Into<String>, outcome: Result<(), String>) -> Self {
        Self {
            name: name.into(),
            ok: outcome.is_ok(),
            required: true,
            problem: outcome.err(),
        }
    }

    /// A check whose failure degrades answers without preventing them.
    pub fn optional(name: impl Into<String>, outcome: Result<(), String>) -> Self {
        Self {
            required: false,
            ..Self::required(name, outcome)
        }
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let status = if self.ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, axum::Json(self)).into_response()
    }
}

/// The two health routes; `ready` is asked at each call and must answer within its own bound.
pub fn routes<F, Fut>(ready: F) -> Router
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Readiness> + Send,
{
    Router::new()
        .route(
            "/health/live",
            get(|| async { axum::Json(serde_json::json!({"live": true})) }),
        )
        .route("/health/ready", get(ready))
}
