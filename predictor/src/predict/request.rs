//! What a caller sends, read and checked against the model's service: everything that is wrong, at once.

use std::collections::HashMap;

use feature_defs::codec::Field;
use feature_defs::definitions::{JoinKey, Origin, Service};
use feature_defs::key::KeyValue;
use feature_defs::value::{Value, ValueType};
use serde_json::{Map, Value as Json};

use super::error::{PredictError, Problem};
use crate::model::signature::{Element, Signature};
use crate::model::tensor::Cell;
use crate::nearest;

/// What a request for one model looks like.
#[derive(Debug)]
pub struct RequestShape {
    slots: HashMap<String, Vec<Slot>>,
    keys: Vec<JoinKey>,
    request: Vec<Field>,
    /// For each request feature, the tensors it goes into.
    elements: Vec<Vec<Element>>,
    overrides: bool,
}

/// What a field of an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Key(usize),
    Request(usize),
    Stored {
        join: usize,
        feature: usize,
        value_type: ValueType,
    },
}

/// A checked request.
#[derive(Debug)]
pub struct Request {
    /// One a row.
    pub instances: Vec<Instance>,
    /// The caller's ids, one a row, if it gave any: texts or whole numbers.
    pub ids: Option<Vec<Json>>,
}

/// One row of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// One a [`Service::keys`].
    pub keys: Vec<Option<KeyValue>>,
    /// One a [`Service::request`].
    pub request: Vec<Option<Value>>,
    /// Stored features that the caller sets itself.
    pub overrides: Vec<Override>,
}

/// A stored feature that the caller sets itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Which of [`Service::joins`].
    pub join: usize,
    /// Which of its view's features.
    pub feature: usize,
    /// To what.
    pub value: Option<Value>,
}

impl RequestShape {
    /// The shape of requests for a model that `service` feeds.
    pub fn new(service: &Service, signature: &Signature, overrides: bool) -> Self {
        let mut slots: HashMap<String, Vec<Slot>> = HashMap::new();
        for (i, key) in service.keys.iter().enumerate() {
            slots.entry(key.name.to_string()).or_default().push(Slot::Key(i));
        }
        for (i, field) in service.request.iter().enumerate() {
            slots.entry(field.name.to_string()).or_default().push(Slot::Request(i));
        }
        for (join, joined) in service.joins.iter().enumerate() {
            for (feature, field) in joined.view.fields().iter().enumerate() {
                slots
                    .entry(format!("{}__{}", joined.alias, field.name))
                    .or_default()
                    .push(Slot::Stored {
                        join,
                        feature,
                        value_type: field.value_type,
                    });
            }
        }
        let mut elements = vec![Vec::new(); service.request.len()];
        for (input, &element) in service.inputs.iter().zip(&signature.elements) {
            if let Origin::Request { index } = input.origin {
                elements[index].push(element);
            }
        }
        Self {
            slots,
            keys: service.keys.clone(),
            request: service.request.clone(),
            elements,
            overrides,
        }
    }

    /// Reads and checks a body.
    ///
    /// # Errors
    /// [`PredictError::InvalidJson`] or [`PredictError::InvalidRequest`] with everything that is wrong.
    pub fn read(&self, body: &[u8], max_instances: usize) -> Result<Request, PredictError> {
        let json: Json = serde_json::from_slice(body).map_err(|e| invalid_json(body, &e))?;
        let Json::Object(mut body) = json else {
            return Err(Problem::of_request("the body is not a JSON object: send {\"instances\": [{…}]}").into());
        };
        let mut problems = Vec::new();
        for name in body.keys().filter(|k| !matches!(k.as_str(), "instances" | "ids")) {
            let hint = nearest::hint(name, ["instances", "ids"].into_iter());
            problems.push(Problem::named(name, format!("unknown key of the request{hint}")));
        }
        let instances = self.instances(body.get("instances"), max_instances, &mut problems);
        let ids = read_ids(body.remove("ids"), instances.as_ref().map(Vec::len), &mut problems);
        match instances {
            Some(instances) if problems.is_empty() => Ok(Request { instances, ids }),
            _ => Err(PredictError::InvalidRequest(problems)),
        }
    }

    fn instances(&self, json: Option<&Json>, max: usize, problems: &mut Vec<Problem>) -> Option<Vec<Instance>> {
        let mut whole = |problem: String| {
            problems.push(Problem::named("instances", problem));
            None
        };
        let instances = match json {
            None => return whole("missing: send {\"instances\": [{…}]}".to_owned()),
            Some(Json::Array(instances)) => instances,
            Some(_) => return whole("not a list of objects".to_owned()),
        };
        if instances.is_empty() {
            return whole("empty: send at least one instance".to_owned());
        }
        if instances.len() > max {
            return whole(format!(
                "{} instances, at most {max} are taken in one request",
                instances.len()
            ));
        }
        let mut read = Vec::with_capacity(instances.len());
        for (i, instance) in instances.iter().enumerate() {
            match instance {
                Json::Object(fields) => read.push(self.instance(i, fields, problems)),
                _ => problems.push(Problem {
                    instance: Some(i),
                    name: None,
                    problem: "not an object".to_owned(),
                }),
            }
        }
        Some(read)
    }

