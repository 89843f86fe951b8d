//! Runs every scheduled view at its interval: at once after the start, a few at a time, slower while they fail.

mod gauges;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
pub(crate) use gauges::keep_gauges;
use worker::{Target, Worker};

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

    /// Unless the view's schedule has ended by now.
    fn set(&self, view: &ViewName, state: State, ended: &CancellationToken) {
        let mut states = self.states.lock().expect("no holder panics");
        if !ended.is_cancelled() {
            gauges::failures(view).set(f64::from(state.failures));
            states.insert(view.clone(), state);
        }
    }

    fn end(&self, view: &ViewName, ended: &CancellationToken) {
        let mut states = self.states.lock().expect("no holder panics");
        ended.cancel();
        states.remove(view);
        gauges::failures(view).set(f64::NAN);
    }
}

/// Keeps a task for each scheduled view, whatever becomes of the definitions. All end soon after the stop.
#[derive(Debug)]
pub(crate) struct Scheduler {
    schedules: Arc<Schedules>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    at_work: HashMap<ViewName, AtWork>,
}

#[derive(Debug)]
struct AtWork {
    target: watch::Sender<Target>,
    stop: CancellationToken,
}

impl Scheduler {
    /// Tasks go to `tasks`; at most so many of their runs are under way at a time.
    pub(crate) fn new(
        schedules: &Arc<Schedules>,
        concurrent_runs: usize,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            schedules: Arc::clone(schedules),
            permits: Arc::new(Semaphore::new(concurrent_runs.max(1))),
            tasks: tasks.clone(),
            stop: stop.clone(),
            at_work: HashMap::new(),
        }
    }

    /// Schedules what these definitions do. A view that had a schedule already goes on with it; one that has none any more
    /// finishes its run.
    pub(crate) fn follow(&mut self, app: &Arc<App>) {
        let is_scheduled = |name: &ViewName| {
            let view = app.definitions().view(name.as_str());
            view.is_some_and(|view| view.schedule.is_some())
        };
        for (name, ended) in self.at_work.extract_if(|name, _| !is_scheduled(name)) {
            self.schedules.end(&name, &ended.stop);
        }
        for view in &app.definitions().views {
            let Some(every) = view.schedule else { continue };
            let target = Target {
                app: Arc::clone(app),
                view: Arc::clone(view),
                every,
            };
            match self.at_work.get(&view.name) {
                Some(at_work) => {
                    at_work.target.send_replace(target);
                }
                None => {
                    let at_work = self.begin(target);
                    self.at_work.insert(view.name.clone(), at_work);
                }
            }
        }
    }

    fn begin(&self, target: Target) -> AtWork {
        let (sender, target) = watch::channel(target);
        let stop = self.stop.child_token();
        let worker = Worker {
            target,
            stop: stop.clone(),
            schedules: Arc::clone(&self.schedules),
            permits: Arc::clone(&self.permits),
        };
        self.tasks.spawn(worker.work());
        AtWork { target: sender, stop }
    }
}
