//! Two versions of a model on the same rows: how large and fast they are, where they differ, and which is better.
//!
//! Both get what was read of the store once, as of one moment a batch; caches and fallbacks play no part.

mod agreement;
mod latency;
mod quality;
mod sample;

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::serving::StoredRow;
use feature_defs::time::Timestamp;
use serde::Serialize;
use service::nearest;
use service::progress::Progress;
use table_files::{Place, TableReader};

use crate::app::App;
use crate::model::batcher::{RunError, Thread};
use crate::model::program::{Inputs, Outputs};
use crate::model::{Featured, Model, ModelName, Version};
use crate::predict::{PredictError, Route, features};
use crate::score::{BATCH, FileRow, FileRows, RowsError};
use agreement::Agreements;
use quality::Truth;
use sample::Sample;

pub(crate) use agreement::OutputComparison;
pub(crate) use latency::Latency;

/// How long stored features of a batch may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(15);
/// How long a version may run on a batch: who compares does not hurry.
const RUN_WITHIN: Duration = Duration::from_secs(600);
/// What is to be known of the features, whatever comes of them.
const FEATURES: &str = "as of now, read once for both versions";

/// Why two versions cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One of them has no feature service, or does not serve.
    #[error(transparent)]
    Model(PredictError),
    /// The rows cannot be predicted.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// There is no such label.
    #[error("{file} has no column `{label}`{hint}")]
    NoLabel {
        /// The file.
        file: String,
        /// The column.
        label: String,
        /// The nearest name.
        hint: String,
    },
    /// Stored features could not be read.
    #[error(
        "{from} to {to}: stored features could not be read within {READ_WITHIN:?}, without which there is nothing to \
         compare: is Redis up, and the view materialized?"
    )]
    NoFeatures {
        /// The batch's first row.
        from: Place,
        /// Its last.
        to: Place,
    },
    /// A version could not be run.
    #[error("{from} to {to}, version {version}: {error}")]
    Run {
        /// The batch's first row.
        from: Place,
        /// Its last.
        to: Place,
        /// The version.
        version: Version,
        /// Why.
        error: RunError,
    },
}

/// How two versions of a model differ. Pairs hold what is of the first version, then of the second.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The model.
    pub model: ModelName,
    /// The versions.
    pub versions: [Version; 2],
    /// The file of rows.
    pub file: String,
    /// Of which moment stored features are.
    pub features: &'static str,
    /// The rows of the file.
    pub rows: u64,
    /// Those that both versions predicted, of which the rest is told.
    pub compared: u64,
    /// The bytes of their files.
    pub size_bytes: [u64; 2],
    /// Rows that they did not predict.
    pub failed: [Failed; 2],
    /// How long they run: on one row, and on a batch.
    pub latency: Vec<Latency>,
    /// Outputs that both have.
    pub outputs: Vec<OutputComparison>,
    /// Outputs that cannot be compared, and why, a sentence each.
    pub not_compared: Vec<String>,
}

/// Rows that a version did not predict.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Failed {
    /// How many.
    pub rows: u64,
    /// The first, and why.
    pub first: Option<String>,
}

/// One of the two versions.
#[derive(Clone, Copy)]
struct Side<'a> {
    model: &'a Arc<Model>,
    featured: &'a Featured,
}

/// What a version makes of a batch.
struct Predicted {
    /// The inputs of those rows that it was asked for.
    inputs: Inputs,
    /// Which of these each row is.
    asked: Vec<Option<usize>>,
    /// One a row: its outputs, or why there are none.
    outcomes: Vec<Result<Outputs, String>>,
}

impl App {
    /// Predicts `rows` by both versions of a model, and compares what comes of it, also with column `label` if it is given.
    ///
    /// # Errors
    /// Mistakes in the rows, all of them, before anything is predicted; and [`CompareError`]. A row that a version fails on,
    /// or that its policies reject, is none.
    pub async fn compare(
        &self,
        (model, versions): (&ModelName, [&Version; 2]),
        (rows, label): (TableReader, Option<&str>),
        progress: &Progress,
    ) -> Result<Comparison, CompareError> {
        let serving = self.serving();
        let [one, other] = versions.map(|version| {
            let entry = serving.models.get(model.as_str());
            let arm = entry.and_then(|entry| entry.served.as_ref()?.versions.get(version));
            let arm = arm.ok_or_else(|| CompareError::Model(PredictError::NotLoaded(model.clone())))?;
            let featured = Route::Pinned(arm).featured().map_err(CompareError::Model)?;
            let model = &arm.model;
            Ok::<_, CompareError>(Side { model, featured })
        });
        let sides = [one?, other?];
        let mut rows = FileRows::check(&sides.map(|side| side.featured), rows, &[])?;
        let label = label.map(|label| find(&rows, label)).transpose()?;
        progress.expect(rows.count);
        let mut agreements = Agreements::of(sides.map(|side| side.featured));
        let mut sample = Sample::none(sides.map(|side| side.featured));
        let mut failed = [Failed::default(), Failed::default()];
        let mut compared = 0;
        loop {
            let batch = rows.next_chunk(BATCH)?;
            if batch.is_empty() {
                break;
            }
            let predicted = self.predict_by_both(sides, &batch).await?;
            for (failed, predicted) in failed.iter_mut().zip(&predicted) {
                failed.count(&batch, predicted);
            }
            for (i, row) in batch.iter().enumerate() {
                let [Ok(one), Ok(other)] = [&predicted[0].outcomes[i], &predicted[1].outcomes[i]] else {
                    continue;
                };
                compared += 1;
                let truth = label.and_then(|at| Truth::of(rows.columns()[at].column_type, &row.cells[at]));
                agreements.add(row.place, [one, other], truth.as_ref());
                if let [Some(one), Some(other)] = [predicted[0].asked[i], predicted[1].asked[i]] {
                    let inputs = [&predicted[0].inputs, &predicted[1].inputs];
                    sample.add(sides.map(|side| side.featured), inputs, [one, other]);
                }
            }
            progress.advance(batch.len() as u64);
        }
        progress.finish();
        let (outputs, not_compared) = agreements.finish();
        Ok(Comparison {
            model: model.clone(),
            versions: versions.map(Clone::clone),
            file: rows.name().to_owned(),
            features: FEATURES,
            rows: rows.count,
            compared,
            size_bytes: sides.map(|side| side.model.artifact.bytes),
            failed,
            latency: latency::measure(sides, &sample).await,
            outputs,
            not_compared,
        })
    }

