//! One view's schedule: a run at once, then at the interval, slower while runs fail.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use feature_defs::definitions::View;
use feature_defs::time::Span;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Schedules, State};
use crate::app::App;
use crate::materialize::{Mode, RunError, RunRequest};
use service::progress::Progress;

/// The first wait after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait after a failure, unless the interval itself is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// What a schedule is to do. A run that has begun keeps the one that it began with.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Of whose definitions the view is.
    pub(super) app: Arc<App>,
    pub(super) view: Arc<View>,
    pub(super) every: Span,
}

/// Runs one view.
pub(super) struct Worker {
    pub(super) target: watch::Receiver<Target>,
    /// Cancelled when the view has no schedule any more, or the server stops.
    pub(super) stop: CancellationToken,
    pub(super) schedules: Arc<Schedules>,
    pub(super) permits: Arc<Semaphore>,
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

/// What the runs before have come to.
#[derive(Debug, Clone)]
struct History {
    failures: u32,
    problem: Option<String>,
    resume: bool,
}

impl History {
    /// Of a definition that has not been run yet: an earlier process may have left something to go on with.
    const NONE: Self = Self {
        failures: 0,
        problem: None,
        resume: true,
    };
}

impl Worker {
    pub(super) async fn work(mut self) {
        let mut history = History::NONE;
        loop {
            let due = Instant::now();
            let permit = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                permit = self.permits.acquire() => permit,
            };
            let target = self.target.borrow_and_update().clone();
            // A run that has begun is finished: stopping waits for it.
            let outcome = target.run(history.resume).await;
            drop(permit);
            match outcome {
                Outcome::Done => history = History::NONE,
                // Nothing is known of whether this view can be run.
                Outcome::Busy | Outcome::Paused => {}
                Outcome::Failed { error, resumable } => {
                    history = History {
                        failures: history.failures + 1,
                        problem: Some(error),
                        resume: resumable,
                    };
                }
            }
            if self.rest(target, due, &mut history).await.is_break() {
                return;
            }
        }
    }

    /// Waits after a run that was due at `due` until the next one is. A schedule that changes meanwhile counts at once; a
    /// view that is defined otherwise is due, for its values are of another definition, and so were its failures.
    async fn rest(&mut self, mut target: Target, due: Instant, history: &mut History) -> ControlFlow<()> {
        let ended = Instant::now();
        let until = |every: Span, failures| ended + wait(every.to_std(), failures, ended - due);
        let mut next = until(target.every, history.failures);
        self.tell(&target, next, history).await;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return ControlFlow::Break(()),
                changed = self.target.changed() => if changed.is_err() {
                    return ControlFlow::Break(());
                },
                () = tokio::time::sleep_until(next) => return ControlFlow::Continue(()),
            }
            let before = std::mem::replace(&mut target, self.target.borrow_and_update().clone());
            if before.view.digest() != target.view.digest() {
                *history = History::NONE;
                return ControlFlow::Continue(());
            }
            if before.every != target.every {
                next = until(target.every, history.failures);
                self.tell(&target, next, history).await;
            }
        }
    }

    /// Tells whoever asks when the next run is due, and what has happened so far.
    async fn tell(&self, target: &Target, next: Instant, history: &History) {
        let now = target.app.now().await.ok();
        let left = next.saturating_duration_since(Instant::now());
        let state = State {
            next_run: now.map(|now| now.plus(span(left))),
            failures: history.failures,
            problem: history.problem.clone(),
        };
        self.schedules.set(&target.view.name, state, &self.stop);
    }
}

impl Target {
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
