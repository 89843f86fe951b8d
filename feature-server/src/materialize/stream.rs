//! The pipeline of a run: COPY from Postgres, encode, write to Redis, all at once and in bounded memory.

use std::sync::Arc;
use std::time::Duration;

use feature_defs::key::{EntityKey, KeyType, KeyValue};
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use feature_defs::value::Value;
use futures_util::stream::FuturesOrdered;
use futures_util::{StreamExt, TryStreamExt};
use online_store::{Guard, OnlineWriter, StoreError, Written};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc::{self, error::SendError};
use tokio_util::task::AbortOnDropHandle;

use super::RunError;
use super::encode::{EncodeError, encode_row};
use super::lock::Lock;
use super::plan::{Plan, guard};
use super::run::{Run, SharedReached, Work};
use crate::source::{CopyRows, DecodeError};
use service::progress::Progress;

/// A batch is written when it has so many values, or so many bytes.
const BATCH_ROWS: usize = 250;
const BATCH_BYTES: usize = 1 << 20;
/// Batches on their way to Redis at a time, and as many waiting for it.
const IN_FLIGHT: usize = 4;
/// How often a run records how far it has come, and looks whether it still holds its locks and is not to stop.
const PULSE_EVERY: Duration = Duration::from_secs(1);

/// Values in the order of their keys.
#[derive(Default)]
struct Batch {
    values: Vec<(EntityKey, Vec<u8>)>,
    bytes: usize,
    /// The last entity's join keys.
    last: Vec<KeyValue>,
    /// The latest event timestamp among the rows.
    newest_row: Option<Timestamp>,
}

