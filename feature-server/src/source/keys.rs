//! SQL about the entity a row is of: its join keys, their order, parts of all entities, and looking one entity up.

use feature_defs::definitions::{JoinKey, View};
use feature_defs::key::{KeyType, KeyValue};
use feature_defs::value::Value;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;

use super::columns::{ColumnType, Columns};
use super::sql;
use crate::shard::Shard;

/// A part of a view's entities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Those of this shard,
    pub(crate) shard: Shard,
    /// and of them those after this one in the order of the query; empty: from the first.
    pub(crate) after: &'a [KeyValue],
}

impl Part<'_> {
    /// All entities.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self {
        shard: Shard::WHOLE,
        after: &[],
    };

    /// The conditions that a row is of an entity of this part.
    pub(crate) fn conditions(self, view: &View) -> Vec<String> {
        let mut conditions = Vec::new();
        if !self.shard.is_whole() {
            conditions.push(one_of(view, u64::from(self.shard.of()), 0, self.shard.index() - 1));
        }
        if !self.after.is_empty() {
            let literals: Vec<String> = self.after.iter().map(literal).collect();
            conditions.push(format!(
                "({}) > ({})",
                sorted(view, &keys(view)).join(", "),
                literals.join(", ")
            ));
        }
        conditions
    }
}

/// That a row's entity is in the part number `which` of `parts` equal ones. `salt` chooses how they are cut.
pub(crate) fn one_of(view: &View, parts: u64, salt: u64, which: u32) -> String {
    let keys = keys(view);
    let text = match keys.as_slice() {
        [key] => format!("{key}::text"),
        // A row's text quotes its parts, so that no two entities have the same.
        _ => format!("ROW({})::text", keys.join(", ")),
    };
    let parts = parts.min(i64::MAX.unsigned_abs());
    // The cast keeps every bit of the salt: Postgres's seeds are signed.
    let seed = salt.cast_signed();
    format!(
        "(hashtextextended({text} COLLATE \"C\", '{seed}'::int8) & {}) % {parts} = {which}",
        i64::MAX
    )
}

/// The names that join keys go by in a query's answer: `k0`, `k1`, …
pub(crate) fn names(view: &View) -> Vec<String> {
    (0..view.key_columns.len()).map(|i| format!("k{i}")).collect()
}

/// The names, as columns of this relation.
pub(crate) fn of(relation: &str, view: &View) -> Vec<String> {
    names(view).iter().map(|name| format!("{relation}.{name}")).collect()
}

