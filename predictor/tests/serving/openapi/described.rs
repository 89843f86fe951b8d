//! A document, and whether requests and answers are as it says.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use predictor::App;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: String,
}

impl Sent {
    pub(super) fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(super) fn post(path: &str, body: impl Into<String>) -> Self {
        Self {
            method: "POST".to_owned(),
            body: body.into(),
            ..Self::get(path)
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Without its parameters.
    pub(super) fn content_type(&self) -> &str {
        let value = self.headers.get("content-type").map(|value| value.to_str().unwrap());
        value.unwrap_or_default().split(';').next().unwrap()
    }
}

pub(super) async fn send(app: &Arc<App>, sent: &Sent) -> Answer {
    let mut request = Request::builder().method(sent.method.as_str()).uri(&sent.path);
    for (name, value) in &sent.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(sent.body.clone())).unwrap();
    let (parts, body) = app.router().oneshot(request).await.unwrap().into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    }
}

/// A document.
pub(super) struct Described {
    pub(super) document: Json,
}

impl Described {
    pub(super) async fn of(app: &Arc<App>) -> Self {
        let answer = send(app, &Sent::get("/openapi.json")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self {
            document: serde_json::from_slice(&answer.body).unwrap(),
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.document["paths"].as_object().unwrap().keys().map(String::as_str)
    }

    /// Each operation with its method and path.
    fn operations(&self) -> impl Iterator<Item = (String, &str, &Json)> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
        })
    }

    /// What a reference is to, or the value itself.
    fn resolved<'d>(&'d self, value: &'d Json) -> &'d Json {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => {
                let found = self.document.pointer(reference.strip_prefix('#').unwrap());
                self.resolved(found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
            }
        }
    }

    fn parameters<'d>(&'d self, operation: &'d Json) -> impl Iterator<Item = &'d Json> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.map(|parameter| self.resolved(parameter))
    }

    /// Whether it is an OpenAPI document, as far as one can see from its parts.
    pub(super) fn check_structure(&self) {
        let document = &self.document;
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
        assert!(!document.to_string().contains("x-errors"));
        self.check_references(document);
        let tags: Vec<&Json> = document["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| &tag["name"])
            .collect();
        let mut ids = HashSet::new();
        for (method, path, operation) in self.operations() {
            let at = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: twice");
            assert!(
                operation["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|tag| tags.contains(&tag)),
                "{at}"
            );
            let in_path = self.parameters(operation).filter(|parameter| parameter["in"] == "path");
            let in_path: Vec<String> = in_path
                .map(|p| format!("{{{}}}", p["name"].as_str().unwrap()))
                .collect();
            assert!(in_path.iter().all(|name| path.contains(name)), "{at}: {in_path:?}");
            assert_eq!(path.matches('{').count(), in_path.len(), "{at}: {in_path:?}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
            for (status, response) in responses {
                assert!((100..600).contains(&status.parse::<u16>().unwrap()), "{at}");
                assert!(self.resolved(response)["description"].is_string(), "{at}: {status}");
            }
            if !operation["requestBody"].is_null() {
                let content = &operation["requestBody"]["content"]["application/json"];
                assert!(content["schema"].is_object() && content["examples"].is_object(), "{at}");
            }
        }
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            assert!(name.chars().all(is_name), "{name}");
            jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    fn check_references(&self, value: &Json) {
        match value {
            Json::Object(members) => {
                self.resolved(value);
                members.values().for_each(|member| self.check_references(member));
            }
            Json::Array(items) => items.iter().for_each(|item| self.check_references(item)),
            _ => {}
        }
    }

    /// A request for each operation and example, in the order of the document.
    pub(super) fn examples(&self) -> Vec<Sent> {
        let mut all = Vec::new();
        for (method, path, operation) in self.operations() {
            let mut filled = path.to_owned();
            for parameter in self.parameters(operation).filter(|parameter| parameter["in"] == "path") {
                let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                filled = filled.replace(&name, parameter["example"].as_str().unwrap());
            }
            let content = &operation["requestBody"]["content"]["application/json"];
            let examples = content["examples"].as_object().into_iter().flatten();
            let mut bodies: Vec<String> = examples.map(|(_, example)| example["value"].to_string()).collect();
            match operation["requestBody"].is_null() {
                true => bodies.push(String::new()),
                false => assert!(!bodies.is_empty(), "{method} {path} has no example"),
            }
            let explains = self
                .parameters(operation)
                .any(|parameter| parameter["name"] == "explain");
            for body in bodies {
                let sent = Sent {
                    method: method.clone(),
                    body,
                    ..Sent::get(&filled)
                };
                if explains {
                    let path = format!("{filled}?explain=true");
                    all.push(Sent { path, ..sent.clone() });
                }
                all.push(sent);
            }
        }
        all
    }

    /// The operation that answers a path: one that is told as it is before one with parameters.
    pub(super) fn operation(&self, method: &str, path: &str) -> Option<&Json> {
        let path = path.split('?').next().unwrap();
        let of = |(_, _, operation)| operation;
        let mut alike = self.operations().filter(|(other, ..)| other == method);
        let same = self
            .operations()
            .find(|(other, told, _)| other == method && *told == path);
        same.map(of)
            .or_else(|| alike.find(|(_, told, _)| fits(told, path)).map(of))
    }

    pub(super) fn check_request(&self, sent: &Sent) {
        let operation = self.operation(&sent.method, &sent.path).unwrap();
        if let Some(schema) = operation["requestBody"]["content"]["application/json"].get("schema") {
            self.validate(schema, &serde_json::from_str(&sent.body).unwrap());
        }
    }

    /// Whether an answer is one that its operation has.
    pub(super) fn check_answer(&self, sent: &Sent, answer: &Answer) {
        let operation = self.operation(&sent.method, &sent.path);
        let operation = operation.unwrap_or_else(|| panic!("{sent:?} is of no operation"));
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{sent:?}: {} is not documented", answer.status);
        let response = self.resolved(response);
        let Some(content) = response["content"].as_object() else {
            assert_eq!(answer.text(), "", "{sent:?}");
            return;
        };
        let content = content.get(answer.content_type());
        let content = content.unwrap_or_else(|| panic!("{sent:?}: {} is not documented", answer.content_type()));
        if answer.content_type() == "application/json" {
            self.validate(&content["schema"], &serde_json::from_slice(&answer.body).unwrap());
        }
    }

    pub(super) async fn check_error(&self, app: &Arc<App>, sent: &Sent, (status, code): (u16, &str)) {
        let answer = send(app, sent).await;
        let shown: String = sent.path.chars().take(100).collect();
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        let told: Json = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(told["code"], code, "{shown}: {told}");
        self.check_answer(sent, &answer);
        if status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
    }

    /// Whether a value is of a schema of this name.
    pub(super) fn check(&self, schema: &str, value: &Json) {
        self.validate(&json!({ "$ref": format!("#/components/schemas/{schema}") }), value);
    }

    fn validate(&self, schema: &Json, value: &Json) {
        let whole = json!({ "allOf": [schema], "components": self.document["components"] });
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let validator = options.build(&whole).unwrap();
        let problems: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}\n{value:#}\n{schema:#}");
    }
}

/// Whether a path is one of those that `told` is a template of.
fn fits(told: &str, path: &str) -> bool {
    let (told, path): (Vec<&str>, Vec<&str>) = (told.split('/').collect(), path.split('/').collect());
    let fits = |told: &str, segment: &str| match told.split_once('}') {
        None => told == segment,
        // `{model}` is no call, and `{model}:predict` is one.
        Some((_, "")) => !segment.contains(':'),
        Some((_, call)) => segment.strip_suffix(call).is_some_and(|name| !name.is_empty()),
    };
    told.len() == path.len() && told.iter().zip(&path).all(|(told, segment)| fits(told, segment))
}
