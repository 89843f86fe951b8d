//! What a caller sends, read and checked against the model's service: everything that is wrong, at once.

use std::collections::HashMap;

use feature_defs::codec::Field;
use feature_defs::definitions::{JoinKey, Origin, Service};
use feature_defs::key::KeyValue;
use feature_defs::value::{Value, ValueType};
use serde_json::Value as Json;
use service::nearest;

use super::body::{Fields, List, Whole};
use super::error::{PredictError, Problem, Problems};
use crate::model::element::Element;
use crate::model::signature::Signature;
use crate::model::tensor::Data;

/// What a request for one model looks like.
#[derive(Debug)]
pub struct RequestShape {
    known: Vec<Known>,
    /// Where each name stands in `known`.
    places: HashMap<String, usize>,
    keys: Vec<JoinKey>,
    request: Vec<Field>,
    /// For each request feature, the tensors it goes into, as so many elements if it is a list.
    cells: Vec<Vec<(Element, Option<usize>)>>,
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

/// What has been read of an instance.
#[derive(Debug, Clone)]
struct Given {
    instance: Instance,
    /// For each field that it may have, whether it was there.
    fields: Vec<bool>,
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
        let mut cells = vec![Vec::new(); service.request.len()];
        for (i, input) in service.inputs.iter().enumerate() {
            if let Origin::Request { index } = input.origin {
                cells[index].push(signature.cell(i));
            }
        }
        Self {
            known,
            places,
            keys: service.keys.clone(),
            request: service.request.clone(),
            cells,
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
                let hint = nearest::hint(key, ["instances", "context", "ids"].into_iter());
                Problem::named(key, format!("unknown key of the request{hint}"))
            });
        }
        let sent = match &body.instances {
            Some(List(Some(instances))) => Some(instances.len()),
            _ => None,
        };
        let context = self.context(body.context, &mut problems);
        let instances = self.instances((body.instances, &context), max_instances, &mut problems);
        let ids = read_ids(body.ids, sent, &mut problems);
        match instances {
            Some(instances) if problems.is_empty() => Ok(Request { instances, ids }),
            _ => Err(PredictError::InvalidRequest(problems)),
        }
    }

    /// What all instances have.
    fn context(&self, fields: Option<Fields>, problems: &mut Problems) -> Given {
        let mut context = Given {
            instance: Instance {
                keys: vec![None; self.keys.len()],
                request: vec![None; self.request.len()],
                overrides: Vec::new(),
            },
            fields: vec![false; self.known.len()],
        };
        match fields {
            None => {}
            Some(Fields(Some(fields))) => self.fields(&fields, &mut context, |name, problem| {
                problems.add(|| Problem::named(&format!("context.{name}"), problem()));
            }),
            Some(Fields(None)) => problems.add(|| Problem::named("context", "not an object".to_owned())),
        }
        context
    }

    fn instances(
        &self,
        (json, context): (Option<List>, &Given),
        max: usize,
        problems: &mut Problems,
    ) -> Option<Vec<Instance>> {
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
                Some(fields) => read.push(self.instance(i, (&fields, context), problems)),
                None => problems.add(|| Problem {
                    instance: Some(i),
                    name: None,
                    problem: "not an object".to_owned(),
                }),
            }
        }
        Some(read)
    }

    fn instance(&self, i: usize, (fields, context): (&[(String, Json)], &Given), problems: &mut Problems) -> Instance {
        let mut given = context.clone();
        self.fields(fields, &mut given, |name, problem| {
            problems.add(|| Problem::of_field(i, name, problem()));
        });
        for (known, _) in self.known.iter().zip(&given.fields).filter(|(_, given)| !**given) {
            for slot in &known.slots {
                let missing = match slot {
                    Slot::Key(_) => "missing join key: send null if there is none",
                    Slot::Request(_) => "missing request feature: send null if its value is not known",
                    Slot::Stored { .. } => continue,
                };
                problems.add(|| Problem::of_field(i, &known.name, missing.to_owned()));
            }
        }
        given.instance
    }

    /// Reads fields into what is given already.
    fn fields(&self, fields: &[(String, Json)], into: &mut Given, mut problem: impl FnMut(&str, &dyn Fn() -> String)) {
        for (name, json) in fields {
            let Some(&known) = self.places.get(name) else {
                problem(name, &|| format!("unknown field{}", self.hint(name)));
                continue;
            };
            if std::mem::replace(&mut into.fields[known], true) {
                problem(name, &|| "given twice".to_owned());
                continue;
            }
            let Instance {
                keys,
                request,
                overrides,
            } = &mut into.instance;
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
                    problem(name, &|| wrong.clone());
                }
            }
        }
    }

    /// Checks instances that did not come as JSON: whether their request features fit into the model's tensors.
    pub(crate) fn check(&self, instances: &[Instance], problems: &mut Problems) {
        for (i, instance) in instances.iter().enumerate() {
            for (at, value) in instance.request.iter().enumerate() {
                if let Err(wrong) = self.fits(at, value.as_ref()) {
                    problems.add(|| Problem::of_field(i, self.request[at].name.as_str(), wrong));
                }
            }
        }
    }

    fn fits(&self, at: usize, value: Option<&Value>) -> Result<(), String> {
        for &(element, list) in self.cells[at].iter().filter(|_| value.is_some()) {
            let pushed = Data::empty(element).push(value, list);
            pushed.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn key(&self, at: usize, json: &Json) -> Result<Option<KeyValue>, String> {
        let value = Value::from_json(self.keys[at].key_type.value_type(), json).map_err(|e| e.to_string())?;
        value.map(KeyValue::try_from).transpose().map_err(|e| e.to_string())
    }

    fn request_feature(&self, at: usize, json: &Json) -> Result<Option<Value>, String> {
        let value = Value::from_json(self.request[at].value_type, json).map_err(|e| e.to_string())?;
        self.fits(at, value.as_ref())?;
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
