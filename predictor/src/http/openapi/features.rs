//! The call of a model that a feature service feeds.

use feature_defs::definitions::Origin;
use feature_defs::value::{Value, ValueType};
use serde_json::{Map, Value as JsonValue, json};

use super::{Call, Described, Own, types};
use crate::model::Featured;

/// A field of an instance.
struct Field {
    name: String,
    schema: JsonValue,
    /// A value of it; none of a field that need not be there.
    example: Option<JsonValue>,
}

impl Described {
    /// Adds `:predict` of a model.
    pub(super) fn add_features(&mut self, generic: &Map<String, JsonValue>, call: Call<'_>, featured: &Featured) {
        let (id, title) = (call.id(), call.title());
        let fields = fields(featured, call.arm.model.settings.overrides);
        let request = self.request(&id, &fields);
        let answer = self.answer(&id, call, featured);
        let service = &featured.service.name;
        let reads: Vec<String> = featured
            .service
            .joins
            .iter()
            .map(|join| format!("`{}`", join.alias))
            .collect();
        let reads = match reads.as_slice() {
            [] => "It reads no stored features.".to_owned(),
            views => format!("Its stored features are of {}.", views.join(", ")),
        };
        let own = Own {
            id: format!("predict.{id}"),
            summary: format!("Predict with {title}"),
            description: format!("Fed by feature service `{service}`. {reads}"),
            request,
            answer,
            examples: Some(self::examples(featured, self.max_instances)),
        };
        let path = format!("/v1/models/{}:predict", call.path());
        self.add(&generic["/v1/models/{model}:predict"], path, own);
    }

    fn request(&mut self, id: &str, fields: &[Field]) -> JsonValue {
        let properties = |fields: &[Field]| -> Map<String, JsonValue> {
            fields
                .iter()
                .map(|field| (field.name.clone(), field.schema.clone()))
                .collect()
        };
        let needed: Vec<&str> = needed(fields).map(|field| field.name.as_str()).collect();
        let instance = json!({
            "type": "object",
            "description": format!("One row. Needed, here or in `context`: {}.", listed(&needed)),
            "additionalProperties": false,
            "properties": properties(fields),
        });
        let instance = self.schema(format!("{id}.Instance"), instance);
        let request = json!({
            "type": "object",
            "required": ["instances"],
            "additionalProperties": false,
            "properties": {
                "instances": {
                    "type": "array",
                    "description": "One a row.",
                    "minItems": 1,
                    "maxItems": self.max_instances,
                    "items": instance,
                },
                "context": {
                    "description": "Fields that all instances have, and do not repeat.",
                    "allOf": [instance],
                },
                "ids": { "$ref": "#/components/schemas/Ids" },
            },
            "if": { "required": ["context"] },
            "else": { "properties": { "instances": { "items": { "required": needed } } } },
        });
        self.schema(format!("{id}.PredictRequest"), request)
    }

    fn answer(&mut self, id: &str, call: Call<'_>, featured: &Featured) -> JsonValue {
        let outputs = featured.signature.outputs.fields();
        let output = |value_type: ValueType| match value_type {
            // Another one may answer with numbers of another type.
            other if call.has_counterpart && other.is_number() => types::value(ValueType::Float64, None),
            own => types::value(own, None),
        };
        let names: Vec<&str> = outputs.iter().map(|field| field.name.as_str()).collect();
        let properties: Map<String, JsonValue> = outputs
            .iter()
            .map(|field| (field.name.to_string(), output(field.value_type)))
            .collect();
        let prediction = json!({
            "type": "object",
            "description": "The outputs of one row; what is not a finite number is null.",
            "required": names,
            "additionalProperties": false,
            "properties": properties,
        });
        let prediction = self.schema(format!("{id}.Prediction"), prediction);
        let mut answer = self.schemas["PredictAnswer"].clone();
        let told = &mut answer["properties"];
        told["model_name"]["const"] = json!(call.arm.model.name);
        if call.is_pinned {
            told["model_version"]["const"] = json!(call.arm.model.version);
        }
        told["predictions"]["items"] = json!({ "anyOf": [prediction, { "type": "null" }] });
        self.schema(format!("{id}.PredictAnswer"), answer)
    }
}

/// Requests that the model answers: one instance; and two, with what they share in `context`.
pub(super) fn examples(featured: &Featured, max_instances: usize) -> JsonValue {
    let fields = fields(featured, false);
    let values: Map<String, JsonValue> = fields
        .iter()
        .filter_map(|field| Some((field.name.clone(), field.example.clone()?)))
        .collect();
    let mut examples = json!({
        "one": { "summary": "One instance", "value": { "instances": [values] } },
    });
    if max_instances > 1 {
        let mut rest = values.into_iter();
        let first: Map<String, JsonValue> = rest.by_ref().take(1).collect();
        let context: Map<String, JsonValue> = rest.collect();
        let mut request = json!({ "instances": [first, first], "ids": ["first", 2] });
        let mut summary = "Two instances with ids";
        if !context.is_empty() {
            request["context"] = context.into();
            summary = "Two instances with ids, and what they share";
        }
        examples["two"] = json!({ "summary": summary, "value": request });
    }
    examples
}

/// What an instance has, and if callers may set stored features, may have.
fn fields(featured: &Featured, overrides: bool) -> Vec<Field> {
    let service = &featured.service;
    // What the feature goes into, and what stands for its null.
    let input = |origin: Origin| {
        let mut inputs = service
            .inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| input.origin == origin);
        let first = inputs.next();
        let cell = first.map(|(i, _)| featured.signature.cell(i));
        (cell, first.and_then(|(_, input)| input.default.as_ref()))
    };
    let described = |mut schema: JsonValue, description: String| {
        schema["description"] = description.into();
        schema
    };
    let mut fields: Vec<Field> = Vec::new();
    for key in &service.keys {
        let value_type = key.key_type.value_type();
        fields.push(Field {
            name: key.name.to_string(),
            schema: described(types::value(value_type, None), format!("Join key, {value_type}.")),
            example: Some(types::example(value_type, None)),
        });
    }
    for (index, feature) in service.request.iter().enumerate() {
        let (cell, default) = input(Origin::Request { index });
        let (name, value_type) = (feature.name.to_string(), feature.value_type);
        let standing = default.map_or(String::new(), |default| {
            format!(" {} stands for a null.", default.to_json())
        });
        let length = cell.and_then(|(_, length)| length);
        let field = Field {
            schema: described(
                types::value(value_type, cell),
                format!("Request feature, {value_type}.{standing}"),
            ),
            example: Some(default.map_or_else(|| types::example(value_type, length), Value::to_json)),
            name,
        };
        // A feature may be a join key as well.
        match fields.iter_mut().find(|other| other.name == field.name) {
            Some(other) => *other = field,
            None => fields.push(field),
        }
    }
    for (join, joined) in service.joins.iter().enumerate().filter(|_| overrides) {
        for (feature, field) in joined.view.fields().iter().enumerate() {
            let (cell, _) = input(Origin::Stored { join, feature });
            let value_type = field.value_type;
            fields.push(Field {
                name: format!("{}__{}", joined.alias, field.name),
                schema: described(
                    types::value(value_type, cell),
                    format!("Stored feature, {value_type}: sets it, in place of what is stored."),
                ),
                example: None,
            });
        }
    }
    fields
}

fn needed(fields: &[Field]) -> impl Iterator<Item = &Field> {
    fields.iter().filter(|field| field.example.is_some())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
