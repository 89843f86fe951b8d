//! SQL of aggregate views: windowed aggregates over events, as of a moment.
//!
//! An entity without an event in its longest window has no value. An incremental run recomputes, whole, each entity that
//! an event has entered or left a window of, or that has late or corrected events; those left without any event come out
//! with a null for the newest event.

use std::collections::BTreeSet;

use feature_defs::definitions::{Aggregate, Function, View, ViewKind};
use feature_defs::time::{Span, Timestamp};
use feature_defs::value::ValueType;

use super::columns::Columns;
use super::sql::{self, Moment, Since};

/// Selects keys, newest event and features of each entity with an event in its longest window at a moment.
pub(crate) fn aggregates_as_of(view: &View, columns: &Columns, as_of: Timestamp) -> String {
    let keys = sql::keys(view);
    let moment = Moment::At(as_of);
    format!(
        "SELECT {keys}, max({event}), {features} FROM {relation} WHERE {present} AND {within} GROUP BY {groups}",
        keys = keys.join(", "),
        event = sql::event(&view.source),
        features = features(view, columns, moment).join(", "),
        relation = sql::relation(&view.source),
        present = sql::keys_present(view),
        within = within(view, moment, longest(view)),
        groups = positions(keys.len()),
    )
}

/// Selects keys, newest event and features of each entity whose windows may hold something else than they did in the
/// run before; of an entity without events in its longest window the newest event is null.
pub(crate) fn changed_aggregates(view: &View, columns: &Columns, as_of: Timestamp, since: Since) -> String {
    let keys = sql::keys(view);
    let names: Vec<String> = (0..keys.len()).map(|i| format!("k{i}")).collect();
    let select = |condition: String| {
        let list = keys
            .iter()
            .zip(&names)
            .map(|(key, name)| format!("{key} AS {name}"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "SELECT {list} FROM {relation} WHERE {present} AND {condition}",
            relation = sql::relation(&view.source),
            present = sql::keys_present(view)
        )
    };
    let moment = Moment::At(as_of);
    // One range a branch, so that an index can serve each.
    let changed: Vec<String> = changes(view, as_of, since).into_iter().map(select).collect();
    let owned: Vec<String> = names.iter().map(|name| format!("changed.{name}")).collect();
    format!(
        "WITH changed AS MATERIALIZED ({changed}) SELECT {keys}, max({event}), {features} FROM changed LEFT JOIN {relation} ON {matches} AND {within} GROUP BY {keys}",
        changed = changed.join(" UNION "),
        keys = owned.join(", "),
        event = sql::event(&view.source),
        features = features(view, columns, moment).join(", "),
        relation = sql::relation(&view.source),
        matches = sql::keys_equal(view, &owned),
        within = within(view, moment, longest(view)),
    )
}

/// Selects present, event (the moment) and features of the entity with these keys at a moment; no row if it has none.
pub(crate) fn aggregates_of(view: &View, columns: &Columns, keys: &[String], moment: &str) -> String {
    let at = Moment::Of(moment);
    let features = features(view, columns, at);
    let list = features
        .iter()
        .enumerate()
        .map(|(i, f)| format!(", {f} AS f{i}"))
        .collect::<String>();
    format!(
        "SELECT true AS present, {moment} AS event{list} FROM {relation} WHERE {matches} AND {within} HAVING count(*) > 0",
        relation = sql::relation(&view.source),
        matches = sql::keys_equal(view, keys),
        within = within(view, at, longest(view)),
    )
}

/// The conditions that select rows of entities whose windows may have changed.
fn changes(view: &View, as_of: Timestamp, since: Since) -> Vec<String> {
    let event = sql::event(&view.source);
    let until = sql::instant(as_of);
    let mut conditions = vec![format!(
        "{event} > {} AND {event} <= {until}",
        sql::instant(since.event)
    )];
    if let (Some(created), Some(from)) = (sql::raw_created(&view.source), since.created) {
        let within = within(view, Moment::At(as_of), longest(view));
        conditions.push(format!(
            "{created} >= {} AND {created} < 'infinity' AND {within}",
            sql::instant(from)
        ));
    }
    for window in windows(view) {
        let from = Moment::At(since.as_of).minus(window);
        conditions.push(format!(
            "{event} > {from} AND {event} <= {}",
            Moment::At(as_of).minus(window)
        ));
    }
    conditions
}

fn aggregates(view: &View) -> &[Aggregate] {
    match &view.kind {
        ViewKind::Aggregate(aggregates) => aggregates,
        ViewKind::Row { .. } => &[],
    }
}

fn windows(view: &View) -> BTreeSet<Span> {
    aggregates(view).iter().map(|a| a.window).collect()
}

fn longest(view: &View) -> Span {
    view.kind.longest_window().unwrap_or(Span::ZERO)
}

fn within(view: &View, moment: Moment<'_>, window: Span) -> String {
    let event = sql::event(&view.source);
    format!("{event} > {} AND {event} <= {}", moment.minus(window), moment.sql())
}

fn positions(count: usize) -> String {
    (1..=count).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
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
        Function::DistinctCount => filtered(format!("count(DISTINCT {})", cleaned.as_ref().unwrap_or(&event)), None),
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
                sql::total_order(&value, value_type).join(" DESC, ")
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
