//! SQL that looks one entity's value up: in incremental runs, training sets and verification alike.

use feature_defs::definitions::View;

use super::columns::Columns;
use super::keys::Events;
use super::sql::Moment;
use super::{aggregates, rows};

/// Which value of a view is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup<'a> {
    pub(super) view: &'a View,
    pub(super) columns: &'a Columns,
    /// The entity's join keys, as SQL of their canonical types.
    pub(super) keys: &'a [String],
    /// As of when.
    pub(super) moment: Moment<'a>,
    /// Which values count.
    pub(super) age: Age,
}

/// Which values count, by their age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Those of any age.
    Any,
    /// Those of a row view that are younger than its ttl; the ttl of an aggregate view is about something else.
    BelowTtl,
}

/// Selects `present`, `event` (of an aggregate view: the newest in its longest window), `created` and features `f0`, `f1`,
/// …; no row where there is neither a value nor a row that says so.
pub(super) fn value(lookup: Lookup<'_>) -> String {
    let Lookup {
        view,
        columns,
        keys,
        moment,
        age,
    } = lookup;
    let furthest = match (view.kind.longest_window(), age) {
        (Some(longest), _) => Some(longest),
        (None, Age::BelowTtl) => view.ttl,
        (None, Age::Any) => None,
    };
    let events = Events {
        view,
        columns,
        keys,
        after: furthest.map_or_else(|| "'-infinity'::timestamptz".to_owned(), |span| moment.minus(span)),
        until: moment.sql(),
    };
    if view.is_aggregate() {
        aggregates::over(&events, moment)
    } else {
        rows::newest_of(&events)
    }
}
