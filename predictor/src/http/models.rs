//! `GET /v1/models` and `/v1/models/{model}`: what is served, or why not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AppState;
use axum::http::StatusCode;
use feature_defs::value::Value;
use serde_json::{Value as JsonValue, json};
use service::error::ApiError;
use service::http::PathParams;

use crate::app::App;
use crate::model::{Fallback, ModelName, Served, State, Version, repository};
use crate::predict::{PredictError, shortened};

pub(super) async fn list(AppState(app): AppState<Arc<App>>) -> Json<JsonValue> {
    let models: Vec<JsonValue> = app
        .models()
        .iter()
        .map(|(name, version, state)| describe(name, version, state))
        .collect();
    Json(json!({ "models": models }))
}

pub(super) async fn one(
    AppState(app): AppState<Arc<App>>,
    PathParams(name): PathParams<String>,
) -> Result<Json<JsonValue>, ApiError> {
    if let Some((model, "predict")) = name.rsplit_once(':') {
        let message = format!("GET does not predict: POST …/{}:predict does", shortened(model));
        return Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        ));
    }
    let models = app.models();
    let unknown = || PredictError::UnknownModel {
        hint: service::nearest::hint(&name, models.iter().map(|(name, ..)| name.as_str())),
        name: shortened(&name),
    };
    let (version, state) = models.get(&name).ok_or_else(|| ApiError::from(unknown()))?;
    let name = name.parse().map_err(|_| ApiError::from(unknown()))?;
    Ok(Json(describe(&name, version, state)))
}

fn describe(name: &ModelName, version: Option<&Version>, state: &State) -> JsonValue {
    let refused = || json!({ "version": version, "state": "refused", "reasons": state.reasons() });
    match state {
        State::Serving(served) => serving(served),
        State::Kept(served, reasons) => {
            let mut told = serving(served);
            told["reasons"] = json!(reasons);
            // Another version than the one that serves on: it is there, too.
            if version.is_some_and(|version| *version != served.model.version)
                && let Some(versions) = told["versions"].as_array_mut()
            {
                versions.push(refused());
            }
            told
        }
        State::Refused(reasons) => json!({
            "name": name,
            "versions": version.map(|_| refused()).into_iter().collect::<Vec<_>>(),
            "state": "refused",
            "reasons": reasons,
        }),
    }
}

fn serving(served: &Served) -> JsonValue {
    let model = &served.model;
    let service = &model.service;
    let keys: Vec<JsonValue> = service
        .keys
        .iter()
        .map(|k| json!({ "name": k.name, "type": k.key_type.value_type() }))
        .collect();
    let inputs = service
        .inputs
        .iter()
        .zip(&model.signature.elements)
        .map(|(input, element)| {
            json!({
                "name": input.name,
                "type": input.value_type,
                "tensor_type": element.name(),
                "default": input.default.as_ref().map(Value::to_json),
            })
        });
    json!({
        "name": model.name,
        "state": "serving",
        "versions": [{
            "version": model.version,
            "state": "serving",
            "sha256": repository::hex(&model.digest),
        }],
        "feature_service": service.name,
        "signature": {
            "keys": keys,
            "request": service.request,
            "inputs": inputs.collect::<Vec<_>>(),
            "outputs": model.signature.outputs.fields(),
        },
        "deadline_ms": u64::try_from(model.deadline.as_millis()).unwrap_or(u64::MAX),
        "cache": model.cache_settings.tier.name(),
        "fallback": match &served.fallback {
            None => JsonValue::Null,
            Some(Fallback::Model { model, .. }) => json!({ "model": model.name, "version": model.version }),
            Some(Fallback::Output(outputs)) => json!({
                "output": outputs.0.iter().map(Value::to_json).collect::<Vec<_>>(),
            }),
        },
    })
}
