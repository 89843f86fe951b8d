//! Models: their files, what they take and give, and the sessions that run them.

pub mod config;
mod fallback;
mod load;
mod name;
mod registry;
pub mod repository;
pub mod runtime;
pub mod signature;
pub mod tensor;

use std::sync::Arc;
use std::time::Duration;

use feature_defs::codec::Schema;
use feature_defs::definitions::Service;

use crate::meters::Meters;
use crate::predict::cache::Cache;
use crate::predict::cache_key::KeyMaker;
use crate::predict::request::RequestShape;
use config::{CacheSettings, VersionFile};
use runtime::Sessions;
use signature::Signature;
use tensor::Outputs;

pub use load::Loader;
pub use name::{InvalidVersion, ModelName, Version};
pub use registry::{Models, Refused, State};

/// One version of a model, loaded, checked and warm.
#[derive(Debug)]
pub struct Model {
    /// What callers say.
    pub name: ModelName,
    /// The version that serves.
    pub version: Version,
    /// The SHA-256 of its file.
    pub digest: [u8; 32],
    /// What feeds it.
    pub service: Arc<Service>,
    /// Policies and mappings that belong to the artifact.
    pub settings: VersionFile,
    /// How long an answer may take.
    pub deadline: Duration,
    /// Where its predictions are kept, as configured.
    pub cache_settings: CacheSettings,
    /// What it takes and gives.
    pub signature: Arc<Signature>,
    /// The names and types of its outputs.
    pub output_schema: Arc<Schema>,
    /// What a request for it looks like.
    pub shape: RequestShape,
    /// What runs it.
    pub sessions: Arc<Sessions>,
    /// Makes the keys of its predictions.
    pub keys: KeyMaker,
    /// Where its predictions are kept.
    pub cache: Cache,
    /// What is measured of it.
    pub meters: Meters,
}

/// A model with who answers in its place when the store cannot be read.
#[derive(Debug)]
pub struct Served {
    /// The model.
    pub model: Arc<Model>,
    /// Its fallback, if it has one.
    pub fallback: Option<Fallback>,
}

/// Who answers when the store cannot be read.
#[derive(Debug)]
pub enum Fallback {
    /// Another model, which needs no stored features.
    Model {
        /// The model.
        model: Arc<Model>,
        /// Where each of its service's request features stands in a request for the other.
        request: Vec<Carried>,
        /// Which of its outputs each output of the other is.
        outputs: Vec<usize>,
    },
    /// Always the same answer.
    Output(Outputs),
}

/// Where a request carries a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// `service.request[index]`
    Request(usize),
    /// `service.keys[index]`
    Key(usize),
}
