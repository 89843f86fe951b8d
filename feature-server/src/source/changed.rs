//! SQL of what an incremental run has to look at again: rows, and the entities whose values may be others than before.

use feature_defs::definitions::View;
use feature_defs::time::Timestamp;

use super::sql::{self, Moment, Since};
use super::values::Scope;
use super::visible::FENCE;
use super::{aggregates, keys, visible};

/// Selects each entity, once, that has to be looked at. `of` are conditions on a row's entity.
pub(super) fn entities(view: &View, as_of: Timestamp, scope: Scope, of: &[String]) -> String {
    let mut selects: Vec<String> = conditions(view, as_of, scope)
        .into_iter()
        .map(|condition| {
            let conditions = [&[keys::present(view), condition], of].concat();
            format!(
                "SELECT DISTINCT {} FROM {} WHERE {}",
                keys::selected(view),
                sql::relation(&view.source),
                conditions.join(" AND ")
            )
        })
        .collect();
    if let Scope::Changed(Since {
        created: Some(created), ..
    }) = scope
        && !view.source.key.is_empty()
    {
        selects.push(touched(view, created, of));
    }
    // One range a branch, so that an index can serve each.
    selects.join(" UNION ")
}

/// The conditions, one of which a row fulfils that has to be looked at.
pub(super) fn conditions(view: &View, as_of: Timestamp, scope: Scope) -> Vec<String> {
    let event = sql::event(&view.source);
    let between = |after: String, until: String| format!("{event} > {after} AND {event} <= {until}");
    let at = Moment::At(as_of);
    let since = match scope {
        Scope::All(_) => return vec![between("'-infinity'".to_owned(), at.sql())],
        Scope::Within { after, until } => return vec![between(sql::instant(after), sql::instant(until.min(as_of)))],
        Scope::Changed(since) => since,
    };
    let mut conditions = vec![between(sql::instant(since.event), at.sql())];
    // The versions of a key may lie anywhere in event time: `touched` sees to them.
    if view.source.key.is_empty()
        && let Some(created) = created_since(view, since)
    {
        let after = view
            .kind
            .longest_window()
            .map_or_else(|| "'-infinity'".to_owned(), |longest| at.minus(longest));
        conditions.push(format!("{created} AND {}", between(after, at.sql())));
    }
    for window in aggregates::windows(view) {
        conditions.push(between(Moment::At(since.as_of).minus(window), at.minus(window)));
    }
    conditions
}

fn created_since(view: &View, since: Since) -> Option<String> {
    let (created, from) = (sql::raw_created(&view.source)?, since.created?);
    Some(format!(
        "{created} >= {} AND {created} < 'infinity'",
        sql::instant(from)
    ))
}

/// Selects the entities of all versions of each event that has a version created since then.
fn touched(view: &View, created: Timestamp, of: &[String]) -> String {
    let since = Since {
        event: created,
        created: Some(created),
        as_of: created,
    };
    let recent = created_since(view, since).expect("a source with a key has a created timestamp");
    // The recent rows are found by the index on created timestamps, then each key's versions by that on the key columns.
    versions(view, &events_with(view, &recent), of)
}

/// The events that have rows which satisfy this condition, to stand behind `FROM`: their key columns, by the name `touched`.
pub(super) fn events_with(view: &View, condition: &str) -> String {
    let source = &view.source;
    format!(
        "(SELECT DISTINCT * FROM (SELECT {columns} FROM {relation} WHERE {identified} AND {condition}{FENCE}) AS recent) AS touched",
        columns = visible::key(source, "src").join(", "),
        relation = sql::relation(source),
        identified = visible::identified(source),
    )
}

/// Selects the entities of all versions of the events in `touched`, which are rows of that name with the key columns.
pub(super) fn versions(view: &View, touched: &str, of: &[String]) -> String {
    let source = &view.source;
    let conditions = [
        &[visible::same_event(source, "src", "touched"), keys::present(view)],
        of,
    ]
    .concat();
    format!(
        "SELECT version.* FROM {touched} CROSS JOIN LATERAL (SELECT {selected} FROM {relation} WHERE {conditions}{FENCE}) AS version",
        selected = keys::selected(view),
        relation = sql::relation(source),
        conditions = conditions.join(" AND "),
    )
}
