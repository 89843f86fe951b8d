//! The table that rows are pushed to, as the catalogue has it.

use feature_defs::definitions::{Relation, Source};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::check::Problem;
use super::columns::{self, ColumnType};
use super::sql::{self, SourceError};

/// A source's `push_to`.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// In the table's order.
    pub(crate) columns: Vec<TableColumn>,
    /// Whether it is what the source reads itself: then an appended row is a row of the source, with the same columns.
    pub(crate) is_source: bool,
}

/// A column of it.
#[derive(Debug, Clone)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    /// As the driver calls the type: `int4`.
    pub(crate) type_name: String,
    /// As SQL writes the type: `character varying(10)`.
    pub(crate) sql_type: String,
    /// Whether the database fills it where a row does not have it.
    pub(crate) has_default: bool,
    /// Whether the database fills it always.
    pub(crate) is_computed: bool,
}

impl Table {
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// What does not fit between the table and its source, whose columns of time and identity it has to have.
    pub(crate) fn problems(&self, source: &Source) -> Vec<Problem> {
        let times = [
            ("event_timestamp", Some(&source.event_timestamp)),
            ("created_timestamp", source.created_timestamp.as_ref()),
        ];
        let times = times.into_iter().filter_map(|(what, column)| Some((what, column?)));
        let wanted = times.chain(source.key.iter().map(|column| ("key", column)));
        let problem = |(what, column): (&str, &String)| {
            let message = match self.position(column) {
                None => format!(
                    "it has no column `{column}`, which is the source's {what}: rows are pushed under the names that the source has for them"
                ),
                Some(i) if what != "key" && self.columns[i].kind != ColumnType::Timestamp => format!(
                    "its column `{column}` is {}, and the source's {what} is timestamptz: change the table",
                    self.columns[i].type_name
                ),
                Some(_) => return None,
            };
            Some(Problem {
                place: format!(
                    "source {}, push_to {}",
                    source.name,
                    source.push_to.as_deref().unwrap_or_default()
                ),
                message,
            })
        };
        wanted.filter_map(problem).collect()
    }
}

/// Asks the catalogue about the table that a source's rows are pushed to.
///
/// # Errors
/// There is none of that name.
pub(crate) async fn table_of(
    connection: &mut PgConnection,
    source: &Source,
    table: &str,
) -> Result<Table, SourceError> {
    let refused = |reason: String| SourceError {
        source: source.name.clone(),
        message: format!("rows cannot be pushed to {table}: {reason}"),
    };
    let failed = |error: sqlx::Error| match error.as_database_error() {
        Some(error) => refused(error.message().to_owned()),
        None => refused(error.to_string()),
    };
    let name = sql::table_ident(table);
    let described = columns::describe(connection, &format!("SELECT * FROM {name}"))
        .await
        .map_err(failed)?;
    let reads = match &source.relation {
        Relation::Table(table) => Some(sql::table_ident(table)),
        Relation::Query { .. } => None,
    };
    let rows = sqlx::query(
        "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS sql_type,
                a.atthasdef OR a.attidentity <> '' AS has_default, a.attgenerated <> '' OR a.attidentity = 'a' AS is_computed,
                COALESCE(to_regclass($2) = a.attrelid, false) AS is_source
         FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(&name)
    .bind(reads)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut columns = Vec::with_capacity(rows.len());
    let mut is_source = false;
    for row in rows {
        let name: String = row.try_get("name").map_err(failed)?;
        // One that was dropped between the two questions.
        let Some(found) = described.find(&name) else { continue };
        is_source = row.try_get("is_source").map_err(failed)?;
        columns.push(TableColumn {
            kind: found.kind,
            type_name: found.type_name.clone(),
            sql_type: row.try_get("sql_type").map_err(failed)?,
            has_default: row.try_get("has_default").map_err(failed)?,
            is_computed: row.try_get("is_computed").map_err(failed)?,
            name,
        });
    }
    Ok(Table { columns, is_source })
}
