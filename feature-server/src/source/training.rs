//! SQL of training sets: what each view of a service held for an entity at a label's moment.

use feature_defs::definitions::{Join, Service};
use feature_defs::key::KeyType;

use super::aggregates::aggregates_of;
use super::columns::Columns;
use super::rows::newest_row;

/// Selects, for labels given as arrays (row number, moment, then one a join key of the service), in order of row number:
/// per join whether there is a row (null: no), its event timestamp and its features.
pub(crate) fn training_query(service: &Service, columns_of_joins: &[Columns]) -> String {
    let mut arrays = vec!["$1::int8[]".to_owned(), "$2::timestamptz[]".to_owned()];
    let mut names = vec!["row".to_owned(), "moment".to_owned()];
    for (i, key) in service.keys.iter().enumerate() {
        let array = match key.key_type {
            KeyType::Int64 => "int8[]",
            KeyType::String => "text[]",
        };
        arrays.push(format!("${}::{array}", i + 3));
        names.push(format!("k{i}"));
    }
    let mut list = Vec::new();
    let mut joins = String::new();
    for (j, (join, columns)) in service.joins.iter().zip(columns_of_joins).enumerate() {
        list.push(format!("j{j}.present"));
        list.push(format!("j{j}.event"));
        list.extend((0..join.view.fields().len()).map(|f| format!("j{j}.f{f}")));
        joins.push_str(&format!(
            "\nLEFT JOIN LATERAL ({}) AS j{j} ON true",
            found(join, columns)
        ));
    }
    if list.is_empty() {
        list.push("NULL".to_owned());
    }
    format!(
        "SELECT {} FROM unnest({}) AS label({}){joins}\nORDER BY label.row",
        list.join(", "),
        arrays.join(", "),
        names.join(", "),
    )
}

/// What the joined view held for the label's entity at its moment.
fn found(join: &Join, columns: &Columns) -> String {
    let keys: Vec<String> = join.key_indexes.iter().map(|i| format!("label.k{i}")).collect();
    if join.view.is_aggregate() {
        aggregates_of(&join.view, columns, &keys, "label.moment")
    } else {
        newest_row(&join.view, columns, &keys, "label.moment")
    }
}
