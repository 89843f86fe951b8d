//! Applied definitions: what holds now, and what held before.

use std::collections::BTreeMap;

use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use sqlx::{Postgres, Transaction};

use super::Store;
use super::runs::host;
use crate::applied::{Online, RetiredView};
use crate::database::DatabaseError;

/// Definitions as they were recorded.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) at: Timestamp,
    pub(crate) host: String,
    pub(crate) definitions: serde_json::Value,
}

/// An apply under way: no other of the project goes on until it is dropped.
#[derive(Debug)]
pub(crate) struct Applying<'a> {
    store: &'a Store,
    transaction: Transaction<'static, Postgres>,
    /// What holds until then.
    pub(crate) last: Option<Recorded>,
}

/// What the last applied definitions say of a view.
#[derive(Debug, Clone)]
pub(crate) struct LastApplied {
    pub(crate) applied_at: Timestamp,
    /// `None`: they do not have it.
    pub(crate) digest: Option<String>,
}

/// What all applied definitions say of a view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppliedHistory {
    /// When it was last applied as it is in hand.
    pub(crate) this_at: Option<Timestamp>,
    /// Whether any of them had a view of its name.
    pub(crate) name_is_known: bool,
}

impl Applying<'_> {
    /// Records definitions, and the digest of each of their views, as those that hold.
    pub(crate) async fn record(
        mut self,
        definitions: &(impl Serialize + Sync),
        digests: &(impl Serialize + Sync),
    ) -> Result<(), DatabaseError> {
        let failed = |error: sqlx::Error| self.store.failed(&error);
        sqlx::query!(
            "INSERT INTO larder.applied_definitions (project, host, definitions, digests) VALUES ($1, $2, $3, $4)",
            self.store.project.as_str(),
            host(),
            Json(definitions) as _,
            Json(digests) as _
        )
        .execute(&mut *self.transaction)
        .await
        .map_err(failed)?;
        self.transaction.commit().await.map_err(failed)
    }
}

impl Store {
    /// The definitions that hold; `None` if none were ever applied.
    pub(crate) async fn applied(&self) -> Result<Option<Recorded>, DatabaseError> {
        let mut connection = self.pool.acquire().await.map_err(|error| self.failed(&error))?;
        self.applied_over(&mut connection).await
    }

    async fn applied_over(&self, connection: &mut PgConnection) -> Result<Option<Recorded>, DatabaseError> {
        let row = sqlx::query!(
            "SELECT applied_at, host, definitions
             FROM larder.applied_definitions
             WHERE project = $1
             ORDER BY id DESC
             LIMIT 1",
            self.project.as_str()
        )
        .fetch_optional(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(row.map(|row| Recorded {
            at: row.applied_at.into(),
            host: row.host,
            definitions: row.definitions,
        }))
    }

    /// Waits until nobody else applies definitions of the project.
    pub(crate) async fn begin_apply(&self) -> Result<Applying<'_>, DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            format!("apply {}", self.project)
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        let last = self.applied_over(&mut transaction).await?;
        Ok(Applying {
            store: self,
            transaction,
            last,
        })
    }

    /// What the last finished run of each view left, by its name.
    pub(crate) async fn online_views(&self) -> Result<BTreeMap<String, Online>, DatabaseError> {
        let rows = sqlx::query!(
            "SELECT view, digest, entities FROM larder.views WHERE project = $1",
            self.project.as_str()
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        let online = rows.into_iter().map(|row| {
            let (digest, entities) = (Some(row.digest), row.entities);
            (row.view, Online { digest, entities })
        });
        Ok(online.collect())
    }

    /// The views, by name, that the last applied definitions do not have, and that were applied or ran before; `None` if
    /// nothing was ever applied.
    pub(crate) async fn retired_views(&self) -> Result<Option<Vec<RetiredView>>, DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let rows = sqlx::query!(
            r#"WITH last AS (
                   SELECT digests FROM larder.applied_definitions WHERE project = $1 ORDER BY id DESC LIMIT 1
               ), known AS (
                   SELECT jsonb_object_keys(digests) AS view FROM larder.applied_definitions WHERE project = $1
                   UNION SELECT view FROM larder.materialization_runs WHERE project = $1
                   UNION SELECT view FROM larder.paused_views WHERE project = $1
               )
               SELECT known.view AS "view?",
                   EXISTS (SELECT FROM larder.views v WHERE v.project = $1 AND v.view = known.view)
                   OR EXISTS (SELECT FROM larder.paused_views p WHERE p.project = $1 AND p.view = known.view)
                   AS "is_recorded!"
               FROM last LEFT JOIN known ON NOT last.digests ? known.view
               ORDER BY known.view"#,
            self.project.as_str()
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let views = rows.into_iter().filter_map(|row| {
            // Whatever was recorded was a view's name.
            let view = row.view?.parse().ok()?;
            Some(RetiredView {
                view,
                is_recorded: row.is_recorded,
            })
        });
        Ok(Some(views.collect()))
    }

    /// What the last applied definitions say of a view; `None` if none ever were.
    pub(crate) async fn last_applied(&self, view: &ViewName) -> Result<Option<LastApplied>, DatabaseError> {
        let row = sqlx::query!(
            "SELECT applied_at, digests ->> $2 AS digest
             FROM larder.applied_definitions
             WHERE project = $1
             ORDER BY id DESC
             LIMIT 1",
            self.project.as_str(),
            view.as_str()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(row.map(|row| LastApplied {
            applied_at: row.applied_at.into(),
            digest: row.digest,
        }))
    }

    /// What all applied definitions say of a view of this digest.
    pub(crate) async fn applied_history(&self, view: &ViewName, digest: &str) -> Result<AppliedHistory, DatabaseError> {
        let row = sqlx::query!(
            r#"SELECT max(applied_at) FILTER (WHERE digests ->> $2 = $3) AS this_at,
                    COALESCE(bool_or(digests ? $2), false) AS "name_is_known!"
             FROM larder.applied_definitions
             WHERE project = $1"#,
            self.project.as_str(),
            view.as_str(),
            digest
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(AppliedHistory {
            this_at: row.this_at.map(Timestamp::from),
            name_is_known: row.name_is_known,
        })
    }
}
