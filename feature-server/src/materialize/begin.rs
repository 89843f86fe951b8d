//! Which run a process works on: a new one, one that others share with it, or one that another process left unfinished.

use feature_defs::definitions::View;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use online_store::{RunBegun, StoreError};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::backfill::Range;
use super::lock::{Lock, Taken};
use super::plan::{Before, Plan, plan};
use super::position::Position;
use super::run::{Run, SharedReached, Work};
use super::{Asked, Mode, RunError, Task};
use crate::app::App;
use crate::source::{self, Columns};
use crate::store::{Begun, Finished, Joined, Kind, OpenRun, Reached, Whose};

/// What there is to do.
pub(super) enum Beginning<'a> {
    /// Work on this run, reading the source over this connection.
    Work(Box<Run<'a>>, PgConnection),
    /// Nothing: this part of this run has been done before.
    Already {
        run: Uuid,
        kind: Kind,
        as_of: Timestamp,
        waiting_for: Vec<u32>,
    },
}

/// What to do about the view's newest run.
enum Choice<'a> {
    New,
    /// Others began it, or an earlier process did.
    GoOn(&'a OpenRun),
    Already(&'a OpenRun),
}

impl App {
    /// Finds out what there is to do, and records that it begins.
    pub(super) async fn begin<'a>(
        &'a self,
        view: &'a View,
        asked: &Asked,
        lock: &mut Lock<'_>,
    ) -> Result<Beginning<'a>, RunError> {
        self.may_write(view).await?;
        let connection = self.database_of(&view.source).url().connect().await?;
        let now = self.now_at(&view.source).await?;
        if let Some(as_of) = asked.as_of.filter(|&as_of| as_of > now) {
            return Err(RunError::Future { as_of, now });
        }
        // Before anything is written, be it only that a run begins.
        let mut source = Source::of(view, connection).await?;
        let newest = self.store().newest_run(&view.name, asked.is_backfill()).await?;
        match choose(view, asked, newest.as_ref()) {
            Choice::Already(run) => return Ok(already(run)),
            Choice::GoOn(run) if self.record_finished(view, run).await? => return Ok(already(run)),
            Choice::GoOn(run) => {
                if let Some(run) = self.go_on(view, asked, run, (lock, &mut source)).await? {
                    return Ok(Beginning::Work(Box::new(run), source.connection));
                }
            }
            Choice::New => {}
        }
        if !asked.shard.is_whole() && lock.has_company().await? {
            return Err(lock.busy(Taken::View).await?);
        }
        let run = self.begin_new(view, asked, now, (lock, &mut source)).await?;
        Ok(Beginning::Work(Box::new(run), source.connection))
    }

    async fn begin_new<'a>(
        &'a self,
        view: &'a View,
        asked: &Asked,
        now: Timestamp,
        (lock, source): (&mut Lock<'_>, &mut Source),
    ) -> Result<Run<'a>, RunError> {
        let as_of = asked.as_of.unwrap_or(now);
        let work = self.work(view, asked.task, as_of).await?;
        let watermark = self.watermark(view, &work, as_of, &mut source.connection).await?;
        let whose = Whose {
            run: Uuid::now_v7(),
            shard: asked.shard,
        };
        // Before the record: one that is there can be continued, and so must say which Redis it writes to.
        let redis = self.begin_online(view, whose.run, &work).await?;
        let (range, every) = match &work {
            Work::Backfill(range, _) => ((Some(range.start), range.end), Some(range.every)),
            Work::Values(Plan::Incremental { since, .. }, _) => ((Some(since.event), as_of), None),
            Work::Values(Plan::Full { .. }, _) => ((None, as_of), None),
        };
        let begun = Begun {
            whose,
            view: &view.name,
            kind: work.kind(),
            reason: work.reason(),
            as_of,
            range,
            every,
            digest: &view.digest(),
            watermark,
            redis_process: Some(redis.server()),
        };
        self.store().begin(&mut lock.connection, &begun).await?;
        Ok(Run {
            app: self,
            view,
            whose,
            as_of,
            columns: source.columns.clone(),
            work,
            redis,
            reached: SharedReached::from(Reached::default()),
        })
    }

    /// Goes on with a run; `None` if that cannot be, and a new one has to begin.
    async fn go_on<'a>(
        &'a self,
        view: &'a View,
        asked: &Asked,
        open: &OpenRun,
        (lock, source): (&mut Lock<'_>, &mut Source),
    ) -> Result<Option<Run<'a>>, RunError> {
        let task = match open.kind {
            Kind::Backfill => asked.task,
            Kind::Replace => Task::Values(Mode::Replace),
            Kind::Full if open.reason.is_none() => Task::Values(Mode::Full),
            Kind::Full | Kind::Incremental => Task::Values(Mode::Incremental),
        };
        let work = match self.work(view, task, open.as_of).await {
            Ok(work) if work.kind() == open.kind => work,
            Ok(_) | Err(RunError::Earlier { .. } | RunError::SameMoment { .. }) => {
                tracing::info!(view = %view.name, run = %open.id, "cannot go on: markers have changed since it began");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let whose = Whose {
            run: open.id,
            shard: asked.shard,
        };
        let Some(redis) = self.resume_online(view, open, &work).await? else {
            tracing::info!(view = %view.name, run = %open.id, "cannot go on: Redis may have lost what it wrote");
            return Ok(None);
        };
        let watermark = self.watermark(view, &work, open.as_of, &mut source.connection).await?;
        let joined = Joined { whose, watermark };
        self.store().join(&mut lock.connection, joined).await?;
        let reached = open.shard(asked.shard).map(|shard| shard.reached.clone());
        Ok(Some(Run {
            app: self,
            view,
            whose,
            as_of: open.as_of,
            columns: source.columns.clone(),
            work,
            redis,
            reached: SharedReached::from(reached.unwrap_or_default()),
        }))
    }

    /// Records that a run is done whose process ended after it had set the marker. `false` if it had not.
    async fn record_finished(&self, view: &View, open: &OpenRun) -> Result<bool, RunError> {
        let marker = self.marker(view).await?;
        let Some(marker) = marker.filter(|marker| marker.run == open.id.to_string()) else {
            return Ok(false);
        };
        let finished = Finished {
            id: open.id,
            view: &view.name,
            kind: open.kind,
            marker: &marker,
        };
        self.store().finish(&finished).await?;
        Ok(true)
    }

    async fn work(&self, view: &View, task: Task, as_of: Timestamp) -> Result<Work, RunError> {
        let mode = match task {
            Task::Backfill(range) => {
                return self.backfill_work(view, range, as_of).await;
            }
            Task::Values(mode) => mode,
        };
        let before = Before {
            marker: self.marker(view).await?,
            record: self.store().view(&view.name).await?,
            left_behind: self.store().left_behind(&view.name, &view.digest()).await?,
        };
        Ok(Work::Values(plan(view, mode, as_of, &before)?, mode))
    }

    /// # Errors
    /// [`RunError::Earlier`], where a backfill that goes on began before a run that makes its values count for nothing, or
    /// would mix them with those of another definition.
    async fn backfill_work(&self, view: &View, range: Range, as_of: Timestamp) -> Result<Work, RunError> {
        let marker = self.marker(view).await?;
        let complete_as_of = marker.as_ref().and_then(|marker| marker.complete_as_of);
        match marker
            .filter(|marker| complete_as_of > Some(as_of) || marker.digest != view.digest() && marker.as_of > as_of)
        {
            Some(marker) => Err(RunError::Earlier {
                view: view.name.clone(),
                as_of,
                latest: marker.as_of,
            }),
            None => Ok(Work::Backfill(range, complete_as_of)),
        }
    }

    async fn watermark(
        &self,
        view: &View,
        work: &Work,
        as_of: Timestamp,
        source: &mut PgConnection,
    ) -> Result<Timestamp, RunError> {
        let position = Position::of(source)
            .await
            .map_err(|error| self.database_of(&view.source).url().error(&error))?;
        let record = self.store().view(&view.name).await?;
        position.watermark(view, work.kind(), as_of, record.map(|record| record.watermark))
    }

    /// The view's marker; one that cannot be read counts as none.
    pub(crate) async fn marker(&self, view: &View) -> Result<Option<Marker>, StoreError> {
        match self.writer().marker(&view.name).await {
            Err(StoreError::BadMarker { .. }) => Ok(None),
            other => other,
        }
    }

    /// Notes in Redis that the run writes, and how it is laid out.
    async fn begin_online(&self, view: &View, run: Uuid, work: &Work) -> Result<RunBegun, StoreError> {
        let writer = self.writer();
        let begun = match work {
            Work::Values(..) => writer.begin_run(&view.name, &run.to_string()).await?,
            // It sets no marker, and must not take the note of a run that will.
            Work::Backfill(..) => writer.server().await?,
        };
        writer.put_schema(view).await?;
        Ok(begun)
    }

    /// `None` if what the run wrote may not be there any more.
    async fn resume_online(&self, view: &View, open: &OpenRun, work: &Work) -> Result<Option<RunBegun>, StoreError> {
        let Some(process) = &open.redis_process else {
            return Ok(None);
        };
        let writer = self.writer();
        // The features may stand in another order here than where the run began.
        writer.put_schema(view).await?;
        match work {
            Work::Values(..) => writer.resume_run(&view.name, &open.id.to_string(), process).await,
            Work::Backfill(..) => {
                let begun = writer.server().await?;
                Ok((begun.server() == process).then_some(begun))
            }
        }
    }
}

