//! SQL that answers what entities given as arrays had for values, each at a moment of its own: for training sets and for
//! verification.

use feature_defs::definitions::{Join, Service, View};

use super::columns::Columns;
use super::keys;
use super::lookup::{self, Age, Lookup};
use super::sql::Moment;
use super::values::features;

/// Selects, for labels given as arrays (row number, moment, then one a join key of the service), in order of row number:
/// per join, of which there is at least one, whether there is a row (null: no), its event timestamp and its features.
pub(crate) fn training_query(service: &Service, joins: &[(&Join, Columns)]) -> String {
    let mut list = Vec::new();
    let mut lookups = String::new();
    for (j, (join, columns)) in joins.iter().enumerate() {
        let relation = format!("j{j}");
        // An aggregate is of its moment, whenever its newest event was.
        let event = match join.view.is_aggregate() {
            true => format!("CASE WHEN {relation}.present THEN given.moment END"),
            false => format!("{relation}.event"),
        };
        list.push(format!(
            "{relation}.present, {event}{}",
            features(&relation, &join.view)
        ));
        lookups.push_str(&format!(
            "\nLEFT JOIN LATERAL ({}) AS {relation} ON {relation}.present",
            found(join, columns)
        ));
    }
    format!(
        "SELECT {} FROM {}{lookups}\nORDER BY given.number",
        list.join(", "),
        keys::given(&service.keys, &[("number", "int8[]"), ("moment", "timestamptz[]")]),
    )
}

/// What the joined view held for the label's entity at its moment.
fn found(join: &Join, columns: &Columns) -> String {
    let keys: Vec<String> = join.key_indexes.iter().map(|i| format!("given.k{i}")).collect();
    lookup::value(Lookup {
        view: &join.view,
        columns,
        keys: &keys,
        moment: Moment::Of("given.moment"),
        age: Age::BelowTtl,
    })
}

/// Selects, for entities of a view given as arrays (number, moment, then one a join key), in order of number: the number,
/// whether there is a value, the event and created timestamps of the row that says so (of an aggregate view null), and the
/// features. However old the value is.
pub(crate) fn verification_query(view: &View, columns: &Columns) -> String {
    let value = lookup::value(Lookup {
        view,
        columns,
        keys: &keys::of("given", view),
        moment: Moment::Of("given.moment"),
        age: Age::Any,
    });
    let times = match view.is_aggregate() {
        true => "NULL::timestamptz AS event, NULL::timestamptz AS created",
        false => "found.event, found.created",
    };
    format!(
        "SELECT given.number, found.present IS TRUE AS present, {times}{features} FROM {given} LEFT JOIN LATERAL ({value}) AS found ON true\nORDER BY given.number",
        features = features("found", view),
        given = keys::given(
            &view.entity.join_keys,
            &[("number", "int8[]"), ("moment", "timestamptz[]")]
        ),
    )
}
