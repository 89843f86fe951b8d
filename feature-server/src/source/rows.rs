//! SQL of row views: the newest row per entity is the value.
//!
//! Newest means latest event timestamp, then latest created timestamp, then the first by the features' own order, so
//! that the same rows always give the same value.
//!
//! An incremental run looks at changed rows only and takes the newest among them; whether that is newer than what is
//! online, the write guard decides. Rows that tie in both timestamps are looked at together or not at all, since what
//! selects them is those timestamps, so the deterministic order holds there too.

use feature_defs::definitions::{View, ViewKind};
use feature_defs::time::{Span, Timestamp};

use super::columns::Columns;
use super::sql::{self, Moment, Since};

/// Selects keys, event, created and features of each entity's newest row at a moment.
pub(crate) fn rows_as_of(view: &View, columns: &Columns, as_of: Timestamp) -> String {
    newest_per_entity(view, columns, &happened(view, Moment::At(as_of), None))
}

/// The same, of the newest among the rows that an incremental run has to look at.
pub(crate) fn changed_rows(view: &View, columns: &Columns, as_of: Timestamp, since: Since) -> String {
    let event = sql::event(&view.source);
    let recent = format!("{event} > {}", sql::instant(since.event));
    let changed = match (sql::raw_created(&view.source), since.created) {
        (Some(created), Some(from)) => {
            format!(
                "({created} >= {} AND {created} < 'infinity' OR {recent})",
                sql::instant(from)
            )
        }
        _ => recent,
    };
    newest_per_entity(
        view,
        columns,
        &format!("{} AND {changed}", happened(view, Moment::At(as_of), None)),
    )
}

/// Selects event and features of the newest row of the entity with these keys at a moment, if it is younger than the
/// view's ttl.
pub(crate) fn newest_row(view: &View, columns: &Columns, keys: &[String], moment: &str) -> String {
    let features = features(view, columns);
    let list = features
        .iter()
        .enumerate()
        .map(|(i, f)| format!(", {f} AS f{i}"))
        .collect::<String>();
    format!(
        "SELECT true AS present, {event} AS event{list} FROM {relation} WHERE {matches} AND {happened} ORDER BY {order} LIMIT 1",
        event = sql::event(&view.source),
        relation = sql::relation(&view.source),
        matches = sql::keys_equal(view, keys),
        happened = happened(view, Moment::Of(moment), view.ttl),
        order = newest_first(view, &features),
    )
}

fn newest_per_entity(view: &View, columns: &Columns, condition: &str) -> String {
    let features = features(view, columns);
    // By bytes: each spelling is an entity of its own, whatever the column's collation holds for equal.
    let keys = sql::keys(view);
    let distinct = keys
        .iter()
        .zip(&view.entity.join_keys)
        .map(|(k, key)| sql::sortable(k, key.key_type.value_type()))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "SELECT DISTINCT ON ({distinct}) {keys}, {event}, {created}, {list} FROM {relation} WHERE {present} AND {condition} ORDER BY {distinct}, {order}",
        keys = keys.join(", "),
        event = sql::event(&view.source),
        created = sql::created(&view.source),
        list = features.join(", "),
        relation = sql::relation(&view.source),
        present = sql::keys_present(view),
        order = newest_first(view, &features),
    )
}

/// That a row has happened by the moment, and less than `ttl` before it.
fn happened(view: &View, moment: Moment<'_>, ttl: Option<Span>) -> String {
    let event = sql::event(&view.source);
    let after = ttl.map_or_else(|| "'-infinity'::timestamptz".to_owned(), |ttl| moment.minus(ttl));
    format!("{event} <= {} AND {event} > {after}", moment.sql())
}

fn newest_first(view: &View, features: &[String]) -> String {
    let mut order = format!(
        "{} DESC, {} DESC NULLS LAST",
        sql::event(&view.source),
        sql::created(&view.source)
    );
    for (feature, field) in features.iter().zip(view.fields()) {
        for place in sql::total_order(feature, field.value_type) {
            order.push_str(", ");
            order.push_str(&place);
        }
    }
    order
}

fn features(view: &View, columns: &Columns) -> Vec<String> {
    let ViewKind::Row { columns: names } = &view.kind else {
        return Vec::new();
    };
    names
        .iter()
        .zip(view.fields())
        .map(|(name, field)| sql::typed(name, columns, field.value_type))
        .collect()
}