/// A view's source, whose columns fit the view.
struct Source {
    connection: PgConnection,
    columns: Columns,
}

impl Source {
    async fn of(view: &View, mut connection: PgConnection) -> Result<Self, RunError> {
        let columns = source::columns_of(&mut connection, &view.source)
            .await
            .map_err(|error| RunError::Columns(vec![error.into()]))?;
        let problems = source::check_view(view, &columns);
        if problems.is_empty() {
            Ok(Self { connection, columns })
        } else {
            Err(RunError::Columns(problems))
        }
    }
}

fn choose<'a>(view: &View, asked: &Asked, newest: Option<&'a OpenRun>) -> Choice<'a> {
    let same = |run: &&OpenRun| {
        let same_range = match asked.task {
            Task::Backfill(Range { start, end, every }) => run.range == (Some(start), end) && run.every == Some(every),
            Task::Values(_) => asked.as_of.is_none_or(|as_of| as_of == run.as_of),
        };
        same_range && run.digest == view.digest() && run.shards == asked.shard.of()
    };
    let Some(run) = newest.filter(same) else {
        return Choice::New;
    };
    if run.outcome == "done" {
        // Of a moment that is over, or a range, all has been computed; "now" has moved on.
        let settled = asked.is_backfill() || asked.as_of.is_some() && answers(run, asked.task);
        return if asked.resume && settled {
            Choice::Already(run)
        } else {
            Choice::New
        };
    }
    if run.is_over() {
        return Choice::New;
    }
    let all_done = run.begun.len() == run.shards as usize && run.begun.iter().all(|shard| shard.done);
    match run.shard(asked.shard) {
        Some(_) if !asked.resume => Choice::New,
        Some(mine) if mine.done && !all_done => Choice::Already(run),
        Some(_) if covers(run, asked.task) => Choice::GoOn(run),
        // Not begun by anyone: there is nothing to continue, but company to join.
        None if asked.resume && covers(run, asked.task) || is_joinable(run, asked) => Choice::GoOn(run),
        Some(_) | None => Choice::New,
    }
}

