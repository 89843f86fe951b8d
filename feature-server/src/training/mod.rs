//! Training sets: each label's row, completed with what every stored feature was at its moment.
//!
//! The SQL is that of materialization, as of each row's moment; defaults and derived features come from the code that
//! serves. Labels go through in chunks, several at a time, all in one snapshot of the source, and come out in order.

mod labels;
#[cfg(test)]
mod tests;

use std::io::{Read, Seek, Write};
use std::sync::Arc;

use feature_defs::assemble::{Assembled, Parts, Stale, assemble};
use feature_defs::definitions::{Join, Service};
use feature_defs::key::KeyType;
use feature_defs::serving::{Status, StoredRow};
use feature_defs::value::Value;
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow, Postgres};
use sqlx::{AssertSqlSafe, Connection, Row, ValueRef};

use crate::app::{App, UnknownService};
use crate::database::DatabaseError;
use crate::progress::Progress;
use crate::source::{self, DecodeError, Problem, SourceError};

pub use labels::BadLabels;
use labels::{Label, Labels};

/// How many labels one query answers.
const CHUNK: usize = 1_000;
/// How many queries run at a time, each on a connection of its own.
const CONNECTIONS: usize = 4;

/// Settings of a session that looks up each label's entity in each view. Neighbouring labels read the same pages, which
/// are cached by then: the index on entity and event time wins, where the planner's estimates for moments it does not
/// know yet would prefer the one on event time alone and read every entity's events. Compiling, and workers beside
/// sessions that are several already, cost more than they save.
const LOOKUPS: &str =
    "SET LOCAL random_page_cost = 0.2; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0";

/// Why there is no training set.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TrainingError {
    #[error(transparent)]
    UnknownService(#[from] UnknownService),
    #[error("{0}")]
    Labels(BadLabels),
    #[error("the definitions do not fit the database:\n{}", lines(.0))]
    Columns(Vec<Problem>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(
        "the source's answer cannot be read: {0}; look at what the sources of the service's views select, and compare it with the definitions: `feature-server check --database`"
    )]
    Answer(String),
    #[error("the training set cannot be written: {0}")]
    Write(csv::Error),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
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
    /// Both are CSV; an empty cell is null. The labels' columns come first, in their order, then the inputs that are not
    /// among them, in the service's; an input that is, a request feature, holds the assembled value.
    ///
    /// # Errors
    /// Mistakes in the labels, all of them, before anything is computed; and what can go wrong with the source.
    pub async fn training_set(
        &self,
        service: &str,
        labels: impl Read + Seek + Send,
        out: impl Write + Send,
        progress: &Progress,
    ) -> Result<TrainingSummary, TrainingError> {
        let service = self.service(service)?;
        let mut labels = Labels::check(service, labels).map_err(TrainingError::Labels)?;
        progress.expect(labels.count);
        let snapshot = Snapshot::open(self, service).await?;
        let mut out = Output::begin(service, &labels.header.columns, out)?;
        let reading = &snapshot;
        let chunks = stream::iter(std::iter::from_fn(|| match labels.next_chunk(CHUNK) {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk.map_err(TrainingError::Labels)),
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
            for (label, stored) in chunk.iter().zip(&stored) {
                out.row(service, label, stored)?;
            }
            rows += chunk.len() as u64;
            progress.advance(chunk.len() as u64);
        }
        drop(answers);
        snapshot.close().await;
        progress.finish();
        Ok(TrainingSummary {
            rows,
            columns: out.finish()?,
        })
    }
}

/// One state of the source, read over several connections.
struct Snapshot {
    service: Arc<Service>,
    query: String,
    url: crate::database::DatabaseUrl,
    pool: PgPool,
    /// Holds the snapshot open for the others.
    owner: PgConnection,
}

impl Snapshot {
    async fn open(app: &App, service: &Arc<Service>) -> Result<Self, TrainingError> {
        let url = app.source_url().clone();
        let mut owner = url.connect().await?;
        let failed = |error: sqlx::Error| url.error(&error);
        let (mut columns, mut problems) = (Vec::new(), Vec::new());
        for join in &service.joins {
            let found = source::columns_of(&mut owner, &join.view.source).await?;
            problems.extend(source::check_view(&join.view, &found));
            columns.push(found);
        }
        if !problems.is_empty() {
            problems.dedup();
            return Err(TrainingError::Columns(problems));
        }
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        sqlx::raw_sql(begin).execute(&mut owner).await.map_err(failed)?;
        let id: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
            .fetch_one(&mut owner)
            .await
            .map_err(failed)?;
        let session = format!("{begin}; SET TRANSACTION SNAPSHOT '{id}'; {LOOKUPS}");
        let connections = u32::try_from(CONNECTIONS).expect("a handful");
        let pool = url.pool_of_sessions(connections, session);
        Ok(Self {
            service: Arc::clone(service),
            query: source::training_query(service, &columns),
            url,
            pool,
            owner,
        })
    }

    /// Says goodbye to the source.
    async fn close(self) {
        self.pool.close().await;
        if let Err(error) = self.owner.close().await {
            tracing::debug!("the snapshot's connection did not close in order: {error}");
        }
    }

    /// The stored rows of each label, in the order of the service's joins.
    async fn read(&self, labels: &[Label]) -> Result<Vec<Vec<StoredRow>>, TrainingError> {
        let rows = self
            .bind(labels)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.url.error(&error))?;
        if rows.len() != labels.len() {
            return Err(TrainingError::Answer(format!(
                "{} rows for {} labels",
                rows.len(),
                labels.len()
            )));
        }
        rows.iter().map(|row| stored_rows(&self.service.joins, row)).collect()
    }

    fn bind<'q>(&self, labels: &[Label]) -> sqlx::query::Query<'q, Postgres, PgArguments> {
        let numbers: Vec<i64> = (0..).take(labels.len()).collect();
        let moments: Vec<_> = labels.iter().filter_map(|label| label.moment.to_chrono()).collect();
        let mut query = sqlx::query(AssertSqlSafe(self.query.clone()))
            .bind(numbers)
            .bind(moments);
        for (k, key) in self.service.keys.iter().enumerate() {
            let column = labels.iter().map(|label| &label.keys[k]);
            query = match key.key_type {
                KeyType::String => query.bind(
                    column
                        .map(|value| match value {
                            Some(Value::String(text)) => Some(text.clone()),
                            _ => None,
                        })
                        .collect::<Vec<Option<String>>>(),
                ),
                KeyType::Int64 => query.bind(
                    column
                        .map(|value| match value {
                            Some(Value::Int64(number)) => Some(*number),
                            _ => None,
                        })
                        .collect::<Vec<Option<i64>>>(),
                ),
            };
        }
        query
    }
}

