//! ONNX Runtime: the library, and for each model a small pool of sessions, since a session runs one batch at a time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{NoSelectedOutputs, RunOptions, Session};
use ort::value::{TensorElementType, ValueType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::signature::{Declared, Element, Signature};
use super::tensor::{InputRow, Outputs, outputs, tensors};

/// A run expected to take longer than this leaves the worker, which has other requests to serve; a shorter one stays,
/// since the hop to another thread costs more.
const INLINE_LIMIT: Duration = Duration::from_millis(1);
/// A larger batch leaves the worker whatever it is expected to take: the expectation comes from batches of a few rows.
const INLINE_ROWS: usize = 32;
/// Requests that may wait for a session, for each session there is. One more is refused at once.
const WAITING_PER_SESSION: usize = 64;

/// ONNX Runtime, loaded. There is one in a process.
#[derive(Clone)]
pub struct Runtime(Environment);

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl Runtime {
    /// Loads the library at `path`. Later calls give what the first one loaded.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn load(path: &Path) -> Result<Self, String> {
        static LOADED: OnceLock<Runtime> = OnceLock::new();
        static LOADING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = LOADED.get() {
            return Ok(runtime.clone());
        }
        let cannot = |why: String| {
            format!(
                "cannot load ONNX Runtime from {}: {why}. LARDER_ONNXRUNTIME (--onnxruntime) must be the path of \
                 libonnxruntime.so, version 1.24 or later; the Python package `onnxruntime` holds it in onnxruntime/capi",
                path.display()
            )
        };
        let builder = ort::init_from(path).map_err(|e| cannot(e.to_string()))?;
        let environment = builder
            .with_name("larder")
            .with_telemetry(false)
            .build()
            .map_err(|e| cannot(e.to_string()))?;
        Ok(LOADED.get_or_init(|| Self(environment)).clone())
    }

    fn session(&self, onnx: &[u8]) -> ort::Result<Session> {
        let session = Session::builder(&self.0)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            // It would log every failing row with the values that it fails on. The row's own error has the cause.
            .with_log_level(LogLevel::Fatal)?
            .commit_from_memory(onnx)?;
        Ok(session)
    }
}

/// The sessions of one model.
pub struct Sessions {
    idle: Mutex<Vec<Session>>,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    cost: OnceLock<Cost>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("free", &self.free.available_permits())
            .finish_non_exhaustive()
    }
}

/// What a run costs, as measured at load.
#[derive(Debug, Clone, Copy)]
struct Cost {
    run: Duration,
    row: Duration,
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
    /// One a row: its outputs, or why the model failed on it.
    pub rows: Vec<Result<Outputs, String>>,
    /// How long the batch waited for a session.
    pub waited: Duration,
    /// How long the model ran.
    pub ran: Duration,
}

impl Sessions {
    /// Opens `count` sessions of a model; says what it declares.
    ///
    /// # Errors
    /// A sentence if the runtime refuses the model.
    pub fn open(runtime: &Runtime, onnx: &[u8], count: usize) -> Result<(Self, Vec<Declared>, Vec<Declared>), String> {
        let open = || {
            runtime
                .session(onnx)
                .map_err(|e| format!("ONNX Runtime refuses model.onnx: {e}"))
        };
        let idle = (0..count.max(1)).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        let inputs = idle[0].inputs().iter().map(|o| declared(o.name(), o.dtype())).collect();
        let outputs = idle[0]
            .outputs()
            .iter()
            .map(|o| declared(o.name(), o.dtype()))
            .collect();
        let sessions = Self {
            free: Arc::new(Semaphore::new(idle.len())),
            max_waiting: idle.len() * WAITING_PER_SESSION,
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(idle),
            cost: OnceLock::new(),
        };
        Ok((sessions, inputs, outputs))
    }

    /// Runs every session once and more, with one row and with several; measures what a run costs.
    ///
    /// # Errors
    /// A sentence if the model fails, or gives something else than one value a row.
    pub fn warm_up(&self, signature: &Signature, row: &InputRow) -> Result<(), String> {
        let mut sessions = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let control = Control::until(None)?;
        let mut cost = Cost {
            run: Duration::ZERO,
            row: Duration::ZERO,
        };
        for session in sessions.iter_mut() {
            let mut time = |rows: usize| {
                let batch = vec![row; rows];
                let started = Instant::now();
                run(session, signature, &batch, &control.options)
                    .map(|_| started.elapsed())
                    .map_err(|e| format!("warming up with {rows} row(s): {e}"))
            };
            // The first may pay for something that happens once.
            time(1)?;
            let three = time(3)?;
            let one = time(1)?;
            // The most that was seen: to leave the worker in vain costs a little, to hold it up costs others.
            cost.run = cost.run.max(one);
            cost.row = cost.row.max(three.saturating_sub(one) / 2);
        }
        drop(sessions);
        self.cost.get_or_init(|| cost);
        Ok(())
    }

