//! SQL of aggregate views: windowed aggregates over events, as of a moment.
//!
//! An entity without an event in its longest window has no value.

use std::collections::BTreeSet;

use feature_defs::definitions::{Aggregate, Function, View, ViewKind};
use feature_defs::time::{Span, Timestamp};
use feature_defs::value::ValueType;

use super::columns::Columns;
use super::keys::{self, Events};
use super::sql::{self, Moment};
use super::visible::{self, Versions};

/// Selects the values of each entity with an event in its longest window at a moment, in order of the join keys. `of` are
/// conditions on a row's entity.
pub(super) fn per_entity(view: &View, columns: &Columns, as_of: Timestamp, of: &[String]) -> String {
    let moment = Moment::At(as_of);
    let conditions = [
        &[keys::present(view), within(view, moment, longest(view))],
        of,
        &visible::conditions(view, Versions::Hashed),
    ]
    .concat();
    let entity = keys::sorted(view, &keys::keys(view)).join(", ");
    format!(
        "SELECT {keys}, {list} FROM {events} GROUP BY {entity} ORDER BY {entity}",
        keys = grouped(view),
        list = value(view, columns, moment),
        events = visible::events(view, &conditions, Versions::Hashed),
    )
}

/// Selects the value over these events, which are those of an entity's longest window at the moment; no row if there are
/// none.
pub(super) fn over(events: &Events<'_>, moment: Moment<'_>) -> String {
    let view = events.view;
    let conditions = [events.conditions(), visible::conditions(view, Versions::LookedUp)].concat();
    format!(
        "SELECT {list} FROM {events} HAVING count(*) > 0",
        list = value(view, events.columns, moment),
        events = visible::events(view, &conditions, Versions::LookedUp),
    )
}

/// The join keys that rows are grouped by, under their names.
fn grouped(view: &View) -> String {
    let named = keys::sorted(view, &keys::keys(view)).into_iter().zip(keys::names(view));
    named
        .map(|(key, name)| format!("{key} AS {name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What is selected of the events: that there is a value, the newest event, no created timestamp, the features.
fn value(view: &View, columns: &Columns, moment: Moment<'_>) -> String {
    let features = features(view, columns, moment).into_iter().enumerate();
    format!(
        "true AS present, max({}) AS event, NULL::timestamptz AS created{}",
        sql::event(&view.source),
        features
            .map(|(i, feature)| format!(", {feature} AS f{i}"))
            .collect::<String>(),
    )
}

fn aggregates(view: &View) -> &[Aggregate] {
    match &view.kind {
        ViewKind::Aggregate(aggregates) => aggregates,
        ViewKind::Row { .. } => &[],
    }
}

/// Each window that events of the view leave.
pub(super) fn windows(view: &View) -> BTreeSet<Span> {
    aggregates(view).iter().map(|a| a.window).collect()
}

fn longest(view: &View) -> Span {
    view.kind.longest_window().unwrap_or(Span::ZERO)
}

fn within(view: &View, moment: Moment<'_>, window: Span) -> String {
    let event = sql::event(&view.source);
    format!("{event} > {} AND {event} <= {}", moment.minus(window), moment.sql())
}

fn features(view: &View, columns: &Columns, moment: Moment<'_>) -> Vec<String> {
    let longest = longest(view);
    let fields = view.fields().iter().map(|f| f.value_type);
    aggregates(view)
        .iter()
        .zip(fields)
        .map(|(a, t)| {
            let window =
                (a.window < longest).then(|| format!("{} > {}", sql::event(&view.source), moment.minus(a.window)));
            feature(view, columns, a, t, window.as_deref())
        })
        .collect()
}

/// One aggregate, over the rows that satisfy `window`.
fn feature(
    view: &View,
    columns: &Columns,
    aggregate: &Aggregate,
    value_type: ValueType,
    window: Option<&str>,
) -> String {
    let event = sql::event(&view.source);
    let filtered = |call: String, more: Option<String>| {
        let conditions: Vec<String> = window.map(str::to_owned).into_iter().chain(more).collect();
        if conditions.is_empty() {
            call
        } else {
            format!("{call} FILTER (WHERE {})", conditions.join(" AND "))
        }
    };
    let column = aggregate.column.as_deref();
    let cleaned = column.map(|column| sql::cleaned(column, columns));
    let value = |value_type| column.map_or_else(|| event.clone(), |column| sql::typed(column, columns, value_type));
    let call = match aggregate.function {
        Function::Count => filtered(format!("count({})", cleaned.as_ref().unwrap_or(&event)), None),
        Function::DistinctCount => {
            let count = filtered(format!("count(DISTINCT {})", cleaned.as_ref().unwrap_or(&event)), None);
            // Of all rows there are some, or there would be no value.
            match window {
                None => count,
                Some(window) => format!("CASE WHEN count(*) FILTER (WHERE {window}) > 0 THEN {count} END"),
            }
        }
        Function::Sum => format!("COALESCE({}, 0)", filtered(format!("sum({})", value(value_type)), None)),
        Function::Mean => filtered(format!("avg({})", value(ValueType::Float64)), None),
        Function::Stddev => filtered(format!("stddev_samp({})", value(ValueType::Float64)), None),
        Function::Min => filtered(format!("min({})", sql::sortable(&value(value_type), value_type)), None),
        Function::Max => filtered(format!("max({})", sql::sortable(&value(value_type), value_type)), None),
        Function::LastTime => filtered(format!("max({event})"), cleaned.map(|c| format!("{c} IS NOT NULL"))),
        Function::Last => {
            let value = value(value_type);
            let order = format!(
                "{event} DESC, {} DESC NULLS LAST, {} DESC",
                sql::created(&view.source),
                sql::sortable(&value, value_type)
            );
            let all = filtered(
                format!("array_agg({value} ORDER BY {order})"),
                Some(format!("{value} IS NOT NULL")),
            );
            format!("({all})[1]")
        }
    };
    format!("({call})::{}", sql::pg_type(value_type))
}
