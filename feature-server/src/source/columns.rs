//! What columns a source really has, whether they fit the definitions, and which indexes it lacks.

use std::fmt;

use feature_defs::definitions::{Definitions, Function, Relation, Source, View, ViewKind};
use feature_defs::value::ValueType;
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgTypeInfo, PgTypeKind};
use sqlx::{AssertSqlSafe, Column, Executor, Row, SqlSafeStr, Statement, TypeInfo};

use super::sql::{self, SourceError};

/// The columns of a source, as Postgres describes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns(Vec<SourceColumn>);

#[derive(Debug, Clone)]
struct SourceColumn {
    name: String,
    /// As Postgres calls it.
    type_name: String,
    kind: ColumnType,
}

/// What a column can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Bool,
    Int,
    /// float4, float8, numeric: types with a NaN
    Float,
    /// text and varchar, whose text is what is compared; enums
    Text,
    /// `char(n)`, which compares without its trailing blanks
    PaddedText,
    /// text, to whoever reads it
    Uuid,
    Bytes,
    Timestamp,
    /// `timestamp` without time zone: what moment it is depends on who reads it
    LocalTimestamp,
    FloatList,
    IntList,
    TextList,
    /// No feature, but it has an order: dates, intervals, addresses.
    Ordered,
    Other,
}

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

impl Columns {
    /// What the column of this name can be used as, if there is one.
    pub(crate) fn kind(&self, name: &str) -> Option<ColumnType> {
        self.find(name).map(|column| column.kind)
    }

    fn find(&self, name: &str) -> Option<&SourceColumn> {
        self.0.iter().find(|column| column.name == name)
    }
}

/// Asks Postgres what columns a source has, by preparing it.
///
/// # Errors
/// Its refusal, naming the table or the query's file and line.
pub(crate) async fn columns_of(connection: &mut PgConnection, source: &Source) -> Result<Columns, SourceError> {
    let prefix = "SELECT * FROM ";
    let query = format!("{prefix}{}", sql::relation(source));
    let prepared = (&mut *connection)
        .prepare(AssertSqlSafe(query.clone()).into_sql_str())
        .await;
    let statement = prepared.map_err(|error| refusal(source, &query, prefix, &error))?;
    let columns = statement.columns().iter().map(|column| SourceColumn {
        name: column.name().to_owned(),
        type_name: column.type_info().name().to_lowercase(),
        kind: kind(column.type_info()),
    });
    Ok(Columns(columns.collect()))
}

fn refusal(source: &Source, query: &str, prefix: &str, error: &sqlx::Error) -> SourceError {
    use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
    let Some(error) = error.as_database_error() else {
        return SourceError {
            source: source.name.clone(),
            message: error.to_string(),
        };
    };
    let message = error.message();
    let message = match &source.relation {
        Relation::Table(table) => format!("table {table} cannot be read: {message}"),
        Relation::Query { file, .. } => {
            let position = match error
                .try_downcast_ref::<PgDatabaseError>()
                .and_then(PgDatabaseError::position)
            {
                Some(PgErrorPosition::Original(position)) => Some(position),
                _ => None,
            };
            // Positions count characters from 1; the query's own text begins in the line after the prefix.
            let line = position
                .filter(|&at| at > prefix.len() + 2)
                .map(|at| query.chars().take(at - 1).filter(|&c| c == '\n').count());
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            format!("{}{line} cannot be run: {message}", file.display())
        }
    };
    SourceError {
        source: source.name.clone(),
        message,
    }
}

