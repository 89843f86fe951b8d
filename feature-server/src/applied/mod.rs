//! Which definitions hold: what was applied last, and whether a view may be written by the definition in hand.
//!
//! Where nothing was ever applied, everybody may write. From the first `apply` on, values come from the last applied
//! definitions only, so that a server whose files are old, or ahead, cannot take turns with the others.

mod compare;
mod describe;
mod diff;
mod models;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;

use crate::app::App;
use crate::database::DatabaseError;
use crate::store::Recorded;
pub(crate) use compare::Online;
use compare::{Before, compare};
use describe::Described;
use models::ModelVersions;
pub use plan::{AppliedBy, Change, Changed, Plan, Thing, Unused};

/// Why a view's values are not written by the definition in hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotApplied {
    #[error(
        "view {view}: its definition here is an older one, applied at {since}; at {applied} another was: bring the definitions here up to date, or `apply` these again to go back to them"
    )]
    Older {
        view: ViewName,
        since: Timestamp,
        applied: Timestamp,
    },
    #[error(
        "view {view}: its definition here was never applied, and values come from the definitions applied at {applied}: see with `feature-server plan` what would change, then `feature-server apply`"
    )]
    Never { view: ViewName, applied: Timestamp },
    #[error(
        "view {view} is retired: the definitions applied at {applied} no longer have it; bring the definitions here up to date, or `apply` these to bring it back"
    )]
    Retired { view: ViewName, applied: Timestamp },
}

/// Why nothing is written: see [`App::may_write`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum MayNotWrite {
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A view that was applied, or ran, and that the last applied definitions do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetiredView {
    pub(crate) view: ViewName,
    /// Whether a finished run or a pause of it is recorded.
    pub(crate) is_recorded: bool,
}

/// Why definitions could not be compared, or applied.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("{0}")]
    Models(String),
    #[error(
        "what was applied at {at} cannot be read ({reason}): a newer program recorded it; compare and apply with that one"
    )]
    Recorded { at: Timestamp, reason: String },
}

impl App {
    /// What applying the definitions in hand would change; with the model repository in that folder, also for which model
    /// versions.
    ///
    /// # Errors
    /// The database is away or lacks the schema, or the repository cannot be read.
    pub async fn plan(&self, models: Option<&Path>) -> Result<Plan, PlanError> {
        self.store().check_schema().await?;
        let before = self.before(models, self.store().applied().await?).await?;
        Ok(compare(
            &self.definitions().project,
            &Described::new(self.definitions()),
            &before,
        ))
    }

    /// Records the definitions in hand as those that hold, unless they do already, and says what that changes. Of two that
    /// apply at once, the later sees what the earlier did.
    ///
    /// # Errors
    /// As for [`Self::plan`]: nothing is recorded then.
    pub async fn apply(&self, models: Option<&Path>) -> Result<Plan, PlanError> {
        self.store().check_schema().await?;
        let applying = self.store().begin_apply().await?;
        let before = self.before(models, applying.last.clone()).await?;
        let described = Described::new(self.definitions());
        let plan = compare(&self.definitions().project, &described, &before);
        let holds = before.applied.is_some_and(|(_, applied)| applied == described);
        if !holds {
            applying.record(&described, &described.digests()).await?;
        }
        Ok(plan)
    }

    async fn before(&self, models: Option<&Path>, last: Option<Recorded>) -> Result<Before, PlanError> {
        let applied = last.map(|last| {
            let Recorded { at, host, definitions } = last;
            match serde_json::from_value(definitions) {
                Ok(described) => Ok((AppliedBy { at, host }, described)),
                Err(error) => Err(PlanError::Recorded {
                    at,
                    reason: error.to_string(),
                }),
            }
        });
        Ok(Before {
            applied: applied.transpose()?,
            online: self.online_views().await?,
            models: models.map(ModelVersions::read).transpose().map_err(PlanError::Models)?,
        })
    }

    /// What is known of the values of each view that a run of has finished.
    async fn online_views(&self) -> Result<BTreeMap<String, Online>, DatabaseError> {
        let mut online = self.store().online_views().await?;
        for view in &self.definitions().views {
            if let Some(known) = online.get_mut(view.name.as_str()) {
                // A run of another definition may have left values without finishing.
                let left = self.store().left_behind(&view.name, &view.digest()).await?;
                known.digest.take_if(|_| left.other_definition.is_some());
            }
        }
        Ok(online)
    }

    /// That the view's definition in hand is the applied one, or nothing was ever applied. Whoever is about to write the
    /// view's values asks, before anything is written.
    pub(crate) async fn may_write(&self, view: &View) -> Result<(), MayNotWrite> {
        let Some(last) = self.store().last_applied(&view.name).await? else {
            return Ok(());
        };
        let digest = view.digest();
        if last.digest.as_ref() == Some(&digest) {
            return Ok(());
        }
        let (view, applied) = (view.name.clone(), last.applied_at);
        let history = self.store().applied_history(&view, &digest).await?;
        Err(match (last.digest, history.this_at) {
            (None, _) if history.name_is_known => NotApplied::Retired { view, applied },
            (Some(_), Some(since)) => NotApplied::Older { view, since, applied },
            _ => NotApplied::Never { view, applied },
        }
        .into())
    }
}
