//! SQL of a view's values as of a moment, and of what is asked about them.
//!
//! Values come as rows of: join keys `k0`, `k1`, …; `present`; `event` and `created`, null where there are none; features
//! `f0`, `f1`, …; in the order of the join keys, text by its bytes. What is not present has no features: online it is a
//! tombstone.

use feature_defs::definitions::View;
use feature_defs::time::Timestamp;

use super::columns::Columns;
use super::history::{self, History};
use super::keys::{self, Part};
use super::lookup::{self, Age, Lookup};
use super::sql::{Moment, Since};
use super::{aggregates, changed, rows};

/// What of a view's values a query computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// As of when.
    pub(crate) as_of: Timestamp,
    /// Which entities' values,
    pub(crate) scope: Scope,
    /// and of these which.
    pub(crate) part: Part<'a>,
}

/// Which entities' values a query computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of every entity that has a value; of a row view without `key` also of those whose newest row is deleted. Values are
    /// the same whatever the history.
    All(History),
    /// Of those that an incremental run has to look at again. Those that have no value are not present.
    Changed(Since),
    /// Of those that have rows with an event time after the one moment and not after the other.
    Within { after: Timestamp, until: Timestamp },
}

/// Selects a view's values.
pub(crate) fn values_query(view: &View, columns: &Columns, wanted: &Wanted<'_>) -> String {
    let Wanted { as_of, scope, part } = *wanted;
    let of = part.conditions(view);
    if let Scope::All(history) = scope {
        all(view, columns, (as_of, history), &of)
    } else if matches!(scope, Scope::Within { .. }) && !view.is_recomputed_whole() {
        let conditions = [
            &[keys::present(view)],
            changed::conditions(view, as_of, scope).as_slice(),
            &of,
        ]
        .concat();
        rows::newest_per_entity(view, columns, &conditions)
    } else {
        let changed = changed::entities(view, as_of, scope, &of);
        whole(view, columns, Moment::At(as_of), &changed)
    }
}

/// The values of all entities whose rows satisfy these conditions.
fn all(view: &View, columns: &Columns, (as_of, history): (Timestamp, History), of: &[String]) -> String {
    if view.is_aggregate() {
        return aggregates::per_entity(view, columns, as_of, of);
    }
    let happened = changed::conditions(view, as_of, Scope::All(history));
    let mut conditions = [&[keys::present(view)], happened.as_slice(), of].concat();
    if history == History::Long && history::matters(view) {
        conditions.push(rows::of_newest_event(view, &conditions));
    }
    rows::newest_per_entity(view, columns, &conditions)
}

/// The values of the entities that `changed` selects, each computed from all of its rows, also where the newest of the
/// changed ones would seem to do: the store may have lost, or was told to forget, the value that a newer row left there.
/// Each is looked up by itself, so that what a run reads follows from what has changed, however wrong the planner's
/// estimates are.
pub(super) fn whole(view: &View, columns: &Columns, moment: Moment<'_>, changed: &str) -> String {
    let keys = keys::of("changed", view);
    let value = lookup::value(Lookup {
        view,
        columns,
        keys: &keys,
        moment,
        age: Age::Any,
    });
    format!(
        "WITH changed AS MATERIALIZED ({changed})\nSELECT {keys}, found.present IS TRUE AS present, found.event, found.created{features} FROM changed LEFT JOIN LATERAL ({value}) AS found ON true ORDER BY {order}",
        keys = keys.join(", "),
        features = features("found", view),
        order = keys::sorted(view, &keys).join(", "),
    )
}

/// The features' columns of a relation, each after a comma.
pub(super) fn features(relation: &str, view: &View) -> String {
    (0..view.fields().len()).map(|i| format!(", {relation}.f{i}")).collect()
}

/// Selects the join keys of about one of `one_in` entities that have a value as of a moment; `salt` chooses which.
pub(crate) fn sample_query(view: &View, columns: &Columns, as_of: Timestamp, (one_in, salt): (u64, u64)) -> String {
    let of = match one_in {
        0 | 1 => Vec::new(),
        _ => vec![keys::one_of(view, one_in, salt, 0)],
    };
    format!(
        "SELECT {} FROM ({}) AS value WHERE value.present",
        keys::of("value", view).join(", "),
        // Whatever the table: there may be few entities with many rows each.
        all(view, columns, (as_of, History::Long), &of),
    )
}

/// Selects, for entities given as arrays (number, then one a join key), the numbers of those that an incremental run looks
/// at again.
pub(crate) fn changed_among_query(view: &View, as_of: Timestamp, since: Since) -> String {
    let (given, changed) = (keys::of("given", view), keys::of("changed", view));
    let equal: Vec<String> = given
        .iter()
        .zip(&changed)
        .map(|(one, other)| format!("{one} = {other}"))
        .collect();
    format!(
        "WITH changed AS MATERIALIZED ({changed})\nSELECT given.number FROM {given} JOIN changed ON {equal}",
        changed = changed::entities(view, as_of, Scope::Changed(since), &[]),
        given = keys::given(&view.entity.join_keys, &[("number", "int8[]")]),
        equal = equal.join(" AND "),
    )
}

/// Selects, over the values that a query selects and that are present: how many there are; then for each of the view's
/// expectations how many are null, below its minimum and above its maximum, and the smallest and largest as text.
pub(crate) fn expectations_query(view: &View, values: &str) -> String {
    let mut list = vec!["count(*)".to_owned()];
    for expectation in &view.expectations {
        let feature = format!("value.f{}", expectation.feature);
        let count = |condition: String| format!("count(*) FILTER (WHERE {condition})");
        let beyond = |sign: &str, bound: Option<f64>| match bound {
            Some(bound) => count(format!("{feature} {sign} '{bound:e}'::float8")),
            None => "0::int8".to_owned(),
        };
        list.push(count(format!("{feature} IS NULL")));
        list.push(beyond("<", expectation.min));
        list.push(beyond(">", expectation.max));
        let ends = view.fields()[expectation.feature].value_type.is_number();
        list.extend(["min", "max"].map(|end| match ends {
            // With 0 added, the two zeros are one.
            true => format!("({end}({feature}) + 0)::text"),
            false => "NULL::text".to_owned(),
        }));
    }
    format!(
        "SELECT {} FROM ({values}) AS value WHERE value.present",
        list.join(", ")
    )
}
