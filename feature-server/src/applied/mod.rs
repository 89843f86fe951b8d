//! Which definitions hold: what was applied last, and whether a view may be written by the definition in hand.
//!
//! Where nothing was ever applied, everybody may write. From the first `apply` on, values come from the last applied
//! definitions only, so that a server whose files are old, or ahead, cannot take turns with the others.

use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;

use crate::app::App;
use crate::database::DatabaseError;

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

impl App {
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
