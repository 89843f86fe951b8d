//! How many rows an entity of a row view has, which decides how a full run looks for the newest one, not which it is.

use feature_defs::definitions::{Relation, View};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use super::{keys, sql};

/// From so many rows an entity on, finding each entity's latest event time first takes less than sorting all rows: with
/// eight rows of 30 features, both took as long.
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
    !view.is_aggregate() && view.source.key.is_empty() && matches!(view.source.relation, Relation::Table(_))
}

/// What the planner expects of a view's entities, without reading any rows.
pub(crate) async fn history_of(connection: &mut PgConnection, view: &View) -> Result<History, sqlx::Error> {
    if !matters(view) {
        return Ok(History::Short);
    }
    let rows = format!(
        "SELECT FROM {} WHERE {}",
        sql::relation(&view.source),
        keys::present(view)
    );
    let entities = format!("{rows} GROUP BY {}", keys::keys(view).join(", "));
    let rows = expected(connection, &rows).await?;
    let entities = expected(connection, &entities).await?;
    Ok(match rows >= LONG * entities {
        true => History::Long,
        false => History::Short,
    })
}

/// How many rows the planner expects a query to answer with.
async fn expected(connection: &mut PgConnection, query: &str) -> Result<f64, sqlx::Error> {
    let explain = format!("EXPLAIN (FORMAT JSON) {query}");
    let Json(plan): Json<serde_json::Value> = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(connection).await?;
    let rows = plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64);
    rows.ok_or_else(|| sqlx::Error::Protocol(format!("no rows in a plan: {plan}")))
}