/// Whether a run waits for those who share it. One that a later run has ended does not; but no other run says what a
/// backfill does, so that it stays open while others come and go.
fn is_joinable(run: &OpenRun, asked: &Asked) -> bool {
    // Without a moment in common, the run of an earlier day must not be taken for today's.
    let is_meant = asked.as_of.is_some() || asked.is_backfill() || !run.is_idle;
    (run.outcome != "interrupted" || asked.is_backfill()) && is_meant && answers(run, asked.task)
}

/// Whether a run does what is asked for, or more.
fn covers(run: &OpenRun, task: Task) -> bool {
    answers(run, task) || matches!((task, run.kind), (Task::Values(Mode::Incremental), Kind::Full))
}

/// Whether a run does what is asked for.
fn answers(run: &OpenRun, task: Task) -> bool {
    match (task, run.kind) {
        (Task::Backfill(_), Kind::Backfill)
        | (Task::Values(Mode::Replace), Kind::Replace)
        | (Task::Values(Mode::Incremental), Kind::Incremental) => true,
        (Task::Values(Mode::Full), Kind::Full) => run.reason.is_none(),
        (Task::Values(Mode::Incremental), Kind::Full) => run.reason.is_some(),
        _ => false,
    }
}

fn already<'a>(run: &OpenRun) -> Beginning<'a> {
    let done = |shard: &u32| run.begun.iter().any(|begun| begun.shard == *shard && begun.done);
    Beginning::Already {
        run: run.id,
        kind: run.kind,
        as_of: run.as_of,
        waiting_for: (1..=run.shards).filter(|shard| !done(shard)).collect(),
    }
}
