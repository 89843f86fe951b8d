//! The sessions of one version of a model, and those who wait for one.
//!
//! A small, cheap batch that finds a session free runs where it is, with those of others that are there at that moment: a
//! hop to another thread costs more. Everything else is queued, and whoever has a session goes on with what is waiting until
//! nothing is: an idle server adds no wait, and under load batches form by themselves.

mod gather;

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use metrics::{Gauge, Histogram};
use ort::session::Session;
use tokio::sync::oneshot;

use super::cost::Cost;
use super::program::{Inputs, Outputs, Program};
use super::ticket::{Control, Leave, Ticket};
use crate::meters::BatchMeters;
use gather::Gathering;

/// A run expected to take longer than this leaves the worker, which has other requests to serve.
const INLINE_LIMIT: Duration = Duration::from_millis(1);
/// A larger batch leaves the worker whatever it is expected to take.
const INLINE_ROWS: usize = 32;
/// So does one of more bytes: of a row, or a whole request, of another size than those before, nothing is known.
const INLINE_BYTES: usize = 16 << 10;
/// Requests that may wait for a session, for each session there is, unless configured.
const WAITING_PER_SESSION: usize = 64;
/// The rows of a batch at most, unless configured.
const MOST_ROWS: usize = 1_024;
/// The rows of a batch while nothing is known of what they cost.
const FIRST_ROWS: usize = 32;

/// Bounds of batches.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The rows of a batch; learned from runs if not set.
    pub max_rows: Option<NonZero<usize>>,
    /// How long a row waits for others.
    pub max_wait: Option<Duration>,
    /// Requests that may wait; by the number of sessions if not set.
    pub max_waiting: Option<NonZero<usize>>,
    /// How long a batch should run at most, for learning.
    pub aim: Duration,
}

/// Runs batches in the sessions of one version of a model.
pub struct Batcher {
    state: Mutex<State>,
    /// Told when the queue has grown, to those who wait for it to.
    more: Condvar,
    gathering: Gathering,
    sessions: usize,
    bounds: Bounds,
    cost: Cost,
    meters: BatchMeters,
}

struct State {
    idle: Vec<Session>,
    queue: VecDeque<Job>,
}

/// A part of a request that waits for a session.
struct Job {
    program: Arc<Program>,
    inputs: Inputs,
    until: Instant,
    queued: Instant,
    ticket: Arc<Ticket>,
    reply: oneshot::Sender<Result<Ran, RunError>>,
}

/// Who waits for a job, and takes it out when dropped.
struct Waiting {
    answer: oneshot::Receiver<Result<Ran, RunError>>,
    _leaves_with_it: Leave,
}

impl Waiting {
    async fn answered(self, waiting: &Gauge) -> Result<Ran, RunError> {
        let _waiting = Counted::of(waiting);
        let outcome = self.answer.await;
        outcome.unwrap_or_else(|_| Err(RunError::Failed("the run ended without an answer".to_owned())))
    }
}

impl Job {
    /// One that begins to wait, and who waits for it.
    fn new(program: &Arc<Program>, inputs: Inputs, until: Instant) -> (Self, Waiting) {
        let (reply, answer) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        let waiting = Waiting {
            answer,
            _leaves_with_it: Leave(Arc::clone(&ticket)),
        };
        let job = Self {
            program: Arc::clone(program),
            inputs,
            until,
            queued: Instant::now(),
            ticket,
            reply,
        };
        (job, waiting)
    }

    /// Whether it can be of one run with another.
    fn fits(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.program, &other.program) && self.inputs.fits(&other.inputs)
    }

    /// Gives the caller what came of it, which waited until and ran for this long.
    fn answer(self, rows: Result<Vec<Result<Outputs, String>>, RunError>, (started, ran): (Instant, Duration)) {
        let waited = started.saturating_duration_since(self.queued);
        reply_with(self.reply, rows.map(|rows| Ran { rows, waited, ran }));
    }
}

/// Whether a batch may run on the caller's worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// If it is small and cheap.
    Any,
    /// Never: nobody waits for it.
    Other,
}

/// Whether a part of a request may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// If as many wait as may.
    IfThereIsOne,
    /// No: another part has been taken already.
    Anyway,
}

/// Why a batch has no outputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// As many requests wait for a session as may.
    #[error("as many requests wait for the model as may")]
    Overloaded,
    /// The deadline passed, or nobody waits any more, before all rows had an answer.
    #[error("the run was ended early")]
    Ended,
    /// The model failed, or gave something else than one value a row.
    #[error("{0}")]
    Failed(String),
}

