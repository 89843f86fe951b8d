//! Whether a source's columns fit what a view declares.

use std::fmt;

use feature_defs::definitions::{Function, Relation, Source, View, ViewKind};
use feature_defs::key::KeyType;
use feature_defs::value::ValueType;
use serde::Serialize;

use super::columns::{ColumnType, Columns};
use super::sql::{self, SourceError};

/// One thing that does not fit between definitions and database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: `view carrier_ops, feature late_rate_3h`.
    pub place: String,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl From<SourceError> for Problem {
    fn from(SourceError { source, message }: SourceError) -> Self {
        Self {
            place: format!("source {source}"),
            message,
        }
    }
}

/// What a column has to be: how that is called, and which columns are it.
type Wanted<'a> = (&'a str, &'a dyn Fn(ColumnType) -> bool);

/// Everything about a view that its source's columns do not fit.
pub(crate) fn check_view(view: &View, columns: &Columns) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut expect = |what: String, column: &str, wanted: Wanted<'_>| {
        problems.extend(misfit(view, columns, column, wanted).map(|message| Problem {
            place: format!("view {}, {what}", view.name),
            message,
        }));
    };
    expect_of_source(&view.source, &mut expect);
    for (key, column) in view.entity.join_keys.iter().zip(&view.key_columns) {
        let wanted = key.key_type.value_type();
        expect(
            format!("join key {}", key.name),
            column,
            (wanted.name(), &|found| fits(found, wanted)),
        );
    }
    expect_of_values(view, &mut expect);
    problems.extend(view.entity.join_keys.iter().zip(&view.key_columns).filter_map(|(key, column)| {
        let vague = key.key_type == KeyType::String && columns.is_vague(column);
        vague.then(|| Problem {
            place: format!("view {}, join key {}", view.name, key.name),
            message: format!(
                "column `{column}` of source {} ({}) has a collation that takes different texts for equal, and each spelling is an entity of its own: give the column a deterministic collation",
                view.source.name,
                origin(&view.source)
            ),
        })
    }));
    problems
}

fn expect_of_source(source: &Source, expect: &mut impl FnMut(String, &str, Wanted<'_>)) {
    let timestamp: Wanted<'_> = ("timestamptz", &|kind| kind == ColumnType::Timestamp);
    expect("event_timestamp".into(), &source.event_timestamp, timestamp);
    if let Some(created) = &source.created_timestamp {
        expect("created_timestamp".into(), created, timestamp);
    }
    for column in &source.key {
        expect(
            "key".into(),
            column,
            ("a comparable type", &|kind| is_comparable(kind) && !is_list(kind)),
        );
    }
    if let Some(deleted) = &source.deleted {
        expect("deleted".into(), deleted, ("bool", &|kind| kind == ColumnType::Bool));
    }
}

fn expect_of_values(view: &View, expect: &mut impl FnMut(String, &str, Wanted<'_>)) {
    match &view.kind {
        ViewKind::Row { columns: names } => {
            for (name, field) in names.iter().zip(view.fields()) {
                let wanted = field.value_type;
                expect(
                    format!("feature {}", field.name),
                    name,
                    (wanted.name(), &|found| fits(found, wanted)),
                );
            }
        }
        ViewKind::Aggregate(aggregates) => {
            for (aggregate, field) in aggregates.iter().zip(view.fields()) {
                let Some(column) = &aggregate.column else { continue };
                let wanted = field.value_type;
                let number = |kind| matches!(kind, ColumnType::Bool | ColumnType::Int | ColumnType::Float);
                // Booleans count as 0 and 1 where a number is wanted.
                let typed = |kind| fits(kind, wanted) || kind == ColumnType::Bool && wanted.is_number();
                let wanted: Wanted<'_> = match aggregate.function {
                    Function::Count | Function::LastTime => ("any type", &|_| true),
                    Function::DistinctCount => ("a comparable type", &is_comparable),
                    Function::Mean | Function::Stddev => ("a number or bool", &number),
                    Function::Sum | Function::Min | Function::Max | Function::Last => (wanted.name(), &typed),
                };
                expect(format!("feature {}", field.name), column, wanted);
            }
        }
    }
}

fn is_comparable(column: ColumnType) -> bool {
    column != ColumnType::Other
}

const fn is_list(column: ColumnType) -> bool {
    matches!(
        column,
        ColumnType::FloatList | ColumnType::IntList | ColumnType::TextList
    )
}

const fn is_text(column: ColumnType) -> bool {
    matches!(column, ColumnType::Text | ColumnType::PaddedText | ColumnType::Uuid)
}

/// Whether a column of this kind can be a feature of this type.
const fn fits(column: ColumnType, wanted: ValueType) -> bool {
    match wanted {
        ValueType::Bool => matches!(column, ColumnType::Bool),
        ValueType::Int64 => matches!(column, ColumnType::Int),
        ValueType::Float32 | ValueType::Float64 => matches!(column, ColumnType::Float | ColumnType::Int),
        ValueType::String => is_text(column),
        ValueType::Bytes => matches!(column, ColumnType::Bytes),
        ValueType::Timestamp => matches!(column, ColumnType::Timestamp),
        ValueType::Float32List => matches!(column, ColumnType::FloatList | ColumnType::IntList),
        ValueType::Int64List => matches!(column, ColumnType::IntList),
        ValueType::StringList => matches!(column, ColumnType::TextList),
    }
}

/// Where a source's rows come from, for people.
fn origin(source: &Source) -> String {
    match &source.relation {
        Relation::Table(table) => format!("table {table}"),
        Relation::Query { file, .. } => file.display().to_string(),
    }
}

/// What is wrong with the column of this name, if it is not `wanted`.
fn misfit(view: &View, columns: &Columns, name: &str, (wanted, accepts): Wanted<'_>) -> Option<String> {
    let source = &view.source;
    let origin = origin(source);
    let Some(column) = columns.find(name) else {
        let nearest = columns.names().min_by_key(|c| strsim::damerau_levenshtein(c, name));
        let hint = nearest.map_or_else(String::new, |nearest| format!("; the nearest is `{nearest}`"));
        return Some(format!(
            "source {} ({origin}) has no column `{name}`{hint}",
            source.name
        ));
    };
    if accepts(column.kind) {
        return None;
    }
    let cast = match column.kind {
        ColumnType::LocalTimestamp => format!(
            ": say which time zone it is in, in a query: `{} AT TIME ZONE 'UTC' AS {}`",
            sql::ident(name),
            sql::ident(name)
        ),
        _ => ": change the definition, or cast it in a query".to_owned(),
    };
    Some(format!(
        "column `{name}` of source {} ({origin}) is {}, not {wanted}{cast}",
        source.name, column.type_name
    ))
}
