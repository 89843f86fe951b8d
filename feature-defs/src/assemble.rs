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
        Origin::Stored { join, feature } => stored(&parts.stored[join], feature, parts.stale),
        Origin::RequestTime => (None, Status::NullValue),
    }
}

/// What a stored row gives of a feature of its view: of values that are too old, only what `stale` lets through.
pub fn stored(row: &StoredRow, feature: usize, stale: Stale) -> (Option<&Value>, Status) {
    match row.feature(feature) {
        (_, Status::OutsideMaxAge) if stale == Stale::Default => (None, Status::OutsideMaxAge),
        found => found,
    }
}

fn fill(input: &Input, (value, status): (Option<&Value>, Status)) -> Assembled {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{Definitions, load};

    const DEFINITIONS: &str = r#"
        format = 1
        project = "p"
        [[entity]]
        name = "user"
        join_keys = [{ name = "user", type = "string" }]
        [[source]]
        name = "s"
        table = "s"
        event_timestamp = "at"
        [[feature_view]]
        name = "v"
        entity = "user"
        source = "s"
        features = [{ name = "x", type = "float64" }]
        [[derived]]
        name = "sum"
        type = "float64"
        expression = "a + v.x"
        [[feature_service]]
        name = "m"
        request = [{ name = "a", type = "float64" }]
        features = ["request:a", { feature = "v:x", default = 7.0 }, "derived:sum"]
    "#;

    fn definitions() -> Definitions {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.toml"), DEFINITIONS).unwrap();
        load(dir.path()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn row(status: Status, x: Option<f64>) -> StoredRow {
        StoredRow {
            status,
            event: Some(Timestamp::from_micros(0)),
            values: vec![x.map(Value::Float64)],
            lacking: Vec::new(),
        }
    }

    fn without_x(status: Status) -> StoredRow {
        StoredRow {
            lacking: vec![0],
            ..row(status, None)
        }
    }

    /// Inputs as (value, status, defaulted) of a request with a = 1.
    fn inputs(stored: StoredRow, stale: Stale) -> Vec<(Option<f64>, Status, bool)> {
        let definitions = definitions();
        let request = [Some(Value::Float64(1.0))];
        let parts = Parts {
            request: &request,
            stored: &[stored],
            now: Timestamp::from_micros(0),
            stale,
        };
        let assembled = assemble(definitions.service("m").unwrap(), parts);
        assembled
            .iter()
            .map(|a| (a.value.as_ref().and_then(Value::as_f64), a.status, a.defaulted))
            .collect()
    }

    #[test]
    fn a_default_fills_whatever_is_null_and_derived_features_see_the_null() {
        use Status::{NotFound, NullValue, OutsideMaxAge, Present, Unavailable};
        let a = (Some(1.0), Present, false);
        let null_sum = (None, NullValue, false);
        for (stored, stale, x, sum) in [
            (
                row(Present, Some(2.0)),
                Stale::Default,
                (Some(2.0), Present, false),
                (Some(3.0), Present, false),
            ),
            (
                row(Present, None),
                Stale::Default,
                (Some(7.0), NullValue, true),
                null_sum,
            ),
            (
                row(Present, Some(f64::NAN)),
                Stale::Default,
                (Some(7.0), NullValue, true),
                null_sum,
            ),
            (
                row(OutsideMaxAge, Some(2.0)),
                Stale::Default,
                (Some(7.0), OutsideMaxAge, true),
                null_sum,
            ),
            (
                row(OutsideMaxAge, Some(2.0)),
                Stale::Serve,
                (Some(2.0), OutsideMaxAge, false),
                (Some(3.0), Present, false),
            ),
            (
                StoredRow::not_found(),
                Stale::Serve,
                (Some(7.0), NotFound, true),
                null_sum,
            ),
            (
                without_x(Present),
                Stale::Default,
                (Some(7.0), NotFound, true),
                null_sum,
            ),
            (
                without_x(OutsideMaxAge),
                Stale::Default,
                (Some(7.0), NotFound, true),
                null_sum,
            ),
            (
                StoredRow::unavailable(),
                Stale::Default,
                (Some(7.0), Unavailable, true),
                null_sum,
            ),
        ] {
            assert_eq!(inputs(stored.clone(), stale), [a, x, sum], "{stored:?} {stale:?}");
        }
    }
}
