//! From what a request carries and the store holds to a model's inputs. Predictions, training sets, `get` and verification
//! all come through here, so that they cannot disagree.

use crate::definitions::{Input, Origin, Service};
use crate::serving::{Status, StoredRow};
use crate::time::Timestamp;
use crate::value::Value;

/// What to do with a stored value that is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// It is null, and so its default, as in training.
    Default,
    /// It is served as it is.
    Serve,
}

/// Everything one instance is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// One a [`Service::request`] feature.
    pub request: &'a [Option<Value>],
    /// One a [`Service::joins`] view.
    pub stored: &'a [StoredRow],
    /// The moment of the prediction.
    pub now: Timestamp,
    /// What to do with values that are too old.
    pub stale: Stale,
}

/// A model input with where its value came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The value, after defaults.
    pub value: Option<Value>,
    /// What was found: for request and derived features `Present` or `NullValue`.
    pub status: Status,
    /// Whether `value` is the service's default.
    pub defaulted: bool,
}

/// The inputs of `service`, in its order, made of `parts`.
pub fn assemble(service: &Service, parts: Parts<'_>) -> Vec<Assembled> {
    let mut derived = Vec::with_capacity(service.derived.len());
    for feature in &service.derived {
        let value = feature.expression.evaluate(|origin| match origin {
            Origin::RequestTime => Some(Value::Timestamp(parts.now)),
            origin => find(origin, &parts, &derived).0.cloned(),
        });
        derived.push(value);
    }
    service
        .inputs
        .iter()
        .map(|input| fill(input, find(input.origin, &parts, &derived)))
        .collect()
}

/// The value at `origin` and its status.
fn find<'a>(origin: Origin, parts: &Parts<'a>, derived: &'a [Option<Value>]) -> (Option<&'a Value>, Status) {
    let plain = |value: &'a Option<Value>| match value {
        Some(value) => (Some(value), Status::Present),
        None => (None, Status::NullValue),
    };
    match origin {
        Origin::Request { index } => plain(&parts.request[index]),
        Origin::Derived { index } => plain(&derived[index]),
        Origin::Stored { join, feature } => {
            let row = &parts.stored[join];
            let value = row.values.get(feature).and_then(Option::as_ref);
            match (row.status, value) {
                (Status::Present, None) => (None, Status::NullValue),
                (Status::OutsideMaxAge, _) if parts.stale == Stale::Default => (None, row.status),
                (status, value) => (value, status),
            }
        }
        Origin::RequestTime => (None, Status::NullValue),
    }
}

fn fill(input: &Input, (value, status): (Option<&Value>, Status)) -> Assembled {
    // NaN is how floats spell "no value": it must meet the default like any other null.
    let value = value.filter(|v| !v.as_f64().is_some_and(f64::is_nan));
    match (value, &input.default) {
        (Some(value), _) => Assembled {
            value: Some(value.clone()),
            status,
            defaulted: false,
        },
        (None, Some(default)) => Assembled {
            value: Some(default.clone()),
            status,
            defaulted: true,
        },
        (None, None) => Assembled {
            value: None,
            status,
            defaulted: false,
        },
    }
}