/// Outputs of a batch, with how long it waited and ran.
#[derive(Debug)]
pub struct Ran {
    /// One a unit: its outputs, or why the model failed on it.
    pub rows: Vec<Result<Outputs, String>>,
    /// How long the batch waited for a session.
    pub waited: Duration,
    /// How long the model ran.
    pub ran: Duration,
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("sessions", &self.sessions)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Batcher {
    /// A batcher of these sessions.
    pub fn new(sessions: Vec<Session>, bounds: Bounds, meters: BatchMeters) -> Self {
        Self {
            sessions: sessions.len(),
            state: Mutex::new(State {
                idle: sessions,
                queue: VecDeque::new(),
            }),
            more: Condvar::new(),
            gathering: Gathering::default(),
            bounds,
            cost: Cost::default(),
            meters,
        }
    }

    /// Runs every session once and more, with one row and with several; learns what a run costs.
    ///
    /// # Errors
    /// A sentence if the model fails, or gives something else than is wanted.
    pub fn warm_up(&self, program: &Program, row: &Inputs) -> Result<(), String> {
        let mut state = self.lock();
        let control = Control::here(None)?;
        let time = |session: &mut Session, rows: usize| {
            let batch = row.select(std::iter::repeat_n(0, rows));
            let started = Instant::now();
            program
                .run(session, &batch, control.options())
                .map(|_| started.elapsed())
                .map_err(|e| format!("warming up with {rows} row(s): {e}"))
        };
        let mut seen = (Duration::ZERO, (2, Duration::ZERO));
        for session in &mut state.idle {
            // The first may pay for something that happens once.
            time(session, 1)?;
            let three = time(session, 3)?;
            let one = time(session, 1)?;
            // The most that was seen: to leave the worker in vain costs a little, to hold it up costs others.
            seen = (one.max(seen.0), (3, three.max(seen.1.1)));
        }
        // A larger one tells more of what a row costs, if it can be had in the time of a batch.
        let session = state.idle.first_mut().filter(|_| seen.1.1 < self.bounds.aim / 10);
        if let Some(session) = session {
            seen.1 = (FIRST_ROWS, time(session, FIRST_ROWS)?);
        }
        self.cost.measured(seen.0, seen.1);
        Ok(())
    }

    /// Runs a batch once in every session, on the thread that is here, while nobody else uses this batcher; how long the
    /// model ran in the last one.
    ///
    /// # Errors
    /// A sentence if the model fails, or gives something else than is wanted.
    pub fn try_out(&self, program: &Program, inputs: &Inputs) -> Result<Duration, String> {
        let control = Control::here(None)?;
        let mut state = self.lock();
        let mut took = Duration::ZERO;
        for session in &mut state.idle {
            let started = Instant::now();
            program.run(session, inputs, control.options())?;
            took = started.elapsed();
            self.cost.learn(inputs.units(), took);
        }
        Ok(took)
    }

    /// The rows of a batch at most.
    pub fn max_rows(&self) -> usize {
        let learned = || {
            let rows = self.cost.rows_within(self.bounds.aim).unwrap_or(FIRST_ROWS);
            rows.clamp(1, MOST_ROWS)
        };
        self.bounds.max_rows.map_or_else(learned, NonZero::get)
    }

    /// How many batches run at once.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// What a run of so many rows is expected to take.
    pub fn expected(&self, rows: usize) -> Option<Duration> {
        self.cost.expected(rows)
    }

    /// Runs `inputs`, in parts if there are more rows than a batch may have. When the model fails on a batch, the rows that
    /// it does not fail on are found by halving, `until` the deadline at most. Dropping the future takes its rows out.
    ///
    /// # Errors
    /// [`RunError`]; after [`RunError::Overloaded`] of a small batch nothing was done.
    pub async fn run(
        self: &Arc<Self>,
        program: &Arc<Program>,
        inputs: Inputs,
        until: Instant,
        thread: Thread,
    ) -> Result<Ran, RunError> {
        let max = self.max_rows();
        if inputs.units() <= max {
            return self.run_part(program, inputs, until, thread).await;
        }
        let started = Instant::now();
        let parts = inputs.split(max).into_iter().enumerate();
        // As many at once as there are sessions: between them others have their turn. A request that has begun is not
        // refused any more.
        let runs = parts.map(|(i, part)| {
            let place = if i == 0 { Place::IfThereIsOne } else { Place::Anyway };
            self.wait_and_run(program, part, until, place)
        });
        let mut runs = stream::iter(runs).buffered(self.sessions);
        let mut whole: Option<Ran> = None;
        while let Some(part) = runs.next().await {
            let part = part?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.rows.extend(part.rows),
            }
        }
        let mut whole = whole.ok_or_else(|| RunError::Failed("there is nothing to run".to_owned()))?;
        whole.ran = started.elapsed().saturating_sub(whole.waited);
        Ok(whole)
    }

