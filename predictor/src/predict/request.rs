//! What a caller sends, read and checked against the model's service: everything that is wrong, at once.

use std::collections::HashMap;

use feature_defs::codec::Field;
use feature_defs::definitions::{JoinKey, Origin, Service};
use feature_defs::key::KeyValue;
use feature_defs::value::{Value, ValueType};
use serde_json::Value as Json;
use service::nearest;

use super::body::{List, Whole};
use super::error::{PredictError, Problem, Problems};
use crate::model::signature::{Element, Signature};
use crate::model::tensor::Cell;

/// What a request for one model looks like.
#[derive(Debug)]
pub struct RequestShape {
    known: Vec<Known>,
    /// Where each name stands in `known`.
    places: HashMap<String, usize>,
    keys: Vec<JoinKey>,
    request: Vec<Field>,
    /// For each request feature, the tensors it goes into.
    elements: Vec<Vec<Element>>,
    overrides: bool,
}

/// A field that an instance may have, and all that it is.
#[derive(Debug)]
struct Known {
    name: String,
    slots: Vec<Slot>,
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

impl Instance {
    /// Whether the caller sets this feature of this join itself.
    pub fn sets(&self, join: usize, feature: usize) -> bool {
        self.overrides.iter().any(|o| o.join == join && o.feature == feature)
    }
}

impl RequestShape {
    /// The shape of requests for a model that `service` feeds.
    pub fn new(service: &Service, signature: &Signature, overrides: bool) -> Self {
        let mut known: Vec<Known> = Vec::new();
        let mut places = HashMap::new();
        let mut is = |name: String, slot: Slot| {
            let place = *places.entry(name.clone()).or_insert(known.len());
            match known.get_mut(place) {
                Some(known) => known.slots.push(slot),
                None => known.push(Known {
                    name,
                    slots: vec![slot],
                }),
            }
        };
        for (i, key) in service.keys.iter().enumerate() {
            is(key.name.to_string(), Slot::Key(i));
        }
        for (i, field) in service.request.iter().enumerate() {
            is(field.name.to_string(), Slot::Request(i));
        }
        for (join, joined) in service.joins.iter().enumerate() {
            for (feature, field) in joined.view.fields().iter().enumerate() {
                let slot = Slot::Stored {
                    join,
                    feature,
                    value_type: field.value_type,
                };
                is(format!("{}__{}", joined.alias, field.name), slot);
            }
        }
        let mut elements = vec![Vec::new(); service.request.len()];
        for (input, &element) in service.inputs.iter().zip(&signature.elements) {
            if let Origin::Request { index } = input.origin {
                elements[index].push(element);
            }
        }
        Self {
            known,
            places,
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
        let Whole(read) = serde_json::from_slice(body).map_err(|e| invalid_json(body, &e))?;
        let Some(body) = read else {
            return Err(Problem::of_request("the body is not a JSON object: send {\"instances\": [{…}]}").into());
        };
        let mut problems = Problems::default();
        for key in body.twice {
            problems.add(|| Problem::named(key, "given twice".to_owned()));
        }
        for key in &body.unknown {
            problems.add(|| {
                let hint = nearest::hint(key, ["instances", "ids"].into_iter());
                Problem::named(key, format!("unknown key of the request{hint}"))
            });
        }
        let sent = match &body.instances {
            Some(List(Some(instances))) => Some(instances.len()),
            _ => None,
        };
        let instances = self.instances(body.instances, max_instances, &mut problems);
        let ids = read_ids(body.ids, sent, &mut problems);
        match instances {
            Some(instances) if problems.is_empty() => Ok(Request { instances, ids }),
            _ => Err(PredictError::InvalidRequest(problems)),
        }
    }

    fn instances(&self, json: Option<List>, max: usize, problems: &mut Problems) -> Option<Vec<Instance>> {
        let mut whole = |problem: String| {
            problems.add(|| Problem::named("instances", problem));
            None
        };
        let instances = match json {
            None => return whole("missing: send {\"instances\": [{…}]}".to_owned()),
            Some(List(Some(instances))) => instances,
            Some(List(None)) => return whole("not a list of objects".to_owned()),
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
        for (i, instance) in instances.into_iter().enumerate() {
            match instance.0 {
                Some(fields) => read.push(self.instance(i, &fields, problems)),
                None => problems.add(|| Problem {
                    instance: Some(i),
                    name: None,
                    problem: "not an object".to_owned(),
                }),
            }
        }
        Some(read)
    }

    fn instance(&self, i: usize, fields: &[(String, Json)], problems: &mut Problems) -> Instance {
        let mut keys = vec![None; self.keys.len()];
        let mut request = vec![None; self.request.len()];
        let mut overrides = Vec::new();
        let mut given = vec![false; self.known.len()];
        for (name, json) in fields {
            let Some(&known) = self.places.get(name) else {
                problems.add(|| Problem::of_field(i, name, format!("unknown field{}", self.hint(name))));
                continue;
            };
            if std::mem::replace(&mut given[known], true) {
                problems.add(|| Problem::of_field(i, name, "given twice".to_owned()));
                continue;
            }
            for slot in &self.known[known].slots {
                let outcome = match *slot {
                    Slot::Key(at) => self.key(at, json).map(|value| keys[at] = value),
                    Slot::Request(at) => self.request_feature(at, json).map(|value| request[at] = value),
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
                    problems.add(|| Problem::of_field(i, name, wrong));
                }
            }
        }
        for (known, _) in self.known.iter().zip(&given).filter(|(_, given)| !**given) {
            for slot in &known.slots {
                let missing = match slot {
                    Slot::Key(_) => "missing join key: send null if there is none",
                    Slot::Request(_) => "missing request feature: send null if its value is not known",
                    Slot::Stored { .. } => continue,
                };
                problems.add(|| Problem::of_field(i, &known.name, missing.to_owned()));
            }
        }
        Instance {
            keys,
            request,
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
        let settable = self
            .known
            .iter()
            .filter(|known| self.overrides || known.slots.iter().any(|slot| !matches!(slot, Slot::Stored { .. })));
        nearest::hint(name, settable.map(|known| known.name.as_str()))
    }
}

fn read_ids(json: Option<Json>, instances: Option<usize>, problems: &mut Problems) -> Option<Vec<Json>> {
    let ids = match json? {
        Json::Array(ids) => ids,
        _ => {
            problems.add(|| Problem::named("ids", "not a list".to_owned()));
            return None;
        }
    };
    for (i, id) in ids.iter().enumerate() {
        if !(id.is_string() || id.is_i64() || id.is_u64()) {
            problems.add(|| Problem::named("ids", format!("id {i} is neither a text nor a whole number")));
        }
    }
    if let Some(instances) = instances.filter(|instances| *instances != ids.len()) {
        problems.add(|| Problem::named("ids", format!("{} id(s) for {instances} instance(s)", ids.len())));
    }
    Some(ids)
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
