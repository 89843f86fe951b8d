//! Materialization: computes a view's values as of a moment and writes them online.
//!
//! Order is what makes a crash harmless. Values go out first, under the write guard; then the marker, which says that all
//! of them are as of this run; then the record in Postgres. A process that ends before the marker leaves values that are
//! right but not yet vouched for, and the next run covers the same ground. One that ends between marker and record leaves
//! a marker that is not the last finished run's, which forces the next run to be full.

mod encode;
mod error;
mod lock;
mod plan;
mod position;
mod stream;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use online_store::StoreError;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::database::DatabaseError;
use crate::progress::Progress;
use crate::source::{self, Part, Scope, Wanted};
use crate::store::{Begun, Counts, Finished, Kind};
pub use error::RunError;
use lock::Lock;
use plan::{Before, Plan, plan};
use position::Position;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Full,
    /// What may have changed since the last run; everything, if that cannot be known.
    Incremental,
}

/// What a finished run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// Its id, as recorded.
    pub run: Uuid,
    /// The view.
    pub view: ViewName,
    /// Whether it computed everything.
    pub kind: Kind,
    /// Why it did, if an incremental run was asked for.
    pub forced_full: Option<String>,
    /// The moment it is as of.
    pub as_of: Timestamp,
    /// What it read and wrote.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long it took.
    pub duration_ms: u64,
}

/// A run under way.
struct Run<'a> {
    app: &'a App,
    view: &'a View,
    id: Uuid,
    as_of: Timestamp,
    watermark: Timestamp,
    digest: String,
    plan: Plan,
}

impl App {
    /// Computes a view's values as of `as_of` (now, if `None`) and writes them online.
    ///
    /// # Errors
    /// See [`RunError`]. What was written before a failure is right, and running again is harmless.
    pub async fn materialize(
        &self,
        view: &str,
        mode: Mode,
        as_of: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<RunSummary, RunError> {
        let started = Instant::now();
        let view = self.view(view)?;
        let outcome = self.run(view, mode, as_of, progress, started).await;
        progress.finish();
        report(view, &outcome, started.elapsed());
        outcome
    }

    async fn run(
        &self,
        view: &View,
        mode: Mode,
        as_of: Option<Timestamp>,
        progress: &Progress,
        started: Instant,
    ) -> Result<RunSummary, RunError> {
        self.store().check_schema().await?;
        let mut lock = Lock::take(self.store(), view).await?;
        let id = Uuid::now_v7();
        let (run, mut source) = match self.prepare(view, id, mode, as_of).await {
            Ok(prepared) => prepared,
            Err(error) => {
                if !error.is_refusal() {
                    self.record_unprepared(&mut lock, view, id, (mode, as_of), &error).await;
                }
                return Err(error);
            }
        };
        self.store()
            .begin(&mut lock.connection, &run.begun(), (&host(), pid()))
            .await?;
        let mut counts = Counts::default();
        match run.go(&mut source, &mut lock, &mut counts, progress).await {
            Ok(()) => Ok(run.summary(counts, started.elapsed())),
            Err(error) => {
                self.record_failure(view, id, &error, counts).await;
                Err(error)
            }
        }
    }

    /// Finds out what there is to do.
    async fn prepare<'a>(
        &'a self,
        view: &'a View,
        id: Uuid,
        mode: Mode,
        as_of: Option<Timestamp>,
    ) -> Result<(Run<'a>, PgConnection), RunError> {
        let mut source = self.source_url().connect().await?;
        let now = self.now().await?;
        let as_of = as_of.unwrap_or(now);
        if as_of > now {
            return Err(RunError::Future { as_of, now });
        }
        let before = Before {
            marker: self.marker(&view.name).await?,
            record: self.store().view(&view.name).await?,
            other_definition: self.store().other_definition(&view.name, &view.digest()).await?,
        };
        let plan = plan(view, mode, as_of, &before)?;
        let read_to = before.record.as_ref().map(|record| record.watermark);
        let watermark = self
            .position(&mut source)
            .await?
            .watermark(view, plan.kind(), as_of, read_to)?;
        let run = Run {
            app: self,
            view,
            id,
            as_of,
            watermark,
            digest: view.digest(),
            plan,
        };
        Ok((run, source))
    }

    /// Records a run that failed before it was known what it had to do, so that whoever asks for the last run sees it.
    async fn record_unprepared(
        &self,
        lock: &mut Lock,
        view: &View,
        id: Uuid,
        (mode, as_of): (Mode, Option<Timestamp>),
        error: &RunError,
    ) {
        let as_of = match as_of {
            Some(as_of) => Ok(as_of),
            None => self.now_of_any().await,
        };
        let begun = match as_of {
            Ok(as_of) => {
                let begun = Begun {
                    id,
                    view: &view.name,
                    kind: match mode {
                        Mode::Full => Kind::Full,
                        Mode::Incremental => Kind::Incremental,
                    },
                    reason: None,
                    as_of,
                    range_start: None,
                    digest: &view.digest(),
                };
                self.store().begin(&mut lock.connection, &begun, (&host(), pid())).await
            }
            Err(error) => Err(error),
        };
        match begun {
            Ok(()) => self.record_failure(view, id, error, Counts::default()).await,
            Err(unrecorded) => tracing::warn!(view = %view.name, "the failure could not be recorded: {unrecorded}"),
        }
    }