    async fn run_part(
        self: &Arc<Self>,
        program: &Arc<Program>,
        inputs: Inputs,
        until: Instant,
        thread: Thread,
    ) -> Result<Ran, RunError> {
        if thread == Thread::Any && self.is_cheap(&inputs) {
            return self.run_soon(program, inputs, until).await;
        }
        self.wait_and_run(program, inputs, until, Place::IfThereIsOne).await
    }

    async fn wait_and_run(
        self: &Arc<Self>,
        program: &Arc<Program>,
        inputs: Inputs,
        until: Instant,
        place: Place,
    ) -> Result<Ran, RunError> {
        let (job, waiting) = Job::new(program, inputs, until);
        self.queue(job, place).map_err(|_| RunError::Overloaded)?;
        waiting.answered(&self.meters.waiting).await
    }

    fn is_cheap(&self, inputs: &Inputs) -> bool {
        let rows = inputs.units();
        rows <= INLINE_ROWS
            && inputs.bytes() <= INLINE_BYTES
            && self.bounds.max_wait.is_none()
            && self
                .cost
                .expected(rows)
                .is_some_and(|expected| expected <= INLINE_LIMIT)
    }

    /// The most rows that may run on the caller's thread.
    fn rows_at_once(&self) -> usize {
        let cheap = self.cost.rows_within(INLINE_LIMIT).unwrap_or(1);
        cheap.min(INLINE_ROWS).min(self.max_rows())
    }

    /// A session, unless somebody waits for one, who comes first.
    fn free_session(&self) -> Option<Session> {
        let mut state = self.lock();
        if state.queue.is_empty() { state.idle.pop() } else { None }
    }

    /// Gives the job back if there is no place for it.
    fn queue(self: &Arc<Self>, job: Job, place: Place) -> Result<(), Job> {
        let mut state = self.lock();
        let max = self
            .bounds
            .max_waiting
            .map_or(self.sessions * WAITING_PER_SESSION, NonZero::get);
        if state.queue.len() >= max {
            state.queue.retain(|job| !job.ticket.is_gone());
        }
        if state.queue.len() >= max && place == Place::IfThereIsOne {
            return Err(job);
        }
        state.queue.push_back(job);
        let idle = state.idle.pop();
        // Where the process is stopping, a session that goes on is given back on the spot, which takes the lock.
        drop(state);
        match idle {
            Some(session) => self.go_on(session),
            None => self.more.notify_all(),
        }
        Ok(())
    }

    /// Runs what is waiting, on another thread, until nothing is.
    fn go_on(self: &Arc<Self>, session: Session) {
        let mut lease = Lease {
            batcher: Arc::clone(self),
            session: Some(session),
            has_begun: false,
        };
        tokio::task::spawn_blocking(move || {
            lease.has_begun = true;
            let batcher = Arc::clone(&lease.batcher);
            while let Some((jobs, control)) = batcher.take() {
                batcher.run_jobs(lease.session(), jobs, &control);
            }
        });
    }

