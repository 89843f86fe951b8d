//! Applied definitions: what holds now, and what held before.

use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;

use super::Store;
use crate::database::DatabaseError;

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

impl Store {
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
