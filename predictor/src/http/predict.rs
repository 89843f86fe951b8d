//! `POST /v1/models/{model}:predict` and `/v1/models/{model}/versions/{version}:predict`, and the way to `:promote`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use service::error::ApiError;
use service::http::{PathParams, RawBody};

use super::models;
use crate::app::App;
use crate::predict::answer::Answer;
use crate::predict::{Asked, Explain, Freshness, PredictError, shortened};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    #[serde(default)]
    explain: bool,
}

type OptionsOutcome = Result<Query<Options>, axum::extract::rejection::QueryRejection>;

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(
        "there is no method `{method}`: POST …/{name}:predict predicts, and …/{name}:promote gives the traffic to a version"
    )]
    UnknownMethod { name: String, method: String },
    #[error("POST needs a method: POST …/{0}:predict predicts")]
    NoMethod(String),
    #[error("{0}: the query may only be ?explain=true")]
    Query(String),
    #[error(transparent)]
    Predict(#[from] PredictError),
    #[error("{}", .0.message)]
    Api(Box<ApiError>),
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

/// `…/{model}:predict` and `…/{model}:promote`.
pub(super) async fn call(
    State(app): State<Arc<App>>,
    PathParams(call): PathParams<String>,
    options: OptionsOutcome,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, CallError> {
    if let Some((model, "promote")) = call.rsplit_once(':') {
        return Ok(models::promote(&app, model, &body).await?.into_response());
    }
    let asked = Asked {
        model: method(&call)?,
        version: None,
        body: &body,
        explain: explain(options)?,
        freshness: freshness(&headers),
    };
    Ok(sent(&app.predict(asked).await?))
}

pub(super) async fn version(
    State(app): State<Arc<App>>,
    PathParams((model, call)): PathParams<(String, String)>,
    options: OptionsOutcome,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, CallError> {
    let version = method(&call)?;
    let asked = Asked {
        model: &model,
        version: Some(version),
        body: &body,
        explain: explain(options)?,
        freshness: freshness(&headers),
    };
    Ok(sent(&app.predict(asked).await?))
}

/// What a row of an answer takes, about: JSON that grows as it is written is copied each time.
const ROW_BYTES: usize = 512;

/// An answer as it is sent.
fn sent(answer: &Answer) -> Response {
    let mut json = Vec::with_capacity((answer.rows.len() + 1) * ROW_BYTES);
    match serde_json::to_writer(&mut json, answer) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// Whether the caller takes what is kept: not with `Cache-Control: no-cache`.
pub(crate) fn freshness(headers: &HeaderMap) -> Freshness {
    let mut directives = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let is_fresh = |directive: &str| directive.trim().eq_ignore_ascii_case("no-cache");
    if directives.any(is_fresh) {
        Freshness::Fresh
    } else {
        Freshness::Any
    }
}

/// What stands before `:predict`.
fn method(call: &str) -> Result<&str, CallError> {
    match call.rsplit_once(':') {
        Some((name, "predict")) => Ok(name),
        Some((name, method)) => Err(CallError::UnknownMethod {
            name: shortened(name),
            method: shortened(method),
        }),
        None => Err(CallError::NoMethod(shortened(call))),
    }
}

fn explain(options: OptionsOutcome) -> Result<Explain, CallError> {
    let Query(options) = options.map_err(|e| CallError::Query(e.body_text()))?;
    Ok(if options.explain { Explain::Yes } else { Explain::No })
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        let message = self.to_string();
        match self {
            Self::UnknownMethod { .. } => ApiError::not_found("unknown_method", message),
            Self::NoMethod(_) => ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message),
            Self::Query(_) => ApiError::bad_request("invalid_query", message),
            Self::Predict(error) => error.into(),
            Self::Api(error) => *error,
        }
        .into_response()
    }
}

impl From<PredictError> for ApiError {
    fn from(error: PredictError) -> Self {
        let message = error.to_string();
        match &error {
            PredictError::UnknownModel { .. } => Self::not_found("unknown_model", message),
            PredictError::UnknownVersion { ready, .. } => {
                Self::not_found("unknown_version", message).with("ready", ready.as_str())
            }
            PredictError::NotLoaded(_) | PredictError::Unloaded(_) => Self::unavailable("model_not_loaded", message),
            PredictError::NeedsTensors(_) => Self::bad_request("needs_tensors", message),
            PredictError::InvalidJson(_) => Self::bad_request("invalid_json", message),
            PredictError::InvalidRequest(problems) => {
                let shown = json!(problems.shown());
                Self::bad_request("invalid_request", message)
                    .with("problems", shown)
                    .with("count", problems.count())
            }
            PredictError::FeaturesUnavailable(_) => {
                let retry_after = Some(Duration::from_secs(1));
                Self {
                    retry_after,
                    ..Self::unavailable("features_unavailable", message)
                }
            }
            PredictError::Overloaded(_) => Self {
                message,
                ..Self::overloaded()
            },
            PredictError::DeadlineExceeded { .. } => Self::deadline_exceeded(message),
            PredictError::ModelFailed { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "model_failed", message),
            PredictError::RowFailed { row, error } => {
                let status = if error.code == "model_failed" {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::BAD_REQUEST
                };
                Self::new(status, error.code, message).with("row", *row)
            }
            PredictError::Internal(cause) => Self::internal(cause),
        }
    }
}
