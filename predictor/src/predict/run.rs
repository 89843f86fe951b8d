//! From a request's bytes to its answer, within the model's deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::serving::StoredRow;
use feature_defs::time::Timestamp;
use serde_json::Value as Json;
use service::nearest;
use uuid::{NoContext, Uuid};

use super::answer::{Answer, Found, Prediction, Row, RowStatus};
use super::budget::Budget;
use super::cache::Freshness;
use super::error::{PredictError, shortened};
use super::explain::Explain;
use super::features;
use super::plan::{Answering, Planned, Rows};
use super::request::Instance;
use super::shadow;
use super::stages::Stages;
use crate::app::App;
use crate::meters;
use crate::model::batcher::Thread;
use crate::model::config::WhenUnavailable;
use crate::model::{Arm, Entry, Featured, Model, Models, Served};
use crate::serving::Serving;

/// Rows whose inputs are made before others have a turn.
const ROWS_AT_A_TIME: usize = 64;

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
    /// Whether what is kept may answer.
    pub freshness: Freshness,
}

/// Who answers a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Route<'a> {
    /// The versions in traffic.
    Traffic(&'a Served),
    /// One version, and no other.
    Pinned(&'a Arm),
}

impl<'a> Route<'a> {
    /// The version that the request is checked against.
    pub(crate) fn arm(self) -> &'a Arm {
        match self {
            Self::Traffic(served) => &served.serving,
            Self::Pinned(arm) => arm,
        }
    }

    pub(crate) fn model(self) -> &'a Arc<Model> {
        &self.arm().model
    }

    fn served(self) -> Option<&'a Served> {
        match self {
            Self::Traffic(served) => Some(served),
            Self::Pinned(_) => None,
        }
    }

    /// Its side that a feature service feeds.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn featured(self) -> Result<&'a Featured, PredictError> {
        let model = self.model();
        let featured = model.featured.as_ref();
        featured.ok_or_else(|| PredictError::NeedsTensors(model.name.clone()))
    }
}

/// How rows are to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) explain: Explain,
    pub(crate) freshness: Freshness,
    pub(crate) budget: Budget,
    pub(crate) thread: Thread,
    /// Whether requests, rows and errors are counted: a shadow's would be counted twice.
    pub(crate) is_counted: bool,
}

impl App {
    /// Answers a call.
    ///
    /// # Errors
    /// [`PredictError`]: no row was answered.
    pub async fn predict(&self, asked: Asked<'_>) -> Result<Answer, PredictError> {
        // One state from beginning to end, whatever takes its place meanwhile.
        let serving = self.serving();
        let route = find(&serving.models, asked.model, asked.version)?;
        let how = How {
            explain: asked.explain,
            freshness: asked.freshness,
            budget: Budget::start(route.model().operated.deadline),
            thread: Thread::Any,
            is_counted: true,
        };
        self.within(route, how.budget, async {
            let mut stages = Stages::default();
            let request = route.featured()?.shape.read(asked.body, self.max_instances())?;
            stages.validate = how.budget.elapsed();
            self.answer_rows((&serving, route), (request.instances, request.ids), how, stages)
                .await
        })
        .await
    }

    /// What `answering` gives within the budget, counted.
    pub(crate) fn within<T>(
        &self,
        route: Route<'_>,
        budget: Budget,
        answering: impl Future<Output = Result<T, PredictError>>,
    ) -> impl Future<Output = Result<T, PredictError>> {
        // It is some kilobytes, and all that is put around it, handlers and their layers too, would hold and move it as well.
        let answering = Box::pin(answering);
        async move {
            let model = route.model();
            let outcome = tokio::time::timeout_at(budget.deadline().into(), answering).await;
            // Work that does not wait is not interrupted by the timeout, but an answer after the deadline is no answer.
            let outcome = match outcome {
                Ok(Ok(answer)) if !budget.is_over() => Ok(answer),
                Ok(Err(error)) if !matches!(error, PredictError::DeadlineExceeded { .. }) => Err(error),
                _ => Err(PredictError::DeadlineExceeded {
                    model: model.name.clone(),
                    // The caller's own, if that is shorter.
                    deadline: budget.total(),
                }),
            };
            if let Err(error) = &outcome {
                model.meters.unanswered(error.fault(), budget.elapsed());
            }
            outcome
        }
    }

