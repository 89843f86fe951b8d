//! What is served now: an app, which a reload replaces whole. Whoever answers a request takes it once, and ends with what it
//! began with.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::app::App;

/// The app of the definitions that are served.
#[derive(Debug)]
pub(crate) struct Live {
    app: ArcSwap<App>,
    /// Why the definitions, as their files are now, are not those.
    problem: ArcSwapOption<String>,
}

impl Live {
    pub(crate) fn new(app: Arc<App>) -> Arc<Self> {
        Arc::new(Self {
            app: ArcSwap::new(app),
            problem: ArcSwapOption::empty(),
        })
    }

    pub(crate) fn app(&self) -> Arc<App> {
        self.app.load_full()
    }

    /// From now on this one is served.
    pub(crate) fn replace(&self, app: Arc<App>) {
        self.app.store(app);
    }

    /// Why the definitions, as their files are now, are not served, if they are not.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.load().as_deref().cloned()
    }

    pub(crate) fn set_problem(&self, problem: Option<String>) {
        self.problem.store(problem.map(Arc::new));
    }
}