impl Run<'_> {
    /// Join keys of the entity after which there is something left to do; none at the beginning.
    pub(super) fn checkpoint(&self) -> Vec<KeyValue> {
        let texts = self.reached.lock().checkpoint.clone();
        let keys = texts.into_iter().zip(&self.view.entity.join_keys);
        // Written by a run of the same definition: what cannot be read as its key is none of ours.
        let keys = keys.map(|(text, key)| match key.key_type {
            KeyType::String => Some(KeyValue::String(text)),
            KeyType::Int64 => text.parse().ok().map(KeyValue::Int64),
        });
        keys.collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Writes every row that `select` answers with.
    pub(super) async fn copy(
        &self,
        source: &mut PgConnection,
        select: &str,
        lock: &mut Lock<'_>,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let (batches, received) = mpsc::channel(IN_FLIGHT);
        let writing = Writing {
            writer: self.app.writer(),
            view: self.view.name.clone(),
            guard: self.guard(),
            reached: Arc::clone(&self.reached),
        };
        let writing = AbortOnDropHandle::new(tokio::spawn(writing.write(received)));
        let both = async {
            let read = self.read(source, select, batches, progress).await;
            // If writing failed, reading stopped because of it.
            writing.await.map_err(|panic| self.unreadable(&panic))??;
            read
        };
        self.while_held(lock, both).await
    }

    /// Does this for as long as the run holds its locks and is not told to stop.
    pub(super) async fn while_held<T>(
        &self,
        lock: &mut Lock<'_>,
        doing: impl Future<Output = Result<T, RunError>>,
    ) -> Result<T, RunError> {
        tokio::select! {
            done = doing => done,
            stopped = self.pulse(lock) => Err(stopped),
        }
    }

    /// Keeps the record of the run true, until its locks are lost or it is told to stop: a run must not wait for ever,
    /// holding what it can no longer be sure of.
    async fn pulse(&self, lock: &mut Lock<'_>) -> RunError {
        loop {
            tokio::time::sleep(PULSE_EVERY).await;
            let reached = self.reached.now();
            if let Err(stopped) = lock.pulse(self.whose, &reached).await {
                return stopped;
            }
        }
    }

    /// What decides whether a value replaces the one online. Where what stands there counts for nothing, it is as-of, which
    /// every value has, and which is latest here because only one run writes.
    fn guard(&self) -> Guard {
        let (complete, complete_as_of) = match &self.work {
            Work::Values(plan @ Plan::Full { complete, .. }, _) => (*complete, plan.complete_as_of(self.as_of)),
            Work::Values(plan @ Plan::Incremental { .. }, _) => (false, plan.complete_as_of(self.as_of)),
            Work::Backfill(_, complete_as_of) => (false, *complete_as_of),
        };
        match complete {
            true => Guard::AsOf,
            false => guard(self.view, complete_as_of),
        }
    }

    async fn read(
        &self,
        source: &mut PgConnection,
        select: &str,
        batches: mpsc::Sender<Batch>,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let failed = |error: sqlx::Error| self.source_error(&error);
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off")
            .execute(&mut *source)
            .await
            .map_err(failed)?;
        self.check_expectations(source, select).await?;
        let mut rows = source
            .copy_out_raw(&format!("COPY ({select}) TO STDOUT (FORMAT binary)"))
            .await
            .map_err(failed)?;
        let mut copy = CopyRows::default();
        let mut batch = Batch::default();
        while let Some(chunk) = rows.try_next().await.map_err(failed)? {
            self.take(&mut batch, &mut copy, &chunk)?;
            if batch.values.len() >= BATCH_ROWS || batch.bytes >= BATCH_BYTES {
                // The receiver is gone only if writing has failed, which the caller is about to learn.
                if self
                    .pass_on(std::mem::take(&mut batch), &batches, progress)
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
        drop(rows);
        let _sent = self.pass_on(batch, &batches, progress).await;
        drop(batches);
        sqlx::raw_sql("COMMIT")
            .execute(source)
            .await
            .map(|_| ())
            .map_err(failed)
    }

    /// Adds the row in this chunk, if it holds one, to the batch.
    fn take(&self, batch: &mut Batch, copy: &mut CopyRows, chunk: &[u8]) -> Result<(), RunError> {
        let read = copy.fields(chunk).map_err(|e| self.unreadable(&e))?;
        let Some(fields) = read else { return Ok(()) };
        let row = encode_row(self.view, self.as_of, fields).map_err(|e| self.unreadable(&e))?;
        batch.bytes += row.blob.len();
        batch.values.push((row.key, row.blob));
        batch.last = row.join_keys;
        batch.newest_row = batch.newest_row.max(row.event);
        Ok(())
    }

    /// Counts what was read, and gives it to be written.
    async fn pass_on(
        &self,
        batch: Batch,
        batches: &mpsc::Sender<Batch>,
        progress: &Progress,
    ) -> Result<(), SendError<Batch>> {
        if batch.values.is_empty() {
            return Ok(());
        }
        let read = batch.values.len() as u64;
        progress.advance(read);
        self.reached.lock().counts.add_read(read, batch.newest_row);
        batches.send(batch).await
    }

    pub(super) fn source_error(&self, error: &sqlx::Error) -> RunError {
        match error.as_database_error() {
            Some(error) => self.unreadable(&error.message()),
            None => self.app.database_of(&self.view.source).url().error(error).into(),
        }
    }

    fn unreadable(&self, reason: &dyn std::fmt::Display) -> RunError {
        RunError::Source {
            view: self.view.name.clone(),
            relation: self.view.source.name.to_string(),
            reason: reason.to_string(),
        }
    }
}

/// The half of the pipeline that writes.
struct Writing {
    writer: OnlineWriter,
    view: ViewName,
    guard: Guard,
    reached: Arc<SharedReached>,
}

impl Writing {
    /// Writes batches as they come, several at a time. They count in the order in which they began, so that all before the
    /// last entity of one that counts is written.
    async fn write(self, mut batches: mpsc::Receiver<Batch>) -> Result<(), StoreError> {
        let mut in_flight = FuturesOrdered::new();
        loop {
            tokio::select! {
                Some(done) = in_flight.next() => self.count(done?),
                Some(batch) = batches.recv(), if in_flight.len() < IN_FLIGHT => in_flight.push_back(self.batch(batch)),
                else => return Ok(()),
            }
        }
    }

    async fn batch(&self, batch: Batch) -> Result<(Written, Vec<KeyValue>), StoreError> {
        let written = self.writer.write(&self.view, self.guard, &batch.values).await?;
        Ok((written, batch.last))
    }

    fn count(&self, (written, last): (Written, Vec<KeyValue>)) {
        let mut reached = self.reached.lock();
        reached.counts.written += written.written;
        reached.counts.older += written.older;
        reached.counts.bytes += written.bytes;
        reached.checkpoint = last.into_iter().map(|key| Value::from(key).to_text()).collect();
    }
}

impl From<DecodeError> for EncodeError {
    fn from(error: DecodeError) -> Self {
        Self { entity: None, error }
    }
}
