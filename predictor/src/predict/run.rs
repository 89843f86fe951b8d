//! From a request's bytes to its answer, within the model's deadline.

use std::sync::Arc;
use std::time::Instant;

use feature_defs::assemble::{Assembled, Parts, Stale, assemble};
use feature_defs::serving::StoredRow;
use feature_defs::time::Timestamp;
use feature_defs::value::Value;
use online_store::OnlineReader;
use service::nearest;
use uuid::{NoContext, Uuid};

use super::answer::{Answer, CacheState, Degraded, Prediction, Row, RowError, RowStatus};
use super::budget::Budget;
use super::cache::{self, Asking};
use super::error::{PredictError, shortened};
use super::explain::{Explain, Explained};
use super::features;
use super::request::{Instance, Request};
use super::stages::Stages;
use crate::app::App;
use crate::meters::{self, Fault};
use crate::model::config::WhenUnavailable;
use crate::model::runtime::RunError;
use crate::model::tensor::{InputRow, Outputs};
use crate::model::{Carried, Fallback, Model, Models, Served};

/// A call, before anything of it is checked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The version, if the caller insists on one.
    pub version: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// Whether to show inputs.
    pub explain: Explain,
}

/// A row on its way to an answer.
struct Planned {
    plan: Plan,
    cache: CacheState,
    degraded: Vec<Degraded>,
    explained: Option<Explained>,
}

enum Plan {
    /// The model is to be asked.
    Model(InputRow),
    /// The fallback model is to be asked.
    Fallback(InputRow),
    /// Nothing is to be asked any more.
    Done(Result<Outputs, RowError>),
}

impl App {
    /// Answers a call.
    ///
    /// # Errors
    /// [`PredictError`]: no row was answered.
    pub async fn predict(&self, asked: Asked<'_>) -> Result<Answer, PredictError> {
        // One state from beginning to end, whatever takes its place meanwhile.
        let serving = self.serving();
        let served =
            find(&serving.models, &asked).inspect_err(|error| meters::not_served(error.model(), error.fault()))?;
        let model = &served.model;
        let budget = Budget::start(model.deadline);
        let outcome = tokio::time::timeout_at(
            budget.deadline().into(),
            self.answer(&serving.reader, served, (asked, budget)),
        )
        .await;
        // Work that does not wait is not interrupted by the timeout, but an answer after the deadline is no answer.
        let outcome = match outcome {
            Ok(Ok(_)) if budget.is_over() => Err(late(model)),
            Ok(outcome) => outcome,
            Err(_) => Err(late(model)),
        };
        match &outcome {
            Ok(answer) => model.meters.answered(&answer.stages, answer.rows.len()),
            Err(error) => model.meters.unanswered(error.fault(), budget.elapsed()),
        }
        outcome
    }