/// The join keys of a row under their names, to select.
pub(crate) fn selected(view: &View) -> String {
    let named = keys(view).into_iter().zip(names(view));
    named
        .map(|(key, name)| format!("{key} AS {name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The join keys of a row, each in its canonical type.
pub(crate) fn keys(view: &View) -> Vec<String> {
    declared(view)
        .map(|(column, key)| format!("{}{}", sql::src(column), cast(key.key_type)))
        .collect()
}

/// Join keys for sorting and grouping: text by its bytes, so that the order is the same on every machine and each spelling
/// an entity of its own, whatever the column's collation holds for equal.
pub(crate) fn sorted(view: &View, keys: &[String]) -> Vec<String> {
    let types = view.entity.join_keys.iter().map(|key| key.key_type.value_type());
    keys.iter()
        .zip(types)
        .map(|(key, value_type)| sql::sortable(key, value_type))
        .collect()
}

/// That no join key of a row is null.
pub(crate) fn present(view: &View) -> String {
    let present: Vec<String> = view
        .key_columns
        .iter()
        .map(|column| format!("{} IS NOT NULL", sql::src(column)))
        .collect();
    present.join(" AND ")
}

/// One entity's events, up to a moment.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    pub(crate) view: &'a View,
    pub(crate) columns: &'a Columns,
    /// The entity's join keys, as SQL of their canonical types.
    pub(crate) keys: &'a [String],
    /// The moments, as SQL, that its events are after and not after.
    pub(crate) after: String,
    pub(crate) until: String,
}

impl Events<'_> {
    /// The conditions on a row, to aggregate it.
    ///
    /// Event time stands beside the last join key, as a row: the index on join keys and event time serves that, and one on
    /// event time alone cannot, which would read every entity's events of the time.
    pub(crate) fn conditions(&self) -> Vec<String> {
        let equal = self
            .operands()
            .into_iter()
            .map(|(column, value)| format!("{column} = {value}"));
        equal.chain(self.exact()).chain(self.range()).collect()
    }

    /// The conditions on a row, and an order, to find the newest.
    ///
    /// The last join key is not said to be equal, only not greater and not smaller: were it known to be constant, the
    /// planner would drop it from the order, and an index on event time alone would serve that, reading back through
    /// everybody's events to this entity's last.
    pub(crate) fn newest_first(&self) -> (Vec<String>, String) {
        let operands = self.operands();
        let (last, others) = operands.split_last().expect("an entity has a join key");
        let equal = others.iter().map(|(column, value)| format!("{column} = {value}"));
        let conditions = equal.chain(self.exact()).chain(self.range()).collect();
        (
            conditions,
            format!("{} DESC, {} DESC", last.0, sql::event(&self.view.source)),
        )
    }

    fn range(&self) -> [String; 2] {
        let event = sql::event(&self.view.source);
        let operands = self.operands();
        let (column, value) = operands.last().expect("an entity has a join key");
        [
            format!("({column}, {event}) > ({value}, {})", self.after),
            format!("({column}, {event}) <= ({value}, {})", self.until),
        ]
    }

    /// Each join key's column and the value it is compared with, so that an index on the columns serves.
    fn operands(&self) -> Vec<(String, String)> {
        let operand = |((column, key), value): ((&String, &JoinKey), &String)| {
            let src = sql::src(column);
            match (key.key_type, self.columns.kind(column)) {
                // An index on a narrower integer compares with a wider one; under a cast it would not be used.
                (KeyType::Int64, _) => (src, value.clone()),
                // What is not spelled as Postgres spells a uuid is no entity's key.
                (KeyType::String, Some(ColumnType::Uuid)) => (
                    src,
                    format!(
                        "CASE WHEN {value} ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' THEN {value}::uuid END"
                    ),
                ),
                (KeyType::String, Some(ColumnType::PaddedText)) => (src, format!("{value}::bpchar")),
                // On text and varchar the cast does nothing that hides the index.
                (KeyType::String, _) => (format!("{src}::text"), value.clone()),
            }
        };
        declared(self.view).zip(self.keys).map(operand).collect()
    }

    /// What the operands leave open: trailing blanks, which `char(n)` has none of.
    fn exact(&self) -> Vec<String> {
        let padded = |column: &String| self.columns.kind(column) == Some(ColumnType::PaddedText);
        let columns = self.view.key_columns.iter().zip(self.keys);
        columns
            .filter(|(column, _)| padded(column))
            .map(|(column, value)| format!("{}::text = {value}", sql::src(column)))
            .collect()
    }
}

fn declared(view: &View) -> impl Iterator<Item = (&String, &JoinKey)> {
    view.key_columns.iter().zip(&view.entity.join_keys)
}

const fn cast(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Int64 => "::int8",
        KeyType::String => "::text",
    }
}

/// Entities given as arrays, to stand behind `FROM`: rows by the name `given`, of these columns (each a name and an array
/// type) and then the join keys.
pub(crate) fn given(join_keys: &[JoinKey], columns: &[(&str, &str)]) -> String {
    let columns = columns.iter().map(|(name, array)| ((*name).to_owned(), *array));
    let keys = join_keys.iter().enumerate().map(|(i, key)| {
        let array = match key.key_type {
            KeyType::Int64 => "int8[]",
            KeyType::String => "text[]",
        };
        (format!("k{i}"), array)
    });
    let (names, arrays): (Vec<String>, Vec<&str>) = columns.chain(keys).unzip();
    let arrays: Vec<String> = arrays
        .iter()
        .enumerate()
        .map(|(i, array)| format!("${}::{array}", i + 1))
        .collect();
    format!("unnest({}) AS given({})", arrays.join(", "), names.join(", "))
}

/// Binds the arrays of [`given`] that hold join keys: of each, its values for all entities. What is of another type than the
/// join key is null.
pub(crate) fn bind<'q>(
    mut query: Query<'q, Postgres, PgArguments>,
    join_keys: &[JoinKey],
    values: impl Fn(usize) -> Vec<Option<Value>>,
) -> Query<'q, Postgres, PgArguments> {
    for (k, key) in join_keys.iter().enumerate() {
        let values = values(k).into_iter();
        query = match key.key_type {
            KeyType::String => {
                let texts = values.map(|value| match value {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                });
                query.bind(texts.collect::<Vec<Option<String>>>())
            }
            KeyType::Int64 => {
                let numbers = values.map(|value| match value {
                    Some(Value::Int64(number)) => Some(number),
                    _ => None,
                });
                query.bind(numbers.collect::<Vec<Option<i64>>>())
            }
        };
    }
    query
}

fn literal(value: &KeyValue) -> String {
    match value {
        KeyValue::Int64(number) => format!("'{number}'::int8"),
        KeyValue::String(text) => sql::text(text),
    }
}
