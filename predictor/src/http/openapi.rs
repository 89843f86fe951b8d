//! `GET /openapi.json`: every call of this predictor, with the models that serve now: what each takes and gives, and a
//! request that it answers.
//!
//! What does not depend on models stands in `openapi/base.json` and `components.json`; which `code` stands for what, in
//! `codes.json`.

mod errors;
mod features;
mod tensors;
mod types;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value as JsonValue, json};

use crate::app::App;
use crate::model::{Arm, Model, Models, Served};

const BASE: &str = include_str!("openapi/base.json");
const COMPONENTS: &str = include_str!("openapi/components.json");

pub(super) async fn document(State(app): State<Arc<App>>) -> Json<JsonValue> {
    Json(describe(&app.models(), app.max_instances()))
}

/// The document of these models, by a server that takes so many instances in a request.
fn describe(models: &Models, max_instances: usize) -> JsonValue {
    let mut document = object(BASE);
    let mut generic = taken(&mut document, "paths");
    let mut components = object(COMPONENTS);
    components["schemas"]["PredictRequest"]["properties"]["instances"]["maxItems"] = max_instances.into();
    fill_in(&mut generic, &mut components, models, max_instances);

    let mut described = Described {
        max_instances,
        paths: Map::new(),
        schemas: taken(&mut components, "schemas"),
    };
    for served in models.serving() {
        for call in calls(served) {
            match &call.arm.model.featured {
                Some(featured) => described.add_features(&generic, call, featured),
                None => described.add_tensors(&generic, call),
            }
        }
    }
    described.paths.extend(generic);
    let codes = errors::Codes::read();
    for operation in operations(&mut described.paths) {
        codes.respond(operation);
    }
    codes.list(&mut described.schemas["Error"]["properties"]["code"]);
    let info = &mut document["info"];
    info["version"] = env!("CARGO_PKG_VERSION").into();
    let introduction = info["description"].as_str().unwrap_or_default();
    info["description"] = format!("{introduction}\n\n{}", codes.table()).into();
    components.insert("schemas".to_owned(), described.schemas.into());
    document.insert("paths".to_owned(), described.paths.into());
    document.insert("components".to_owned(), components.into());
    document.into()
}

/// What has been written of the models so far.
struct Described {
    max_instances: usize,
    paths: Map<String, JsonValue>,
    schemas: Map<String, JsonValue>,
}

/// A version that can be asked, and how.
#[derive(Clone, Copy)]
struct Call<'m> {
    arm: &'m Arm,
    /// Whether it is asked for by its number, and not as the one that takes the traffic.
    is_pinned: bool,
    /// Whether another model or version may answer in its place, with numbers of other types.
    has_counterpart: bool,
}

impl Call<'_> {
    /// Its place below `/v1/models/` or `/v2/models/`.
    fn path(&self) -> String {
        let Model { name, version, .. } = &*self.arm.model;
        if self.is_pinned {
            format!("{name}/versions/{version}")
        } else {
            name.to_string()
        }
    }

    /// What names of its operations and schemas begin with. No model has a dot in its name.
    fn id(&self) -> String {
        let Model { name, version, .. } = &*self.arm.model;
        if self.is_pinned {
            format!("{name}.{version}")
        } else {
            name.to_string()
        }
    }

    /// What it is called in words.
    fn title(&self) -> String {
        let Model { name, version, .. } = &*self.arm.model;
        if self.is_pinned {
            format!("version {version} of `{name}`")
        } else {
            format!("`{name}`")
        }
    }
}

/// The ways to ask a model: for the version that takes the traffic, and for others that are ready.
fn calls(served: &Served) -> impl Iterator<Item = Call<'_>> {
    let handed_on = |arm: &Arm| matches!(arm.fallback, Some(crate::model::Fallback::Model(_)));
    let serving = &served.serving;
    let traffic = Call {
        arm: serving,
        is_pinned: false,
        has_counterpart: served.canary.is_some() || handed_on(serving),
    };
    let others = served.versions.values();
    let others = others.filter(|arm| arm.model.version != serving.model.version);
    std::iter::once(traffic).chain(others.map(move |arm| Call {
        arm,
        is_pinned: true,
        has_counterpart: handed_on(arm),
    }))
}

