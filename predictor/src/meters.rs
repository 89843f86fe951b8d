//! What is measured of a model, with its handles looked up once: names and labels of all metrics stand here.

use std::time::Duration;

use feature_defs::definitions::Service;
use feature_defs::serving::{Status, StoredRow};
use feature_defs::time::Timestamp;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::model::{ModelName, Models};
use crate::predict::answer::{CacheState, Degraded};
use crate::predict::stages::Stages;

const STATUSES: [Status; 4] = [
    Status::Present,
    Status::NotFound,
    Status::OutsideMaxAge,
    Status::Unavailable,
];
const CACHE_STATES: [CacheState; 4] = [
    CacheState::HitMemory,
    CacheState::HitRedis,
    CacheState::Miss,
    CacheState::Off,
];
const REASONS: [Degraded; 4] = [
    Degraded::StoreUnavailable,
    Degraded::StaleServed,
    Degraded::FallbackModel,
    Degraded::FallbackOutput,
];

const FAULTS: [Fault; 3] = [Fault::Client, Fault::Model, Fault::Infrastructure];

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Client,
    /// The model's.
    Model,
    /// The store's, the machine's or ours: overload and missed deadlines too.
    Infrastructure,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Model => "model",
            Self::Infrastructure => "infrastructure",
        }
    }
}

/// The handles of one model.
pub struct Meters {
    total: Histogram,
    feature_read: Histogram,
    queue: Histogram,
    run: Histogram,
    cache: Histogram,
    rows: Counter,
    cache_states: [Counter; 4],
    degraded: [Counter; 4],
    errors: [Counter; 3],
    views: Vec<ViewMeters>,
}

struct ViewMeters {
    statuses: [Counter; 4],
    age: Gauge,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

impl Meters {
    /// The handles of model `name`, which reads `service`.
    pub fn new(name: &ModelName, service: &Service) -> Self {
        let model = name.to_string();
        let timer = |metric: &'static str| histogram!(metric, "model" => model.clone());
        let view = |view: &str| ViewMeters {
            statuses: STATUSES.map(
                |status| counter!("larder_feature_rows_total", "view" => view.to_owned(), "status" => status.name()),
            ),
            age: gauge!("larder_feature_age_seconds", "view" => view.to_owned()),
        };
        Self {
            total: timer("larder_prediction_seconds"),
            feature_read: timer("larder_prediction_feature_read_seconds"),
            queue: timer("larder_prediction_queue_seconds"),
            run: timer("larder_prediction_model_run_seconds"),
            cache: timer("larder_prediction_cache_seconds"),
            rows: counter!("larder_prediction_rows_total", "model" => model.clone()),
            cache_states: CACHE_STATES.map(|state| {
                counter!("larder_prediction_cache_rows_total", "model" => model.clone(), "state" => state.name())
            }),
            degraded: REASONS.map(|reason| {
                counter!("larder_prediction_degraded_rows_total", "model" => model.clone(), "reason" => reason.name())
            }),
            errors: FAULTS.map(|fault| errors(model.clone(), fault)),
            views: service.joins.iter().map(|join| view(join.view.name.as_str())).collect(),
        }
    }

    /// A request was answered: how long each stage took.
    pub fn answered(&self, stages: &Stages, rows: usize) {
        self.total.record(stages.total);
        self.rows.increment(rows as u64);
        for (histogram, stage) in [
            (&self.feature_read, stages.feature_read),
            (&self.queue, stages.queue),
            (&self.run, stages.model_run),
            (&self.cache, stages.cache),
        ] {
            if let Some(took) = stage {
                histogram.record(took);
            }
        }
    }

    /// A row was answered from here.
    pub fn cached(&self, state: CacheState) {
        if let Some(i) = CACHE_STATES.iter().position(|s| *s == state) {
            self.cache_states[i].increment(1);
        }
    }

    /// A row was degraded for this reason.
    pub fn degraded(&self, reason: Degraded) {
        if let Some(i) = REASONS.iter().position(|r| *r == reason) {
            self.degraded[i].increment(1);
        }
    }

    /// A request, or a row of one, failed.
    pub fn failed(&self, fault: Fault) {
        self.errors[fault as usize].increment(1);
    }

    /// A request was not answered: whose fault it is, and how long that took.
    pub fn unanswered(&self, fault: Fault, took: Duration) {
        self.total.record(took);
        self.failed(fault);
    }

    /// The views of a row were read, one a join of the service.
    pub fn read(&self, stored: &[StoredRow], now: Timestamp) {
        for (view, row) in self.views.iter().zip(stored) {
            if let Some(i) = STATUSES.iter().position(|s| *s == row.status) {
                view.statuses[i].increment(1);
            }
            if let Some(event) = row.event {
                #[expect(clippy::cast_precision_loss, reason = "an age of centuries may be a microsecond off")]
                view.age.set(now.micros_since(event).max(0) as f64 / 1e6);
            }
        }
    }
}

/// Which models are refused as their files and the definitions are now, though an older one may serve on.
pub(crate) fn refused(models: &Models, before: Option<&Models>) {
    let gauge = |name: &ModelName| gauge!("larder_model_refused", "model" => name.to_string());
    // Of a model that is gone, nobody needs to be told any more.
    for (name, ..) in before.iter().flat_map(|before| before.iter()) {
        gauge(name).set(0.0);
    }
    for (name, _, state) in models.iter() {
        gauge(name).set(if state.reasons().is_empty() { 0.0 } else { 1.0 });
    }
}

/// Definitions are followed from now on, and serve as they are.
pub(crate) fn following() {
    reloads("done").increment(0);
    reloads("refused").increment(0);
    broken().set(0.0);
}

/// Definitions were taken up, or refused.
pub(crate) fn reloaded<E>(outcome: &Result<(), E>) {
    reloads(if outcome.is_ok() { "done" } else { "refused" }).increment(1);
    broken().set(if outcome.is_ok() { 0.0 } else { 1.0 });
}

fn reloads(outcome: &'static str) -> Counter {
    counter!("larder_definitions_reloads_total", "outcome" => outcome)
}

fn broken() -> Gauge {
    gauge!("larder_definitions_broken")
}

/// A request was not answered since its model, or the version it asked for, does not serve; `None` if there is no such
/// model: what callers make up must not become a label.
pub(crate) fn not_served(model: Option<&ModelName>, fault: Fault) {
    errors(model.map_or("unknown", ModelName::as_str).to_owned(), fault).increment(1);
}

fn errors(model: String, fault: Fault) -> Counter {
    counter!("larder_prediction_errors_total", "model" => model, "class" => fault.name())
}
