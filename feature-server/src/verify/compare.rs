//! What is online beside what the source gives.

use feature_defs::definitions::{Function, View, ViewKind};
use feature_defs::key::EntityKey;
use feature_defs::time::Timestamp;
use feature_defs::value::Value;
use online_store::Found;
use serde::Serialize;

use super::recompute::Recomputed;

/// Sums of floats depend on the order of their terms by so much, relatively.
const FLOAT_TOLERANCE: f64 = 1e-12;

/// What is not as it should be with an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its value is another one.
    Different,
    /// It has no value, but should.
    Missing,
    /// It has a value, but should not.
    Extra,
    /// One of these, and the next incremental run looks at it again.
    Stale,
}

/// An entity that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// As on the command line: `carrier=UA`.
    pub entity: String,
    /// What is wrong.
    pub verdict: Verdict,
    /// The moment that was compared.
    pub as_of: Timestamp,
    /// By feature that differs: its value online and as recomputed. `event_timestamp` and `created_timestamp` of a row view
    /// are among them.
    pub features: Vec<FeatureDifference>,
    /// What Redis holds, if it cannot be read.
    pub unreadable: Option<String>,
    /// Whether the next incremental run would leave it, for it is newer than what that run finds.
    #[serde(skip)]
    pub(super) stays: bool,
}

/// A feature that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureDifference {
    /// Its name.
    pub feature: String,
    /// Its value online.
    pub online: serde_json::Value,
    /// Its value as recomputed from the source.
    pub source: serde_json::Value,
}

/// What is online for an entity.
#[derive(Debug)]
pub(super) enum Online {
    Absent,
    Value(Times, Vec<Option<Value>>),
    Unreadable(String),
}

/// The times of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) event: Option<Timestamp>,
    pub(super) created: Option<Timestamp>,
}

impl From<Found> for Online {
    fn from(found: Found) -> Self {
        match found.stored {
            Err(problem) => Self::Unreadable(problem),
            Ok(Some(stored)) if found.event.is_some() => {
                let times = Times {
                    event: Some(stored.header.event),
                    created: stored.header.created,
                };
                stored.values.map_or(Self::Absent, |values| Self::Value(times, values))
            }
            Ok(_) => Self::Absent,
        }
    }
}

/// What is wrong with an entity, if anything is.
pub(super) fn compare(
    view: &View,
    (entity, as_of): (&EntityKey, Timestamp),
    online: Online,
    source: Option<Recomputed>,
) -> Option<Difference> {
    let mut stays = false;
    let (verdict, features, unreadable) = match (online, source) {
        (Online::Absent, None) => return None,
        (Online::Unreadable(problem), _) => (Verdict::Different, Vec::new(), Some(problem)),
        (Online::Absent, Some(source)) => {
            let nulls = vec![None; source.values.len()];
            (Verdict::Missing, differing(view, &nulls, &source.values), None)
        }
        (Online::Value(_, values), None) => {
            let nulls = vec![None; values.len()];
            (Verdict::Extra, differing(view, &values, &nulls), None)
        }
        (Online::Value(times, values), Some(source)) => {
            let mut features = differing(view, &values, &source.values);
            if !view.is_aggregate() {
                features.extend(differing_times(times, source.times));
                let newer = (times.event, times.created) > (source.times.event, source.times.created);
                stays = newer && !view.is_recomputed_whole();
            }
            if features.is_empty() {
                return None;
            }
            (Verdict::Different, features, None)
        }
    };
    Some(Difference {
        entity: entity.to_string(),
        verdict,
        as_of,
        features,
        unreadable,
        stays,
    })
}

fn differing(view: &View, online: &[Option<Value>], source: &[Option<Value>]) -> Vec<FeatureDifference> {
    view.fields()
        .iter()
        .enumerate()
        .zip(online.iter().zip(source))
        .filter(|((i, _), (online, source))| !same(is_summed(view, *i), online.as_ref(), source.as_ref()))
        .map(|((_, field), (online, source))| FeatureDifference {
            feature: field.name.to_string(),
            online: json(online.as_ref()),
            source: json(source.as_ref()),
        })
        .collect()
}

fn differing_times(online: Times, source: Times) -> Vec<FeatureDifference> {
    let pairs = [
        ("event_timestamp", online.event, source.event),
        ("created_timestamp", online.created, source.created),
    ];
    let moment = |at: Option<Timestamp>| json(at.map(Value::Timestamp).as_ref());
    pairs
        .into_iter()
        .filter(|(_, online, source)| online != source)
        .map(|(name, online, source)| FeatureDifference {
            feature: name.to_owned(),
            online: moment(online),
            source: moment(source),
        })
        .collect()
}

/// Whether a feature is computed from a sum of floats.
fn is_summed(view: &View, feature: usize) -> bool {
    match &view.kind {
        ViewKind::Row { .. } => false,
        ViewKind::Aggregate(aggregates) => {
            matches!(
                aggregates[feature].function,
                Function::Sum | Function::Mean | Function::Stddev
            )
        }
    }
}

fn same(summed: bool, online: Option<&Value>, source: Option<&Value>) -> bool {
    match (online, source) {
        (Some(Value::Float64(a)), Some(Value::Float64(b))) if summed => {
            a == b || (a - b).abs() <= FLOAT_TOLERANCE * a.abs().max(b.abs())
        }
        (online, source) => online == source,
    }
}

fn json(value: Option<&Value>) -> serde_json::Value {
    value.map_or(serde_json::Value::Null, Value::to_json)
}
