//! `GET /v1/runs?view=&limit=`: recorded runs, the newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use service::error::ApiError;

use super::{Api, unavailable};

const LIMITS: std::ops::RangeInclusive<i64> = 1..=1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    view: Option<String>,
    #[serde(default = "default_limit")]
    limit: i64,
}

const fn default_limit() -> i64 {
    50
}

pub(super) async fn list(
    State(api): State<Api>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(Parameters { view, limit }) =
        parameters.map_err(|rejection| ApiError::bad_request("wrong_parameter", rejection.body_text()))?;
    if !LIMITS.contains(&limit) {
        let message = format!("`limit` is {limit}: give {} to {}", LIMITS.start(), LIMITS.end());
        return Err(ApiError::bad_request("wrong_parameter", message).with("parameter", "limit"));
    }
    if let Some(name) = &view {
        api.app
            .view(name)
            .map_err(|error| ApiError::not_found("unknown_view", error.to_string()).with("view", name.as_str()))?;
    }
    let runs = api
        .app
        .store()
        .runs(view.as_deref(), limit)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(Json(json!({"runs": runs})))
}
