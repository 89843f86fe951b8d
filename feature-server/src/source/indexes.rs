//! Which indexes the sources' tables lack.

use std::sync::Arc;

use feature_defs::definitions::{Relation, View};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::sql;

/// The statements that add the indexes the views' table sources lack, and notes on query sources, whose tables cannot be
/// seen from outside.
///
/// # Errors
/// The catalogue's refusal.
pub(crate) async fn missing_indexes(
    connection: &mut PgConnection,
    views: impl Iterator<Item = &Arc<View>>,
) -> Result<(Vec<String>, Vec<String>), sqlx::Error> {
    let (mut statements, mut notes) = (Vec::new(), Vec::new());
    for view in views {
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
