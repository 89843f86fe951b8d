//! Runs as those work with them who run: begun, joined, moving on, finished, failed, cancelled.

use feature_defs::name::ViewName;
use feature_defs::time::{Span, Timestamp};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::records::{Begun, Counts, Finished, Joined, Kind, OpenRun, OpenShard, Reached, Whose};
use super::{Store, count, time};
use crate::database::DatabaseError;
use crate::shard::Shard;

/// What runs may have left online.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LeftBehind {
    /// The latest as-of of their values.
    pub(crate) as_of: Option<Timestamp>,
    /// The latest as-of of values of another definition.
    pub(crate) other_definition: Option<Timestamp>,
}

/// What became of the wish to cancel a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// Its processes stop within a second or so.
    Asked,
    /// No process was working on it.
    Done,
    /// It is over already.
    Over,
    /// There is no such run.
    Unknown,
}

impl Store {
    /// What the runs may have left online that began with or after the last finished one, but for those that failed before
    /// they read a row.
    pub(crate) async fn left_behind(&self, view: &ViewName, digest: &str) -> Result<LeftBehind, DatabaseError> {
        let latest = sqlx::query!(
            "SELECT max(as_of) AS as_of, max(as_of) FILTER (WHERE digest <> $3) AS other_definition
             FROM larder.materialization_runs r
             WHERE project = $1 AND view = $2
               AND NOT (outcome = 'failed'
                   AND NOT EXISTS (SELECT FROM larder.run_shards s WHERE s.run = r.id AND s.rows_read > 0))
               AND started_at >= COALESCE((
                   SELECT last.started_at
                   FROM larder.views v JOIN larder.materialization_runs last ON last.id = v.run
                   WHERE v.project = $1 AND v.view = $2
               ), '-infinity')",
            self.project.as_str(),
            view.as_str(),
            digest
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(LeftBehind {
            as_of: latest.as_of.map(Timestamp::from),
            other_definition: latest.other_definition.map(Timestamp::from),
        })
    }

    /// The backends, in Postgres's words, that hold this advisory lock.
    pub(crate) async fn lock_holders(&self, lock: &str) -> Result<Vec<i32>, DatabaseError> {
        sqlx::query_scalar!(
            r#"SELECT pid AS "pid!"
               FROM pg_locks
               WHERE locktype = 'advisory' AND granted AND objsubid = 1
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)"#,
            lock
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// What the view's advisory lock is made of.
    pub(crate) fn view_lock(&self, view: &str) -> String {
        format!("materialize {} {view}", self.project)
    }

    /// What the advisory lock of one of a view's shards is made of. All of a view is the view's own lock.
    pub(crate) fn shard_lock(&self, view: &str, shard: Shard) -> String {
        if shard.is_whole() {
            self.view_lock(view)
        } else {
            format!("materialize {} {view} {shard}", self.project)
        }
    }

    /// The view's newest run, since it was last pruned, that is a backfill, or that is none.
    pub(crate) async fn newest_run(&self, view: &ViewName, backfill: bool) -> Result<Option<OpenRun>, DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let run = sqlx::query!(
            r#"SELECT id, kind, reason, as_of, range_start, range_end, every, digest, shards, redis_process,
                    CASE WHEN cancel_requested AND outcome <> 'done' THEN 'cancelled' ELSE outcome END AS "outcome!",
                    NOT EXISTS (
                        SELECT FROM larder.run_shards s
                        WHERE s.run = r.id AND s.updated_at > clock_timestamp() - interval '10 minutes'
                    ) AS "is_idle!"
             FROM larder.materialization_runs r
             WHERE project = $1 AND view = $2 AND (kind = 'backfill') = $3
               AND started_at > COALESCE((
                   SELECT pruned_at FROM larder.pruned_views p WHERE p.project = $1 AND p.view = $2
               ), '-infinity')
             ORDER BY started_at DESC, id DESC
             LIMIT 1"#,
            self.project.as_str(),
            view.as_str(),
            backfill
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        let Some(run) = run else { return Ok(None) };
        // A kind that this program does not know is none it can go on with.
        let Some(kind) = Kind::named(&run.kind) else {
            return Ok(None);
        };
        let shards = sqlx::query!(
            "SELECT shard, outcome, step, checkpoint, warnings, rows_read, rows_written, rows_older, bytes, newest_row
             FROM larder.run_shards
             WHERE run = $1
             ORDER BY shard",
            run.id
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let begun = shards.into_iter().map(|shard| OpenShard {
            shard: shard.shard.unsigned_abs(),
            done: shard.outcome == "done",
            reached: Reached {
                counts: Counts {
                    read: shard.rows_read.unsigned_abs(),
                    written: shard.rows_written.unsigned_abs(),
                    older: shard.rows_older.unsigned_abs(),
                    bytes: shard.bytes.unsigned_abs(),
                    newest_row: shard.newest_row.map(Timestamp::from),
                },
                step: shard.step.map(Timestamp::from),
                checkpoint: shard.checkpoint.unwrap_or_default(),
                warnings: shard.warnings.into_iter().collect(),
            },
        });
        Ok(Some(OpenRun {
            id: run.id,
            kind,
            reason: run.reason,
            as_of: run.as_of.into(),
            range: (run.range_start.map(Timestamp::from), run.range_end.into()),
            every: run.every.map(Span::from_micros),
            digest: run.digest,
            outcome: run.outcome,
            shards: run.shards.unsigned_abs(),
            redis_process: run.redis_process,
            is_idle: run.is_idle,
            begun: begun.collect(),
        }))
    }

    /// Records that a run begins with its first process, and that those of the view which still stand as running have
    /// died: who calls this holds the view's lock.
    pub(crate) async fn begin(&self, connection: &mut PgConnection, run: &Begun<'_>) -> Result<(), DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'interrupted', finished_at = clock_timestamp(), error = 'its process ended before it did'
             WHERE project = $1 AND view = $2 AND outcome = 'running'",
            self.project.as_str(),
            run.view.as_str()
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let (start, end) = run.range;
        sqlx::query!(
            "INSERT INTO larder.materialization_runs
                 (id, project, view, kind, reason, as_of, range_start, range_end, every, digest, shards,
                  redis_process)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            run.whose.run,
            self.project.as_str(),
            run.view.as_str(),
            run.kind.name(),
            run.reason,
            time(run.as_of),
            start.map(time),
            time(end),
            run.every.map(Span::as_micros),
            run.digest,
            number(run.whose.shard.of()),
            run.redis_process
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        self.insert_shard(&mut transaction, run.whose, run.watermark).await?;
        transaction.commit().await.map_err(failed)
    }

    /// Records that a process joins a run, or continues what another one began of it.
    pub(crate) async fn join(&self, connection: &mut PgConnection, joined: Joined) -> Result<(), DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'running', finished_at = NULL, error = NULL
             WHERE id = $1 AND outcome NOT IN ('done', 'cancelled')",
            joined.whose.run
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        self.insert_shard(&mut transaction, joined.whose, joined.watermark)
            .await?;
        transaction.commit().await.map_err(failed)
    }

    async fn insert_shard(
        &self,
        connection: &mut PgConnection,
        whose: Whose,
        watermark: Timestamp,
    ) -> Result<(), DatabaseError> {
        let (host, pid) = (host(), i32::try_from(std::process::id()).unwrap_or(-1));
        // What was read before was read up to the earlier watermark only.
        sqlx::query!(
            "INSERT INTO larder.run_shards AS s (run, shard, watermark, host, pid)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (run, shard) DO UPDATE
             SET outcome = CASE s.outcome WHEN 'done' THEN 'done' ELSE 'running' END, error = NULL,
                 watermark = least(s.watermark, excluded.watermark), updated_at = clock_timestamp(),
                 host = excluded.host, pid = excluded.pid",
            whose.run,
            number(whose.shard.index()),
            time(watermark),
            host,
            pid
        )
        .execute(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Records how far a process has come, over the connection that holds its locks; tells whether it is to stop.
    pub(crate) async fn pulse(
        &self,
        connection: &mut PgConnection,
        whose: Whose,
        reached: &Reached,
    ) -> Result<bool, sqlx::Error> {
        self.record(connection, whose, reached).await?;
        sqlx::query_scalar!(
            r#"SELECT cancel_requested OR outcome = 'cancelled' AS "stop!" FROM larder.materialization_runs WHERE id = $1"#,
            whose.run
        )
        .fetch_optional(connection)
        .await
        .map(|stop| stop.unwrap_or(true))
    }

    async fn record(&self, connection: &mut PgConnection, whose: Whose, reached: &Reached) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE larder.run_shards
             SET updated_at = clock_timestamp(), rows_read = $3, rows_written = $4, rows_older = $5, bytes = $6,
                 newest_row = $7, step = $8, checkpoint = $9, warnings = $10
             WHERE run = $1 AND shard = $2",
            whose.run,
            number(whose.shard.index()),
            count(reached.counts.read),
            count(reached.counts.written),
            count(reached.counts.older),
            count(reached.counts.bytes),
            reached.counts.newest_row.map(time),
            reached.step.map(time),
            (!reached.checkpoint.is_empty()).then_some(reached.checkpoint.as_slice()),
            joined(reached.warnings.iter().cloned())
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Records that a process has done its part; gives the run's shards that are not done yet.
    pub(crate) async fn finish_shard(
        &self,
        connection: &mut PgConnection,
        whose: Whose,
        reached: &Reached,
    ) -> Result<Vec<u32>, DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = connection.begin().await.map_err(failed)?;
        // One at a time: of several that finish together the last one must see that it is.
        sqlx::query!(
            "SELECT id FROM larder.materialization_runs WHERE id = $1 FOR UPDATE",
            whose.run
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        self.record(&mut transaction, whose, reached).await.map_err(failed)?;
        sqlx::query!(
            "UPDATE larder.run_shards SET outcome = 'done' WHERE run = $1 AND shard = $2",
            whose.run,
            number(whose.shard.index())
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let done = sqlx::query_scalar!(
            "SELECT shard FROM larder.run_shards WHERE run = $1 AND outcome = 'done'",
            whose.run
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok((1..=whose.shard.of())
            .filter(|shard| !done.contains(&number(*shard)))
            .collect())
    }

    /// Records that a backfill is done. It says nothing of its view as a whole.
    pub(crate) async fn finish_backfill(&self, run: Uuid) -> Result<(), DatabaseError> {
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'done', finished_at = clock_timestamp(), error = NULL
             WHERE id = $1",
            run
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Records that a run is done and what its view stands at now, both or neither.
    pub(crate) async fn finish(&self, run: &Finished<'_>) -> Result<(), DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'done', finished_at = clock_timestamp(), error = NULL
             WHERE id = $1",
            run.id
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        // Of all that its shards read, what the last of them had not read yet is not read.
        sqlx::query!(
            "INSERT INTO larder.views AS v
                 (project, view, run, as_of, watermark, full_as_of, newest_row, entities, digest)
             SELECT $1, $2, $3, $4, min(watermark), $5, max(newest_row), sum(rows_written + rows_older)::bigint, $6
             FROM larder.run_shards
             WHERE run = $3
             ON CONFLICT (project, view) DO UPDATE
             SET run = excluded.run, as_of = excluded.as_of, digest = excluded.digest,
                 watermark = greatest(v.watermark, excluded.watermark),
                 full_as_of = excluded.full_as_of,
                 newest_row = greatest(v.newest_row, excluded.newest_row),
                 entities = CASE WHEN $7 THEN excluded.entities ELSE v.entities END,
                 missed_at = CASE WHEN $7 AND v.missed_at < (
                     SELECT started_at FROM larder.materialization_runs WHERE id = $3
                 ) THEN NULL ELSE v.missed_at END",
            self.project.as_str(),
            run.view.as_str(),
            run.id,
            time(run.marker.as_of),
            time(run.marker.full_as_of),
            run.marker.digest,
            run.kind.is_full()
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Records that a process has failed, or stopped because it was told to, and how far it came.
    pub(crate) async fn fail(
        &self,
        whose: Whose,
        outcome: &'static str,
        error: &str,
        reached: &Reached,
    ) -> Result<(), DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        self.record(&mut transaction, whose, reached).await.map_err(failed)?;
        sqlx::query!(
            "UPDATE larder.run_shards SET outcome = 'failed', error = $3 WHERE run = $1 AND shard = $2 AND outcome <> 'done'",
            whose.run,
            number(whose.shard.index()),
            error
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = $2, finished_at = clock_timestamp(), error = $3
             WHERE id = $1 AND outcome NOT IN ('done', 'cancelled')",
            whose.run,
            outcome,
            error
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Asks the processes of a run to stop, and ends it at once if there are none.
    pub(crate) async fn cancel(&self, run: Uuid) -> Result<Cancelled, DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let known = sqlx::query!(
            "UPDATE larder.materialization_runs
             SET cancel_requested = cancel_requested OR outcome NOT IN ('done', 'cancelled')
             WHERE id = $1 AND project = $2
             RETURNING view, outcome, shards",
            run,
            self.project.as_str()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        let Some(known) = known else {
            return Ok(Cancelled::Unknown);
        };
        if matches!(known.outcome.as_str(), "done" | "cancelled") {
            return Ok(Cancelled::Over);
        }
        // One of its shards may have failed while others work.
        let may_run = known.outcome == "running" || known.shards > 1;
        if may_run && !self.lock_holders(&self.view_lock(&known.view)).await?.is_empty() {
            return Ok(Cancelled::Asked);
        }
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'cancelled', finished_at = COALESCE(finished_at, clock_timestamp())
             WHERE id = $1 AND outcome <> 'done'",
            run
        )
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(Cancelled::Done)
    }
}

pub(super) fn joined(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// A small number as Postgres has it.
fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The name of this machine.
pub(super) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
