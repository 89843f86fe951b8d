//! ONNX Runtime: the library, and the sessions that it runs models in.

use std::num::NonZero;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::ValueType;

use super::signature::Declared;
use super::tensor::of_ort;

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

    /// Opens `count` sessions of a model, since a session runs one batch at a time, each on so many threads; says what the
    /// model declares.
    ///
    /// # Errors
    /// A sentence if the runtime refuses the model.
    pub fn open(&self, onnx: &[u8], count: NonZero<usize>, threads: NonZero<usize>) -> Result<Opened, String> {
        let open = |_| self.session(onnx, threads).map_err(|e| refusal(&e.to_string()));
        let sessions = (0..count.get()).map(open).collect::<Result<Vec<_>, _>>()?;
        let declared = |outlets: &[ort::value::Outlet]| {
            let one = |outlet: &ort::value::Outlet| declared(outlet.name(), outlet.dtype());
            outlets.iter().map(one).collect()
        };
        Ok(Opened {
            inputs: declared(sessions[0].inputs()),
            outputs: declared(sessions[0].outputs()),
            sessions,
        })
    }

    fn session(&self, onnx: &[u8], threads: NonZero<usize>) -> ort::Result<Session> {
        let session = Session::builder(&self.0)?
            .with_intra_threads(threads.get())?
            .with_inter_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            // It would log every failing row with the values that it fails on. The row's own error has the cause.
            .with_log_level(LogLevel::Fatal)?
            // Weights in a file of their own would be looked for wherever the process is, and be part of no digest.
            .with_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)?
            .commit_from_memory(onnx)?;
        Ok(session)
    }
}

/// A folder that no weights are in.
const NOWHERE: &str = "/nonexistent";

fn refusal(why: &str) -> String {
    let hint = if why.contains(NOWHERE) {
        ". Its weights are in another file: save it as one (onnx.save without save_as_external_data)"
    } else {
        ""
    };
    format!("ONNX Runtime refuses model.onnx: {why}{hint}")
}

/// A model in sessions.
#[derive(Debug)]
pub struct Opened {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// What the model says that it takes.
    pub inputs: Vec<Declared>,
    /// What it says that it gives.
    pub outputs: Vec<Declared>,
}

fn declared(name: &str, value_type: &ValueType) -> Declared {
    let (element, shape) = match value_type {
        ValueType::Tensor { ty, shape, .. } => (of_ort(*ty), shape.to_vec()),
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
