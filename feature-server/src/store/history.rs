//! Runs as people look at them: how far they came, who is at work, who has died.

use uuid::Uuid;

use super::Store;
use super::records::{RunRecord, ShardRecord};
use super::runs::joined;
use crate::database::DatabaseError;
use crate::shard::Shard;

impl Store {
    /// The newest runs first, of one view or of all.
    pub(crate) async fn runs(&self, view: Option<&str>, limit: i64) -> Result<Vec<RunRecord>, DatabaseError> {
        let is_dead = |run: &&RunRecord| run.outcome == "interrupted";
        let mut dead: Vec<Uuid> = Vec::new();
        loop {
            let runs = self.read_runs(view, limit).await?;
            let now: Vec<Uuid> = runs.iter().filter(is_dead).map(|run| run.id).collect();
            // A run that ends between the look at its record and that at its lock seems dead, once.
            if now == dead {
                return Ok(runs);
            }
            dead = now;
        }
    }

    async fn read_runs(&self, view: Option<&str>, limit: i64) -> Result<Vec<RunRecord>, DatabaseError> {
        let runs = sqlx::query!(
            "SELECT id, view, kind, reason, as_of, range_start, range_end, started_at, finished_at, outcome, error, shards,
                    cancel_requested
             FROM larder.materialization_runs
             WHERE project = $1 AND ($2::text IS NULL OR view = $2)
             ORDER BY started_at DESC, id DESC
             LIMIT $3",
            self.project.as_str(),
            view,
            limit
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        let ids: Vec<Uuid> = runs.iter().map(|run| run.id).collect();
        let mut shards = self.shards(&ids).await?;
        let mut records = Vec::with_capacity(runs.len());
        for run in runs {
            let mut processes: Vec<ShardRecord> = shards.extract_if(.., |shard| shard.run == run.id).collect();
            self.tell_the_dead(&run.view, run.shards, &mut processes).await?;
            let sum = |of: fn(&ShardRecord) -> i64| processes.iter().map(of).sum();
            records.push(RunRecord {
                id: run.id,
                kind: run.kind,
                reason: run.reason,
                as_of: run.as_of,
                range_start: run.range_start,
                range_end: run.range_end,
                started_at: run.started_at,
                finished_at: run.finished_at,
                outcome: outcome(run.outcome, run.shards, &processes),
                error: run.error,
                shards: run.shards,
                cancel_requested: run.cancel_requested,
                rows_read: sum(|shard| shard.rows_read),
                rows_written: sum(|shard| shard.rows_written),
                rows_older: sum(|shard| shard.rows_older),
                bytes: sum(|shard| shard.bytes),
                newest_row: processes.iter().filter_map(|shard| shard.newest_row).max(),
                warnings: joined(processes.iter().filter_map(|shard| shard.warnings.clone())),
                view: run.view,
                processes,
            });
        }
        Ok(records)
    }

    /// How a run ended, or where it stands, as [`RunRecord::outcome`] says it.
    pub(crate) async fn outcome(&self, run: Uuid) -> Result<String, DatabaseError> {
        match self.read_outcome(run).await? {
            // As above: the second look, at the record of one that has let go of its lock, tells.
            seeming if seeming == "interrupted" => self.read_outcome(run).await,
            outcome => Ok(outcome),
        }
    }

    async fn read_outcome(&self, run: Uuid) -> Result<String, DatabaseError> {
        let known = sqlx::query!(
            "SELECT view, outcome, shards FROM larder.materialization_runs WHERE id = $1",
            run
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        let mut processes = self.shards(&[run]).await?;
        self.tell_the_dead(&known.view, known.shards, &mut processes).await?;
        Ok(outcome(known.outcome, known.shards, &processes))
    }

    async fn shards(&self, runs: &[Uuid]) -> Result<Vec<ShardRecord>, DatabaseError> {
        sqlx::query_as!(
            ShardRecord,
            "SELECT run, shard, outcome, error, step, started_at, updated_at, rows_read, rows_written, rows_older, bytes,
                    newest_row, warnings, host, pid
             FROM larder.run_shards
             WHERE run = ANY ($1)
             ORDER BY run, shard",
            runs
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// A process holds its locks while it works: one that is recorded as running and holds none has died.
    async fn tell_the_dead(&self, view: &str, of: i32, processes: &mut [ShardRecord]) -> Result<(), DatabaseError> {
        for process in processes.iter_mut().filter(|process| process.outcome == "running") {
            let shard = Shard::new(process.shard.unsigned_abs(), of.unsigned_abs());
            let name = self.shard_lock(view, shard.unwrap_or(Shard::WHOLE));
            if self.lock_holders(&name).await?.is_empty() {
                process.outcome = "interrupted".to_owned();
            }
        }
        Ok(())
    }
}

/// What is to be said of a run with these processes.
fn outcome(recorded: String, shards: i32, processes: &[ShardRecord]) -> String {
    let any = |outcome: &str| processes.iter().any(|process| process.outcome == outcome);
    let begun = i32::try_from(processes.len()).unwrap_or(i32::MAX);
    if !matches!(recorded.as_str(), "running" | "failed") {
        recorded
    } else if any("running") {
        "running".to_owned()
    } else if recorded == "failed" {
        recorded
    } else if any("interrupted") || begun >= shards {
        // All may be done but for the marker: that, too, is for another process to go on with.
        "interrupted".to_owned()
    } else {
        "waiting".to_owned()
    }
}
