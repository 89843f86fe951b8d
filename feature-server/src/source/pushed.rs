//! SQL of what a push computes again: the values of the entities that appended rows belong to, as an incremental run
//! computes them. Its text is the same for every push, so that Postgres need not read it again.

use feature_defs::definitions::View;

use super::columns::Columns;
use super::sql::{self, Moment};
use super::{changed, keys, values, visible};

/// More entities than this are left to the next run. Only [`Entities::OfTimes`] can find more than there were rows.
pub(crate) const MOST_ENTITIES: usize = 10_000;

/// Which entities are computed: what the query's parameters are, to which the moment comes as the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entities {
    /// Given ones: an array a join key.
    Given,
    /// Those of all versions of given events: an array of text a key column, with the column's type.
    OfEvents(Vec<String>),
    /// Those with rows of given times, and of all versions of their events: an array of event timestamps and, where the
    /// source has created timestamps, one of these.
    OfTimes,
}

/// Selects their values as of the moment, as [`super::values_query`] does.
pub(crate) fn pushed_query(view: &View, columns: &Columns, entities: &Entities) -> String {
    let arrays = match entities {
        Entities::Given => view.entity.join_keys.len(),
        Entities::OfEvents(types) => types.len(),
        Entities::OfTimes => 1 + view.source.created_timestamp.iter().count(),
    };
    let parameter = format!("${}::timestamptz", arrays + 1);
    let moment = Moment::Of(&parameter);
    let changed = match entities {
        Entities::Given => format!("SELECT * FROM {}", keys::given(&view.entity.join_keys, &[])),
        Entities::OfEvents(types) => of_events(view, types),
        Entities::OfTimes => of_times(view, moment),
    };
    values::whole(view, columns, moment, &changed)
}

fn of_events(view: &View, types: &[String]) -> String {
    let arrays = types.iter().enumerate();
    let arrays = arrays.map(|(i, sql_type)| format!("${}::text[]::{sql_type}[]", i + 1));
    let names: Vec<String> = view.source.key.iter().map(|column| sql::ident(column)).collect();
    let touched = format!(
        "unnest({}) AS touched({})",
        arrays.collect::<Vec<_>>().join(", "),
        names.join(", ")
    );
    format!(
        "SELECT DISTINCT * FROM ({}) AS version",
        changed::versions(view, &touched, &[])
    )
}

fn of_times(view: &View, moment: Moment<'_>) -> String {
    let source = &view.source;
    let event = sql::event(source);
    let mut conditions = vec![format!("{event} = ANY ($1::timestamptz[])")];
    conditions.extend(sql::raw_created(source).map(|created| format!("{created} = ANY ($2::timestamptz[])")));
    let entities = if source.key.is_empty() {
        conditions.push(keys::present(view));
        conditions.push(format!("{event} <= {}", moment.sql()));
        conditions.extend(
            view.kind
                .longest_window()
                .map(|longest| format!("{event} > {}", moment.minus(longest))),
        );
        format!(
            "SELECT {} FROM {} WHERE {}",
            keys::selected(view),
            sql::relation(source),
            conditions.join(" AND ")
        )
    } else {
        changed::versions(view, &changed::events_with(view, &conditions.join(" AND ")), &[])
    };
    format!(
        "SELECT DISTINCT * FROM ({entities}{fence}) AS pushed LIMIT {limit}",
        fence = visible::FENCE,
        limit = MOST_ENTITIES + 1
    )
}
