//! What columns a source really has.

use feature_defs::definitions::{Relation, Source};
use sqlx::postgres::{PgConnection, PgTypeInfo, PgTypeKind};
use sqlx::{AssertSqlSafe, Column, Executor, SqlSafeStr, Statement, TypeInfo};

use super::sql::{self, SourceError};

/// The columns of a source, as Postgres describes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns(Vec<SourceColumn>);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct SourceColumn {
    name: String,
    /// As Postgres calls it.
    pub(super) type_name: String,
    pub(super) kind: ColumnType,
    is_vague: bool,
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

impl Columns {
    /// What the column of this name can be used as, if there is one.
    pub(crate) fn kind(&self, name: &str) -> Option<ColumnType> {
        self.find(name).map(|column| column.kind)
    }

    /// Whether the column's collation takes texts of other bytes for equal.
    pub(crate) fn is_vague(&self, name: &str) -> bool {
        self.find(name).is_some_and(|column| column.is_vague)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|column| column.name.as_str())
    }

    pub(super) fn find(&self, name: &str) -> Option<&SourceColumn> {
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
    let described = describe(connection, &query).await;
    let Columns(mut columns) = described.map_err(|error| refusal(source, &query, prefix, &error))?;
    if let Relation::Table(table) = &source.relation {
        let vague = vague_columns(connection, table).await;
        let vague = vague.map_err(|error| refusal(source, &query, prefix, &error))?;
        for column in &mut columns {
            column.is_vague = vague.contains(&column.name);
        }
    }
    Ok(Columns(columns))
}

/// The columns of a query's answer.
pub(super) async fn describe(connection: &mut PgConnection, query: &str) -> Result<Columns, sqlx::Error> {
    let statement = connection
        .prepare(AssertSqlSafe(query.to_owned()).into_sql_str())
        .await?;
    let columns = statement.columns().iter().map(|column| SourceColumn {
        name: column.name().to_owned(),
        type_name: column.type_info().name().to_lowercase(),
        kind: kind(column.type_info()),
        is_vague: false,
    });
    Ok(Columns(columns.collect()))
}

/// The columns of a table whose collation is not deterministic.
async fn vague_columns(connection: &mut PgConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT a.attname::text FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
         WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT c.collisdeterministic",
    )
    .bind(sql::table_ident(table))
    .fetch_all(connection)
    .await
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
