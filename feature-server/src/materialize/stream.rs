//! The pipeline of a run: COPY from Postgres, encode, write to Redis, all at once and in bounded memory.

use std::time::Duration;

use feature_defs::definitions::View;
use feature_defs::key::EntityKey;
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use online_store::{Guard, OnlineWriter, StoreError, Written};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::encode::{EncodeError, encode_row};
use super::lock::Lock;
use super::plan::Plan;
use super::{Run, RunError};
use crate::progress::Progress;
use crate::source::{CopyRows, DecodeError};
use crate::store::Counts;

/// A batch is written when it has so many values, or so many bytes.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
/// Batches on their way to Redis at a time, and as many waiting for it.
const IN_FLIGHT: usize = 4;
/// How often a run makes sure that it still holds its lock, however long it waits for rows.
const VERIFY_EVERY: Duration = Duration::from_secs(60);

type Batch = Vec<(EntityKey, Vec<u8>)>;

impl Run<'_> {
    /// Writes every row that `select` answers with. `counts` tells how far it came, whatever the outcome.
    pub(super) async fn copy(
        &self,
        source: &mut PgConnection,
        select: &str,
        lock: &mut Lock,
        counts: &mut Counts,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let (batches, received) = mpsc::channel(IN_FLIGHT);
        let writing = write(self.app.writer(), self.view.name.clone(), self.guard(), received);
        let writing = AbortOnDropHandle::new(tokio::spawn(writing));
        let read = tokio::select! {
            read = self.read(source, select, batches, counts, progress) => read,
            lost = lost(lock) => Err(lost),
        };
        let (written, wrote) = writing.await.map_err(|panic| self.unreadable(&panic))?;
        counts.written = written.written;
        counts.older = written.older;
        counts.bytes = written.bytes;
        // If writing failed, reading stopped because of it.
        wrote?;
        read
    }

    /// What decides whether a value replaces the one online. Event timestamps of another definition may be later than
    /// all of ours: then it is as-of, which every value has, and which is latest here because only one run writes.
    fn guard(&self) -> Guard {
        match self.plan {
            Plan::Full { redefined: true, .. } => Guard::AsOf,
            _ if self.view.is_aggregate() => Guard::AsOf,
            _ => Guard::EventThenCreated { complete_as_of: None },
        }
    }

    async fn read(
        &self,
        source: &mut PgConnection,
        select: &str,
        batches: mpsc::Sender<Batch>,
        counts: &mut Counts,
        progress: &Progress,
    ) -> Result<(), RunError> {
        let failed = |error: sqlx::Error| self.source_error(&error);
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off")
            .execute(&mut *source)
            .await
            .map_err(failed)?;
        let mut rows = source
            .copy_out_raw(&format!("COPY ({select}) TO STDOUT (FORMAT binary)"))
            .await
            .map_err(failed)?;
        let mut copy = CopyRows::default();
        let mut filling = Filling::default();
        while let Some(chunk) = rows.try_next().await.map_err(failed)? {
            let Some(event) = filling
                .take(self.view, self.as_of, &mut copy, &chunk)
                .map_err(|e| self.unreadable(&e))?
            else {
                continue;
            };
            counts.read += 1;
            counts.newest_row = counts.newest_row.max(event);
            if filling.is_full() {
                let batch = std::mem::take(&mut filling).batch;
                progress.advance(batch.len() as u64);
                if batches.send(batch).await.is_err() {
                    return Ok(());
                }
            }
        }
        progress.advance(filling.batch.len() as u64);
        // The receiver is gone only if writing has failed, which the caller is about to learn.
        let _sent = batches.send(filling.batch).await;
        Ok(())
    }

    fn source_error(&self, error: &sqlx::Error) -> RunError {
        match error.as_database_error() {
            Some(error) => self.unreadable(&error.message()),
            None => self.app.source_url().error(error).into(),
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

/// Comes back when the lock is lost: a run must not wait for ever, holding what it can no longer be sure of.
async fn lost(lock: &mut Lock) -> RunError {
    loop {
        tokio::time::sleep(VERIFY_EVERY).await;
        if let Err(lost) = lock.verify().await {
            return lost;
        }
    }
}

/// A batch being filled.
#[derive(Default)]
struct Filling {
    batch: Batch,
    bytes: usize,
}

impl Filling {
    /// Adds the row in this chunk and gives its event timestamp; `None` if the chunk holds no row.
    fn take(
        &mut self,
        view: &View,
        as_of: Timestamp,
        copy: &mut CopyRows,
        chunk: &[u8],
    ) -> Result<Option<Option<Timestamp>>, EncodeError> {
        let Some(fields) = copy.fields(chunk)? else {
            return Ok(None);
        };
        let row = encode_row(view, as_of, fields)?;
        self.bytes += row.blob.len();
        self.batch.push((row.key, row.blob));
        Ok(Some(row.event))
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }
}

impl From<DecodeError> for EncodeError {
    fn from(error: DecodeError) -> Self {
        Self { entity: None, error }
    }
}

/// Writes batches as they come, several at a time: each entity is in one batch only, so their order does not matter.
async fn write(
    writer: OnlineWriter,
    view: ViewName,
    guard: Guard,
    batches: mpsc::Receiver<Batch>,
) -> (Written, Result<(), StoreError>) {
    let batches = stream::unfold(batches, |mut batches| async {
        batches.recv().await.map(|batch| (batch, batches))
    });
    let writes = batches
        .map(|batch| {
            let (writer, view) = (&writer, &view);
            async move { writer.write(view, guard, &batch).await }
        })
        .buffer_unordered(IN_FLIGHT);
    let mut writes = std::pin::pin!(writes);
    let mut total = Written::default();
    while let Some(outcome) = writes.next().await {
        match outcome {
            Ok(written) => {
                total.written += written.written;
                total.older += written.older;
                total.bytes += written.bytes;
            }
            Err(error) => return (total, Err(error)),
        }
    }
    (total, Ok(()))
}
