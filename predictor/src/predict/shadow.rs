//! What a shadow version would have answered: predicted once the answer is made, logged and compared, and without any
//! consequence.

use std::sync::Arc;

use feature_defs::value::Value;

use super::answer::Answer;
use super::budget::Budget;
use super::cache::Freshness;
use super::explain::Explain;
use super::request::Instance;
use super::run::{How, Route, late};
use super::stages::Stages;
use crate::app::App;
use crate::meters::Shadowed;
use crate::model::batcher::Thread;
use crate::model::program::Outputs;
use crate::model::{Arm, Counterpart};
use crate::serving::Serving;

/// Requests of a shadow that are on their way at once; further ones are dropped, and counted.
pub(crate) const SHADOWS_AT_ONCE: usize = 64;

/// Numbers that differ by less, relative to the larger, are the same: sums are in another order in another version.
const SAME_WITHIN: f64 = 1e-6;

/// One row, as it was served.
struct ServedRow {
    prediction_id: uuid::Uuid,
    outputs: Option<Outputs>,
}

/// Predicts `instances` of the shadow, in the background.
pub(super) fn predict(
    (app, serving): (&App, &Arc<Serving>),
    shadow: &Counterpart,
    instances: Vec<Instance>,
    answer: &Answer,
) {
    let meters = &shadow.model.meters;
    let Ok(place) = Arc::clone(app.shadows()).try_acquire_owned() else {
        meters.shadowed(Shadowed::Dropped, instances.len());
        return;
    };
    let rows = answer.rows.iter().zip(&answer.predictions);
    let served: Vec<ServedRow> = rows
        .map(|(row, prediction)| ServedRow {
            prediction_id: row.prediction_id,
            outputs: prediction.as_ref().map(|prediction| prediction.outputs.clone()),
        })
        .collect();
    let (app, serving, shadow) = (app.arc(), Arc::clone(serving), shadow.clone());
    tokio::spawn(async move {
        let _place = place;
        let arm = Arm {
            model: Arc::clone(&shadow.model),
            fallback: None,
        };
        let route = Route::Pinned(&arm);
        let how = How {
            explain: Explain::No,
            freshness: Freshness::Any,
            budget: Budget::start(shadow.model.operated.deadline),
            thread: Thread::Other,
            // As what it is: in `larder_shadow_rows_total`.
            is_counted: false,
        };
        let predicting = app.answer_rows((&serving, route), (instances, None), how, Stages::default());
        let late = |_| Err(late(&shadow.model));
        let outcome = tokio::time::timeout_at(how.budget.deadline().into(), predicting).await;
        match outcome.unwrap_or_else(late) {
            Ok(answer) => compare(&shadow, &served, &answer),
            Err(error) => {
                shadow.model.meters.shadowed(Shadowed::Failed, served.len());
                let model = &shadow.model;
                tracing::info!(%model.name, %model.version, rows = served.len(), "the shadow did not predict: {error}");
            }
        }
    });
}

fn compare(shadow: &Counterpart, served: &[ServedRow], answer: &Answer) {
    let model = &shadow.model;
    let names = answer
        .predictions
        .iter()
        .flatten()
        .next()
        .map(|p| Arc::clone(&p.schema));
    for (served, (prediction, row)) in served.iter().zip(answer.predictions.iter().zip(&answer.rows)) {
        let prediction_id = served.prediction_id;
        let Some(prediction) = prediction else {
            model.meters.shadowed(Shadowed::Failed, 1);
            let error = row.error.as_ref().map_or("unknown", |error| error.message.as_str());
            tracing::info!(%model.name, %model.version, %prediction_id, "the shadow failed: {error}");
            continue;
        };
        let outputs = shadow.reorder(&prediction.outputs);
        let is_same = served.outputs.as_ref().is_some_and(|served| {
            let pairs = served.values().iter().zip(outputs.values());
            pairs.clone().count() == outputs.values().len() && pairs.clone().all(|(one, other)| alike(one, other))
        });
        let outcome = if is_same { Shadowed::Same } else { Shadowed::Differs };
        model.meters.shadowed(outcome, 1);
        let texts = |outputs: &Outputs| {
            let texts: Vec<String> = outputs.values().iter().map(Value::to_text).collect();
            texts.join(",")
        };
        let outputs_of: Vec<&str> = names
            .iter()
            .flat_map(|schema| schema.fields())
            .map(|field| field.name.as_str())
            .collect();
        tracing::info!(
            %model.name,
            %model.version,
            %prediction_id,
            outputs = outputs_of.join(","),
            served = served.outputs.as_ref().map(texts),
            shadow = texts(&outputs),
            is_same,
            "shadow"
        );
    }
}

/// Whether two outputs are the same but for rounding.
fn alike(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= SAME_WITHIN * a.abs().max(b.abs())
        }
        _ => one == other,
    }
}
