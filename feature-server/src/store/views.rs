//! Views: what the last finished run said of each, whether it is paused, and whom it was told to forget.

use feature_defs::key::EntityKey;
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use uuid::Uuid;

use super::Store;
use super::runs::host;
use crate::database::DatabaseError;

/// What a view's last finished run said.
#[derive(Debug, Clone)]
pub(crate) struct ViewRecord {
    pub(crate) run: Uuid,
    pub(crate) as_of: Timestamp,
    pub(crate) watermark: Timestamp,
    pub(crate) newest_row: Option<Timestamp>,
    pub(crate) entities: i64,
    /// Since when pushed rows are missing online that only a full run finds.
    pub(crate) missed_at: Option<Timestamp>,
}

impl Store {
    /// What the view's last finished run said, if there is one.
    pub(crate) async fn view(&self, view: &ViewName) -> Result<Option<ViewRecord>, DatabaseError> {
        let row = sqlx::query!(
            "SELECT run, as_of, watermark, newest_row, entities, missed_at FROM larder.views WHERE project = $1 AND view = $2",
            self.project.as_str(),
            view.as_str()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(row.map(|row| ViewRecord {
            run: row.run,
            as_of: row.as_of.into(),
            watermark: row.watermark.into(),
            newest_row: row.newest_row.map(Timestamp::from),
            entities: row.entities,
            missed_at: row.missed_at.map(Timestamp::from),
        }))
    }

    /// Records that pushed rows are missing online that only a full run finds.
    pub(crate) async fn record_missed(&self, view: &ViewName) -> Result<(), DatabaseError> {
        sqlx::query!(
            "UPDATE larder.views SET missed_at = clock_timestamp() WHERE project = $1 AND view = $2",
            self.project.as_str(),
            view.as_str()
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Since when the view's schedule is stopped, if it is.
    pub(crate) async fn paused_since(&self, view: &ViewName) -> Result<Option<Timestamp>, DatabaseError> {
        let since = sqlx::query_scalar!(
            "SELECT since FROM larder.paused_views WHERE project = $1 AND view = $2",
            self.project.as_str(),
            view.as_str()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(since.map(Timestamp::from))
    }

    /// Stops the view's schedule. `false` if it is stopped already.
    pub(crate) async fn pause(&self, view: &ViewName) -> Result<bool, DatabaseError> {
        let done = sqlx::query!(
            "INSERT INTO larder.paused_views (project, view, host) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            self.project.as_str(),
            view.as_str(),
            host()
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(done.rows_affected() > 0)
    }

    /// Lets the view's schedule go on. `false` if it was not stopped.
    pub(crate) async fn unpause(&self, view: &ViewName) -> Result<bool, DatabaseError> {
        let done = sqlx::query!(
            "DELETE FROM larder.paused_views WHERE project = $1 AND view = $2",
            self.project.as_str(),
            view.as_str()
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(done.rows_affected() > 0)
    }

    /// Records that a view's values are about to be removed.
    pub(crate) async fn begin_prune(&self, view: &ViewName) -> Result<(), DatabaseError> {
        sqlx::query!(
            "INSERT INTO larder.pruned_views (project, view) VALUES ($1, $2)
             ON CONFLICT (project, view) DO UPDATE SET pruned_at = clock_timestamp()",
            self.project.as_str(),
            view.as_str()
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Forgets what a view stands at, and that it is paused. Its runs stay recorded.
    pub(crate) async fn forget_view(&self, view: &ViewName) -> Result<(), DatabaseError> {
        sqlx::query!(
            "WITH unpaused AS (DELETE FROM larder.paused_views WHERE project = $1 AND view = $2)
             DELETE FROM larder.views WHERE project = $1 AND view = $2",
            self.project.as_str(),
            view.as_str()
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Records that an entity's values were removed from these views.
    pub(crate) async fn record_forgotten(&self, entity: &EntityKey, views: &[String]) -> Result<(), DatabaseError> {
        sqlx::query!(
            "INSERT INTO larder.forgotten (project, entity_sha256, views, host)
             VALUES ($1, encode(sha256(convert_to($2, 'UTF8')), 'hex'), $3, $4)",
            self.project.as_str(),
            entity.as_str(),
            views,
            host()
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }
}
