//! Which rows of a source are there at all: the current version of each event, and not those taken away.
//!
//! With a `key`, the rows with the same key columns are versions of one event, whatever entity and time they give it. The
//! newest of them, by created timestamp, event timestamp and then the whole row's text, is the event; if it is deleted,
//! or has no usable event time or join key, there is no event. Without a `key` each row is an event of its own.

use feature_defs::definitions::{Source, View};

use super::sql;

/// Ends a subquery that Postgres shall plan by itself: one with an offset is never merged into the query around it, made a
/// join of, or read in an order that suits the outside.
pub(super) const FENCE: &str = " OFFSET 0";

/// How it is found out that no version of a row's event is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    /// As the planner likes, for many rows: most likely by hashing all of them.
    Hashed,
    /// Row by row, for few: by the index on the key columns, whatever the planner's estimates.
    LookedUp,
}

/// The conditions that a row is a current version, and not deleted. A deleted row of a row view without key is visible:
/// it says that its entity has no value.
pub(super) fn conditions(view: &View, versions: Versions) -> Vec<String> {
    let source = &view.source;
    let mut conditions = Vec::new();
    if !source.key.is_empty() {
        conditions.push(identified(source));
        conditions.push(current(source, versions));
    }
    if view.is_recomputed_whole() {
        conditions.extend(deleted(source).map(|deleted| format!("{deleted} IS NOT TRUE")));
    }
    conditions
}

/// The events that satisfy these conditions, to stand behind `FROM`: rows by the name `src`, each event once.
pub(super) fn events(view: &View, conditions: &[String], versions: Versions) -> String {
    let source = &view.source;
    let rows = format!("{} WHERE {}", sql::relation(source), conditions.join(" AND "));
    if source.key.is_empty() {
        return rows;
    }
    // Without the fence, the order that DISTINCT wants would be an invitation to read all rows by the index on the key.
    let rows = match versions {
        Versions::Hashed => rows,
        Versions::LookedUp => format!("(SELECT src.* FROM {rows}{FENCE}) AS src"),
    };
    // What is left of an event's versions is the same row, possibly several times.
    format!(
        "(SELECT DISTINCT ON ({}) src.* FROM {rows}) AS src",
        key(source, "src").join(", ")
    )
}

/// Whether a row takes its event or its entity's value away, if the source can say so.
pub(super) fn deleted(source: &Source) -> Option<String> {
    source.deleted.as_ref().map(|column| sql::src(column))
}

/// That no key column of a row is null: such a row is no version of anything.
pub(super) fn identified(source: &Source) -> String {
    let present: Vec<String> = key(source, "src")
        .iter()
        .map(|column| format!("{column} IS NOT NULL"))
        .collect();
    present.join(" AND ")
}

/// The key columns of a row of this name.
pub(super) fn key(source: &Source, row: &str) -> Vec<String> {
    source
        .key
        .iter()
        .map(|column| format!("{row}.{}", sql::ident(column)))
        .collect()
}

/// That two rows are versions of one event.
pub(super) fn same_event(source: &Source, one: &str, other: &str) -> String {
    let pairs = key(source, one).into_iter().zip(key(source, other));
    pairs
        .map(|(one, other)| format!("{one} = {other}"))
        .collect::<Vec<_>>()
        .join(" AND ")
}

fn current(source: &Source, versions: Versions) -> String {
    let times = |row: &str| {
        let event = format!("COALESCE({row}.{}, '-infinity')", sql::ident(&source.event_timestamp));
        let created = source.created_timestamp.iter().map(|column| {
            let created = format!("{row}.{}", sql::ident(column));
            format!("CASE WHEN isfinite({created}) THEN {created} ELSE '-infinity' END")
        });
        created.chain([event]).collect::<Vec<_>>().join(", ")
    };
    let (newer, own) = (times("newer"), times("src"));
    // A row meets itself here. Comparing bytes first spares making text of both.
    let tied = "(newer.*) *<> (src.*) AND (newer.*)::text COLLATE \"C\" > (src.*)::text COLLATE \"C\"";
    let fence = match versions {
        Versions::Hashed => "",
        Versions::LookedUp => FENCE,
    };
    format!(
        "NOT EXISTS (SELECT FROM {relation} WHERE {same} AND (({newer}) > ({own}) OR ({newer}) = ({own}) AND {tied}){fence})",
        relation = sql::relation_as(source, "newer"),
        same = same_event(source, "newer", "src"),
    )
}
