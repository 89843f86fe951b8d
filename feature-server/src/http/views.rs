//! `GET /v1/views` and `/v1/views/{view}`: definition, freshness, last run.

use axum::Json;
use axum::extract::State;
use feature_defs::definitions::{Relation, View, ViewKind};
use serde_json::{Value, json};
use service::error::ApiError;
use service::http::PathParams;

use super::{Api, unavailable};
use crate::freshness::ViewStatus;

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let statuses = api.app.status().await.map_err(|error| unavailable(&error))?;
    let views: Vec<Value> = api
        .app
        .definitions()
        .views
        .iter()
        .zip(statuses)
        .map(|(view, status)| describe(&api, view, status))
        .collect();
    Ok(Json(json!({"project": api.app.definitions().project, "views": views})))
}

pub(super) async fn one(State(api): State<Api>, PathParams(name): PathParams<String>) -> Result<Json<Value>, ApiError> {
    let view = api
        .app
        .view(&name)
        .map_err(|error| ApiError::not_found("unknown_view", error.to_string()).with("view", name.as_str()))?;
    let now = api.app.now_of_any().await.map_err(|error| unavailable(&error))?;
    let status = api
        .app
        .view_status(view, now)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(Json(describe(&api, view, status)))
}

/// What is declared, how fresh it is, and how its last run went.
fn describe(api: &Api, view: &View, mut status: ViewStatus) -> Value {
    if let Some(state) = api.schedules.of(&view.name) {
        if status.paused_since.is_none() {
            status.next_run = state.next_run.or(status.next_run);
        }
        status.problem = state.problem.or(status.problem);
    }
    let relation = match &view.source.relation {
        Relation::Table(table) => json!({"table": table}),
        Relation::Query { file, .. } => json!({"sql": file}),
    };
    json!({
        "name": view.name,
        "description": view.description,
        "owner": view.owner,
        "kind": if view.is_aggregate() { "aggregate" } else { "row" },
        "entity": {
            "name": view.entity.name,
            "join_keys": view.entity.join_keys.iter().map(|key| json!({"name": key.name, "type": key.key_type.value_type()})).collect::<Vec<_>>(),
        },
        "source": {"name": view.source.name, "relation": relation},
        "ttl": view.ttl,
        "schedule": view.schedule,
        "fresh_for": view.fresh_for,
        "features": features(view),
        "digest": view.digest(),
        "freshness": status.freshness,
        "last_run": status.last_run,
        "next_run": status.next_run,
        "paused_since": status.paused_since,
        "promise": status.promise,
        "problem": status.problem,
    })
}

fn features(view: &View) -> Vec<Value> {
    let fields = view.fields().iter();
    match &view.kind {
        ViewKind::Row { columns } => fields
            .zip(columns)
            .map(|(field, column)| json!({"name": field.name, "type": field.value_type, "column": column}))
            .collect(),
        ViewKind::Aggregate(aggregates) => fields
            .zip(aggregates)
            .map(|(field, aggregate)| {
                json!({
                    "name": field.name,
                    "type": field.value_type,
                    "function": aggregate.function.name(),
                    "column": aggregate.column,
                    "window": aggregate.window,
                })
            })
            .collect(),
    }
}