fn kind(info: &PgTypeInfo) -> ColumnType {
    match info.kind() {
        PgTypeKind::Domain(base) => return kind(base),
        PgTypeKind::Enum(_) => return ColumnType::Text,
        _ => {}
    }
    match info.name() {
        "BOOL" => ColumnType::Bool,
        "INT2" | "INT4" | "INT8" => ColumnType::Int,
        "FLOAT4" | "FLOAT8" | "NUMERIC" => ColumnType::Float,
        "TEXT" | "VARCHAR" | "NAME" => ColumnType::Text,
        "CHAR" => ColumnType::PaddedText,
        "UUID" => ColumnType::Uuid,
        "BYTEA" => ColumnType::Bytes,
        "TIMESTAMPTZ" => ColumnType::Timestamp,
        "TIMESTAMP" => ColumnType::LocalTimestamp,
        "FLOAT4[]" | "FLOAT8[]" | "NUMERIC[]" => ColumnType::FloatList,
        "INT2[]" | "INT4[]" | "INT8[]" => ColumnType::IntList,
        "TEXT[]" | "VARCHAR[]" | "CHAR[]" | "UUID[]" => ColumnType::TextList,
        "DATE" | "TIME" | "TIMETZ" | "INTERVAL" | "INET" | "CIDR" | "MACADDR" | "MACADDR8" | "OID" | "MONEY"
        | "BIT" | "VARBIT" => ColumnType::Ordered,
        _ => ColumnType::Other,
    }
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

/// Everything about a view that its source's columns do not fit.
pub(crate) fn check_view(view: &View, columns: &Columns) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut expect = |what: String, column: &str, accepts: &dyn Fn(ColumnType) -> bool, wanted: &str| {
        if let Err(message) = fit(view, columns, column, accepts, wanted) {
            problems.push(Problem {
                place: format!("view {}, {what}", view.name),
                message,
            });
        }
    };
    let is_comparable = |kind| {
        !matches!(
            kind,
            ColumnType::FloatList | ColumnType::IntList | ColumnType::TextList | ColumnType::Other
        )
    };
    let is_timestamp = |kind| kind == ColumnType::Timestamp;
    expect(
        "event_timestamp".into(),
        &view.source.event_timestamp,
        &is_timestamp,
        "timestamptz",
    );
    if let Some(created) = &view.source.created_timestamp {
        expect("created_timestamp".into(), created, &is_timestamp, "timestamptz");
    }
    for column in &view.source.key {
        expect("key".into(), column, &is_comparable, "a comparable type");
    }
    if let Some(deleted) = &view.source.deleted {
        expect("deleted".into(), deleted, &|kind| kind == ColumnType::Bool, "bool");
    }
    for (key, column) in view.entity.join_keys.iter().zip(&view.key_columns) {
        let wanted = key.key_type.value_type();
        expect(
            format!("join key {}", key.name),
            column,
            &|found| fits(found, wanted),
            wanted.name(),
        );
    }
    match &view.kind {
        ViewKind::Row { columns: names } => {
            for (name, field) in names.iter().zip(view.fields()) {
                let wanted = field.value_type;
                expect(
                    format!("feature {}", field.name),
                    name,
                    &|found| fits(found, wanted),
                    wanted.name(),
                );
            }
        }
        ViewKind::Aggregate(aggregates) => {
            for (aggregate, field) in aggregates.iter().zip(view.fields()) {
                let Some(column) = &aggregate.column else { continue };
                let wanted = field.value_type;
                let number = |kind| matches!(kind, ColumnType::Bool | ColumnType::Int | ColumnType::Float);
                let what = format!("feature {}", field.name);
                match aggregate.function {
                    Function::Count | Function::LastTime => expect(what, column, &|_| true, "any type"),
                    Function::DistinctCount => {
                        expect(what, column, &|kind| kind != ColumnType::Other, "a comparable type")
                    }
                    Function::Mean | Function::Stddev => expect(what, column, &number, "a number or bool"),
                    // Booleans count as 0 and 1 where a number is wanted.
                    Function::Sum | Function::Min | Function::Max | Function::Last => {
                        let bool_as_number = wanted.is_number();
                        let accepts = |kind| fits(kind, wanted) || kind == ColumnType::Bool && bool_as_number;
                        expect(what, column, &accepts, wanted.name());
                    }
                }
            }
        }
    }
    problems
}

fn fit(
    view: &View,
    columns: &Columns,
    name: &str,
    accepts: &dyn Fn(ColumnType) -> bool,
    wanted: &str,
) -> Result<(), String> {
    let source = &view.source;
    let origin = match &source.relation {
        Relation::Table(table) => format!("table {table}"),
        Relation::Query { file, .. } => file.display().to_string(),
    };
    let Some(column) = columns.find(name) else {
        let nearest = columns
            .0
            .iter()
            .map(|c| c.name.as_str())
            .min_by_key(|c| strsim::damerau_levenshtein(c, name));
        let hint = nearest.map_or_else(String::new, |nearest| format!("; the nearest is `{nearest}`"));
        return Err(format!(
            "source {} ({origin}) has no column `{name}`{hint}",
            source.name
        ));
    };
    if accepts(column.kind) {
        return Ok(());
    }
    let cast = match column.kind {
        ColumnType::LocalTimestamp => format!(
            ": say which time zone it is in, in a query: `{} AT TIME ZONE 'UTC' AS {}`",
            sql::ident(name),
            sql::ident(name)
        ),
        _ => ": change the definition, or cast it in a query".to_owned(),
    };
    Err(format!(
        "column `{name}` of source {} ({origin}) is {}, not {wanted}{cast}",
        source.name, column.type_name
    ))
}

