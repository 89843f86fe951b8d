//! The call of a model that takes tensors and gives tensors.

use serde_json::{Map, Value as JsonValue, json};

use super::{Call, Described, Own, types};
use crate::model::Model;
use crate::model::element::Element;
use crate::model::signature::Declared;

/// An example of more elements is no example.
const MOST_ELEMENTS: usize = 1_000;

impl Described {
    /// Adds `infer` of a model.
    pub(super) fn add_tensors(&mut self, generic: &Map<String, JsonValue>, call: Call<'_>) {
        let model = &call.arm.model;
        let (id, title) = (call.id(), call.title());
        let mut request = self.schemas["InferRequest"].clone();
        let inputs = &mut request["properties"]["inputs"];
        inputs["minItems"] = model.inputs.len().into();
        inputs["maxItems"] = model.inputs.len().into();
        inputs["items"] = any_of(&model.inputs, input);
        request["properties"]["outputs"] = json!({
            "allOf": [
                { "$ref": "#/components/schemas/WantedOutputs" },
                { "items": { "properties": { "name": { "enum": names(&model.outputs) } } } },
            ],
        });
        let mut answer = self.schemas["InferAnswer"].clone();
        let told = &mut answer["properties"];
        told["model_name"]["const"] = json!(model.name);
        if call.is_pinned {
            told["model_version"]["const"] = json!(model.version);
        }
        told["outputs"]["items"] = any_of(&model.outputs, output);
        let rows = if model.tensors.by_row {
            " The first dimension is the row, of which one request may have many."
        } else {
            ""
        };
        let examples = self::examples(model);
        let large = if examples.is_some() {
            ""
        } else {
            " There is no example, since its tensors are large."
        };
        let own = Own {
            id: format!("infer.{id}"),
            summary: format!("Run {title}"),
            description: format!(
                "Takes {}, and gives {}.{rows}{large}",
                listed(&model.inputs),
                listed(&model.outputs)
            ),
            request: self.schema(format!("{id}.InferRequest"), request),
            answer: self.schema(format!("{id}.InferAnswer"), answer),
            examples,
        };
        let path = format!("/v2/models/{}/infer", call.path());
        self.add(&generic["/v2/models/{model}/infer"], path, own);
    }
}

/// A request of zeros, with open dimensions of one; none if it would be large.
pub(super) fn examples(model: &Model) -> Option<JsonValue> {
    let mut left = MOST_ELEMENTS;
    let mut inputs = Vec::with_capacity(model.inputs.len());
    for declared in &model.inputs {
        let element = declared.element?;
        let shape: Vec<usize> = declared
            .shape
            .iter()
            .map(|d| usize::try_from(*d).unwrap_or(1))
            .collect();
        let count = shape.iter().try_fold(1_usize, |count, d| count.checked_mul(*d))?;
        left = left.checked_sub(count)?;
        inputs.push(json!({
            "name": declared.name,
            "datatype": element.datatype(),
            "shape": shape,
            "data": vec![types::zero(element); count],
        }));
    }
    Some(json!({ "zeros": { "summary": "Zeros", "value": { "inputs": inputs } } }))
}

/// A schema for one tensor of a list.
fn any_of(declared: &[Declared], schema: fn(&Declared, Element) -> JsonValue) -> JsonValue {
    // What is no tensor of a type that we speak is neither taken nor given.
    let spoken = declared
        .iter()
        .filter_map(|tensor| Some(schema(tensor, tensor.element?)));
    json!({ "oneOf": spoken.collect::<Vec<_>>() })
}

fn input(declared: &Declared, element: Element) -> JsonValue {
    let dimension = |d: &i64| match d {
        0.. => json!({ "const": d }),
        _ => json!({ "type": "integer", "minimum": 0 }),
    };
    let dimensions: Vec<JsonValue> = declared.shape.iter().map(dimension).collect();
    let shape = match dimensions.len() {
        // The runtime tells no dimensions of a tensor of any shape.
        0 => json!({ "$ref": "#/components/schemas/Shape" }),
        count => json!({ "type": "array", "prefixItems": dimensions, "minItems": count, "maxItems": count }),
    };
    json!({
        "type": "object",
        "title": declared.name,
        "description": declared.type_text,
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": { "const": declared.name },
            "shape": shape,
            "datatype": { "const": element.datatype() },
            "parameters": { "$ref": "#/components/schemas/InputTensorParameters" },
            "data": {
                "type": "array",
                "description": "Elements, flat or nested.",
                "items": { "anyOf": [types::element(element), { "type": "array" }] },
            },
        },
    })
}

fn output(declared: &Declared, element: Element) -> JsonValue {
    json!({
        "type": "object",
        "title": declared.name,
        "description": declared.type_text,
        "required": ["name", "datatype", "shape"],
        "additionalProperties": false,
        "properties": {
            "name": { "const": declared.name },
            "datatype": { "const": element.datatype() },
            "shape": { "$ref": "#/components/schemas/Shape" },
            "parameters": { "$ref": "#/components/schemas/OutputTensorParameters" },
            "data": { "type": "array", "description": "Elements, flat.", "items": types::element(element) },
        },
    })
}

fn names(declared: &[Declared]) -> Vec<&str> {
    declared.iter().map(|tensor| tensor.name.as_str()).collect()
}

fn listed(declared: &[Declared]) -> String {
    let one = |tensor: &Declared| format!("`{}` ({})", tensor.name, tensor.type_text);
    declared.iter().map(one).collect::<Vec<_>>().join(", ")
}
