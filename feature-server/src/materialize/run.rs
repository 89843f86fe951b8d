//! One process's part of a run under way: values, marker, record, in this order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use feature_defs::definitions::View;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use online_store::{RunBegun, StoreError};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::backfill::Range;
use super::lock::Lock;
use super::plan::Plan;
use super::{Asked, Mode, RunError, RunOutcome, RunSummary, Task, millis};
use crate::app::App;
use crate::source::{self, Columns, History, Part, Scope, Wanted};
use crate::store::{Begun, Finished, Kind, Reached, Whose};
use service::progress::Progress;

/// A process's part of a run under way.
pub(super) struct Run<'a> {
    pub(super) app: &'a App,
    pub(super) view: &'a View,
    pub(super) whose: Whose,
    pub(super) as_of: Timestamp,
    pub(super) columns: Columns,
    pub(super) work: Work,
    /// What must still be so when the marker is set.
    pub(super) redis: RunBegun,
    pub(super) reached: Arc<SharedReached>,
}

/// What a run does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Values of all entities, or of those that may have changed.
    Values(Plan, Mode),
    /// Values from the rows of a range of event times, in a view whose marker says this of its complete runs.
    Backfill(Range, Option<Timestamp>),
}

impl Work {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Values(plan, mode) => plan.kind(*mode),
            Self::Backfill(..) => Kind::Backfill,
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Values(plan, _) => plan.reason(),
            Self::Backfill(..) => None,
        }
    }
}

/// How far the run has come: moved by reading and writing, recorded by the pulse.
#[derive(Debug, Default)]
pub(super) struct SharedReached(Mutex<Reached>);

