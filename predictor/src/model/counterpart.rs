//! Another model, or another version, that answers requests for a model: what its requests and answers are in the other's.

use std::sync::Arc;

use feature_defs::definitions::Service;
use feature_defs::value::{Value, ValueType};

use super::program::Outputs;
use super::{Featured, Model};
use crate::predict::request::Instance;

/// Another model that answers requests for a model.
#[derive(Debug, Clone)]
pub struct Counterpart {
    /// The other model.
    pub model: Arc<Model>,
    /// Where a request carries each of the other service's join keys.
    keys: Vec<Carried>,
    /// Where it carries each of its request features.
    request: Vec<Carried>,
    /// Which of the other's outputs each output is.
    outputs: Vec<usize>,
    /// Whether what a caller overrides means the same to the other.
    same_service: bool,
}

/// Where a request carries a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// `service.request[index]`
    Request(usize),
    /// `service.keys[index]`
    Key(usize),
}

impl Counterpart {
    /// Lets `other` answer requests for `model`.
    ///
    /// # Errors
    /// What it would need that such a request does not carry, and outputs that it does not have, a sentence each; `called`
    /// is what it is to the model.
    pub(super) fn link(model: &Model, other: &Arc<Model>, called: &str) -> Result<Self, Vec<String>> {
        let (Some(own), Some(others)) = (&model.featured, &other.featured) else {
            return Err(vec![format!(
                "{called} has no feature service, or this model has none: only requests of features can be handed on, not \
                 tensors"
            )]);
        };
        let mut problems = Vec::new();
        let mut find = |name: &str, value_type: ValueType| {
            let place = carried(&own.service, name, value_type);
            if place.is_none() {
                problems.push(format!(
                    "{called} needs `{name}` ({value_type}), which a request for this model does not carry"
                ));
            }
            place
        };
        let keys = others.service.keys.iter();
        let keys = keys
            .filter_map(|key| find(key.name.as_str(), key.key_type.value_type()))
            .collect();
        let request = others.service.request.iter();
        let request = request
            .filter_map(|field| find(field.name.as_str(), field.value_type))
            .collect();
        let outputs = outputs(own, others, called, &mut problems);
        let same_service = *own.service == *others.service;
        if model.settings.overrides && !same_service && !others.service.joins.is_empty() {
            problems.push(format!(
                "{called} is fed by another feature service (`{}`), where the stored features that callers may set are not \
                 the same",
                others.service.name
            ));
        }
        if problems.is_empty() {
            Ok(Self {
                model: Arc::clone(other),
                keys,
                request,
                outputs,
                same_service,
            })
        } else {
            Err(problems)
        }
    }

    /// The other's instance, made of what a request carries.
    pub(crate) fn carry(&self, instance: &Instance) -> Instance {
        let value = |carried: &Carried| match *carried {
            Carried::Request(index) => instance.request[index].clone(),
            Carried::Key(index) => instance.keys[index].clone().map(Value::from),
        };
        let key = |carried: &Carried| match *carried {
            Carried::Key(index) => instance.keys[index].clone(),
            Carried::Request(index) => instance.request[index].clone().and_then(|value| value.try_into().ok()),
        };
        Instance {
            keys: self.keys.iter().map(key).collect(),
            request: self.request.iter().map(value).collect(),
            overrides: if self.same_service {
                instance.overrides.clone()
            } else {
                Vec::new()
            },
        }
    }

    /// Its outputs in the model's order.
    pub(crate) fn reorder(&self, outputs: &Outputs) -> Outputs {
        let values = outputs.values();
        if self.outputs.len() == values.len() && self.outputs.iter().enumerate().all(|(i, o)| i == *o) {
            return outputs.clone();
        }
        Outputs::Values(self.outputs.iter().map(|&i| values[i].clone()).collect())
    }
}

fn outputs(own: &Featured, others: &Featured, called: &str, problems: &mut Vec<String>) -> Vec<usize> {
    let mut places = Vec::new();
    for field in own.signature.outputs.fields() {
        let fits = |t: ValueType| t == field.value_type || t.is_number() && field.value_type.is_number();
        let mut fields = others.signature.outputs.fields().iter();
        match fields.position(|f| f.name == field.name && fits(f.value_type)) {
            Some(place) => places.push(place),
            None => problems.push(format!(
                "{called} has no output `{}` ({})",
                field.name, field.value_type
            )),
        }
    }
    places
}

/// Where a request of `service` carries this.
pub(super) fn carried(service: &Service, name: &str, value_type: ValueType) -> Option<Carried> {
    let request = service
        .request
        .iter()
        .position(|f| f.name.as_str() == name && f.value_type == value_type);
    let key = || {
        service
            .keys
            .iter()
            .position(|k| k.name.as_str() == name && k.key_type.value_type() == value_type)
    };
    request.map(Carried::Request).or_else(|| key().map(Carried::Key))
}
