//! A table as Postgres's catalogue describes it, and whether its entities have one row or many.

use feature_defs::value::ValueType;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::InitError;
use crate::database::DatabaseUrl;

/// So many rows are looked at to see whether an entity has several.
const SAMPLE_ROWS: u32 = 10_000;
/// How long that may take: a view may compute much for its first row.
const SAMPLE_WITHIN: &str = "5s";

/// A table, or what can be read like one.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    /// Schema and name as SQL.
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    /// The columns of the primary key; none if there is no such key.
    pub(super) primary_key: Vec<String>,
    /// The columns of each key that no two rows share, the primary one first.
    pub(super) keys: Vec<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The name as SQL.
    pub(super) sql: String,
    /// As Postgres spells its type.
    pub(super) type_name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
    /// Whether it is, by itself or with others, a foreign key.
    pub(super) is_reference: bool,
}

/// What a column can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Value(ValueType),
    /// `timestamp` without time zone: what moment it is depends on who reads it
    LocalTimestamp,
    Date,
    /// Of a type that features can't have.
    Other,
}

/// Whether an entity has several rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// A unique key says that it can't.
    Never,
    /// Not in the rows that could be looked at in time, but nothing keeps it from having them.
    NotSeen,
    /// It has, or the table is empty and allows it.
    Yes,
}

impl Table {
    /// As people write it.
    pub(super) fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Looks a table up as the user spelled it: with or without its schema, quoted or not.
    pub(super) async fn find(
        connection: &mut PgConnection,
        url: &DatabaseUrl,
        spelled: &str,
    ) -> Result<Self, InitError> {
        let failed = |error: sqlx::Error| InitError::Database(url.error(&error));
        let relations = sqlx::query(
            "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, pg_table_is_visible(c.oid) AS visible,
                    quote_ident(n.nspname) AS schema_sql, quote_ident(c.relname) AS name_sql
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
               AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'larder') AND n.nspname NOT LIKE 'pg\\_%'
             ORDER BY visible DESC, schema, name",
        )
        .try_map(|row: PgRow| Relation::read(&row))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        let Some(relation) = relations.iter().find(|relation| relation.is_spelled(spelled)) else {
            return Err(InitError::NoTable {
                database: url.to_string(),
                name: spelled.to_owned(),
                nearest: nearest(spelled, relations.iter().flat_map(Relation::names)),
            });
        };
        let columns = columns(connection, relation.oid).await.map_err(failed)?;
        let keys = keys(connection, relation.oid).await.map_err(failed)?;
        let primary = keys.iter().find(|(primary, _)| *primary);
        Ok(Self {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            sql: relation.qualified_sql(),
            columns,
            primary_key: primary.map_or_else(Vec::new, |(_, columns)| columns.clone()),
            keys: keys.into_iter().map(|(_, columns)| columns).collect(),
        })
    }

    /// Whether entities with these columns as keys have several rows: by the table's unique keys, else by a sample of
    /// its rows.
    pub(super) async fn repeats(
        &self,
        connection: &mut PgConnection,
        url: &DatabaseUrl,
        keys: &[&Column],
    ) -> Result<Repeats, InitError> {
        let within = |unique: &Vec<String>| unique.iter().all(|name| keys.iter().any(|key| key.name == *name));
        if self.keys.iter().any(within) {
            return Ok(Repeats::Never);
        }
        let list: Vec<String> = keys.iter().map(|key| format!("{}::text", key.sql)).collect();
        let query = format!(
            "SELECT count(*) FILTER (WHERE keys IS NOT NULL), count(DISTINCT keys) FILTER (WHERE keys IS NOT NULL)
             FROM (SELECT ROW({}) AS keys FROM {} LIMIT {SAMPLE_ROWS}) AS sample",
            list.join(", "),
            self.sql
        );
        let limit = format!("SET statement_timeout = '{SAMPLE_WITHIN}'");
        sqlx::raw_sql(AssertSqlSafe(limit))
            .execute(&mut *connection)
            .await
            .map_err(|error| InitError::Database(url.error(&error)))?;
        match sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(query))
            .fetch_one(connection)
            .await
        {
            Ok((rows, entities)) if rows == 0 || rows > entities => Ok(Repeats::Yes),
            Ok(_) => Ok(Repeats::NotSeen),
            Err(error) if is_timeout(&error) => Ok(Repeats::NotSeen),
            Err(error) => Err(InitError::Database(url.error(&error))),
        }
    }
}

