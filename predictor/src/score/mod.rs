//! Predictions of all rows of a file, made by the code that answers requests. Rows go through in batches, several at a time,
//! and come out in order; a bounded number of them is held in memory.

mod output;
mod rows;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use service::progress::Progress;
use table_files::{FileError, Place, TableOutput, TableReader};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use crate::app::App;
use crate::model::batcher::Thread;
use crate::model::{Arm, ModelName, Version};
use crate::predict::answer::{Answer, CacheState};
use crate::predict::budget::Budget;
use crate::predict::request::Instance;
use crate::predict::stages::Stages;
use crate::predict::{Explain, Freshness, How, PredictError, Route};
use output::Output;

pub(crate) use rows::{FileRow, FileRows, RowsError};

/// Rows that are predicted together: about as many as a model runs at once at most, and few enough to be held, several
/// batches at a time.
pub(crate) const BATCH: usize = 1_000;

/// Batches at once: no more parts of them than may wait for a model, however many sessions it has.
const MOST_AT_ONCE: usize = 32;

/// Why there is no scored file.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The model does not serve, or has no feature service.
    #[error(transparent)]
    Model(PredictError),
    /// The rows cannot be predicted.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A batch was not predicted in its time.
    #[error("{from} to {to}: not predicted within {within:?}: give a batch longer with --deadline")]
    Late {
        /// The batch's first row.
        from: Place,
        /// Its last.
        to: Place,
        /// The time that it had.
        within: Duration,
    },
    /// No row of a batch was predicted.
    #[error("{from} to {to}: {error}")]
    Batch {
        /// The batch's first row.
        from: Place,
        /// Its last.
        to: Place,
        /// Why.
        error: PredictError,
    },
    /// What comes out cannot be written.
    #[error("the scored file {0}")]
    Write(FileError),
}

/// What was predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreSummary {
    /// The model.
    pub model: ModelName,
    /// The version that predicted.
    pub version: Version,
    /// Rows, as many as came in.
    pub rows: u64,
    /// Those that have no prediction.
    pub failed: u64,
    /// Those whose prediction is less than it could be.
    pub degraded: u64,
    /// Those that were answered from the cache.
    pub cache_hits: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many rows that is a second.
    pub rows_per_second: f64,
}

impl App {
    /// Writes every row of `rows` to `out` with what the version that serves predicts of it: the columns that came in, one an
    /// output, and two that say why a row has none or a lesser one. A batch may take `within`.
    ///
    /// # Errors
    /// Mistakes in the rows, all of them, before anything is predicted; and [`ScoreError`]. A row that the model fails on, or
    /// that its policies reject, is none.
    pub async fn score<W: Write + Send>(
        &self,
        model: &ModelName,
        rows: TableReader,
        out: TableOutput<W>,
        (within, progress): (Duration, &Progress),
    ) -> Result<ScoreSummary, ScoreError> {
        let models = self.models();
        let served = models.get(model.as_str()).and_then(|entry| entry.served.as_ref());
        let arm = served
            .map(|served| &served.serving)
            .ok_or_else(|| ScoreError::Model(PredictError::NotLoaded(model.clone())))?;
        let featured = Route::Pinned(arm).featured().map_err(ScoreError::Model)?;
        let mut rows = FileRows::check(&[featured], rows, &output::added(featured))?;
        progress.expect(rows.count);
        let mut out = Output::begin(featured, rows.columns(), out).map_err(ScoreError::Write)?;
        let started = Instant::now();
        let mut summary = ScoreSummary {
            model: model.clone(),
            version: arm.model.version.clone(),
            rows: 0,
            failed: 0,
            degraded: 0,
            cache_hits: 0,
            seconds: 0.0,
            rows_per_second: 0.0,
        };
        let batches = stream::iter(std::iter::from_fn(|| match rows.next_chunk(BATCH) {
            Ok(batch) if batch.is_empty() => None,
            batch => Some(batch),
        }));
        // Besides the batches that run, one is read and one is written.
        let at_once = MOST_AT_ONCE.min(arm.model.batcher.sessions() + 1);
        let mut answers = batches.map(|batch| self.batch(arm, batch, within)).buffered(at_once);
        while let Some((batch, answer)) = answers.try_next().await? {
            let done = batch.len() as u64;
            summary.count(&answer);
            for ((row, said), prediction) in batch.into_iter().zip(&answer.rows).zip(&answer.predictions) {
                let outputs = prediction.as_ref().map(|prediction| &prediction.outputs);
                out.row(row, outputs, said).map_err(ScoreError::Write)?;
            }
            progress.advance(done);
        }
        out.finish().map_err(ScoreError::Write)?;
        progress.finish();
        summary.took(started.elapsed());
        Ok(summary)
    }

    /// The answer to a batch, made on threads of its own.
    async fn batch(
        &self,
        arm: &Arm,
        batch: Result<Vec<FileRow>, RowsError>,
        within: Duration,
    ) -> Result<(Vec<FileRow>, Answer), ScoreError> {
        let mut batch = batch?;
        let instances = batch.iter_mut().filter_map(|row| row.instances.pop()).collect();
        let answering = AbortOnDropHandle::new(tokio::spawn(answer(self.arc(), arm.clone(), instances, within)));
        let outcome = answering
            .await
            .unwrap_or_else(|panicked| Err(PredictError::Internal(panicked.to_string())));
        let place = |row: Option<&FileRow>| row.map_or(Place::Row(0), |row| row.place);
        let (from, to) = (place(batch.first()), place(batch.last()));
        match outcome {
            Ok(answer) => Ok((batch, answer)),
            Err(PredictError::DeadlineExceeded { .. }) => Err(ScoreError::Late { from, to, within }),
            Err(error) => Err(ScoreError::Batch { from, to, error }),
        }
    }
}

async fn answer(app: Arc<App>, arm: Arm, instances: Vec<Instance>, within: Duration) -> Result<Answer, PredictError> {
    let serving = app.serving();
    let budget = Budget::start(within);
    let how = How {
        explain: Explain::No,
        freshness: Freshness::Any,
        budget,
        thread: Thread::Other,
        is_counted: true,
    };
    let answering = app.answer_rows(
        (&serving, Route::Pinned(&arm)),
        (instances, None),
        how,
        Stages::default(),
    );
    let answer = timeout_at(budget.deadline().into(), answering).await;
    answer.unwrap_or_else(|_| {
        Err(PredictError::DeadlineExceeded {
            model: arm.model.name.clone(),
            deadline: within,
        })
    })
}

impl ScoreSummary {
    fn count(&mut self, answer: &Answer) {
        for row in &answer.rows {
            self.rows += 1;
            self.failed += u64::from(row.error.is_some());
            self.degraded += u64::from(!row.degraded.is_empty());
            self.cache_hits += u64::from(matches!(row.cache, CacheState::HitMemory | CacheState::HitRedis));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "files have no 2^53 rows")]
    fn took(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.rows_per_second = self.rows as f64 / self.seconds.max(1e-9);
    }
}