    /// Runs a batch. When the model fails on it, the rows it does not fail on are found by halving, `until` the deadline
    /// at most. Dropping the future ends the run.
    ///
    /// # Errors
    /// [`RunError`]; after [`RunError::Overloaded`] nothing was done.
    pub async fn run(
        self: &Arc<Self>,
        signature: &Arc<Signature>,
        rows: Vec<InputRow>,
        until: Instant,
    ) -> Result<Ran, RunError> {
        let started = Instant::now();
        let permit = self.permit().await?;
        let waited = started.elapsed();
        let started = Instant::now();
        let control = Control::until(Some(until)).map_err(RunError::Failed)?;
        let rows = if rows.len() <= INLINE_ROWS && self.expected(rows.len()) <= INLINE_LIMIT {
            self.run_here(signature, &rows, &control, permit)
        } else {
            let _ends_with_us = EndOnDrop(Arc::clone(&control));
            let (sessions, signature) = (Arc::clone(self), Arc::clone(signature));
            tokio::task::spawn_blocking(move || sessions.run_here(&signature, &rows, &control, permit))
                .await
                .map_err(|e| RunError::Failed(format!("the run ended early: {e}")))?
        };
        Ok(Ran {
            rows: rows?,
            waited,
            ran: started.elapsed(),
        })
    }

    fn run_here(
        &self,
        signature: &Signature,
        rows: &[InputRow],
        control: &Control,
        permit: OwnedSemaphorePermit,
    ) -> Result<Vec<Result<Outputs, String>>, RunError> {
        let mut lent = Lent::take(&self.idle);
        let session = lent
            .session
            .as_mut()
            .expect("a session for every permit: loans end before permits do");
        let rows: Vec<&InputRow> = rows.iter().collect();
        let mut answers = Vec::with_capacity(rows.len());
        let outcome = run_or_halve(session, signature, &rows, control, &mut answers);
        drop(lent);
        drop(permit);
        outcome.map(|()| answers)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, RunError> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Waiting::take(&self.waiting, self.max_waiting).ok_or(RunError::Overloaded)?;
        Arc::clone(&self.free)
            .acquire_owned()
            .await
            .map_err(|e| RunError::Failed(e.to_string()))
    }

    fn expected(&self, rows: usize) -> Duration {
        self.cost.get().map_or(Duration::MAX, |cost| {
            cost.run
                .saturating_add(cost.row.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)))
        })
    }
}

/// A session on loan: it goes back to the others also when a run panics.
struct Lent<'a> {
    idle: &'a Mutex<Vec<Session>>,
    session: Option<Session>,
}

impl<'a> Lent<'a> {
    fn take(idle: &'a Mutex<Vec<Session>>) -> Self {
        let session = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { idle, session }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.session.take());
    }
}

/// A place among those who wait for a session.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(count);
        // From here on the place is given back on drop, also when there was none.
        (count.fetch_add(1, Ordering::AcqRel) < max).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The handle by which one batch's run is ended early. Never used for another batch.
struct Control {
    options: RunOptions<NoSelectedOutputs>,
    ended: AtomicBool,
    until: Option<Instant>,
}

impl Control {
    fn until(until: Option<Instant>) -> Result<Arc<Self>, String> {
        let options = RunOptions::new().map_err(|e| e.to_string())?;
        Ok(Arc::new(Self {
            options,
            ended: AtomicBool::new(false),
            until,
        }))
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

struct EndOnDrop(Arc<Control>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        if let Err(error) = self.0.options.terminate() {
            tracing::warn!("could not end a model run: {error}");
        }
    }
}

fn run_or_halve(
    session: &mut Session,
    signature: &Signature,
    rows: &[&InputRow],
    control: &Control,
    answers: &mut Vec<Result<Outputs, String>>,
) -> Result<(), RunError> {
    match run(session, signature, rows, &control.options) {
        Ok(outputs) => answers.extend(outputs.into_iter().map(Ok)),
        Err(_) if control.is_over() => return Err(RunError::Ended),
        Err(reason) if rows.len() < 2 => answers.push(Err(reason)),
        Err(_) => {
            let (head, tail) = rows.split_at(rows.len() / 2);
            run_or_halve(session, signature, head, control, answers)?;
            run_or_halve(session, signature, tail, control, answers)?;
        }
    }
    Ok(())
}

fn run(
    session: &mut Session,
    signature: &Signature,
    rows: &[&InputRow],
    options: &RunOptions<NoSelectedOutputs>,
) -> Result<Vec<Outputs>, String> {
    let inputs = tensors(signature, rows).map_err(|e| e.to_string())?;
    let answer = session.run_with_options(inputs, options).map_err(|e| e.to_string())?;
    outputs(signature, rows.len(), &answer)
}

fn declared(name: &str, value_type: &ValueType) -> Declared {
    let (element, shape) = match value_type {
        ValueType::Tensor { ty, shape, .. } => (element(*ty), shape.to_vec()),
        _ => (None, Vec::new()),
    };
    let type_text = match (value_type, element) {
        (_, Some(element)) => format!("{} {shape:?}", element.name()),
        (other, None) => other.to_string(),
    };
    Declared {
        name: name.to_owned(),
        element,
        type_text,
        shape,
    }
}

const fn element(element: TensorElementType) -> Option<Element> {
    match element {
        TensorElementType::Float32 => Some(Element::Float32),
        TensorElementType::Float64 => Some(Element::Float64),
        TensorElementType::Int64 => Some(Element::Int64),
        TensorElementType::Int32 => Some(Element::Int32),
        TensorElementType::Bool => Some(Element::Bool),
        TensorElementType::String => Some(Element::String),
        _ => None,
    }
}
