//! Who answers which row: the serving version or the canary, their fallbacks when the store cannot be read, or nobody, when
//! policy rejects the row.

use std::sync::Arc;

use feature_defs::assemble::{Assembled, Parts, Stale, assemble};
use feature_defs::serving::StoredRow;
use feature_defs::time::Timestamp;

use super::answer::{CacheState, Degraded, RowError};
use super::cache::{self, Asking};
use super::error::PredictError;
use super::explain::{Explain, Explained};
use super::features;
use super::request::Instance;
use super::run::{How, Route, late};
use super::stages::Stages;
use crate::meters::Fault;
use crate::model::batcher::RunError;
use crate::model::config::WhenUnavailable;
use crate::model::program::{Inputs, Outputs};
use crate::model::{Canary, Counterpart, Fallback, Featured, Model};

/// The versions that answer rows of one request.
pub(super) struct Answering<'a> {
    arms: Vec<ArmOf<'a>>,
    canary: Option<&'a Canary>,
}

/// A version that answers rows.
pub(super) struct ArmOf<'a> {
    pub(super) model: &'a Arc<Model>,
    pub(super) featured: &'a Featured,
    fallback: Option<&'a Fallback>,
    /// How it answers requests for the first one, if it is another.
    counterpart: Option<&'a Counterpart>,
}

impl<'a> Answering<'a> {
    /// Those of a route.
    ///
    /// # Errors
    /// The model is not fed by a feature service.
    pub(super) fn of(route: Route<'a>) -> Result<Self, PredictError> {
        let arm = route.arm();
        let mut arms = vec![ArmOf {
            model: &arm.model,
            featured: route.featured()?,
            fallback: arm.fallback.as_ref(),
            counterpart: None,
        }];
        let canary = match route {
            Route::Traffic(served) => served.canary.as_ref(),
            Route::Pinned(_) => None,
        };
        if let Some(canary) = canary {
            let model = &canary.counterpart.model;
            arms.extend(model.featured.as_ref().map(|featured| ArmOf {
                model,
                featured,
                fallback: canary.fallback.as_ref(),
                counterpart: Some(&canary.counterpart),
            }));
        }
        Ok(Self { arms, canary })
    }

    pub(super) fn arm(&self, index: usize) -> &ArmOf<'a> {
        &self.arms[index]
    }

    pub(super) fn arms(&self) -> &[ArmOf<'a>] {
        &self.arms
    }

    /// The arm that answers this instance, and the instance as it takes it.
    pub(super) fn assign(&self, instance: Instance) -> (usize, Instance) {
        match self.canary {
            Some(canary) if canary.takes(&instance) => (1, canary.counterpart.carry(&instance)),
            _ => (0, instance),
        }
    }
}

/// A row on its way to an answer.
pub(super) struct Planned {
    pub(super) arm: usize,
    pub(super) outcome: Result<Outputs, RowError>,
    pub(super) cache: CacheState,
    /// When the model made it, if it comes from a cache.
    pub(super) made: Option<Timestamp>,
    pub(super) degraded: Vec<Degraded>,
    pub(super) explained: Option<Explained>,
}

/// The rows of one request, and the models that are to be asked for them.
pub(super) struct Rows<'a> {
    answering: &'a Answering<'a>,
    now: Timestamp,
    how: How,
    planned: Vec<Planned>,
    /// For each arm, its model and its fallback's.
    asked: Vec<Option<ToAsk<'a>>>,
}

