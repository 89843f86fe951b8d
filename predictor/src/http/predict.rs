//! `POST /v1/models/{model}:predict` and `/v1/models/{model}/versions/{version}:predict`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use service::error::ApiError;
use service::http::RawBody;

use crate::app::App;
use crate::predict::answer::Answer;
use crate::predict::{Asked, Explain, PredictError};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    #[serde(default)]
    explain: bool,
}

type Outcome = Result<Json<Answer>, ApiError>;
type OptionsOutcome = Result<Query<Options>, axum::extract::rejection::QueryRejection>;

pub(super) async fn latest(
    State(app): State<Arc<App>>,
    Path(call): Path<String>,
    options: OptionsOutcome,
    RawBody(body): RawBody,
) -> Outcome {
    let model = method(&call)?;
    let asked = Asked {
        model,
        version: None,
        body: &body,
        explain: explain(options)?,
    };
    app.predict(asked).await.map(Json).map_err(ApiError::from)
}

pub(super) async fn version(
    State(app): State<Arc<App>>,
    Path((model, call)): Path<(String, String)>,
    options: OptionsOutcome,
    RawBody(body): RawBody,
) -> Outcome {
    let version = method(&call)?;
    let asked = Asked {
        model: &model,
        version: Some(version),
        body: &body,
        explain: explain(options)?,
    };
    app.predict(asked).await.map(Json).map_err(ApiError::from)
}

/// What stands before `:predict`.
fn method(call: &str) -> Result<&str, ApiError> {
    match call.rsplit_once(':') {
        Some((name, "predict")) => Ok(name),
        Some((name, other)) => Err(ApiError::not_found(
            "unknown_method",
            format!("there is no method `{other}`: POST …/{name}:predict predicts"),
        )),
        None => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("POST needs a method: POST …/{call}:predict predicts"),
        )),
    }
}

fn explain(options: OptionsOutcome) -> Result<Explain, ApiError> {
    let Query(options) = options.map_err(|e| {
        ApiError::bad_request(
            "invalid_query",
            format!("{}: the query may only be ?explain=true", e.body_text()),
        )
    })?;
    Ok(if options.explain { Explain::Yes } else { Explain::No })
}

impl From<PredictError> for ApiError {
    fn from(error: PredictError) -> Self {
        let message = error.to_string();
        match &error {
            PredictError::UnknownModel { .. } => Self::not_found("unknown_model", message),
            PredictError::UnknownVersion { serving, .. } => {
                Self::not_found("unknown_version", message).with("serving", serving.as_str())
            }
            PredictError::NotLoaded(_) => Self::unavailable("model_not_loaded", message),
            PredictError::InvalidJson(_) => Self::bad_request("invalid_json", message),
            PredictError::InvalidRequest(problems) => {
                let shown = json!(error.problems());
                Self::bad_request("invalid_request", message)
                    .with("problems", shown)
                    .with("count", problems.len())
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
            PredictError::Internal(cause) => Self::internal(cause),
        }
    }
}
