//! `/v2/…`: the Open Inference Protocol, with binary tensors and a model repository.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as JsonValue, json};
use service::error::ApiError;
use service::http::{PathParams, RawBody};

use super::predict::freshness;
use crate::app::App;
use crate::control::ControlError;
use crate::infer::{ModelConfig, ModelMetadata, json, ready};
use crate::model::VersionState;
use crate::predict::{PredictError, Problem, Route, look_up};

const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What is spoken besides the protocol itself.
pub(crate) const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_repository", "model_configuration"];

/// A model, or one of its versions.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    model: String,
    version: Option<String>,
}

pub(super) async fn server() -> Json<JsonValue> {
    Json(json!({
        "name": "larder",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
    }))
}

pub(super) async fn live() -> Json<JsonValue> {
    Json(json!({ "live": true }))
}

pub(super) async fn server_ready(State(app): State<Arc<App>>) -> (StatusCode, Json<JsonValue>) {
    readiness(app.is_all_ready(), json!({ "ready": app.is_all_ready() }))
}

pub(super) async fn model_ready(
    State(app): State<Arc<App>>,
    PathParams(named): PathParams<Named>,
) -> Result<(StatusCode, Json<JsonValue>), ApiError> {
    let models = app.models();
    let is_ready = match look_up(&models, &named.model, named.version.as_deref()) {
        Ok(_) => true,
        Err(PredictError::NotLoaded(_) | PredictError::Unloaded(_)) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(readiness(is_ready, json!({ "name": named.model, "ready": is_ready })))
}

fn readiness(is_ready: bool, body: JsonValue) -> (StatusCode, Json<JsonValue>) {
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}

pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    PathParams(named): PathParams<Named>,
) -> Result<Json<ModelMetadata>, ApiError> {
    Ok(Json(metadata_of(&app, &named.model, named.version.as_deref())?))
}

/// What a model takes and gives, or one of its versions.
///
/// # Errors
/// It is not served.
pub(crate) fn metadata_of(app: &App, name: &str, version: Option<&str>) -> Result<ModelMetadata, PredictError> {
    let models = app.models();
    let route = look_up(&models, name, version)?;
    let versions: Vec<String> = match route {
        Route::Traffic(served) => ready(served).collect(),
        Route::Pinned(arm) => vec![arm.model.version.to_string()],
    };
    Ok(ModelMetadata::of(route.model(), versions.into_iter()))
}

pub(super) async fn config(
    State(app): State<Arc<App>>,
    PathParams(named): PathParams<Named>,
) -> Result<Json<ModelConfig>, ApiError> {
    let models = app.models();
    let route = look_up(&models, &named.model, named.version.as_deref())?;
    Ok(Json(ModelConfig::of(route.model())))
}

pub(super) async fn infer(
    State(app): State<Arc<App>>,
    PathParams(named): PathParams<Named>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let version = named.version.as_deref();
    let mut call = match json_length(&headers)? {
        Some(0) => {
            let models = app.models();
            let model = look_up(&models, &named.model, version)?.model();
            json::read_raw(&body, &model.inputs, model.tensors.by_row)?
        }
        length => json::read(&body, length).inspect_err(|error| app.not_read(&named.model, error))?,
    };
    call.request.freshness = freshness(&headers);
    let wanted = call.request.outputs.clone();
    let answer = app.infer((&named.model, version), call.request).await?;
    let is_binary = |name: &str| {
        let output = wanted.iter().find(|output| output.name == name);
        output.and_then(|output| output.binary).unwrap_or(call.binary_output)
    };
    let json::Encoded { body, json_length } =
        json::write(&answer, is_binary).map_err(|error| ApiError::internal(&error))?;
    let mut response = body.into_response();
    let (content_type, length) = match json_length {
        None => ("application/json", None),
        Some(length) => ("application/octet-stream", Some(HeaderValue::from(length))),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = length {
        headers.insert(JSON_LENGTH, length);
    }
    Ok(response)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, PredictError> {
    let Some(length) = headers.get(JSON_LENGTH) else {
        return Ok(None);
    };
    let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Problem::of_request("Inference-Header-Content-Length is not a number of bytes").into())
}

/// What a repository index is asked for.
#[derive(Debug, Default, Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

/// A version in the repository's index.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Indexed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) state: &'static str,
    pub(crate) reason: String,
}

pub(super) async fn index(State(app): State<Arc<App>>, RawBody(body): RawBody) -> Result<Json<Vec<Indexed>>, ApiError> {
    let request: IndexRequest = read(&body)?;
    Ok(Json(indexed(&app, request.ready)))
}

/// Every version of every model, or those that are ready.
pub(crate) fn indexed(app: &App, only_ready: bool) -> Vec<Indexed> {
    let models = app.models();
    let mut index = Vec::new();
    for (name, entry) in models.iter() {
        for (version, state) in &entry.versions {
            let (state, reason) = match state {
                VersionState::Refused(reasons) => ("UNAVAILABLE", reasons.join("; ")),
                VersionState::Idle if entry.is_unloaded => ("UNAVAILABLE", "unloaded".to_owned()),
                VersionState::Idle => ("UNAVAILABLE", "not asked for by model.toml".to_owned()),
                _ => ("READY", String::new()),
            };
            index.push(Indexed {
                name: name.to_string(),
                version: version.to_string(),
                state,
                reason,
            });
        }
        if entry.versions.is_empty() {
            index.push(Indexed {
                name: name.to_string(),
                version: String::new(),
                state: "UNAVAILABLE",
                reason: entry.problems.join("; "),
            });
        }
    }
    index.retain(|one| !only_ready || one.state == "READY");
    index
}

/// What a model is loaded with.
#[derive(Debug, Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: serde_json::Map<String, JsonValue>,
}

pub(super) async fn load(
    State(app): State<Arc<App>>,
    PathParams(model): PathParams<String>,
    RawBody(body): RawBody,
) -> Result<(), ApiError> {
    let request: LoadRequest = read(&body)?;
    no_overrides(request.parameters.keys())?;
    Ok(app.load_model(&model).await?)
}

/// Refuses what Triton's clients may send to be served instead of the repository's files.
///
/// # Errors
/// [`PredictError::InvalidRequest`]: there is such a parameter.
pub(crate) fn no_overrides<'n>(mut parameters: impl Iterator<Item = &'n String>) -> Result<(), PredictError> {
    match parameters.find(|name| *name == "config" || name.starts_with("file:")) {
        None => Ok(()),
        Some(name) => {
            let problem = "cannot be sent: a model is what its files in the repository are".to_owned();
            Err(Problem::named(name, problem).into())
        }
    }
}

/// A body, or what an absent one means.
fn read<T: Default + DeserializeOwned>(body: &[u8]) -> Result<T, PredictError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|e| PredictError::InvalidJson(e.to_string()))
}

pub(super) async fn unload(State(app): State<Arc<App>>, PathParams(model): PathParams<String>) -> Result<(), ApiError> {
    Ok(app.unload_model(&model).await?)
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::UnknownModel { .. } => Self::not_found("unknown_model", message),
            ControlError::Forbidden => Self::new(StatusCode::FORBIDDEN, "model_control_off", message),
            ControlError::Refused { reasons, .. } => {
                Self::bad_request("model_refused", message).with("reasons", json!(reasons))
            }
            ControlError::File { .. } => Self::new(StatusCode::CONFLICT, "repository_not_writable", message),
            ControlError::Reload(_) => Self::new(StatusCode::CONFLICT, "not_reloaded", message),
        }
    }
}