/// Makes the calls of any model an example of one that serves: of features, if there is one.
fn fill_in(
    generic: &mut Map<String, JsonValue>,
    components: &mut Map<String, JsonValue>,
    models: &Models,
    max_instances: usize,
) {
    let serving = || models.serving().map(|served| &*served.serving.model);
    let featured = serving().find(|model| model.featured.is_some());
    let Some(model) = featured.or_else(|| serving().next()) else {
        return;
    };
    components["parameters"]["Model"]["example"] = json!(model.name);
    components["parameters"]["Version"]["example"] = json!(model.version);
    let predicting = model.featured.as_ref().map(|of| features::examples(of, max_instances));
    let inferring = tensors::examples(model);
    let promoting =
        json!({ "serving": { "summary": "The version that serves", "value": { "version": model.version } } });
    for (path, examples) in [
        ("/v1/models/{model}:predict", predicting.clone()),
        ("/v1/models/{model}/versions/{version}:predict", predicting),
        ("/v2/models/{model}/infer", inferring.clone()),
        ("/v2/models/{model}/versions/{version}/infer", inferring),
        ("/v1/models/{model}:promote", Some(promoting)),
    ] {
        let request = &mut generic[path]["post"]["requestBody"]["content"]["application/json"];
        request["examples"] = examples.unwrap_or_else(|| json!({}));
    }
}

impl Described {
    /// Adds the call of one model: `generic` with its own schemas and examples.
    fn add(&mut self, generic: &JsonValue, path: String, own: Own) {
        let mut operation = generic["post"].clone();
        operation["operationId"] = own.id.into();
        operation["summary"] = own.summary.into();
        operation["description"] = own.description.into();
        if let Some(parameters) = operation["parameters"].as_array_mut() {
            let in_path = ["#/components/parameters/Model", "#/components/parameters/Version"];
            parameters.retain(|parameter| in_path.iter().all(|of| parameter["$ref"] != *of));
        }
        let request = &mut operation["requestBody"]["content"]["application/json"];
        request["schema"] = own.request;
        request["examples"] = own.examples.unwrap_or_else(|| json!({}));
        operation["responses"]["200"]["content"]["application/json"]["schema"] = own.answer;
        self.paths.insert(path, json!({ "post": operation }));
    }

    /// Adds a schema; the reference to it.
    fn schema(&mut self, name: String, schema: JsonValue) -> JsonValue {
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        self.schemas.insert(name, schema);
        reference
    }
}

/// What the call of one model has of its own.
struct Own {
    id: String,
    summary: String,
    description: String,
    request: JsonValue,
    answer: JsonValue,
    examples: Option<JsonValue>,
}

fn operations(paths: &mut Map<String, JsonValue>) -> impl Iterator<Item = &mut Map<String, JsonValue>> {
    let items = paths.values_mut().filter_map(JsonValue::as_object_mut);
    items.flat_map(Map::values_mut).filter_map(JsonValue::as_object_mut)
}

/// An embedded file.
fn object(text: &str) -> Map<String, JsonValue> {
    serde_json::from_str(text).expect("the embedded files are JSON objects, as tests see")
}

fn taken(of: &mut Map<String, JsonValue>, name: &str) -> Map<String, JsonValue> {
    match of.get_mut(name).map(JsonValue::take) {
        Some(JsonValue::Object(object)) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a path of the document is one that a route leads to.
    fn is_of(documented: &str, route: &str) -> bool {
        let (documented, route): (Vec<_>, Vec<_>) = (documented.split('/').collect(), route.split('/').collect());
        let is_parameter = |segment: &str| segment.starts_with('{');
        documented.len() == route.len()
            && documented
                .iter()
                .zip(&route)
                .all(|(one, other)| one == other || is_parameter(one) && is_parameter(other))
    }

    #[test]
    fn every_route_is_in_the_document() {
        let paths = taken(&mut object(BASE), "paths");
        for (route, _) in super::super::routes() {
            assert!(paths.keys().any(|path| is_of(path, route)), "{route} is not documented");
        }
    }

    #[test]
    fn every_error_of_an_operation_has_a_meaning() {
        let mut paths = taken(&mut object(BASE), "paths");
        let known = errors::Codes::read().table();
        for operation in operations(&mut paths) {
            for code in operation
                .get("x-errors")
                .and_then(JsonValue::as_array)
                .into_iter()
                .flatten()
            {
                let code = format!("`{}`", code.as_str().unwrap());
                assert!(known.contains(&code), "{code} is not in codes.json");
            }
        }
    }
}