    async fn predict_by_both(&self, sides: [Side<'_>; 2], batch: &[FileRow]) -> Result<[Predicted; 2], CompareError> {
        let (from, to) = match batch {
            [] => (Place::Row(0), Place::Row(0)),
            [first, .., last] => (first.place, last.place),
            [one] => (one.place, one.place),
        };
        let now = self.clock().now();
        let serving = self.serving();
        let sides_ref = &sides;
        let wanted = batch.iter().flat_map(move |row| {
            let pairs = sides_ref.iter().zip(&row.instances);
            pairs.map(|(side, instance)| (&*side.featured.service, instance))
        });
        let stored = features::read(&serving.reader, wanted, now, READ_WITHIN).await;
        if stored.iter().any(|row| features::is_unavailable(row)) {
            return Err(CompareError::NoFeatures { from, to });
        }
        let failed = |side: Side<'_>| {
            let version = side.model.version.clone();
            move |error| CompareError::Run {
                from,
                to,
                version,
                error,
            }
        };
        let one = sides[0]
            .predict(batch, (0, &stored), now)
            .await
            .map_err(failed(sides[0]))?;
        let other = sides[1]
            .predict(batch, (1, &stored), now)
            .await
            .map_err(failed(sides[1]))?;
        Ok([one, other])
    }
}

impl Side<'_> {
    /// What this version, the one at `place` of the two, makes of a batch.
    async fn predict(
        self,
        batch: &[FileRow],
        (place, stored): (usize, &[Vec<StoredRow>]),
        now: Timestamp,
    ) -> Result<Predicted, RunError> {
        let Self { model, featured } = self;
        let mut inputs = Inputs::none(&featured.signature);
        let mut asked = Vec::with_capacity(batch.len());
        let mut rejected = Vec::new();
        for (i, row) in batch.iter().enumerate() {
            let service = &*featured.service;
            let merged = features::merge(
                (model, service),
                &row.instances[place],
                &stored[2 * i + place],
                now,
                &mut Vec::new(),
            );
            let pushed = merged.map_err(|error| error.message).and_then(|assembled| {
                let pushed = inputs.push(&featured.signature, &assembled);
                pushed.map_err(|(i, why)| format!("input `{}` is {why}", service.inputs[i].name))
            });
            match pushed {
                Ok(()) => asked.push(Some(inputs.units() - 1)),
                Err(why) => {
                    asked.push(None);
                    rejected.push(why);
                }
            }
        }
        let ran = if inputs.units() == 0 {
            Vec::new()
        } else {
            let until = Instant::now() + RUN_WITHIN;
            let run = model
                .batcher
                .run(&featured.program, inputs.clone(), until, Thread::Other);
            run.await?.rows
        };
        let (mut ran, mut rejected) = (ran.into_iter(), rejected.into_iter());
        let outcome = |asked: &Option<usize>| {
            let none = || Err("the model was not asked".to_owned());
            match asked {
                Some(_) => ran.next().unwrap_or_else(none),
                None => rejected.next().map_or_else(none, Err),
            }
        };
        Ok(Predicted {
            outcomes: asked.iter().map(outcome).collect(),
            inputs,
            asked,
        })
    }
}

impl Failed {
    fn count(&mut self, batch: &[FileRow], predicted: &Predicted) {
        for (row, outcome) in batch.iter().zip(&predicted.outcomes) {
            let Err(why) = outcome else { continue };
            self.rows += 1;
            self.first.get_or_insert_with(|| format!("{}: {why}", row.place));
        }
    }
}

fn find(rows: &FileRows<'_>, label: &str) -> Result<usize, CompareError> {
    let names = || rows.columns().iter().map(|column| column.name.as_str());
    names()
        .position(|name| name == label)
        .ok_or_else(|| CompareError::NoLabel {
            file: rows.name().to_owned(),
            label: label.to_owned(),
            hint: nearest::hint(label, names()),
        })
}