fn is_timeout(error: &sqlx::Error) -> bool {
    const QUERY_CANCELED: &str = "57014";
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == QUERY_CANCELED)
}

/// What is nearest to a misspelled name.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names.min_by_key(|known| strsim::damerau_levenshtein(known, name))
}

/// One that could be meant.
struct Relation {
    oid: Oid,
    schema: String,
    name: String,
    is_visible: bool,
    schema_sql: String,
    name_sql: String,
}

impl Relation {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            oid: row.try_get("oid")?,
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            is_visible: row.try_get("visible")?,
            schema_sql: row.try_get("schema_sql")?,
            name_sql: row.try_get("name_sql")?,
        })
    }

    fn qualified_sql(&self) -> String {
        format!("{}.{}", self.schema_sql, self.name_sql)
    }

    fn is_spelled(&self, text: &str) -> bool {
        self.names().any(|name| name == text)
            || text == self.qualified_sql()
            || self.is_visible && text == self.name_sql
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let bare = self.is_visible.then(|| self.name.clone());
        bare.into_iter().chain([format!("{}.{}", self.schema, self.name)])
    }
}

async fn columns(connection: &mut PgConnection, table: Oid) -> Result<Vec<Column>, sqlx::Error> {
    // A domain is what it is a domain of, whatever lies between.
    sqlx::query(
        "WITH RECURSIVE base AS (
           SELECT a.attnum, t.typname, t.typtype, t.typnamespace, t.typbasetype
           FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
           WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
           UNION ALL
           SELECT b.attnum, t.typname, t.typtype, t.typnamespace, t.typbasetype
           FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
         )
         SELECT a.attname::text AS name, quote_ident(a.attname) AS sql, a.attnotnull AS not_null,
                format_type(a.atttypid, a.atttypmod) AS type_name,
                CASE WHEN b.typtype = 'e' THEN 'text'
                     WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname::text ELSE '' END AS base,
                EXISTS (SELECT FROM pg_constraint f
                        WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)) AS is_reference
         FROM pg_attribute a JOIN base b ON b.attnum = a.attnum AND b.typtype <> 'd'
         WHERE a.attrelid = $1 ORDER BY a.attnum",
    )
    .bind(table)
    .try_map(|row: PgRow| {
        Ok(Column {
            name: row.try_get("name")?,
            sql: row.try_get("sql")?,
            type_name: row.try_get("type_name")?,
            kind: kind(row.try_get("base")?),
            not_null: row.try_get("not_null")?,
            is_reference: row.try_get("is_reference")?,
        })
    })
    .fetch_all(connection)
    .await
}

fn kind(base_type: &str) -> Kind {
    use ValueType::{Bool, Bytes, Float32, Float32List, Float64, Int64, Int64List, String, StringList, Timestamp};
    Kind::Value(match base_type {
        "bool" => Bool,
        "int2" | "int4" | "int8" => Int64,
        "float4" => Float32,
        "float8" | "numeric" => Float64,
        "text" | "varchar" | "bpchar" | "name" | "uuid" => String,
        "bytea" => Bytes,
        "timestamptz" => Timestamp,
        "_float4" | "_float8" | "_numeric" => Float32List,
        "_int2" | "_int4" | "_int8" => Int64List,
        "_text" | "_varchar" | "_bpchar" | "_uuid" => StringList,
        "timestamp" => return Kind::LocalTimestamp,
        "date" => return Kind::Date,
        _ => return Kind::Other,
    })
}

/// Whether it is the primary one, and the columns, of each key that no two rows share.
async fn keys(connection: &mut PgConnection, table: Oid) -> Result<Vec<(bool, Vec<String>)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.place)
         FROM pg_index i
         CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
           AND k.place <= i.indnkeyatts
         GROUP BY i.indexrelid, i.indisprimary
         ORDER BY i.indisprimary DESC, i.indexrelid",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}
