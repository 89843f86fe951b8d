//! How fresh each view is: watermark, lag, newest row, last run, what is promised, and what stands in the way.

mod problem;
mod promise;
#[cfg(test)]
mod tests;

use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::applied::MayNotWrite;
use crate::database::DatabaseError;
use crate::store::{RunRecord, ViewRecord};
use problem::problem;
use promise::Seen;
pub use promise::{Broken, Cause, Promise};
pub(crate) use promise::{silence as silence_promise, tell as tell_promises};

/// How fresh a view is. Nothing is known of one that has never finished a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// Rows of the last full run: about how many entities have a value.
    pub entities: Option<i64>,
    /// The moment that the last run is as of.
    pub as_of: Option<Timestamp>,
    /// Up to where the source has been read.
    pub watermark: Option<Timestamp>,
    /// How long ago that is.
    pub lag_ms: Option<i64>,
    /// The latest event timestamp seen.
    pub newest_row: Option<Timestamp>,
    /// How long ago that is.
    pub newest_row_age_ms: Option<i64>,
}

/// A view's freshness with its runs.
#[derive(Debug, Clone, Serialize)]
pub struct ViewStatus {
    /// The view.
    pub view: ViewName,
    /// How fresh it is.
    #[serde(flatten)]
    pub freshness: Freshness,
    /// Its last run, whatever became of it.
    pub last_run: Option<RunRecord>,
    /// When its schedule has the next one due; by a server's own plan where one is asked.
    pub next_run: Option<Timestamp>,
    /// Since when its schedule is stopped, if it is.
    pub paused_since: Option<Timestamp>,
    /// Whether it is as fresh as its owner promises, if that is promised.
    pub promise: Option<Promise>,
    /// What stands in the way.
    pub problem: Option<String>,
}

impl Freshness {
    pub(crate) fn at(record: Option<&ViewRecord>, now: Timestamp) -> Self {
        let Some(record) = record else { return Self::default() };
        let ms_since = |at: Timestamp| now.micros_since(at) / 1_000;
        Self {
            entities: Some(record.entities),
            as_of: Some(record.as_of),
            watermark: Some(record.watermark),
            lag_ms: Some(ms_since(record.watermark)),
            newest_row: record.newest_row,
            newest_row_age_ms: record.newest_row.map(ms_since),
        }
    }
}

impl App {
    /// The status of every view, in declared order.
    ///
    /// # Errors
    /// The database with the `larder` schema is away, or lacks it.
    pub async fn status(&self) -> Result<Vec<ViewStatus>, DatabaseError> {
        self.store().check_schema().await?;
        let now = self.now_of_any().await?;
        let mut statuses = Vec::new();
        for view in &self.definitions().views {
            statuses.push(self.view_status(view, now).await?);
        }
        Ok(statuses)
    }

    pub(crate) async fn view_status(&self, view: &View, now: Timestamp) -> Result<ViewStatus, DatabaseError> {
        let record = self.store().view(&view.name).await?;
        let freshness = Freshness::at(record.as_ref(), now);
        let last_run = self.store().runs(Some(view.name.as_str()), 1).await?.pop();
        let paused_since = self.store().paused_since(&view.name).await?;
        let next_run = view
            .schedule
            .filter(|_| paused_since.is_none())
            .and_then(|every| record.map(|record| record.as_of.plus(every)));
        let is_held = match view.fresh_for {
            Some(_) => !self
                .store()
                .lock_holders(&self.store().view_lock(view.name.as_str()))
                .await?
                .is_empty(),
            None => false,
        };
        let promise = Promise::at(&Seen {
            view,
            freshness: &freshness,
            last_run: last_run.as_ref(),
            paused_since,
            is_held,
        });
        let problem = match self.may_write(view).await {
            Ok(()) => problem(view, &freshness, last_run.as_ref(), paused_since),
            Err(MayNotWrite::NotApplied(refusal)) => Some(refusal.to_string()),
            Err(MayNotWrite::Database(error)) => return Err(error),
        };
        Ok(ViewStatus {
            view: view.name.clone(),
            freshness,
            last_run,
            next_run,
            paused_since,
            promise,
            problem,
        })
    }
}