impl SharedReached {
    pub(super) fn from(reached: Reached) -> Arc<Self> {
        Arc::new(Self(Mutex::new(reached)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Reached> {
        // Numbers and texts, each set whole: a panic elsewhere leaves them right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Reached {
        self.lock().clone()
    }
}

impl Run<'_> {
    /// Does the work, and records how it ended.
    pub(super) async fn go(
        &self,
        source: PgConnection,
        lock: &mut Lock<'_>,
        (progress, started): (&Progress, Instant),
    ) -> Result<RunSummary, RunError> {
        match self.work(source, lock, progress).await {
            Ok(outcome) => Ok(self.summary(outcome, started)),
            Err(error) => {
                self.record_failure(&error).await;
                Err(error)
            }
        }
    }

    async fn work(
        &self,
        mut source: PgConnection,
        lock: &mut Lock<'_>,
        progress: &Progress,
    ) -> Result<RunOutcome, RunError> {
        match &self.work {
            Work::Values(plan, _) => {
                let scope = match plan {
                    Plan::Full { .. } => Scope::All(self.history(&mut source, lock).await?),
                    Plan::Incremental { since, .. } => Scope::Changed(*since),
                };
                self.values(scope, (&mut source, lock), progress).await?;
            }
            Work::Backfill(range, _) => {
                let done = self.reached.now().step;
                for (after, until) in range.steps().filter(|(_, until)| Some(*until) > done) {
                    let scope = Scope::Within { after, until };
                    self.values(scope, (&mut source, lock), progress).await?;
                    let mut reached = self.reached.lock();
                    reached.step = Some(until);
                    reached.checkpoint.clear();
                    drop(reached);
                    progress.step();
                }
            }
        }
        lock.pulse(self.whose, &self.reached.now()).await?;
        let waiting_for = self
            .app
            .store()
            .finish_shard(&mut lock.connection, self.whose, &self.reached.now())
            .await?;
        if !waiting_for.is_empty() {
            return Ok(RunOutcome::ShardDone { waiting_for });
        }
        match &self.work {
            Work::Values(plan, mode) => self.vouch(plan, *mode).await?,
            Work::Backfill(..) if self.app.writer().server().await? != self.redis => {
                let view = self.view.name.clone();
                return Err(StoreError::DataLost { view }.into());
            }
            Work::Backfill(..) => self.app.store().finish_backfill(self.whose.run).await?,
        }
        Ok(RunOutcome::Done)
    }

    /// Which way to look for each entity's newest row.
    async fn history(&self, source: &mut PgConnection, lock: &mut Lock<'_>) -> Result<History, RunError> {
        let asking = source::history_of(source, self.view);
        self.while_held(lock, async { asking.await.map_err(|error| self.source_error(&error)) })
            .await
    }

    /// Computes and writes the values in `scope` that are not written yet.
    async fn values(
        &self,
        scope: Scope,
        (source, lock): (&mut PgConnection, &mut Lock<'_>),
        progress: &Progress,
    ) -> Result<(), RunError> {
        let after = self.checkpoint();
        let wanted = Wanted {
            as_of: self.as_of,
            scope,
            part: Part {
                shard: self.whose.shard,
                after: &after,
            },
        };
        let select = source::values_query(self.view, &self.columns, &wanted);
        self.copy(source, &select, lock, progress).await
    }

    /// Sets the marker, then records the run as done. Also if other definitions were applied meanwhile: what it wrote, an
    /// applied definition gave, and readers keep it until the next full run in any case; with this digest in the marker,
    /// that is what the next run is.
    async fn vouch(&self, plan: &Plan, mode: Mode) -> Result<(), RunError> {
        let writer = self.app.writer();
        let view = &self.view.name;
        let marker = self.marker(plan);
        let set = match plan {
            Plan::Full { .. } => writer.create_marker(view, &marker, &self.redis).await?,
            Plan::Incremental { marker: previous, .. } => {
                writer.advance_marker(view, &previous.run, &marker, &self.redis).await?
            }
        };
        if !set {
            let (view, as_of) = (view.clone(), self.as_of);
            return Err(match plan {
                Plan::Full { .. } => RunError::MarkerLater { view, as_of },
                Plan::Incremental { .. } => RunError::MarkerMoved(view),
            });
        }
        let finished = Finished {
            id: self.whose.run,
            view,
            kind: self.work.kind(),
            marker: &marker,
        };
        self.app.store().finish(&finished).await?;
        if mode == Mode::Replace {
            // Readers don't see them any more: this gives their memory back.
            match writer.sweep(view, self.as_of).await {
                Ok(removed) => tracing::info!(%view, removed, "removed what the source no longer has"),
                Err(error) => tracing::warn!(%view, "what the source no longer has still takes memory: {error}"),
            }
        }
        Ok(())
    }

    fn marker(&self, plan: &Plan) -> Marker {
        Marker {
            run: self.whose.run.to_string(),
            as_of: self.as_of,
            digest: self.view.digest(),
            full_as_of: match plan {
                Plan::Full { .. } => self.as_of,
                Plan::Incremental { marker, .. } => marker.full_as_of,
            },
            complete_as_of: plan.complete_as_of(self.as_of),
        }
    }

    pub(super) async fn record_failure(&self, error: &RunError) {
        let outcome = match error {
            RunError::Cancelled(_) => "cancelled",
            _ => "failed",
        };
        let (store, reached) = (self.app.store(), self.reached.now());
        if let Err(unrecorded) = store.fail(self.whose, outcome, &error.to_string(), &reached).await {
            let run = self.whose.run;
            tracing::warn!(view = %self.view.name, %run, "the failure could not be recorded: {unrecorded}");
        }
    }

    fn summary(&self, outcome: RunOutcome, started: Instant) -> RunSummary {
        let reached = self.reached.now();
        RunSummary {
            run: self.whose.run,
            view: self.view.name.clone(),
            kind: self.work.kind(),
            forced_full: self.work.reason().map(str::to_owned),
            as_of: self.as_of,
            outcome,
            counts: reached.counts,
            warnings: reached.warnings,
            duration_ms: millis(started.elapsed()),
        }
    }
}

impl App {
    /// Records a run that failed before it was known what it had to do, so that whoever asks for the last run sees it.
    pub(super) async fn record_unbegun(&self, view: &View, asked: &Asked, lock: &mut Lock<'_>, error: &RunError) {
        if let Err(unrecorded) = self.try_record_unbegun(view, asked, lock, error).await {
            tracing::warn!(view = %view.name, "the failure could not be recorded: {unrecorded}");
        }
    }

    async fn try_record_unbegun(
        &self,
        view: &View,
        asked: &Asked,
        lock: &mut Lock<'_>,
        error: &RunError,
    ) -> Result<(), crate::database::DatabaseError> {
        let newest = self.store().newest_run(&view.name, asked.is_backfill()).await?;
        let open = newest.filter(|run| {
            let ours = run.shards == asked.shard.of();
            !run.is_over() && ours && (asked.resume || run.shards > 1)
        });
        if let Some((open, shard)) = open.and_then(|open| Some((open.id, open.shard(asked.shard)?.clone()))) {
            // A run that may still be continued keeps its place.
            let whose = Whose {
                run: open,
                shard: asked.shard,
            };
            return self
                .store()
                .fail(whose, "failed", &error.to_string(), &shard.reached)
                .await;
        }
        if !asked.shard.is_whole() {
            return Ok(());
        }
        let as_of = match asked.as_of {
            Some(as_of) => as_of,
            None => self.now_of_any().await?,
        };
        let whose = Whose {
            run: Uuid::now_v7(),
            shard: asked.shard,
        };
        let (kind, range) = match asked.task {
            Task::Values(Mode::Full) => (Kind::Full, (None, as_of)),
            Task::Values(Mode::Incremental) => (Kind::Incremental, (None, as_of)),
            Task::Values(Mode::Replace) => (Kind::Replace, (None, as_of)),
            Task::Backfill(range) => (Kind::Backfill, (Some(range.start), range.end)),
        };
        let begun = Begun {
            whose,
            view: &view.name,
            kind,
            reason: None,
            as_of,
            range,
            every: None,
            digest: &view.digest(),
            watermark: as_of,
            redis_process: None,
        };
        self.store().begin(&mut lock.connection, &begun).await?;
        self.store()
            .fail(whose, "failed", &error.to_string(), &Reached::default())
            .await
    }
}
