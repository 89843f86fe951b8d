//! `GET /v1/models` and `/v1/models/{model}`: what is served, or why not; and which version it is to be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AppState;
use axum::http::StatusCode;
use feature_defs::value::Value;
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue, json};
use service::error::ApiError;
use service::http::PathParams;

use crate::app::App;
use crate::model::config::Serve;
use crate::model::signature::Declared;
use crate::model::{Arm, Entry, Fallback, Featured, ModelName, Served, VersionState, repository};
use crate::predict::{PredictError, shortened};

pub(super) async fn list(AppState(app): AppState<Arc<App>>) -> Json<JsonValue> {
    let models: Vec<JsonValue> = app.models().iter().map(|(name, entry)| describe(name, entry)).collect();
    Json(json!({ "models": models }))
}

pub(super) async fn one(
    AppState(app): AppState<Arc<App>>,
    PathParams(name): PathParams<String>,
) -> Result<Json<JsonValue>, ApiError> {
    if let Some((model, method @ ("predict" | "promote"))) = name.rsplit_once(':') {
        let message = format!("GET does not {method}: POST …/{}:{method} does", shortened(model));
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
    let found = models.iter().find(|(known, _)| known.as_str() == name);
    let (name, entry) = found.ok_or_else(|| ApiError::from(unknown()))?;
    Ok(Json(describe(name, entry)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    version: Serve,
}

/// `POST …/{model}:promote` with `{"version": "4"}`: that version takes the traffic from now on.
pub(super) async fn promote(app: &Arc<App>, model: &str, body: &[u8]) -> Result<Json<JsonValue>, ApiError> {
    let promotion: Promotion = serde_json::from_slice(body).map_err(|e| {
        let message = format!("the body is not {{\"version\": \"…\"}}: {e}");
        ApiError::bad_request("invalid_request", message)
    })?;
    app.promote(model, promotion.version).await?;
    let models = app.models();
    let found = models.iter().find(|(known, _)| known.as_str() == model);
    let (name, entry) = found.ok_or_else(|| ApiError::internal(&"a promoted model is gone"))?;
    Ok(Json(describe(name, entry)))
}

/// The answer about one model.
pub(super) fn describe(name: &ModelName, entry: &Entry) -> JsonValue {
    let versions = entry.versions.iter().map(|(version, state)| {
        let mut told = json!({ "version": version, "state": state.name() });
        if let VersionState::Refused(reasons) = state {
            told["reasons"] = json!(reasons);
        }
        let ready = entry.served.as_ref().and_then(|served| served.versions.get(version));
        if let Some(Arm { model, .. }) = ready {
            told["sha256"] = repository::hex(&model.artifact.digest).into();
            told["bytes"] = model.artifact.bytes.into();
            told["max_rows"] = model.batcher.max_rows().into();
            told["sessions"] = model.batcher.sessions().into();
        }
        told
    });
    let mut told = json!({
        "name": name,
        "state": entry.state(),
        "versions": versions.collect::<Vec<_>>(),
    });
    if !entry.problems.is_empty() {
        told["reasons"] = json!(entry.problems);
    }
    if entry.is_kept {
        told["as_before"] = true.into();
    }
    if let (Some(served), Some(told)) = (&entry.served, told.as_object_mut()) {
        told.extend(serving(served));
    }
    told
}

fn serving(served: &Served) -> Map<String, JsonValue> {
    let Arm { model, fallback } = &served.serving;
    let mut told = Map::new();
    told.insert("version".to_owned(), json!(model.version));
    if let Some(canary) = &served.canary {
        let version = &canary.counterpart.model.version;
        told.insert(
            "canary".to_owned(),
            json!({ "version": version, "share": canary.share }),
        );
    }
    if let Some(shadow) = &served.shadow {
        told.insert("shadow".to_owned(), json!({ "version": shadow.model.version }));
    }
    if let Some(featured) = &model.featured {
        told.insert("feature_service".to_owned(), json!(featured.service.name));
        told.insert("signature".to_owned(), signature(featured));
    }
    told.insert(
        "tensors".to_owned(),
        json!({ "inputs": tensors(&model.inputs), "outputs": tensors(&model.outputs) }),
    );
    let deadline = u64::try_from(model.operated.deadline.as_millis()).unwrap_or(u64::MAX);
    told.insert("deadline_ms".to_owned(), deadline.into());
    told.insert("cache".to_owned(), model.operated.cache.tier.name().into());
    let fallback = match fallback {
        None => JsonValue::Null,
        Some(Fallback::Model(other)) => json!({ "model": other.model.name, "version": other.model.version }),
        Some(Fallback::Output(outputs)) => json!({
            "output": outputs.values().iter().map(Value::to_json).collect::<Vec<_>>(),
        }),
    };
    told.insert("fallback".to_owned(), fallback);
    told
}

fn signature(featured: &Featured) -> JsonValue {
    let service = &featured.service;
    let keys: Vec<JsonValue> = service
        .keys
        .iter()
        .map(|k| json!({ "name": k.name, "type": k.key_type.value_type() }))
        .collect();
    let inputs = service.inputs.iter().enumerate().map(|(i, input)| {
        let (element, list) = featured.signature.cell(i);
        let mut told = json!({
            "name": input.name,
            "type": input.value_type,
            "tensor_type": element.name(),
            "default": input.default.as_ref().map(Value::to_json),
        });
        if let Some(length) = list {
            told["length"] = length.into();
        }
        told
    });
    json!({
        "keys": keys,
        "request": service.request,
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": featured.signature.outputs.fields(),
    })
}

fn tensors(tensors: &[Declared]) -> Vec<JsonValue> {
    let one = |tensor: &Declared| {
        json!({
            "name": tensor.name,
            "type": tensor.element.map_or("other", |element| element.name()),
            "shape": tensor.shape,
        })
    };
    tensors.iter().map(one).collect()
}