/// The statements that add the indexes the views' table sources lack, and notes on query sources, whose tables cannot be
/// seen from outside.
///
/// # Errors
/// The catalogue's refusal.
pub(crate) async fn missing_indexes(
    connection: &mut PgConnection,
    definitions: &Definitions,
) -> Result<(Vec<String>, Vec<String>), sqlx::Error> {
    let (mut statements, mut notes) = (Vec::new(), Vec::new());
    for view in &definitions.views {
        let wanted = Wanted::of(view);
        match &view.source.relation {
            Relation::Table(table) if is_view(connection, table).await? => {
                notes.push(format!(
                    "view {}: {table} is a view in the database, or a foreign table; the tables behind it should have indexes on what becomes {}",
                    view.name,
                    lists(&wanted)
                ));
            }
            Relation::Table(table) => {
                let indexes = indexes_of(connection, table).await?;
                for wanted in wanted
                    .iter()
                    .filter(|wanted| !indexes.iter().any(|index| wanted.is_served_by(index)))
                {
                    let list = wanted.columns().map(|c| sql::ident(c)).collect::<Vec<_>>().join(", ");
                    let statement = format!("CREATE INDEX ON {} ({list});", sql::table_ident(table));
                    if !statements.contains(&statement) {
                        statements.push(statement);
                    }
                }
            }
            Relation::Query { file, .. } => {
                notes.push(format!(
                    "view {}: {} is a query; the tables behind it should have indexes on what becomes {}",
                    view.name,
                    file.display(),
                    lists(&wanted)
                ));
            }
        }
    }
    Ok((statements, notes))
}

fn lists(wanted: &[Wanted]) -> String {
    let list = |wanted: &Wanted| wanted.columns().map(String::as_str).collect::<Vec<_>>().join(", ");
    wanted
        .iter()
        .map(|wanted| format!("({})", list(wanted)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether what a source calls a table is something that can have no index of its own.
async fn is_view(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('v', 'f'))")
        .bind(sql::table_ident(table))
        .fetch_one(connection)
        .await
}

/// Columns to find rows by.
struct Wanted {
    /// Those of which one value is looked for, in any order,
    equal: Vec<String>,
    /// and after them, as they stand, those of which a range is.
    ordered: Vec<String>,
}

impl Wanted {
    fn of(view: &View) -> Vec<Self> {
        let wanted = |equal: &[String], ordered: &[&String]| Self {
            equal: equal.to_vec(),
            ordered: ordered.iter().map(|&column| column.clone()).collect(),
        };
        let event = &view.source.event_timestamp;
        let (last, others) = view.key_columns.split_last().expect("an entity has a join key");
        // A lookup names a range of the last join key and event time together.
        let mut all = vec![wanted(others, &[last, event]), wanted(&[], &[event])];
        all.extend(
            view.source
                .created_timestamp
                .iter()
                .map(|created| wanted(&[], &[created])),
        );
        if !view.source.key.is_empty() {
            all.push(wanted(&view.source.key, &[]));
        }
        all
    }

    fn columns(&self) -> impl Iterator<Item = &String> {
        self.equal.iter().chain(&self.ordered)
    }

    /// Whether an index with these columns finds the rows.
    fn is_served_by(&self, index: &[String]) -> bool {
        let Some((equal, rest)) = index.split_at_checked(self.equal.len()) else {
            return false;
        };
        self.equal.iter().all(|column| equal.contains(column)) && rest.starts_with(&self.ordered)
    }
}

/// The key columns of each valid, whole-table btree index of a table; an expression stands as an empty name.
async fn indexes_of(connection: &mut PgConnection, table: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT array_agg(COALESCE(a.attname::text, '') ORDER BY k.place) AS columns
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
         LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE k.place <= i.indnkeyatts AND i.indrelid = to_regclass($1) AND i.indisvalid AND i.indpred IS NULL
         GROUP BY i.indexrelid",
    )
    .bind(sql::table_ident(table))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get("columns")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_serves_what_it_begins_with() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (index, equal, ordered, expected) in [
            ("carrier event", "", "carrier event", true),
            ("origin carrier event more", "origin", "carrier event", true),
            ("carrier origin event", "origin", "carrier event", false),
            ("b a carrier event", "a b", "carrier event", true),
            ("event", "", "event", true),
            ("event carrier", "", "carrier event", false),
            ("carrier", "", "carrier event", false),
            ("carrier event", "", "event", false),
            ("leg flight", "flight leg", "", true),
            ("flight", "flight leg", "", false),
        ] {
            let wanted = Wanted {
                equal: names(equal),
                ordered: names(ordered),
            };
            assert_eq!(
                wanted.is_served_by(&names(index)),
                expected,
                "{index} for {equal}, {ordered}"
            );
        }
    }
}