    /// The next batch, if any request waits that is still wanted.
    fn take(&self) -> Option<(Vec<Job>, Arc<Control>)> {
        let mut state = self.lock();
        loop {
            state.drop_overdue();
            let front = state.queue.front()?;
            let Some(max_wait) = self.bounds.max_wait else { break };
            let ready = (front.queued + max_wait).min(front.until);
            let left = ready.saturating_duration_since(Instant::now());
            let waiting: usize = state.queue.iter().map(|job| job.inputs.units()).sum();
            if left.is_zero() || waiting >= self.max_rows() {
                break;
            }
            let waited = self.more.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let max = self.max_rows();
        let mut jobs: Vec<Job> = Vec::new();
        let mut rows = 0;
        while let Some(front) = state.queue.front() {
            let joins = jobs
                .first()
                .is_none_or(|first| front.fits(first) && rows + front.inputs.units() <= max);
            if !joins {
                break;
            }
            rows += front.inputs.units();
            jobs.extend(state.queue.pop_front());
            state.drop_overdue();
        }
        let until = jobs.iter().map(|job| job.until).max();
        drop(state);
        match Control::new(until) {
            Ok(control) => {
                jobs.retain(|job| job.ticket.begin(&control));
                // From here on those who wait decide.
                control.leave();
                Some((jobs, control))
            }
            Err(why) => {
                let replies = jobs.into_iter().map(|job| job.reply);
                replies.for_each(|reply| reply_with(reply, Err(RunError::Failed(why.clone()))));
                None
            }
        }
    }

    fn run_jobs(&self, session: &mut Session, mut jobs: Vec<Job>, control: &Control) {
        let started = Instant::now();
        let Some(program) = jobs.first().map(|job| Arc::clone(&job.program)) else {
            // All of them have left.
            return;
        };
        if jobs.len() > 1 {
            let mut together = jobs[0].inputs.clone();
            jobs[1..].iter().for_each(|job| together.append(&job.inputs));
            match self.run_once(session, &program, &together, control) {
                Ok(outputs) => {
                    let ran = started.elapsed();
                    let mut outputs = outputs.into_iter().map(Ok);
                    for job in jobs {
                        let rows = outputs.by_ref().take(job.inputs.units()).collect();
                        job.answer(Ok(rows), (started, ran));
                    }
                    return;
                }
                // Whoever brought what the model fails on, the others are not to wait for it: the small ones come first.
                Err(_) => jobs.sort_by_key(|job| job.inputs.units()),
            }
        }
        for job in jobs {
            let rows = self.run_here(session, &program, &job.inputs, control);
            job.answer(rows, (started, started.elapsed()));
        }
    }

    fn run_once(
        &self,
        session: &mut Session,
        program: &Program,
        inputs: &Inputs,
        control: &Control,
    ) -> Result<Vec<Outputs>, String> {
        let _running = Counted::of(&self.meters.running);
        let started = Instant::now();
        let outputs = program.run(session, inputs, control.options())?;
        self.cost.learn(inputs.units(), started.elapsed());
        record(&self.meters.rows, inputs.units());
        Ok(outputs)
    }

    fn run_here(
        &self,
        session: &mut Session,
        program: &Program,
        inputs: &Inputs,
        control: &Control,
    ) -> Result<Vec<Result<Outputs, String>>, RunError> {
        match self.run_once(session, program, inputs, control) {
            Ok(outputs) => Ok(outputs.into_iter().map(Ok).collect()),
            Err(_) if control.is_over() => Err(RunError::Ended),
            Err(reason) => {
                let mut answers = Vec::with_capacity(inputs.units());
                halve(session, program, inputs, (reason, control), &mut answers)?;
                Ok(answers)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of what stands first and is not wanted any more: its caller has left, or has been told that it was too late.
    fn drop_overdue(&mut self) {
        let now = Instant::now();
        while let Some(front) = self.queue.front()
            && (front.ticket.is_gone() || front.until <= now)
        {
            if let Some(job) = self.queue.pop_front() {
                reply_with(job.reply, Err(RunError::Ended));
            }
        }
    }
}

/// A session on loan: it goes back to the others, or on with what waits, also when a run panics.
struct Lease {
    batcher: Arc<Batcher>,
    session: Option<Session>,
    /// If not, the process is stopping: nothing can be begun any more.
    has_begun: bool,
}

impl Lease {
    fn begun(batcher: &Arc<Batcher>, session: Session) -> Self {
        Self {
            batcher: Arc::clone(batcher),
            session: Some(session),
            has_begun: true,
        }
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("it is there until it is given back")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut state = self.batcher.lock();
        if self.has_begun && !state.queue.is_empty() {
            drop(state);
            self.batcher.go_on(session);
        } else {
            state.idle.push(session);
        }
    }
}

/// One more, for as long as it is held.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn of(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn reply_with(reply: oneshot::Sender<Result<Ran, RunError>>, outcome: Result<Ran, RunError>) {
    // Whoever has left needs no answer.
    let _unwanted = reply.send(outcome);
}

/// Finds the rows that the model does not fail on, after it failed on all of them for `reason`.
fn halve(
    session: &mut Session,
    program: &Program,
    inputs: &Inputs,
    (reason, control): (String, &Control),
    answers: &mut Vec<Result<Outputs, String>>,
) -> Result<(), RunError> {
    let units = inputs.units();
    if units < 2 {
        answers.push(Err(reason));
        return Ok(());
    }
    for half in [0..units / 2, units / 2..units] {
        let half = inputs.select(half);
        match program.run(session, &half, control.options()) {
            Ok(outputs) => answers.extend(outputs.into_iter().map(Ok)),
            Err(_) if control.is_over() => return Err(RunError::Ended),
            Err(reason) => halve(session, program, &half, (reason, control), answers)?,
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "batches have no 2^53 rows")]
fn record(histogram: &Histogram, rows: usize) {
    histogram.record(rows as f64);
}