    /// Answers checked instances.
    ///
    /// # Errors
    /// [`PredictError`]: no row was answered.
    pub(crate) async fn answer_rows(
        &self,
        (serving, route): (&Arc<Serving>, Route<'_>),
        (instances, ids): (Vec<Instance>, Option<Vec<Json>>),
        how: How,
        mut stages: Stages,
    ) -> Result<Answer, PredictError> {
        let now = self.clock().now();
        let shadow = route.served().and_then(|served| served.shadow.as_ref());
        let shadowed = shadow.map(|shadow| instances.iter().map(|instance| shadow.carry(instance)).collect());
        let answering = Answering::of(route)?;
        let instances: Vec<(usize, Instance)> = instances
            .into_iter()
            .map(|instance| answering.assign(instance))
            .collect();

        let reading = Instant::now();
        let wanted = instances
            .iter()
            .map(|(arm, instance)| (&*answering.arm(*arm).featured.service, instance));
        let stored = {
            let arms = answering.arms().iter().enumerate();
            let asked = arms.filter(|(i, _)| instances.iter().any(|(arm, _)| arm == i));
            let _will_ask: Vec<_> = asked.map(|(_, arm)| arm.model.batcher.coming()).collect();
            features::read(&serving.reader, wanted, now, how.budget.for_features()).await
        };
        if stored.iter().any(|row| !row.is_empty()) {
            stages.feature_read = Some(reading.elapsed());
        }
        if how.is_counted {
            for (i, arm) in answering.arms().iter().enumerate() {
                let of_arm = instances.iter().zip(&stored).filter(move |((arm, _), _)| *arm == i);
                arm.model.meters.read(&of_arm.map(|(_, row)| row.as_slice()), now);
            }
        }
        for ((arm, _), row) in instances.iter().zip(&stored) {
            let model = answering.arm(*arm).model;
            if model.settings.when_unavailable == WhenUnavailable::Reject && features::is_unavailable(row) {
                return Err(PredictError::FeaturesUnavailable(model.name.clone()));
            }
        }

        let mut rows = Rows::new(&answering, (now, how));
        for (i, ((arm, instance), stored)) in instances.iter().zip(&stored).enumerate() {
            rows.plan(*arm, instance, stored);
            // Who has many must not hold up those who share the thread.
            if i % ROWS_AT_A_TIME == ROWS_AT_A_TIME - 1 {
                tokio::task::yield_now().await;
            }
        }
        let planned = rows.ask(&mut stages).await?;
        stages.total = how.budget.elapsed();
        let answer = assemble_answer(&answering, (&planned, &stored), ids, (now, stages));
        if !how.is_counted {
            return Ok(answer);
        }
        count(&answering, &planned, (now, stages));
        if let (Some(shadow), Some(instances)) = (shadow, shadowed) {
            shadow::predict((self, serving), shadow, instances, &answer);
        }
        Ok(answer)
    }
}

/// Who answers for this model, or version of it; counted if nobody does.
///
/// # Errors
/// There is no such model or version, or it does not serve.
pub(crate) fn find<'m>(models: &'m Models, name: &str, version: Option<&str>) -> Result<Route<'m>, PredictError> {
    look_up(models, name, version).inspect_err(|error| meters::not_served(error.model(), error.fault()))
}

/// The same, not counted: for those who only ask about it.
///
/// # Errors
/// The same.
pub(crate) fn look_up<'m>(models: &'m Models, name: &str, version: Option<&str>) -> Result<Route<'m>, PredictError> {
    let entry = models.get(name).ok_or_else(|| PredictError::UnknownModel {
        name: shortened(name),
        hint: nearest::hint(name, models.iter().map(|(name, ..)| name.as_str())),
    })?;
    let served = entry.served.as_deref().ok_or_else(|| not_served(name, entry))?;
    let Some(version) = version else {
        return Ok(Route::Traffic(served));
    };
    let found = served.versions.iter().find(|(ready, _)| ready.as_str() == version);
    found.map(|(_, arm)| Route::Pinned(arm)).ok_or_else(|| {
        let ready: Vec<&str> = served.versions.keys().map(|version| version.as_str()).collect();
        PredictError::UnknownVersion {
            model: served.serving.model.name.clone(),
            asked: shortened(version),
            ready: ready.join(", "),
        }
    })
}

fn not_served(name: &str, entry: &Entry) -> PredictError {
    match name.parse() {
        Ok(name) if entry.is_unloaded => PredictError::Unloaded(name),
        Ok(name) => PredictError::NotLoaded(name),
        Err(error) => PredictError::Internal(error.to_string()),
    }
}

pub(super) fn late(model: &Model) -> PredictError {
    PredictError::DeadlineExceeded {
        model: model.name.clone(),
        deadline: model.operated.deadline,
    }
}

/// Counts rows, where they came from and how they are degraded, by the version that answered them.
fn count(answering: &Answering<'_>, planned: &[Planned], (now, stages): (Timestamp, Stages)) {
    for row in planned {
        let meters = &answering.arm(row.arm).model.meters;
        let age = row.made.map_or(0, |made| now.micros_since(made).max(0).unsigned_abs());
        meters.cached(row.cache, Duration::from_micros(age));
        row.degraded.iter().for_each(|reason| meters.degraded(*reason));
    }
    for (i, arm) in answering.arms().iter().enumerate() {
        let rows = planned.iter().filter(|row| row.arm == i).count();
        if rows > 0 {
            arm.model.meters.answered(&stages, rows);
        }
    }
}

fn assemble_answer(
    answering: &Answering<'_>,
    (planned, stored): (&[Planned], &[Vec<StoredRow>]),
    ids: Option<Vec<Json>>,
    (now, stages): (Timestamp, Stages),
) -> Answer {
    let first = answering.arm(0);
    let mut ids = ids.map(Vec::into_iter);
    let mut answer = Answer {
        model_name: first.model.name.clone(),
        model_version: first.model.version.clone(),
        predictions: Vec::with_capacity(planned.len()),
        rows: Vec::with_capacity(planned.len()),
        stages,
    };
    for (planned, stored) in planned.iter().zip(stored) {
        let arm = answering.arm(planned.arm);
        let age = planned.made.map(|made| now.micros_since(made).max(0) / 1_000);
        let prediction = planned.outcome.as_ref().ok().map(|outputs| Prediction {
            schema: Arc::clone(&first.featured.output_schema),
            outputs: outputs.clone(),
        });
        answer.predictions.push(prediction);
        answer.rows.push(Row {
            prediction_id: prediction_id(now),
            id: ids.as_mut().and_then(Iterator::next),
            model_version: (planned.arm > 0).then(|| arm.model.version.clone()),
            cache: planned.cache,
            cache_age_ms: age,
            degraded: planned.degraded.clone(),
            features: Found {
                service: Arc::clone(&arm.featured.service),
                rows: stored.iter().map(|row| status(row, now)).collect(),
            },
            error: planned.outcome.as_ref().err().cloned(),
            explained: planned.explained.clone(),
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