/// The answer to one label. Rows older than their view's ttl are not in it: they are as absent as those that never were.
fn stored_rows(joins: &[Join], row: &PgRow) -> Result<Vec<StoredRow>, TrainingError> {
    let mut place = 0;
    let mut next = || -> Result<_, TrainingError> {
        let value = row
            .try_get_raw(place)
            .map_err(|error| TrainingError::Answer(error.to_string()))?;
        place += 1;
        Ok(value)
    };
    let mut stored = Vec::with_capacity(joins.len());
    for join in joins {
        let absent = next()?.is_null();
        let event = next()?;
        let event = if absent {
            None
        } else {
            Some(source::timestamp(bytes(&event)?)?)
        };
        let mut values = Vec::with_capacity(join.view.fields().len());
        for field in join.view.fields() {
            let value = next()?;
            values.push(if value.is_null() {
                None
            } else {
                Some(source::decode_value(field.value_type, bytes(&value)?)?)
            });
        }
        stored.push(match absent {
            true => StoredRow::not_found(),
            false => StoredRow {
                status: Status::Present,
                event,
                values,
            },
        });
    }
    Ok(stored)
}

fn bytes<'r>(value: &sqlx::postgres::PgValueRef<'r>) -> Result<&'r [u8], TrainingError> {
    value
        .as_bytes()
        .map_err(|error| TrainingError::Answer(error.to_string()))
}

/// The training set as CSV.
struct Output<W: Write> {
    writer: csv::Writer<W>,
    columns: usize,
    /// For each column of the labels, the input that goes there instead.
    replaced: Vec<Option<usize>>,
    /// The inputs that come after the labels' columns.
    appended: Vec<usize>,
}

impl<W: Write> Output<W> {
    fn begin(service: &Service, label_columns: &[String], out: W) -> Result<Self, TrainingError> {
        let replaced: Vec<Option<usize>> = label_columns
            .iter()
            .map(|column| service.inputs.iter().position(|input| input.name == *column))
            .collect();
        let appended: Vec<usize> = (0..service.inputs.len())
            .filter(|i| !replaced.contains(&Some(*i)))
            .collect();
        let mut writer = csv::Writer::from_writer(out);
        let names = label_columns
            .iter()
            .chain(appended.iter().map(|&i| &service.inputs[i].name));
        writer.write_record(names).map_err(TrainingError::Write)?;
        Ok(Self {
            writer,
            columns: label_columns.len() + appended.len(),
            replaced,
            appended,
        })
    }

    fn row(&mut self, service: &Service, label: &Label, stored: &[StoredRow]) -> Result<(), TrainingError> {
        let parts = Parts {
            request: &label.request,
            stored,
            now: label.moment,
            stale: Stale::Default,
        };
        let inputs = assemble(service, parts);
        for (cell, replaced) in label.cells.iter().zip(&self.replaced) {
            match replaced {
                Some(input) => self.writer.write_field(text(&inputs[*input])),
                None => self.writer.write_field(cell),
            }
            .map_err(TrainingError::Write)?;
        }
        for &input in &self.appended {
            self.writer
                .write_field(text(&inputs[input]))
                .map_err(TrainingError::Write)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(TrainingError::Write)
    }

    fn finish(mut self) -> Result<usize, TrainingError> {
        self.writer
            .flush()
            .map_err(|error| TrainingError::Write(error.into()))?;
        Ok(self.columns)
    }
}

/// A value as a cell. Infinity, which JSON lacks, is spelled as every CSV reader knows it.
fn text(input: &Assembled) -> String {
    match &input.value {
        None => String::new(),
        Some(Value::Float64(x)) if x.is_infinite() => x.to_string(),
        Some(Value::Float32(x)) if x.is_infinite() => x.to_string(),
        Some(value) => value.to_text(),
    }
}
