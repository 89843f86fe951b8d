//! Pruning: what is stored of retired views is removed, in the background of everybody else.
//!
//! A view is retired when it was applied, or ran, and the last applied definitions do not have it. Nobody may write it then,
//! and its lock keeps out who began before. First goes the marker, then the values, the schemas, and at last the records: a
//! prune that ends anywhere is run again, and a view that comes back under the name begins with a run that writes every
//! value, and takes what it does not write for gone.

#[cfg(test)]
mod tests;

use feature_defs::name::ViewName;
use online_store::StoreError;
use serde::Serialize;

use crate::app::App;
use crate::applied::RetiredView;
use crate::database::DatabaseError;
use crate::materialize::{Lock, RunError};
use crate::shard::Shard;
use service::progress::Progress;

/// A view of which nothing is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The view.
    pub view: ViewName,
    /// How many values were removed, the memory of those that were deleted included.
    pub values: u64,
}

/// Why a view's values were not removed, or not all.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PruneError {
    #[error(
        "no definitions were ever applied, so that no view is known to be retired: `feature-server apply` those that hold"
    )]
    NothingApplied,
    #[error(
        "the definitions here have it, and those applied last do not: `apply` these to bring it back, or bring them up to date"
    )]
    InHand,
    #[error("it was applied again meanwhile, and is not retired any more")]
    Applied,
    #[error("{0}, then prune again")]
    Busy(RunError),
    #[error(transparent)]
    Online(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl App {
    /// The retired views of which something is left, by name.
    ///
    /// # Errors
    /// Nothing was ever applied, or a store is away.
    pub async fn retired(&self) -> Result<Vec<ViewName>, PruneError> {
        self.store().check_schema().await?;
        let retired = self.store().retired_views().await?.ok_or(PruneError::NothingApplied)?;
        let names: Vec<ViewName> = retired.iter().map(|retired| retired.view.clone()).collect();
        let stored = self.writer().is_stored(&names).await?;
        let left = retired.into_iter().zip(stored);
        Ok(left
            .filter(|(retired, is_stored)| retired.is_recorded || *is_stored)
            .map(|(RetiredView { view, .. }, _)| view)
            .collect())
    }

    /// Removes all that is stored, and remembered, of a retired view.
    ///
    /// # Errors
    /// See [`PruneError`]. Part of it may be removed: pruning again is harmless.
    pub async fn prune(&self, view: &ViewName, progress: &Progress) -> Result<Pruned, PruneError> {
        let pruned = self.prune_telling(view, |values| progress.advance(values)).await;
        progress.finish();
        pruned
    }

    async fn prune_telling(&self, view: &ViewName, told: impl Fn(u64) + Send) -> Result<Pruned, PruneError> {
        if self.definitions().view(view.as_str()).is_some() {
            return Err(PruneError::InHand);
        }
        let lock = match Lock::take(self.store(), view, Shard::WHOLE).await {
            Ok(lock) => lock,
            Err(RunError::Database(error)) => return Err(error.into()),
            Err(busy) => return Err(PruneError::Busy(busy)),
        };
        let pruned = self.prune_holding(view, told).await;
        lock.release().await;
        pruned
    }

    async fn prune_holding(&self, view: &ViewName, told: impl Fn(u64) + Send) -> Result<Pruned, PruneError> {
        // Under the lock, for whoever brings the view back and runs it waits for that.
        let last = self.store().last_applied(view).await?;
        if last.ok_or(PruneError::NothingApplied)?.digest.is_some() {
            return Err(PruneError::Applied);
        }
        self.store().begin_prune(view).await?;
        let values = self.writer().remove_view(view, told).await?;
        self.store().forget_view(view).await?;
        Ok(Pruned {
            view: view.clone(),
            values,
        })
    }
}