    fn instance(&self, i: usize, fields: &Map<String, Json>, problems: &mut Vec<Problem>) -> Instance {
        let mut keys = vec![None; self.keys.len()];
        let mut request = vec![None; self.request.len()];
        let mut overrides = Vec::new();
        let mut problem = |name: &str, problem: String| {
            problems.push(Problem {
                instance: Some(i),
                name: Some(name.to_owned()),
                problem,
            });
        };
        for (name, json) in fields {
            let slots = self.slots.get(name).map_or(&[][..], Vec::as_slice);
            if slots.is_empty() {
                problem(name, format!("unknown field{}", self.hint(name)));
            }
            for slot in slots {
                let outcome = match *slot {
                    Slot::Key(at) => self.key(at, json).map(|value| keys[at] = Some(value)),
                    Slot::Request(at) => self.request_feature(at, json).map(|value| request[at] = Some(value)),
                    Slot::Stored { .. } if !self.overrides => Err(
                        "a stored feature, which this model does not let callers set (overrides in version.toml)"
                            .to_owned(),
                    ),
                    Slot::Stored {
                        join,
                        feature,
                        value_type,
                    } => Value::from_json(value_type, json)
                        .map(|value| overrides.push(Override { join, feature, value }))
                        .map_err(|e| e.to_string()),
                };
                if let Err(wrong) = outcome {
                    problem(name, wrong);
                }
            }
        }
        for key in self.keys.iter().filter(|k| !fields.contains_key(k.name.as_str())) {
            problem(
                key.name.as_str(),
                "missing join key: send null if there is none".to_owned(),
            );
        }
        for field in self.request.iter().filter(|f| !fields.contains_key(f.name.as_str())) {
            problem(
                field.name.as_str(),
                "missing request feature: send null if its value is not known".to_owned(),
            );
        }
        Instance {
            keys: keys.into_iter().map(Option::flatten).collect(),
            request: request.into_iter().map(Option::flatten).collect(),
            overrides,
        }
    }

    fn key(&self, at: usize, json: &Json) -> Result<Option<KeyValue>, String> {
        let value = Value::from_json(self.keys[at].key_type.value_type(), json).map_err(|e| e.to_string())?;
        value.map(KeyValue::try_from).transpose().map_err(|e| e.to_string())
    }

    fn request_feature(&self, at: usize, json: &Json) -> Result<Option<Value>, String> {
        let value = Value::from_json(self.request[at].value_type, json).map_err(|e| e.to_string())?;
        for &element in &self.elements[at] {
            if value.is_some() {
                Cell::new(element, value.as_ref()).map_err(|e| e.to_string())?;
            }
        }
        Ok(value)
    }

    fn hint(&self, name: &str) -> String {
        let known = self
            .slots
            .iter()
            .filter(|(_, slots)| self.overrides || slots.iter().any(|slot| !matches!(slot, Slot::Stored { .. })));
        nearest::hint(name, known.map(|(name, _)| name.as_str()))
    }
}

fn read_ids(json: Option<Json>, rows: Option<usize>, problems: &mut Vec<Problem>) -> Option<Vec<Json>> {
    let mut problem = |text: String| {
        problems.push(Problem::named("ids", text));
        None
    };
    match json {
        None => None,
        Some(Json::Array(ids)) => {
            if let Some(i) = ids
                .iter()
                .position(|id| !(id.is_string() || id.is_i64() || id.is_u64()))
            {
                return problem(format!("id {i} is neither a text nor a whole number"));
            }
            match rows {
                Some(rows) if rows != ids.len() => problem(format!("{} id(s) for {rows} instance(s)", ids.len())),
                _ => Some(ids),
            }
        }
        Some(_) => problem("not a list".to_owned()),
    }
}

fn invalid_json(body: &[u8], error: &serde_json::Error) -> PredictError {
    // The error points at most a letter or two into the word.
    let line = body
        .split(|b| *b == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let from = error.column().saturating_sub(3).min(line.len());
    let near = &line[from..line.len().min(from + 12)];
    let names_nan = [&b"NaN"[..], b"nan", b"Infinity"]
        .iter()
        .any(|w| near.windows(w.len()).any(|part| part == *w));
    let hint = if names_nan {
        ": JSON has no NaN or Infinity, send null"
    } else {
        ""
    };
    PredictError::InvalidJson(format!("{error}{hint}"))
}
