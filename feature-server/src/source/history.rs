//! How many rows an entity of a row view has, which decides how a full run looks for the newest one, not which it is.

use feature_defs::definitions::{Relation, View};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use super::{keys, sql};

/// From so many rows an entity on, finding each entity's latest event time first takes less than sorting all rows: with
/// eight rows of 30 features in a table of 200,000, both took as long. Of any but a small table without statistics the
/// planner expects more, and so it does of several key columns, ten, if no single one nearly tells the entity: of the two
/// mistakes this is the cheaper.
const LONG: f64 = 8.0;

/// How many rows an entity has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// A few at most.
    Short,
    /// So many that the latest event time is looked for before any row is sorted.
    Long,
}

/// Whether there are two ways to look. Not for a query, which would be computed twice, and not with a `key`, by which all
/// versions would be compared twice.
pub(super) fn matters(view: &View) -> bool {
    !view.is_recomputed_whole() && matches!(view.source.relation, Relation::Table(_))
}

/// What the planner expects of a view's entities, without reading any rows.
///
/// # Errors
/// The connection is lost. What Postgres refuses, the run that follows will tell.
pub(crate) async fn history_of(connection: &mut PgConnection, view: &View) -> Result<History, sqlx::Error> {
    if !matters(view) {
        return Ok(History::Short);
    }
    let all_rows = format!(
        "SELECT FROM {} WHERE {}",
        sql::relation(&view.source),
        keys::present(view)
    );
    let a_row_each = format!("{all_rows} GROUP BY {}", keys::keys(view).join(", "));
    let rows = expected_rows(connection, &all_rows).await?;
    let entities = expected_rows(connection, &a_row_each).await?;
    Ok(match rows.zip(entities) {
        Some((rows, entities)) if rows < LONG * entities => History::Short,
        _ => History::Long,
    })
}

/// How many rows the planner expects a query to answer with, if it tells.
async fn expected_rows(connection: &mut PgConnection, query: &str) -> Result<Option<f64>, sqlx::Error> {
    let explain = format!("EXPLAIN (FORMAT JSON) {query}");
    match sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(connection).await {
        Ok(Json::<serde_json::Value>(plan)) => {
            Ok(plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64))
        }
        Err(error) if error.as_database_error().is_some() => {
            tracing::debug!("the planner does not tell how many rows there are: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
