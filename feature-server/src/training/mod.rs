//! Training sets: each label's row, completed with what every stored feature was at its moment.
//!
//! The SQL is that of materialization, as of each row's moment; defaults and derived features come from the code that
//! serves. Labels go through in chunks, several at a time, all in one snapshot of the source, and come out in order.

mod labels;
mod output;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io::Write;

use futures_util::{StreamExt, TryStreamExt, stream};
use table_files::{BadFile, FileError, TableOutput, TableReader};

use crate::app::{App, UnknownService};
use crate::database::DatabaseError;
use crate::source::{DecodeError, Problem, SourceError};
use service::progress::Progress;

use labels::Labels;
use output::Output;
use snapshot::{CONNECTIONS, Snapshot};

/// How many labels one query answers: enough that neighbours share pages, few enough to be held, several chunks at a time.
const CHUNK: usize = 4_000;

/// Why there is no training set.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TrainingError {
    #[error(transparent)]
    UnknownService(#[from] UnknownService),
    #[error("{0}")]
    Labels(BadFile),
    #[error(transparent)]
    Read(FileError),
    #[error("the definitions do not fit the database:\n{}", lines(.0))]
    Columns(Vec<Problem>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(
        "the source's answer cannot be read: {0}; look at what the sources of the service's views select, and compare it with the definitions: `feature-server check --database`"
    )]
    Answer(String),
    #[error("the training set {0}")]
    Write(FileError),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}

impl From<BadFile> for TrainingError {
    fn from(bad: BadFile) -> Self {
        Self::Labels(bad)
    }
}

impl From<SourceError> for TrainingError {
    fn from(error: SourceError) -> Self {
        Self::Columns(vec![error.into()])
    }
}

impl From<DecodeError> for TrainingError {
    fn from(error: DecodeError) -> Self {
        Self::Answer(error.to_string())
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingSummary {
    /// Rows, as many as labels.
    pub rows: u64,
    /// Columns: those of the labels and the service's inputs.
    pub columns: usize,
}

impl App {
    /// Writes every row of `labels` to `out` with the service's inputs as they were at the row's `event_timestamp`.
    ///
    /// The labels' columns come first, in their order, then the inputs that are not among them, in the service's; an input
    /// that is, a request feature, holds the assembled value. Rows keep their order.
    ///
    /// # Errors
    /// Mistakes in the labels, all of them, before anything is computed; and what can go wrong with the source.
    pub async fn training_set<W: Write + Send>(
        &self,
        service: &str,
        labels: TableReader,
        out: TableOutput<W>,
        progress: &Progress,
    ) -> Result<TrainingSummary, TrainingError> {
        let service = self.service(service)?;
        let mut labels = Labels::check(service, labels)?;
        progress.expect(labels.count);
        let snapshot = Snapshot::open(self, service).await?;
        let mut out = Output::begin(service, &labels.header, out)?;
        let reading = &snapshot;
        let chunks = stream::iter(std::iter::from_fn(|| match labels.next_chunk(CHUNK) {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk),
        }));
        let mut answers = chunks
            .map(|chunk| async move {
                let chunk = chunk?;
                let rows = reading.read(&chunk).await?;
                Ok::<_, TrainingError>((chunk, rows))
            })
            .buffered(CONNECTIONS);
        let mut rows = 0;
        while let Some((chunk, stored)) = answers.try_next().await? {
            let done = chunk.len() as u64;
            for (label, stored) in chunk.into_iter().zip(&stored) {
                out.row(service, label, stored)?;
            }
            rows += done;
            progress.advance(done);
        }
        drop(answers);
        snapshot.close().await;
        progress.finish();
        Ok(TrainingSummary {
            rows,
            columns: out.finish()?,
        })
    }

    /// The query that [`App::training_set`] asks for each chunk of labels, and Postgres's plan of it for the first.
    /// Nothing is computed.
    ///
    /// # Errors
    /// As [`App::training_set`].
    pub async fn explain_training_set(&self, service: &str, labels: TableReader) -> Result<String, TrainingError> {
        let service = self.service(service)?;
        let mut labels = Labels::check(service, labels)?;
        let chunk = labels.next_chunk(CHUNK)?;
        let snapshot = Snapshot::open(self, service).await?;
        let plan = snapshot.explain(&chunk).await?;
        snapshot.close().await;
        Ok(plan)
    }
}