/// A model that is to be asked.
struct ToAsk<'a> {
    model: &'a Arc<Model>,
    featured: &'a Featured,
    inputs: Inputs,
    /// Which rows these are.
    rows: Vec<usize>,
    /// From its outputs to those of the first arm.
    mappings: Vec<&'a Counterpart>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(answering: &'a Answering<'a>, (now, how): (Timestamp, How)) -> Self {
        Self {
            asked: answering.arms.iter().flat_map(|_| [None, None]).collect(),
            answering,
            now,
            how,
            planned: Vec::new(),
        }
    }

    /// Decides who answers one more row.
    pub(super) fn plan(&mut self, at: usize, instance: &Instance, stored: &[StoredRow]) {
        let answering = self.answering;
        let arm = &answering.arms[at];
        let mut degraded = Vec::new();
        let mut explained = None;
        let unavailable = features::is_unavailable(stored);
        if unavailable {
            degraded.push(Degraded::StoreUnavailable);
        }
        let falls_back = unavailable && arm.model.settings.when_unavailable == WhenUnavailable::Fallback;
        let outcome = match arm.fallback.filter(|_| falls_back) {
            Some(Fallback::Output(outputs)) => {
                degraded.push(Degraded::FallbackOutput);
                let outputs = arm.counterpart.map_or_else(|| outputs.clone(), |c| c.reorder(outputs));
                Some(Ok(outputs))
            }
            Some(Fallback::Model(fallback)) => {
                degraded.push(Degraded::FallbackModel);
                self.ask_fallback(at, fallback, instance, &mut explained)
            }
            None => match features::merge(
                (arm.model, &arm.featured.service),
                instance,
                stored,
                self.now,
                &mut degraded,
            ) {
                Err(rejected) => Some(Err(rejected)),
                Ok(inputs) => {
                    explained = self.explain(arm.model, arm.featured, (instance, stored), &inputs);
                    let mappings = arm.counterpart.into_iter().collect();
                    self.ask_for(2 * at, (arm.model, arm.featured), &inputs, mappings)
                }
            },
        };
        self.planned.push(Planned {
            arm: at,
            // Whoever is to be asked has its answer put here.
            outcome: outcome.unwrap_or_else(|| Err(unanswered())),
            cache: CacheState::Off,
            made: None,
            degraded,
            explained,
        });
    }

    fn ask_fallback(
        &mut self,
        at: usize,
        fallback: &'a Counterpart,
        instance: &Instance,
        explained: &mut Option<Explained>,
    ) -> Option<Result<Outputs, RowError>> {
        let featured = fallback.model.featured.as_ref()?;
        let instance = fallback.carry(instance);
        let parts = Parts {
            request: &instance.request,
            stored: &[],
            now: self.now,
            stale: Stale::Default,
        };
        let inputs = assemble(&featured.service, parts);
        *explained = self.explain(&fallback.model, featured, (&instance, &[]), &inputs);
        let canary = self.answering.arms[at].counterpart;
        let mappings = std::iter::once(fallback).chain(canary).collect();
        self.ask_for(2 * at + 1, (&fallback.model, featured), &inputs, mappings)
    }

    /// Notes that a model is to be asked for the row that comes next; its outcome if it need not be.
    fn ask_for(
        &mut self,
        place: usize,
        (model, featured): (&'a Arc<Model>, &'a Featured),
        inputs: &[Assembled],
        mappings: Vec<&'a Counterpart>,
    ) -> Option<Result<Outputs, RowError>> {
        let asked = self.asked[place].get_or_insert_with(|| ToAsk {
            model,
            featured,
            inputs: Inputs::none(&featured.signature),
            rows: Vec::new(),
            mappings,
        });
        match asked.inputs.push(&featured.signature, inputs) {
            Ok(()) => {
                asked.rows.push(self.planned.len());
                None
            }
            Err((i, why)) => Some(Err(RowError {
                code: "input_out_of_range",
                message: format!("input `{}` is {why}", featured.service.inputs[i].name),
            })),
        }
    }

    fn explain(
        &self,
        model: &Model,
        featured: &Featured,
        (instance, stored): (&Instance, &[StoredRow]),
        inputs: &[Assembled],
    ) -> Option<Explained> {
        (self.how.explain == Explain::Yes).then(|| {
            let stale = model.settings.when_stale.stale();
            Explained::new(&featured.service, instance, (stored, stale), inputs)
        })
    }

    /// Asks the models, one after the other: there is seldom more than one.
    ///
    /// # Errors
    /// One of them could not be asked, or in time.
    pub(super) async fn ask(mut self, stages: &mut Stages) -> Result<Vec<Planned>, PredictError> {
        for asked in self.asked.into_iter().flatten().filter(|asked| !asked.rows.is_empty()) {
            let asking = Asking {
                model: asked.model,
                program: &asked.featured.program,
                now: self.now,
                budget: self.how.budget,
                freshness: self.how.freshness,
                thread: self.how.thread,
            };
            let predicted = cache::predict(&asking, asked.inputs, stages)
                .await
                .map_err(|error| not_run(error, asked.model))?;
            let mut failed = 0;
            for (row, predicted) in asked.rows.into_iter().zip(predicted) {
                let planned = &mut self.planned[row];
                failed += usize::from(predicted.outcome.is_err());
                planned.cache = predicted.cache;
                planned.made = predicted.kept();
                planned.outcome = match predicted.outcome {
                    Ok(outputs) => Ok(asked.mappings.iter().fold(outputs, |outputs, c| c.reorder(&outputs))),
                    Err(message) => Err(RowError {
                        code: "model_failed",
                        message,
                    }),
                };
            }
            if failed > 0 && self.how.is_counted {
                (0..failed).for_each(|_| asked.model.meters.failed(Fault::Model));
                let model = asked.model;
                tracing::warn!(%model.name, %model.version, rows = failed, "the model failed on some rows");
            }
        }
        Ok(self.planned)
    }
}

/// Why nothing came of asking a model.
pub(crate) fn not_run(error: RunError, model: &Model) -> PredictError {
    match error {
        RunError::Overloaded => PredictError::Overloaded(model.name.clone()),
        RunError::Ended => late(model),
        RunError::Failed(cause) => PredictError::Internal(cause),
    }
}

fn unanswered() -> RowError {
    RowError {
        code: "model_failed",
        message: "the model was not asked".to_owned(),
    }
}
