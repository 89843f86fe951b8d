//! Materialization: computes a view's values as of a moment and writes them online.
//!
//! Order is what makes a crash harmless. Values go out first, under the write guard; then the marker, which says that all
//! of them are as of this run; then the record in Postgres. A process that ends before the marker leaves values that are
//! right but not yet vouched for, and the next run covers the same ground. One that ends between marker and record leaves
//! a marker that is not the last finished run's, which forces the next run to be full.

mod encode;
mod lock;
mod plan;
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

use crate::app::{App, UnknownView};
use crate::database::DatabaseError;
use crate::progress::Progress;
use crate::source::{self, Problem};
use crate::store::{Begun, Counts, Finished, Kind};
use lock::Lock;
use plan::{Before, Plan, plan};

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

/// Why a run did not happen, or failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error(transparent)]
    UnknownView(#[from] UnknownView),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Online(#[from] StoreError),
    #[error("view {view} is being materialized already by {holder}: wait for it to end, or end it")]
    Busy { view: ViewName, holder: String },
    #[error(
        "a run as of {as_of} is refused: it is only {now} by the source database's clock, and what will be known then is not known yet"
    )]
    Future { as_of: Timestamp, now: Timestamp },
    #[error(
        "view {view} has values as of {latest} already; a run as of {as_of}, before that, could write nothing that is newer"
    )]
    Earlier {
        view: ViewName,
        as_of: Timestamp,
        latest: Timestamp,
    },
    #[error("the definitions do not fit the database:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Columns(Vec<Problem>),
    #[error("view {view}: the source's rows cannot be read: {reason}")]
    Source { view: ViewName, reason: String },
    #[error(
        "the connection that holds the view's lock broke ({0}): another run may have begun, so this one does not finish; run it again"
    )]
    LockLost(String),
    #[error(
        "view {0}: its marker in Redis is not the one this run started from: something else wrote it meanwhile; run again"
    )]
    MarkerMoved(ViewName),
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
        let watermark = self
            .replayed_to(&mut source)
            .await?
            .map_or(as_of, |replayed| replayed.min(as_of));
        let run = Run {
            app: self,
            view,
            id: Uuid::now_v7(),
            as_of,
            watermark,
            digest: view.digest(),
            plan,
        };
        self.store()
            .begin(&mut lock.connection, &run.begun(), (&host(), pid()))
            .await?;
        let mut counts = Counts::default();
        match run.go(&mut source, &mut lock, &mut counts, progress).await {
            Ok(()) => Ok(run.summary(counts, started.elapsed())),
            Err(error) => {
                if let Err(unrecorded) = self.store().fail(run.id, &error.to_string(), counts).await {
                    tracing::warn!(view = %view.name, run = %run.id, "the failure could not be recorded: {unrecorded}");
                }
                Err(error)
            }
        }
    }

    /// The view's marker; one that cannot be read counts as none.
    async fn marker(&self, view: &ViewName) -> Result<Option<Marker>, StoreError> {
        match self.writer().marker(view).await {
            Err(StoreError::BadMarker { .. }) => Ok(None),
            other => other,
        }
    }

    /// Up to where a replica has replayed its primary's changes; `None` on a primary.
    async fn replayed_to(&self, source: &mut PgConnection) -> Result<Option<Timestamp>, DatabaseError> {
        let replayed: Option<DateTime<Utc>> =
            sqlx::query_scalar("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() END")
                .fetch_one(source)
                .await
                .map_err(|error| self.source_url().error(&error))?;
        Ok(replayed.map(Timestamp::from))
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
        let select = match (&self.plan, self.view.is_aggregate()) {
            (Plan::Full { .. }, false) => source::rows_as_of(self.view, &columns, self.as_of),
            (Plan::Full { .. }, true) => source::aggregates_as_of(self.view, &columns, self.as_of),
            (Plan::Incremental { since, .. }, false) => source::changed_rows(self.view, &columns, self.as_of, *since),
            (Plan::Incremental { since, .. }, true) => {
                source::changed_aggregates(self.view, &columns, self.as_of, *since)
            }
        };
        let writer = self.app.writer();
        let begun = writer.begin_run(&self.view.name, &self.id.to_string()).await?;
        writer.put_schema(self.view).await?;
        self.copy(source, &select, counts, progress).await?;
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
            return Err(RunError::MarkerMoved(self.view.name.clone()));
        }
        self.app.store().finish(&self.finished(&marker, *counts)).await?;
        Ok(())
    }

    fn marker(&self) -> Marker {
        let full_as_of = match &self.plan {
            Plan::Full { .. } => self.as_of,
            Plan::Incremental { marker, .. } => marker.full_as_of,
        };
        Marker {
            run: self.id.to_string(),
            as_of: self.as_of,
            digest: self.digest.clone(),
            full_as_of,
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
