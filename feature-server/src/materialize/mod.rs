//! Materialization: computes a view's values as of a moment and writes them online.
//!
//! Order is what makes a crash harmless. Values go out first, under the write guard, in the order of their keys, with a
//! checkpoint behind them from which another process can go on; then the marker, which says that all of them are as of
//! this run; then the record in Postgres. A process that ends before the marker leaves values that are right but not yet
//! vouched for: the run is continued, or the next one covers the same ground. One that ends between marker and record
//! leaves a marker that is not the last finished run's, which forces the next run to be full unless this one is resumed.

mod backfill;
mod begin;
mod checks;
mod encode;
mod error;
mod lock;
mod plan;
mod position;
mod run;
mod stream;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::shard::Shard;
use crate::store::{Counts, Kind};
pub use backfill::Backfill;
use backfill::Range;
use begin::Beginning;
pub(crate) use encode::encode_row;
pub use error::RunError;
pub(crate) use lock::Lock;
pub(crate) use plan::{guard, since};
use service::progress::Progress;

/// What a run is to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Full,
    /// What may have changed since the last run; everything, if that cannot be known.
    Incremental,
    /// Everything, as of now, whatever stands online: for a source that was wrong. What it no longer has is removed.
    Replace,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRequest {
    /// What to compute.
    pub mode: Mode,
    /// Of which moment; now, if `None`.
    pub as_of: Option<Timestamp>,
    /// Of which entities.
    pub shard: Shard,
    /// Whether to go on with the view's last run, if that was interrupted or failed, rather than to begin a new one. If
    /// the run as of `as_of` is done already, nothing is.
    pub resume: bool,
}

impl RunRequest {
    /// All entities, as of now, from the beginning.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            as_of: None,
            shard: Shard::WHOLE,
            resume: false,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// Its id, as recorded.
    pub run: Uuid,
    /// The view.
    pub view: ViewName,
    /// What it computed.
    pub kind: Kind,
    /// Why everything, if an incremental run was asked for.
    pub forced_full: Option<String>,
    /// The moment it is as of.
    pub as_of: Timestamp,
    /// Whether it is done.
    #[serde(flatten)]
    pub outcome: RunOutcome,
    /// What this process read and wrote of it, and those it went on from.
    #[serde(flatten)]
    pub counts: Counts,
    /// What the data was expected to be and was not, where that is no error.
    pub warnings: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Where a run stands after a process has done its part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunOutcome {
    /// It is done.
    Done,
    /// The process's part is done, but not these shards.
    ShardDone {
        /// Their numbers, from 1.
        waiting_for: Vec<u32>,
    },
    /// There was nothing to do any more. These shards are not done.
    AlreadyDone {
        /// Their numbers, from 1.
        waiting_for: Vec<u32>,
    },
}

/// What is asked for, of any kind.
#[derive(Debug, Clone, Copy)]
struct Asked {
    task: Task,
    as_of: Option<Timestamp>,
    shard: Shard,
    resume: bool,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Values(Mode),
    Backfill(Range),
}

impl Asked {
    const fn is_backfill(&self) -> bool {
        matches!(self.task, Task::Backfill(_))
    }
}

impl From<&RunRequest> for Asked {
    fn from(request: &RunRequest) -> Self {
        Self {
            task: Task::Values(request.mode),
            as_of: request.as_of,
            shard: request.shard,
            resume: request.resume,
        }
    }
}

impl App {
    /// Computes a view's values and writes them online.
    ///
    /// # Errors
    /// See [`RunError`]. What was written before a failure is right, and running again is harmless.
    pub async fn materialize(
        &self,
        view: &str,
        request: &RunRequest,
        progress: &Progress,
    ) -> Result<RunSummary, RunError> {
        let view = self.view(view)?;
        if let (Mode::Replace, Some(as_of)) = (request.mode, request.as_of) {
            return Err(RunError::ReplaceAsOf { as_of });
        }
        let done = self.run(view, &request.into(), progress).await;
        progress.finish();
        done
    }

    /// Does what is asked, and tells log and metrics.
    async fn run(&self, view: &View, asked: &Asked, progress: &Progress) -> Result<RunSummary, RunError> {
        let started = Instant::now();
        let outcome = self.run_locked(view, asked, progress, started).await;
        report(view, &outcome, started.elapsed());
        outcome
    }

    async fn run_locked(
        &self,
        view: &View,
        asked: &Asked,
        progress: &Progress,
        started: Instant,
    ) -> Result<RunSummary, RunError> {
        self.store().check_schema().await?;
        let mut lock = Lock::take(self.store(), &view.name, asked.shard).await?;
        let done = self.run_holding(&mut lock, view, asked, (progress, started)).await;
        lock.release().await;
        done
    }

    async fn run_holding(
        &self,
        lock: &mut Lock<'_>,
        view: &View,
        asked: &Asked,
        (progress, started): (&Progress, Instant),
    ) -> Result<RunSummary, RunError> {
        let beginning = self.begin(view, asked, lock).await;
        if let Err(error) = &beginning
            && !error.is_refusal()
        {
            self.record_unbegun(view, asked, lock, error).await;
        }
        let beginning = beginning?;
        lock.end_turn().await?;
        match beginning {
            Beginning::Work(run, source) => run.go(source, lock, (progress, started)).await,
            Beginning::Already {
                run,
                kind,
                as_of,
                waiting_for,
            } => Ok(RunSummary {
                run,
                view: view.name.clone(),
                kind,
                forced_full: None,
                as_of,
                outcome: RunOutcome::AlreadyDone { waiting_for },
                counts: Counts::default(),
                warnings: Vec::new(),
                duration_ms: millis(started.elapsed()),
            }),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the log and the metrics how a run ended.
fn report(view: &View, outcome: &Result<RunSummary, RunError>, duration: Duration) {
    let name = view.name.as_str().to_owned();
    let label = match outcome {
        Ok(summary) => {
            let Counts {
                read,
                written,
                older,
                bytes,
                ..
            } = summary.counts;
            if let Some(reason) = &summary.forced_full {
                tracing::info!(view = name, "forced full: {reason}");
            }
            for warning in &summary.warnings {
                tracing::warn!(view = name, "not as expected: {warning}");
            }
            tracing::info!(
                view = name, run = %summary.run, kind = summary.kind.name(), as_of = %summary.as_of, read, written, older,
                bytes, duration_ms = summary.duration_ms, "materialized"
            );
            for (outcome, rows) in [("read", read), ("written", written), ("older", older)] {
                metrics::counter!("larder_materialization_rows_total", "view" => name.clone(), "outcome" => outcome)
                    .increment(rows);
            }
            "done"
        }
        Err(RunError::Busy { .. }) => "busy",
        Err(RunError::Cancelled(_)) => "cancelled",
        Err(_) => "failed",
    };
    metrics::counter!("larder_materialization_runs_total", "view" => name.clone(), "outcome" => label).increment(1);
    metrics::histogram!("larder_materialization_duration_seconds", "view" => name).record(duration.as_secs_f64());
}
