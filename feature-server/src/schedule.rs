//! Runs every scheduled view at its interval: at once after the start, a few at a time, slower while they fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::{Span, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::freshness::tell_promises;
use crate::materialize::{Mode, RunError, RunRequest};
use crate::progress::Progress;

/// The first wait after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait after a failure, unless the interval itself is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// How often lag and age are told to the metrics.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// What the schedules are about to do, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    states: Mutex<HashMap<ViewName, State>>,
}

/// Where one view's schedule stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) next_run: Option<Timestamp>,
    pub(crate) failures: u32,
    pub(crate) problem: Option<String>,
}

impl Schedules {
    pub(crate) fn of(&self, view: &ViewName) -> Option<State> {
        self.states.lock().expect("no holder panics").get(view).cloned()
    }

    fn set(&self, view: &ViewName, state: State) {
        metrics::gauge!("larder_materialization_consecutive_failures", "view" => view.as_str().to_owned())
            .set(f64::from(state.failures));
        self.states
            .lock()
            .expect("no holder panics")
            .insert(view.clone(), state);
    }
}

/// Starts a task a scheduled view, and one that keeps the gauges; all end soon after `stop`.
pub(crate) fn start(
    app: &Arc<App>,
    schedules: &Arc<Schedules>,
    concurrent_runs: usize,
    stop: &CancellationToken,
) -> TaskTracker {
    let tasks = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(concurrent_runs));
    for view in &app.definitions().views {
        let Some(every) = view.schedule else { continue };
        let worker = Worker {
            app: Arc::clone(app),
            view: Arc::clone(view),
            every,
            schedules: Arc::clone(schedules),
            permits: Arc::clone(&permits),
        };
        let stop = stop.clone();
        tasks.spawn(async move { worker.work(stop).await });
    }
    tasks.spawn(keep_gauges(Arc::clone(app), stop.clone()));
    tasks.close();
    tasks
}

struct Worker {
    app: Arc<App>,
    view: Arc<View>,
    every: Span,
    schedules: Arc<Schedules>,
    permits: Arc<Semaphore>,
}

/// How a run of a schedule ended.
enum Outcome {
    Done,
    /// Another run of the view is under way, or somebody has ended this one.
    Busy,
    /// Somebody has stopped the schedule.
    Paused,
    Failed {
        error: String,
        /// Whether the run may be continued: a database or Redis was away, and not the data at fault.
        resumable: bool,
    },
}

impl Worker {
    async fn work(&self, stop: CancellationToken) {
        let (mut failures, mut problem, mut resume) = (0, None, true);
        loop {
            let due = Instant::now();
            let permit = tokio::select! {
                () = stop.cancelled() => return,
                permit = self.permits.acquire() => permit,
            };
            // A run that has begun is finished: stopping waits for it.
            let outcome = self.run(resume).await;
            drop(permit);
            match outcome {
                Outcome::Done => (failures, problem, resume) = (0, None, true),
                // Nothing is known of whether this view can be run.
                Outcome::Busy | Outcome::Paused => {}
                Outcome::Failed { error, resumable } => {
                    (failures, problem, resume) = (failures + 1, Some(error), resumable);
                }
            }
            let wait = wait(self.every.to_std(), failures, due.elapsed());
            let next_run = self.app.now().await.ok().map(|now| now.plus(span(wait)));
            self.schedules.set(
                &self.view.name,
                State {
                    next_run,
                    failures,
                    problem: problem.clone(),
                },
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Runs once, unless the view is paused. What an earlier attempt, or process, left unfinished is continued; but after
    /// data that could not be used, a new run may see a source that has been mended meanwhile.
    async fn run(&self, resume: bool) -> Outcome {
        let view = &self.view.name;
        match self.app.store().paused_since(view).await {
            Ok(None) => {}
            Ok(Some(_)) => return Outcome::Paused,
            Err(error) => {
                return Outcome::Failed {
                    error: error.to_string(),
                    resumable: true,
                };
            }
        }
        let request = RunRequest {
            resume,
            ..RunRequest::new(Mode::Incremental)
        };
        match self.app.materialize(view.as_str(), &request, &Progress::hidden()).await {
            Ok(_) => Outcome::Done,
            Err(error @ RunError::Busy { .. }) => {
                tracing::info!(%view, "skipped: {error}");
                Outcome::Busy
            }
            Err(error @ RunError::Cancelled(_)) => {
                tracing::warn!(%view, "{error}");
                Outcome::Busy
            }
            Err(error) => {
                tracing::error!(%view, "{error}");
                Outcome::Failed {
                    resumable: error.is_outage(),
                    error: error.to_string(),
                }
            }
        }
    }
}

/// How long to wait after a run that took so long: runs begin at the interval, but after a failure there is a pause,
/// however slowly it failed.
fn wait(every: Duration, failures: u32, took: Duration) -> Duration {
    match failures {
        0 => every.saturating_sub(took),
        failures => FIRST_BACKOFF
            .saturating_mul(1 << (failures - 1).min(16))
            .min(LONGEST_BACKOFF.max(every)),
    }
}

fn span(duration: Duration) -> Span {
    Span::from_secs(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
}

/// Keeps lag and age of every view growing in the metrics, also while the databases are away.
async fn keep_gauges(app: Arc<App>, stop: CancellationToken) {
    let mut known = None;
    loop {
        match app.status().await {
            Ok(statuses) => known = Some((statuses, Instant::now())),
            Err(error) => tracing::warn!("freshness cannot be read: {error}"),
        }
        if let Some((statuses, read)) = &known {
            tell_promises(statuses);
            let since_ms = i64::try_from(read.elapsed().as_millis()).unwrap_or(i64::MAX);
            for status in statuses {
                let view = status.view.as_str().to_owned();
                let set = |name: &'static str, ms: Option<i64>| {
                    if let Some(ms) = ms {
                        metrics::gauge!(name, "view" => view.clone()).set(seconds(ms));
                    }
                };
                let later = |ms: Option<i64>| ms.map(|ms| ms.saturating_add(since_ms));
                set("larder_view_lag_seconds", later(status.freshness.lag_ms));
                set(
                    "larder_view_newest_row_age_seconds",
                    later(status.freshness.newest_row_age_ms),
                );
                set(
                    "larder_view_watermark_timestamp_seconds",
                    status.freshness.watermark.map(|at| at.as_micros() / 1_000),
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(GAUGES_EVERY) => {}
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge holds no more")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_views_are_tried_less_and_less_often() {
        let secs = Duration::from_secs;
        for (every, failures, took, expected) in [
            (60, 0, 0, 60),
            (60, 0, 45, 15),
            (60, 0, 90, 0),
            (60, 1, 0, 1),
            (60, 4, 10, 8),
            (60, 30, 400, 300),
            (3_600, 30, 10, 3_600),
            (1, 2, 5, 2),
        ] {
            assert_eq!(
                wait(secs(every), failures, secs(took)),
                secs(expected),
                "{every} {failures} {took}"
            );
        }
    }
}
