//! Rows of several requests that are ready at one moment, on one runtime: they run as one batch, on the spot.
//!
//! Requests whose features come with one answer of Redis go on one after the other. Each puts its rows here and lets those go
//! first that are ready, too; the first that finds nobody ready any more, or expected, runs them all. So nobody waits for
//! what has not come from Redis yet, and a request alone puts nothing here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};
use tokio::task::yield_now;

use super::{Batcher, Job, Lease, Place, Ran, RunError, Waiting, reply_with};
use crate::model::program::{Inputs, Program};
use crate::model::ticket::{Control, Ticket};

/// The requests that are about to ask a model, by the runtime they are on.
#[derive(Default)]
pub(super) struct Gathering(Mutex<HashMap<Id, Here>>);

#[derive(Default)]
struct Here {
    /// The requests that read their features.
    coming: usize,
    /// The rows of those who have them.
    jobs: Vec<Job>,
}

/// A request that will ask the model, for as long as it is held.
pub(crate) struct Coming<'a> {
    gathering: &'a Gathering,
    runtime: Id,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.gathering.lock().entry(self.runtime).or_default().coming -= 1;
    }
}

/// Rows that were put with those of others.
struct Gathered {
    ticket: Arc<Ticket>,
    waiting: Waiting,
    /// Whether there are more to come.
    more_come: bool,
}

impl Gathering {
    /// Puts these rows with those of others; gives them back if there are no others.
    fn put(&self, runtime: Id, program: &Arc<Program>, inputs: Inputs, until: Instant) -> Result<Gathered, Inputs> {
        let mut runtimes = self.lock();
        let here = runtimes.entry(runtime).or_default();
        let more_come = here.coming > 0;
        if !more_come && here.jobs.is_empty() {
            return Err(inputs);
        }
        let (job, waiting) = Job::new(program, inputs, until);
        let ticket = Arc::clone(&job.ticket);
        here.jobs.push(job);
        Ok(Gathered {
            ticket,
            waiting,
            more_come,
        })
    }

    /// All that was put there, if this still is: otherwise somebody has taken it already, with all that was there.
    fn take_with(&self, runtime: Id, ticket: &Arc<Ticket>) -> Vec<Job> {
        let mut runtimes = self.lock();
        let jobs = &mut runtimes.entry(runtime).or_default().jobs;
        let is_there = jobs.iter().any(|job| Arc::ptr_eq(&job.ticket, ticket));
        if is_there { std::mem::take(jobs) } else { Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Here>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batcher {
    /// One more request on this runtime will ask soon.
    pub(crate) fn coming(&self) -> Coming<'_> {
        let runtime = Handle::current().id();
        self.gathering.lock().entry(runtime).or_default().coming += 1;
        Coming {
            gathering: &self.gathering,
            runtime,
        }
    }

    /// Runs a small, cheap batch on the thread that is here, with those of others that are ready.
    pub(super) async fn run_soon(
        self: &Arc<Self>,
        program: &Arc<Program>,
        inputs: Inputs,
        until: Instant,
    ) -> Result<Ran, RunError> {
        if 2 * inputs.units() > self.rows_at_once() {
            return self.run_alone(program, inputs, until).await;
        }
        let runtime = Handle::current().id();
        let put = self.gathering.put(runtime, program, inputs, until);
        let Gathered {
            ticket,
            waiting,
            more_come,
        } = match put {
            Ok(gathered) => gathered,
            Err(inputs) => return self.run_alone(program, inputs, until).await,
        };
        if more_come {
            // All that is ready on this runtime goes on before this does.
            yield_now().await;
        }
        let jobs = self.gathering.take_with(runtime, &ticket);
        self.run_together(jobs);
        waiting.answered(&self.meters.waiting).await
    }

    async fn run_alone(
        self: &Arc<Self>,
        program: &Arc<Program>,
        inputs: Inputs,
        until: Instant,
    ) -> Result<Ran, RunError> {
        let started = Instant::now();
        let Some(session) = self.free_session() else {
            return self.wait_and_run(program, inputs, until, Place::IfThereIsOne).await;
        };
        let mut lease = Lease::begun(self, session);
        let control = Control::here(Some(until)).map_err(RunError::Failed)?;
        let rows = self.run_here(lease.session(), program, &inputs, &control)?;
        Ok(Ran {
            rows,
            waited: Duration::ZERO,
            ran: started.elapsed(),
        })
    }

    /// Runs as many of these as one batch on the spot may have; the others wait for a session as all do, since those who share
    /// the thread are not to wait for a second one.
    fn run_together(self: &Arc<Self>, jobs: Vec<Job>) {
        let now = Instant::now();
        let is_wanted = |job: &Job| !job.ticket.is_gone() && job.until > now;
        let (mut jobs, overdue): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_wanted);
        for job in overdue {
            reply_with(job.reply, Err(RunError::Ended));
        }
        let Some(until) = jobs.iter().map(|job| job.until).max() else {
            return;
        };
        let control = Control::here(Some(until));
        if let (Some(session), Ok(control)) = (self.free_session(), control) {
            let mut lease = Lease::begun(self, session);
            let rest = jobs.split_off(together(&jobs, self.rows_at_once()));
            let batch = std::mem::replace(&mut jobs, rest);
            self.run_jobs(lease.session(), batch, &control);
        }
        for job in jobs {
            if let Err(job) = self.queue(job, Place::IfThereIsOne) {
                reply_with(job.reply, Err(RunError::Overloaded));
            }
        }
    }
}

/// How many of these, from the first on, can be of one run of so many rows: at least one.
fn together(jobs: &[Job], max_rows: usize) -> usize {
    let mut first: Option<&Job> = None;
    let mut rows = 0;
    let one_run = jobs.iter().take_while(|job| {
        rows += job.inputs.units();
        let joins = first.is_none_or(|first| job.fits(first) && rows <= max_rows);
        first = first.or(Some(job));
        joins
    });
    one_run.count()
}
