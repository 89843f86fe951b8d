//! Models: their files, what they take and give, and the sessions that run them.

pub mod batcher;
pub mod config;
mod cost;
mod counterpart;
pub mod element;
mod fallback;
mod load;
mod name;
pub mod program;
pub mod raw;
mod registry;
pub mod repository;
pub mod runtime;
pub mod signature;
pub mod tensor;
mod ticket;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use feature_defs::codec::Schema;
use feature_defs::definitions::Service;

use crate::meters::Meters;
use crate::predict::cache::Cache;
use crate::predict::redis_cache::Stored;
use crate::predict::request::RequestShape;
use batcher::Batcher;
use config::{ModelFile, VersionFile};
use program::{Outputs, Program, Wanted};
use repository::Artifact;
use signature::{Declared, Signature};

pub use counterpart::Counterpart;
pub use load::Loader;
pub use name::{InvalidVersion, ModelName, Version};
pub use registry::{Entry, Models, Refused, VersionState};
pub use traffic::{Arm, Canary, Served};

/// One version of a model, loaded, checked and warm.
#[derive(Debug)]
pub struct Model {
    /// What callers say.
    pub name: ModelName,
    /// The version.
    pub version: Version,
    /// Its file.
    pub artifact: Artifact,
    /// Policies and mappings that belong to the artifact.
    pub settings: VersionFile,
    /// What an operator decides.
    pub operated: Operated,
    /// The tensors that it says it takes.
    pub inputs: Vec<Declared>,
    /// The tensors that it says it gives.
    pub outputs: Vec<Declared>,
    /// Tensors in, tensors out.
    pub tensors: Arc<Program>,
    /// What feeds it, if it is not the caller.
    pub featured: Option<Featured>,
    /// What runs it.
    pub batcher: Arc<Batcher>,
    /// Where its predictions are kept.
    pub cache: Cache,
    /// What is measured of it.
    pub meters: Meters,
}

/// What a version of a model was loaded with of `model.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Operated {
    /// How long an answer may take.
    pub deadline: Duration,
    /// Where its predictions are kept.
    pub cache: config::CacheSettings,
    /// How many rows run together, and where.
    pub batching: config::BatchingSettings,
}

impl From<&ModelFile> for Operated {
    fn from(file: &ModelFile) -> Self {
        Self {
            deadline: file.deadline.to_std(),
            cache: file.cache,
            batching: file.batching,
        }
    }
}

impl Model {
    /// How predictions of this use of it are stored.
    pub(crate) fn stored_as(&self, program: &Program) -> Stored<'_> {
        match (&program.wanted, &self.featured) {
            (Wanted::Values(_), Some(featured)) => Stored::Values(&featured.output_schema),
            _ => Stored::Tensors,
        }
    }
}

/// The side of a model that its feature service feeds.
#[derive(Debug)]
pub struct Featured {
    /// The service.
    pub service: Arc<Service>,
    /// What it takes of it, and gives.
    pub signature: Arc<Signature>,
    /// The names and types of its outputs.
    pub output_schema: Arc<Schema>,
    /// What a request for it looks like.
    pub shape: RequestShape,
    /// Features in, named outputs out.
    pub program: Arc<Program>,
}

/// Who answers when the store cannot be read.
#[derive(Debug, Clone)]
pub enum Fallback {
    /// Another model, which needs no stored features.
    Model(Counterpart),
    /// Always the same answer.
    Output(Outputs),
}