    async fn record_failure(&self, view: &View, id: Uuid, error: &RunError, counts: Counts) {
        if let Err(unrecorded) = self.store().fail(id, &error.to_string(), counts).await {
            tracing::warn!(view = %view.name, run = %id, "the failure could not be recorded: {unrecorded}");
        }
    }

    /// The view's marker; one that cannot be read counts as none.
    async fn marker(&self, view: &ViewName) -> Result<Option<Marker>, StoreError> {
        match self.writer().marker(view).await {
            Err(StoreError::BadMarker { .. }) => Ok(None),
            other => other,
        }
    }

    /// Up to where the source knows the world.
    async fn position(&self, source: &mut PgConnection) -> Result<Position, DatabaseError> {
        let (in_recovery, replayed): (bool, Option<DateTime<Utc>>) =
            sqlx::query_as("SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()")
                .fetch_one(source)
                .await
                .map_err(|error| self.source_url().error(&error))?;
        Ok(match in_recovery {
            true => Position::Replica(replayed.map(Timestamp::from)),
            false => Position::Primary,
        })
    }
}

impl Run<'_> {
    /// Values, marker, record, in this order.
    async fn go(
        &self,
        source: &mut PgConnection,
        lock: &mut Lock,
        counts: &mut Counts,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let columns = source::columns_of(source, &self.view.source)
            .await
            .map_err(|e| RunError::Columns(vec![e.into()]))?;
        let problems = source::check_view(self.view, &columns);
        if !problems.is_empty() {
            return Err(RunError::Columns(problems));
        }
        let wanted = Wanted {
            as_of: self.as_of,
            scope: match &self.plan {
                Plan::Full { .. } => Scope::All,
                Plan::Incremental { since, .. } => Scope::Changed(*since),
            },
            part: Part::ALL,
        };
        let select = source::values_query(self.view, &columns, &wanted);
        let writer = self.app.writer();
        let begun = writer.begin_run(&self.view.name, &self.id.to_string()).await?;
        writer.put_schema(self.view).await?;
        self.copy(source, &select, lock, counts, progress).await?;
        lock.verify().await?;
        let marker = self.marker();
        let set = match &self.plan {
            Plan::Full { .. } => writer.create_marker(&self.view.name, &marker, &begun).await?,
            Plan::Incremental { marker: previous, .. } => {
                writer
                    .advance_marker(&self.view.name, &previous.run, &marker, &begun)
                    .await?
            }
        };
        if !set {
            let view = self.view.name.clone();
            return Err(match self.plan {
                Plan::Full { .. } => RunError::MarkerLater {
                    view,
                    as_of: self.as_of,
                },
                Plan::Incremental { .. } => RunError::MarkerMoved(view),
            });
        }
        self.app.store().finish(&self.finished(&marker, *counts)).await?;
        Ok(())
    }

    fn marker(&self) -> Marker {
        let (full_as_of, complete_as_of) = match &self.plan {
            Plan::Full { redefined, .. } => {
                let complete = *redefined || self.view.is_recomputed_whole();
                (self.as_of, complete.then_some(self.as_of))
            }
            Plan::Incremental { marker, .. } => (marker.full_as_of, marker.complete_as_of),
        };
        Marker {
            run: self.id.to_string(),
            as_of: self.as_of,
            digest: self.digest.clone(),
            full_as_of,
            complete_as_of,
        }
    }

    fn begun(&self) -> Begun<'_> {
        let range_start = match &self.plan {
            Plan::Full { .. } => None,
            Plan::Incremental { since, .. } => Some(since.event),
        };
        Begun {
            id: self.id,
            view: &self.view.name,
            kind: self.plan.kind(),
            reason: self.plan.reason(),
            as_of: self.as_of,
            range_start,
            digest: &self.digest,
        }
    }

    fn finished(&self, marker: &Marker, counts: Counts) -> Finished<'_> {
        Finished {
            id: self.id,
            view: &self.view.name,
            kind: self.plan.kind(),
            as_of: self.as_of,
            watermark: self.watermark,
            full_as_of: marker.full_as_of,
            digest: &self.digest,
            counts,
        }
    }

    fn summary(&self, counts: Counts, duration: Duration) -> RunSummary {
        RunSummary {
            run: self.id,
            view: self.view.name.clone(),
            kind: self.plan.kind(),
            forced_full: self.plan.reason().map(str::to_owned),
            as_of: self.as_of,
            counts,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
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
        Err(_) => "failed",
    };
    metrics::counter!("larder_materialization_runs_total", "view" => name.clone(), "outcome" => label).increment(1);
    metrics::histogram!("larder_materialization_duration_seconds", "view" => name).record(duration.as_secs_f64());
}

/// The name of this machine.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

fn pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(-1)
}
