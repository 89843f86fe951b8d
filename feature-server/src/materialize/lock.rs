//! One run of a view at a time: advisory locks of the metadata database, held by a connection of their own.
//!
//! A run that is not shared holds its view's lock alone. Processes that share a run hold the view's lock together and
//! each its shard's alone.

use std::time::Duration;

use feature_defs::name::ViewName;
use sqlx::postgres::PgConnection;

use super::RunError;
use crate::database::DatabaseError;
use crate::shard::Shard;
use crate::store::{Reached, ShardRecord, Store, Whose};

/// How long the connection that holds the locks may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Proof that no other process works on this shard of this view, for as long as its connection lives.
#[derive(Debug)]
pub(crate) struct Lock<'a> {
    store: &'a Store,
    view: &'a ViewName,
    shard: Shard,
    pub(super) connection: PgConnection,
}

/// What another process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The view's lock, alone or together with others.
    View,
    /// The lock of the same shard.
    Shard,
}

impl<'a> Lock<'a> {
    /// Takes the view's lock, or its part of it.
    ///
    /// # Errors
    /// [`RunError::Busy`] with the run that holds it.
    pub(crate) async fn take(store: &'a Store, view: &'a ViewName, shard: Shard) -> Result<Self, RunError> {
        let connection = store.url().connect().await?;
        let mut lock = Self {
            store,
            view,
            shard,
            connection,
        };
        let name = view.as_str();
        if !shard.is_whole() {
            // First, so that whoever else holds the view's lock has decided which run it works on.
            lock.take_turn().await?;
        }
        let is_ours = match shard.is_whole() {
            true => lock.try_alone(store.view_lock(name)).await?,
            false => lock.try_together(store.view_lock(name)).await?,
        };
        if !is_ours {
            return Err(lock.busy(Taken::View).await?);
        }
        if !shard.is_whole() && !lock.try_alone(store.shard_lock(name, shard)).await? {
            return Err(lock.busy(Taken::Shard).await?);
        }
        Ok(lock)
    }

    async fn try_alone(&mut self, name: String) -> Result<bool, DatabaseError> {
        sqlx::query_scalar!(
            r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "taken!""#,
            name
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(|error| self.store.url().error(&error))
    }

    async fn try_together(&mut self, name: String) -> Result<bool, DatabaseError> {
        sqlx::query_scalar!(
            r#"SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0)) AS "taken!""#,
            name
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(|error| self.store.url().error(&error))
    }

    /// Waits until no other process is deciding which run of the view it works on. Who holds the view's lock alone needs no
    /// turn.
    async fn take_turn(&mut self) -> Result<(), DatabaseError> {
        sqlx::query!(
            "SELECT pg_advisory_lock(hashtextextended($1, 0))",
            format!("{} turn", self.store.view_lock(self.view.as_str()))
        )
        .fetch_one(&mut self.connection)
        .await
        .map(|_| ())
        .map_err(|error| self.store.url().error(&error))
    }

    /// Lets the next process decide.
    pub(super) async fn end_turn(&mut self) -> Result<(), DatabaseError> {
        if self.shard.is_whole() {
            return Ok(());
        }
        sqlx::query!(
            "SELECT pg_advisory_unlock(hashtextextended($1, 0))",
            format!("{} turn", self.store.view_lock(self.view.as_str()))
        )
        .fetch_one(&mut self.connection)
        .await
        .map(|_| ())
        .map_err(|error| self.store.url().error(&error))
    }

    /// Whether other processes work on shards of the view.
    pub(super) async fn has_company(&self) -> Result<bool, DatabaseError> {
        let holders = self
            .store
            .lock_holders(&self.store.view_lock(self.view.as_str()))
            .await?;
        Ok(holders.len() > 1)
    }

    /// Gives the locks back at once: Postgres notices some time later that a connection is gone, and until then the next
    /// process would be told that this one is at work.
    pub(crate) async fn release(mut self) {
        let released = sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.connection);
        // Where that fails, the locks go with the connection.
        let _ends_anyway = tokio::time::timeout(ANSWER_WITHIN, released).await;
    }

    /// The error that says who is at work.
    pub(super) async fn busy(&mut self, taken: Taken) -> Result<RunError, DatabaseError> {
        let name = self.view.as_str();
        let ours: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| self.store.url().error(&error))?;
        let runs = self.store.runs(Some(name), 5).await?;
        let lock = match taken {
            Taken::View => self.store.view_lock(name),
            Taken::Shard => self.store.shard_lock(name, self.shard),
        };
        let is_in_the_way = |process: &&ShardRecord| {
            let is_ours = process.shard.unsigned_abs() == self.shard.index();
            process.outcome == "running" && (taken == Taken::View || is_ours)
        };
        let holders = self.store.lock_holders(&lock).await?;
        let at_work = runs.iter().find_map(|run| {
            let process = run.processes.iter().find(is_in_the_way)?;
            let since = process.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            let shard = if run.shards > 1 {
                format!("shard {}/{} of ", process.shard, run.shards)
            } else {
                String::new()
            };
            Some(format!(
                "{shard}run {} of process {} on {}, since {since}",
                run.id, process.pid, process.host
            ))
        });
        let remedy = holders
            .iter()
            .find(|&&backend| backend != ours)
            .map_or_else(String::new, |backend| {
                format!("; if its process hangs or cannot be reached: SELECT pg_terminate_backend({backend})")
            });
        Ok(RunError::Busy {
            view: self.view.clone(),
            holder: at_work.unwrap_or_else(|| "a process that is just starting or ending a run".to_owned()),
            remedy,
        })
    }

    /// Records how far the run has come, and makes sure that the locks are still ours: with the connection they are lost,
    /// and another run may have begun.
    ///
    /// # Errors
    /// [`RunError::LockLost`], or [`RunError::Cancelled`] if that was asked for.
    pub(super) async fn pulse(&mut self, whose: Whose, reached: &Reached) -> Result<(), RunError> {
        let asked = self.store.pulse(&mut self.connection, whose, reached);
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true)) => Err(RunError::Cancelled(whose.run)),
            Ok(Err(error)) => Err(RunError::LockLost(error.to_string())),
            Err(_) => Err(RunError::LockLost(format!(
                "no answer within {} s",
                ANSWER_WITHIN.as_secs()
            ))),
        }
    }
}
