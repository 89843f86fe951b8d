//! How a request leaves a batch, queued or running: a run that nobody waits for any more is ended.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use ort::session::{NoSelectedOutputs, RunOptions};

type Options = Arc<RunOptions<NoSelectedOutputs>>;

fn new_options() -> Result<Options, String> {
    RunOptions::new().map(Arc::new).map_err(|e| e.to_string())
}

/// The handle by which one run is ended early. Never used for another run.
pub(super) struct Control {
    options: Options,
    /// Whether these are its own, or those of all runs that nobody can end.
    can_be_ended: bool,
    ended: AtomicBool,
    until: Option<Instant>,
    /// How many requests wait for it, and one more for whoever begins it.
    waiting: AtomicUsize,
}

impl Control {
    /// Of a run that nobody waits for longer than this.
    pub(super) fn new(until: Option<Instant>) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self::with((new_options()?, true), until)))
    }

    /// Of a run on the thread of the only one who waits for it, until then.
    pub(super) fn here(until: Option<Instant>) -> Result<Self, String> {
        // Making them takes longer than it takes to decide on a small run.
        static SHARED: OnceLock<Options> = OnceLock::new();
        if SHARED.get().is_none() {
            // Another thread's will do as well.
            let _other = SHARED.set(new_options()?);
        }
        let shared = SHARED.get().cloned().ok_or("there are no run options")?;
        Ok(Self::with((shared, false), until))
    }

    fn with((options, can_be_ended): (Options, bool), until: Option<Instant>) -> Self {
        Self {
            options,
            can_be_ended,
            ended: AtomicBool::new(false),
            until,
            waiting: AtomicUsize::new(1),
        }
    }

    pub(super) fn options(&self) -> &RunOptions<NoSelectedOutputs> {
        &self.options
    }

    /// Whether it was ended, or its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// One that waits leaves; the last one ends the run.
    pub(super) fn leave(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        self.ended.store(true, Ordering::Release);
        if self.can_be_ended
            && let Err(error) = self.options.terminate()
        {
            tracing::warn!("could not end a model run: {error}");
        }
    }
}

/// Where a request is.
#[derive(Default)]
pub(super) struct Ticket(Mutex<At>);

#[derive(Default)]
enum At {
    #[default]
    Queued,
    Running(Arc<Control>),
    Gone,
}

impl Ticket {
    /// Its run begins, unless it has left.
    pub(super) fn begin(&self, control: &Arc<Control>) -> bool {
        let mut at = self.at();
        if matches!(*at, At::Gone) {
            return false;
        }
        control.waiting.fetch_add(1, Ordering::AcqRel);
        *at = At::Running(Arc::clone(control));
        true
    }

    /// Whether it has left.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.at(), At::Gone)
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves when it is dropped, answered or not.
pub(super) struct Leave(pub(super) Arc<Ticket>);

impl Drop for Leave {
    fn drop(&mut self) {
        let at = std::mem::replace(&mut *self.0.at(), At::Gone);
        if let At::Running(control) = at {
            control.leave();
        }
    }
}
