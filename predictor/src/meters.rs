//! What is measured of a model, with its handles looked up once: names and labels of all metrics stand here.

use std::time::Duration;

use feature_defs::definitions::Service;
use feature_defs::serving::{Status, StoredRow};
use feature_defs::time::Timestamp;
use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};
use moka::notification::RemovalCause;

use crate::model::{ModelName, Models, Version};
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

/// The handles of one version of a model.
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
    batches: BatchMeters,
    cached: CacheMeters,
    shadows: [Counter; 4],
}

/// What is measured of one version's batches. Cheap to clone.
#[derive(Clone)]
pub struct BatchMeters {
    /// How many rows each has.
    pub rows: Histogram,
    /// How many run now.
    pub running: Gauge,
    /// How many requests wait for one.
    pub waiting: Gauge,
}

/// What is measured of one version's predictions in memory. Cheap to clone.
#[derive(Clone)]
pub struct CacheMeters {
    bytes: Gauge,
    entries: Gauge,
    evicted: [Counter; 2],
    age: Histogram,
}

impl std::fmt::Debug for CacheMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheMeters")
    }
}

impl CacheMeters {
    /// So much is kept.
    pub fn holds(&self, bytes: u64, entries: u64) {
        #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
        let [bytes, entries] = [bytes as f64, entries as f64];
        self.bytes.set(bytes);
        self.entries.set(entries);
    }

    /// One had to go.
    pub fn evicted(&self, cause: RemovalCause) {
        match cause {
            RemovalCause::Size => self.evicted[0].increment(1),
            RemovalCause::Expired => self.evicted[1].increment(1),
            RemovalCause::Explicit | RemovalCause::Replaced => {}
        }
    }

    /// One answered that is so old.
    pub fn served(&self, age: Duration) {
        self.age.record(age);
    }
}

/// What came of a row that the shadow was to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadowed {
    /// The same as was served.
    Same,
    /// Something else.
    Differs,
    /// The shadow failed on it, or was too late.
    Failed,
    /// The shadow had too much to do already.
    Dropped,
}

impl Shadowed {
    const ALL: [Self; 4] = [Self::Same, Self::Differs, Self::Failed, Self::Dropped];

    const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
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
    /// The handles of a version of model `name`, which reads `service` if it has one.
    pub fn new(name: &ModelName, version: &Version, service: Option<&Service>) -> Self {
        let labels = [
            Label::new("model", name.to_string()),
            Label::new("version", version.to_string()),
        ];
        let with = |name: &'static str, value: &'static str| {
            let mut labels = labels.to_vec();
            labels.push(Label::new(name, value));
            labels
        };
        let timer = |metric: &'static str| histogram!(metric, labels.iter());
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
            rows: counter!("larder_prediction_rows_total", labels.iter()),
            cache_states: CACHE_STATES
                .map(|state| counter!("larder_prediction_cache_rows_total", with("state", state.name()))),
            degraded: REASONS
                .map(|reason| counter!("larder_prediction_degraded_rows_total", with("reason", reason.name()))),
            errors: FAULTS.map(|fault| counter!("larder_prediction_errors_total", with("class", fault.name()))),
            views: service
                .into_iter()
                .flat_map(|service| &service.joins)
                .map(|join| view(join.view.name.as_str()))
                .collect(),
            batches: BatchMeters {
                rows: timer("larder_prediction_batch_rows"),
                running: gauge!("larder_prediction_batches_running", labels.iter()),
                waiting: gauge!("larder_prediction_requests_waiting", labels.iter()),
            },
            cached: CacheMeters {
                bytes: gauge!("larder_prediction_cache_bytes", labels.iter()),
                entries: gauge!("larder_prediction_cache_entries", labels.iter()),
                evicted: ["size", "expired"]
                    .map(|cause| counter!("larder_prediction_cache_evictions_total", with("cause", cause))),
                age: timer("larder_prediction_cache_age_seconds"),
            },
            shadows: Shadowed::ALL.map(|outcome| counter!("larder_shadow_rows_total", with("outcome", outcome.name()))),
        }
    }

    /// Of its batches.
    pub fn batches(&self) -> BatchMeters {
        self.batches.clone()
    }

    /// Of its predictions in memory.
    pub fn cache(&self) -> CacheMeters {
        self.cached.clone()
    }

    /// As the shadow, it predicted a row.
    pub fn shadowed(&self, outcome: Shadowed, rows: usize) {
        self.shadows[outcome as usize].increment(rows as u64);
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

    /// A row was answered from here, which is so old.
    pub fn cached(&self, state: CacheState, age: Duration) {
        if matches!(state, CacheState::HitMemory | CacheState::HitRedis) {
            self.cached.served(age);
        }
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

    /// The views of these rows were read, one a join of the service.
    pub fn read<'r>(&self, rows: &(impl Iterator<Item = &'r [StoredRow]> + Clone), now: Timestamp) {
        for (i, view) in self.views.iter().enumerate() {
            // Counted together: what all threads count is not cheap to change.
            let mut counts = [0; STATUSES.len()];
            let mut last = None;
            for row in rows.clone().map(|row| &row[i]) {
                if let Some(at) = STATUSES.iter().position(|status| *status == row.status) {
                    counts[at] += 1;
                }
                last = row.event.or(last);
            }
            for (counter, count) in view.statuses.iter().zip(counts).filter(|(_, count)| *count > 0) {
                counter.increment(count);
            }
            if let Some(event) = last {
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
    for (name, entry) in models.iter() {
        gauge(name).set(if entry.problems.is_empty() { 0.0 } else { 1.0 });
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
    let model = model.map_or("unknown", ModelName::as_str).to_owned();
    counter!("larder_prediction_errors_total", "model" => model, "version" => "", "class" => fault.name()).increment(1);
}
