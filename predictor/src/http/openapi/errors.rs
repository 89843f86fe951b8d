//! Errors as documented responses: the codes that an operation lists, by status.

use serde_json::{Map, Value as JsonValue, json};

use super::object;

const CODES: &str = include_str!("codes.json");

/// What every call within the limits may be answered.
const OF_ALL: [&str; 2] = ["overloaded", "internal"];
/// What those with a body may be.
const OF_BODIES: [&str; 3] = ["broken_body", "body_timeout", "body_too_large"];

/// What each code means, by status.
pub(super) struct Codes(Map<String, JsonValue>);

impl Codes {
    pub(super) fn read() -> Self {
        Self(object(CODES))
    }

    /// Makes responses of the `x-errors` of an operation.
    pub(super) fn respond(&self, operation: &mut Map<String, JsonValue>) {
        // Health and metrics stand outside of all limits, and have no errors.
        let Some(errors) = operation.remove("x-errors") else {
            return;
        };
        let mut possible: Vec<&str> = errors
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(JsonValue::as_str)
            .collect();
        possible.extend(OF_ALL);
        if operation.contains_key("requestBody") {
            possible.extend(OF_BODIES);
        }
        if operation.contains_key("parameters") {
            possible.push("invalid_path");
        }
        let Some(responses) = operation.get_mut("responses").and_then(JsonValue::as_object_mut) else {
            return;
        };
        for (status, codes) in self.by_status() {
            let codes: Vec<_> = codes.filter(|(code, _)| possible.contains(code)).collect();
            if !codes.is_empty() {
                responses.insert(status.to_owned(), response(status, &codes));
            }
        }
    }

    /// Makes a schema of a code one of all of them.
    pub(super) fn list(&self, schema: &mut JsonValue) {
        let codes = self.by_status().flat_map(|(_, codes)| codes.map(|(code, _)| code));
        let mut all: Vec<&str> = Vec::new();
        for code in codes {
            if !all.contains(&code) {
                all.push(code);
            }
        }
        schema["enum"] = all.into();
    }

    /// All codes as a table of Markdown.
    pub(super) fn table(&self) -> String {
        let mut table = "| HTTP | code | when |\n|---|---|---|\n".to_owned();
        for (status, codes) in self.by_status() {
            for (code, meaning) in codes {
                table.push_str(&format!("| {status} | `{code}` | {meaning} |\n"));
            }
        }
        table
    }

    fn by_status(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, &str)>)> {
        self.0.iter().map(|(status, codes)| {
            let codes = codes.as_object().into_iter().flatten();
            let codes = codes.map(|(code, meaning)| (code.as_str(), meaning.as_str().unwrap_or_default()));
            (status.as_str(), codes)
        })
    }
}

fn response(status: &str, codes: &[(&str, &str)]) -> JsonValue {
    let names: Vec<&str> = codes.iter().map(|(code, _)| *code).collect();
    let meanings: Vec<String> = codes
        .iter()
        .map(|(code, meaning)| format!("- `{code}`: {meaning}"))
        .collect();
    let mut response = json!({
        "description": meanings.join("\n"),
        "content": { "application/json": { "schema": {
            "allOf": [
                { "$ref": "#/components/schemas/Error" },
                { "properties": { "code": { "enum": names } } },
            ],
        } } },
    });
    if matches!(status, "429" | "503") {
        response["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
    }
    response
}