    async fn answer(
        &self,
        reader: &OnlineReader,
        served: &Served,
        (asked, budget): (Asked<'_>, Budget),
    ) -> Result<Answer, PredictError> {
        let model = &served.model;
        let now = self.clock().now();
        let mut stages = Stages::default();
        let request = model.shape.read(asked.body, self.max_instances())?;
        stages.validate = budget.elapsed();

        let reading = Instant::now();
        let service = &model.service;
        let stored = features::read(reader, service, &request.instances, now, budget.for_features()).await;
        if !service.joins.is_empty() {
            stages.feature_read = Some(reading.elapsed());
        }
        stored.iter().for_each(|row| model.meters.read(row, now));
        if model.settings.when_unavailable == WhenUnavailable::Reject
            && stored.iter().any(|row| features::is_unavailable(row))
        {
            return Err(PredictError::FeaturesUnavailable(model.name.clone()));
        }

        let rows = request.instances.iter().zip(&stored);
        let mut planned: Vec<Planned> = rows
            .map(|(instance, stored)| plan(served, instance, stored, (now, asked.explain)))
            .collect();
        ask_models(served, &mut planned, (now, budget), &mut stages).await?;
        stages.total = budget.elapsed();
        Ok(assemble_answer(model, request, &stored, planned, (now, stages)))
    }
}

fn find<'a>(models: &'a Models, asked: &Asked<'_>) -> Result<&'a Served, PredictError> {
    let (_, state) = models.get(asked.model).ok_or_else(|| PredictError::UnknownModel {
        name: shortened(asked.model),
        hint: nearest::hint(asked.model, models.iter().map(|(name, ..)| name.as_str())),
    })?;
    let Some(served) = state.served() else {
        let name = asked.model.parse();
        return Err(name.map_or_else(|e| PredictError::Internal(format!("{e}")), PredictError::NotLoaded));
    };
    match asked.version {
        Some(version) if version != served.model.version.as_str() => Err(PredictError::UnknownVersion {
            model: served.model.name.clone(),
            asked: shortened(version),
            serving: served.model.version.to_string(),
        }),
        _ => Ok(served),
    }
}

fn late(model: &Model) -> PredictError {
    PredictError::DeadlineExceeded {
        model: model.name.clone(),
        deadline: model.deadline,
    }
}

/// Decides who answers a row.
fn plan(served: &Served, instance: &Instance, stored: &[StoredRow], (now, explain): (Timestamp, Explain)) -> Planned {
    let model = &served.model;
    let mut degraded = Vec::new();
    let mut explained = None;
    let mut explain = |model: &Model, instance: &Instance, stored: &[StoredRow], inputs: &[Assembled]| {
        if explain == Explain::Yes {
            let stale = model.settings.when_stale.stale();
            explained = Some(Explained::new(&model.service, instance, (stored, stale), inputs));
        }
    };
    let unavailable = features::is_unavailable(stored);
    if unavailable {
        degraded.push(Degraded::StoreUnavailable);
    }
    let fallback = served
        .fallback
        .as_ref()
        .filter(|_| model.settings.when_unavailable == WhenUnavailable::Fallback);
    let plan = match fallback {
        Some(Fallback::Output(outputs)) if unavailable => {
            degraded.push(Degraded::FallbackOutput);
            Plan::Done(Ok(outputs.clone()))
        }
        Some(Fallback::Model {
            model: fallback,
            request,
            ..
        }) if unavailable => {
            degraded.push(Degraded::FallbackModel);
            let instance = carry(instance, request);
            let parts = Parts {
                request: &instance.request,
                stored: &[],
                now,
                stale: Stale::Default,
            };
            let inputs = assemble(&fallback.service, parts);
            explain(fallback, &instance, &[], &inputs);
            row(fallback, &inputs).map_or_else(|e| Plan::Done(Err(e)), Plan::Fallback)
        }
        _ => match features::merge(model, instance, stored, now, &mut degraded) {
            Err(rejected) => Plan::Done(Err(rejected)),
            Ok(inputs) => {
                explain(model, instance, stored, &inputs);
                row(model, &inputs).map_or_else(|e| Plan::Done(Err(e)), Plan::Model)
            }
        },
    };
    Planned {
        plan,
        cache: CacheState::Off,
        degraded,
        explained,
    }
}

/// The fallback's instance, made of what the request carries.
fn carry(instance: &Instance, request: &[Carried]) -> Instance {
    let value = |carried: &Carried| match *carried {
        Carried::Request(index) => instance.request[index].clone(),
        Carried::Key(index) => instance.keys[index].clone().map(Value::from),
    };
    Instance {
        keys: Vec::new(),
        request: request.iter().map(value).collect(),
        overrides: Vec::new(),
    }
}

fn row(model: &Model, inputs: &[Assembled]) -> Result<InputRow, RowError> {
    InputRow::new(&model.signature, inputs).map_err(|(i, why)| RowError {
        code: "input_out_of_range",
        message: format!("input `{}` is {why}", model.service.inputs[i].name),
    })
}

/// Asks the model, and then its fallback, for the rows that need them.
async fn ask_models(
    served: &Served,
    planned: &mut [Planned],
    (now, budget): (Timestamp, Budget),
    stages: &mut Stages,
) -> Result<(), PredictError> {
    let own: Vec<usize> = (0..served.model.signature.places.len()).collect();
    let primary = (&served.model, own.as_slice());
    let secondary = match &served.fallback {
        Some(Fallback::Model { model, outputs, .. }) => Some((model, outputs.as_slice())),
        _ => None,
    };
    for (i, (model, order)) in std::iter::once(primary).chain(secondary).enumerate() {
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        for (place, planned) in planned.iter_mut().enumerate() {
            if let (Plan::Model(row), 0) | (Plan::Fallback(row), 1) = (&mut planned.plan, i) {
                places.push(place);
                rows.push(InputRow(std::mem::take(&mut row.0)));
            }
        }
        if rows.is_empty() {
            continue;
        }
        let predicted = cache::predict(&Asking { model, now, budget }, rows, stages)
            .await
            .map_err(|e| match e {
                RunError::Overloaded => PredictError::Overloaded(served.model.name.clone()),
                RunError::Ended => late(&served.model),
                RunError::Failed(cause) => PredictError::Internal(cause),
            })?;
        let mut failed = 0;
        for (place, (outcome, state)) in places.into_iter().zip(predicted) {
            failed += usize::from(outcome.is_err());
            planned[place].cache = state;
            planned[place].plan = Plan::Done(outcome.map_or_else(
                |message| {
                    Err(RowError {
                        code: "model_failed",
                        message,
                    })
                },
                |outputs| Ok(reorder(&outputs, order)),
            ));
        }
        if failed > 0 {
            (0..failed).for_each(|_| model.meters.failed(Fault::Model));
            tracing::warn!(model = %model.name, rows = failed, "the model failed on some rows");
        }
    }
    Ok(())
}

fn reorder(outputs: &Outputs, order: &[usize]) -> Outputs {
    if order.len() == outputs.0.len() && order.iter().enumerate().all(|(i, o)| i == *o) {
        return outputs.clone();
    }
    Outputs(order.iter().map(|&i| outputs.0[i].clone()).collect())
}

fn assemble_answer(
    model: &Model,
    request: Request,
    stored: &[Vec<StoredRow>],
    planned: Vec<Planned>,
    (now, stages): (Timestamp, Stages),
) -> Answer {
    let mut ids = request.ids.map(Vec::into_iter);
    let mut answer = Answer {
        model_name: model.name.clone(),
        model_version: model.version.clone(),
        predictions: Vec::with_capacity(planned.len()),
        rows: Vec::with_capacity(planned.len()),
        stages,
    };
    for (planned, stored) in planned.into_iter().zip(stored) {
        model.meters.cached(planned.cache);
        planned
            .degraded
            .iter()
            .for_each(|reason| model.meters.degraded(*reason));
        let (outputs, error) = match planned.plan {
            Plan::Done(Ok(outputs)) => (Some(outputs), None),
            Plan::Done(Err(error)) => (None, Some(error)),
            Plan::Model(_) | Plan::Fallback(_) => unreachable!("every planned row has been asked for"),
        };
        let schema = || Arc::clone(&model.output_schema);
        answer.predictions.push(outputs.map(|outputs| Prediction {
            schema: schema(),
            outputs,
        }));
        answer.rows.push(Row {
            prediction_id: prediction_id(now),
            id: ids.as_mut().and_then(Iterator::next),
            cache: planned.cache,
            degraded: planned.degraded,
            features: model
                .service
                .joins
                .iter()
                .zip(stored)
                .map(|(j, row)| (j.alias.clone(), status(row, now)))
                .collect(),
            error,
            explained: planned.explained,
        });
    }
    answer
}

fn status(row: &StoredRow, now: Timestamp) -> RowStatus {
    RowStatus {
        status: row.status,
        event_timestamp: row.event,
        // An event may be a little ahead of this machine's clock: it has no age yet.
        age_ms: row.event.map(|event| now.micros_since(event).max(0) / 1_000),
    }
}

fn prediction_id(now: Timestamp) -> Uuid {
    let micros = now.as_micros().max(0).unsigned_abs();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or_default() * 1_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
}
