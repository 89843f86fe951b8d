//! SQL of row views: the newest row per entity is the value.
//!
//! Newest means latest event timestamp, then latest created timestamp, then deleted before not deleted, then the first by
//! the features' own order, so that the same rows always give the same value.
//!
//! Without a `key`, a newest row that is deleted comes out as not present, under its own times: they are the tombstone's.

use feature_defs::definitions::{View, ViewKind};

use super::columns::Columns;
use super::keys::{self, Events};
use super::sql;
use super::visible::{self, Versions};

/// Selects, by entity, the newest of the rows that satisfy these conditions.
pub(super) fn newest_per_entity(view: &View, columns: &Columns, conditions: &[String]) -> String {
    let conditions = [conditions, &visible::conditions(view, Versions::Hashed)].concat();
    let entity = keys::sorted(view, &keys::keys(view)).join(", ");
    let (list, order) = value(view, columns);
    format!(
        "SELECT DISTINCT ON ({entity}) {keys}, {list} FROM {relation} WHERE {conditions} ORDER BY {entity}, {event} DESC, {order}",
        keys = keys::selected(view),
        relation = sql::relation(&view.source),
        conditions = conditions.join(" AND "),
        event = sql::event(&view.source),
    )
}

/// The condition that a row has its entity's latest event timestamp among the rows that satisfy these conditions. Where
/// entities have many rows, most then need neither be read in the order of entities nor sorted with all they hold.
pub(super) fn of_newest_event(view: &View, conditions: &[String]) -> String {
    let entity = keys::sorted(view, &keys::keys(view)).join(", ");
    let event = sql::event(&view.source);
    format!(
        "({entity}, {event}) IN (SELECT {entity}, max({event}) FROM {relation} WHERE {conditions} GROUP BY {entity})",
        relation = sql::relation(&view.source),
        conditions = conditions.join(" AND "),
    )
}

/// Selects the newest row among these.
pub(super) fn newest_of(events: &Events<'_>) -> String {
    let view = events.view;
    let (mut conditions, newest_first) = events.newest_first();
    conditions.extend(visible::conditions(view, Versions::LookedUp));
    let (list, order) = value(view, events.columns);
    format!(
        "SELECT {list} FROM {relation} WHERE {conditions} ORDER BY {newest_first}, {order} LIMIT 1",
        relation = sql::relation(&view.source),
        conditions = conditions.join(" AND "),
    )
}

/// What is selected of a row (whether there is a value, event, created, features), and the order among rows of the same
/// event time.
fn value(view: &View, columns: &Columns) -> (String, String) {
    let source = &view.source;
    let created = sql::created(source);
    let features = features(view, columns);
    let mut order = vec![format!("{created} DESC NULLS LAST")];
    let deleted = visible::deleted(source).filter(|_| source.key.is_empty());
    let present = match &deleted {
        Some(deleted) => {
            order.push(format!("{deleted} IS TRUE DESC"));
            format!("{deleted} IS NOT TRUE")
        }
        None => "true".to_owned(),
    };
    let mut list = vec![
        format!("{present} AS present"),
        format!("{} AS event", sql::event(source)),
        format!("{created} AS created"),
    ];
    for (i, (feature, field)) in features.iter().zip(view.fields()).enumerate() {
        list.push(match &deleted {
            Some(_) => format!("CASE WHEN {present} THEN {feature} END AS f{i}"),
            None => format!("{feature} AS f{i}"),
        });
        order.push(sql::sortable(feature, field.value_type));
    }
    (list.join(", "), order.join(", "))
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
