//! The predictor as a whole: what `serve`, the other commands and tests are made of.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use feature_defs::definitions::Definitions;
use feature_defs::name::ProjectName;
use feature_defs::time::Clock;
use online_store::{OnlineStore, RedisUrl, StoreError};
use service::health::{Check, Readiness};
use service::http::{Gate, Limits};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::meters;
use crate::model::repository;
use crate::model::runtime::Runtime;
use crate::model::{Loader, ModelName, Models, Refused, Version};
use crate::predict::redis_cache::RedisCache;
use crate::predict::{PredictError, SHADOWS_AT_ONCE};
use crate::serving::Serving;

/// How long readiness asks Redis.
const PING_WITHIN: Duration = Duration::from_millis(500);

/// What a predictor needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The feature definitions.
    pub features: PathBuf,
    /// The model repository.
    pub models: PathBuf,
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
    /// Where the features are.
    pub redis: RedisUrl,
    /// Where predictors share their cache.
    pub cache_redis: RedisUrl,
    /// How many batches of a model run at once.
    pub sessions: NonZero<usize>,
    /// How many instances one request may have.
    pub max_instances: NonZero<usize>,
    /// Whether callers may load, unload and promote models.
    pub model_control: bool,
    /// What the servers accept, HTTP and gRPC together.
    pub limits: Limits,
}

impl Settings {
    /// The default of `max_instances`.
    pub const MAX_INSTANCES: NonZero<usize> = NonZero::new(1_000).expect("not zero");
    /// The default of `limits`: 4 MiB of body holds 1,000 large instances; 512 requests in flight keep two cores busy.
    pub const LIMITS: Limits = Limits {
        body_bytes: 4 << 20,
        body_within: Limits::BODY_WITHIN,
        in_flight: 512,
    };

    /// One a processor, of sessions and of threads: more would only queue for it.
    pub fn one_a_processor() -> NonZero<usize> {
        std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
    }
}

/// Models with everything they need to answer.
#[derive(Debug)]
pub struct App {
    serving: ArcSwap<Serving>,
    loader: Loader,
    features: PathBuf,
    project: ProjectName,
    /// Held while what will be served next is made. The models that were told not to serve.
    reloading: Mutex<BTreeSet<ModelName>>,
    /// Places for what shadows predict.
    shadows: Arc<Semaphore>,
    this: Weak<Self>,
    /// Why the last reload was refused, if it was.
    problem: ArcSwapOption<String>,
    store: OnlineStore,
    clock: Arc<dyn Clock>,
    max_instances: usize,
    model_control: bool,
    gate: Gate,
}

/// Why there is no predictor.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// ONNX Runtime cannot be loaded, or the repository not be read.
    #[error("{0}")]
    Failed(String),
    /// The one model that was asked for is not in the repository.
    #[error("there is no model `{name}` in {}: {}", .dir.display(), among(.known))]
    NoSuchModel {
        /// What was asked for.
        name: ModelName,
        /// The repository.
        dir: PathBuf,
        /// The models there are.
        known: Vec<ModelName>,
    },
    /// The model has no such version.
    #[error("model `{name}` has no version `{version}`: {}", repository::list(.known))]
    NoSuchVersion {
        /// The model.
        name: ModelName,
        /// What was asked for.
        version: Version,
        /// The versions there are.
        known: Vec<Version>,
    },
    /// The model, or a version of it, is refused.
    #[error("model `{name}` cannot be loaded:{}", .reasons.iter().map(|reason| format!("\n  - {reason}")).collect::<String>())]
    Unfit {
        /// The model.
        name: ModelName,
        /// What is wrong with it, a sentence each.
        reasons: Vec<String>,
    },
    /// A Redis URL of a kind this build does not speak.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Every model is refused.
    #[error("no model can be served\n{}", list(.0))]
    NoneServes(Vec<Refused>),
}

fn among(known: &[ModelName]) -> String {
    if known.is_empty() {
        return "it holds no model; a model is a folder with a model.toml".to_owned();
    }
    let names: Vec<&str> = known.iter().map(ModelName::as_str).collect();
    format!("it has {}", names.join(", "))
}

fn loader(settings: &Settings) -> Result<Loader, LoadError> {
    Ok(Loader {
        dir: settings.models.clone(),
        runtime: Runtime::load(&settings.onnxruntime).map_err(LoadError::Failed)?,
        sessions: settings.sessions,
        redis: Arc::new(RedisCache::open(&settings.cache_redis)?),
    })
}

fn list(refused: &[Refused]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl App {
    /// Loads and warms the models of the repository: all, or `only` one and its fallback. Connects to nothing yet.
    ///
    /// # Errors
    /// [`LoadError`]; a model that is refused beside others that serve is no error.
    pub fn load(
        settings: &Settings,
        definitions: &Definitions,
        clock: Arc<dyn Clock>,
        only: Option<&ModelName>,
    ) -> Result<Arc<Self>, LoadError> {
        let loader = loader(settings)?;
        let models = Models::load(&loader, definitions, only)?;
        let refused: Vec<Refused> = models.refused().collect();
        if models.serving().next().is_none() {
            return Err(LoadError::NoneServes(refused));
        }
        for model in &refused {
            tracing::error!("{model}");
        }
        Self::with((settings, definitions, clock), (loader, models))
    }

    /// Loads and warms these versions of a model for the rows of a file, and its fallback, whatever traffic they get: see
    /// [`Models::load_for_a_file`]. Connects to nothing yet.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn load_for_a_file(
        settings: &Settings,
        definitions: &Definitions,
        clock: Arc<dyn Clock>,
        model: (&ModelName, &[Version]),
    ) -> Result<Arc<Self>, LoadError> {
        let loader = loader(settings)?;
        let models = Models::load_for_a_file(&loader, definitions, model)?;
        Self::with((settings, definitions, clock), (loader, models))
    }

    fn with(
        (settings, definitions, clock): (&Settings, &Definitions, Arc<dyn Clock>),
        (loader, models): (Loader, Models),
    ) -> Result<Arc<Self>, LoadError> {
        let store = OnlineStore::open(&settings.redis, definitions.project.clone())?;
        meters::refused(&models, None);
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            shadows: Arc::new(Semaphore::new(SHADOWS_AT_ONCE)),
            serving: ArcSwap::from_pointee(Serving::new(models, &store)),
            loader,
            features: settings.features.clone(),
            project: definitions.project.clone(),
            reloading: Mutex::default(),
            problem: ArcSwapOption::empty(),
            store,
            clock,
            max_instances: settings.max_instances.get(),
            model_control: settings.model_control,
            gate: Gate::new(settings.limits),
        }))
    }

    /// Keeps what is known of stored views fresh, until stopped: of those of the models that are served now.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let (reader, replaced) = {
                let serving = self.serving.load();
                (Arc::clone(&serving.reader), serving.replaced.clone())
            };
            stop.run_until_cancelled(reader.keep_fresh(replaced)).await;
        }
    }

    /// Learns what is known of stored views now, rather than within a second.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.serving().reader.refresh().await
    }

    /// The models as they are served now.
    pub fn models(&self) -> Arc<Models> {
        Arc::clone(&self.serving.load().models)
    }

    /// Whether to send this predictor requests. A model that is refused, definitions that cannot be taken up, or a Redis
    /// that is down, is said, but keeps nobody away: other models serve, older definitions do, and policies say what is
    /// answered without the store.
    pub async fn readiness(&self) -> Readiness {
        let redis = self.store.ping(PING_WITHIN).await.map_err(|e| e.to_string());
        let definitions = match self.problem.load_full() {
            None => Ok(()),
            Some(problem) => Err(format!("what was serving serves on: {problem}")),
        };
        let mut checks = vec![
            Check::optional("redis", redis),
            Check::optional("definitions", definitions),
        ];
        let models = self.models();
        let model = |name: &str, outcome| Check::optional(format!("model {name}"), outcome);
        let well = models.iter().filter(|(_, entry)| entry.problems.is_empty());
        checks.extend(well.map(|(name, _)| model(name.as_str(), Ok(()))));
        checks.extend(models.refused().map(|refused| {
            let kept = refused.kept.map(|kept| format!("; {kept}"));
            let problem = format!("{}{}", refused.reasons.join("; "), kept.unwrap_or_default());
            model(&refused.name, Err(problem))
        }));
        Readiness::of(checks)
    }

    /// Whether every model serves that is not unloaded.
    pub(crate) fn is_all_ready(&self) -> bool {
        let models = self.models();
        models
            .iter()
            .all(|(_, entry)| entry.served.is_some() || entry.is_unloaded)
    }

    /// Counts a call that could not be read, of the model that it names if there is one.
    pub(crate) fn not_read(&self, name: &str, error: &PredictError) {
        let models = self.models();
        let known = models
            .iter()
            .map(|(known, _)| known)
            .find(|known| known.as_str() == name);
        meters::not_served(known, error.fault());
    }

    /// What is served now. A request takes it once.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Puts `next` in the place of what is served, which is given back.
    pub(crate) fn replace(&self, next: Serving) -> Arc<Serving> {
        meters::refused(&next.models, Some(&self.models()));
        self.serving.swap(Arc::new(next))
    }

    pub(crate) fn reloading(&self) -> &Mutex<BTreeSet<ModelName>> {
        &self.reloading
    }

    pub(crate) fn shadows(&self) -> &Arc<Semaphore> {
        &self.shadows
    }

    /// This app, for what goes on when the caller has its answer.
    pub(crate) fn arc(&self) -> Arc<Self> {
        self.this.upgrade().expect("whoever calls this holds it")
    }

    pub(crate) fn set_problem(&self, problem: Option<String>) {
        self.problem.store(problem.map(Arc::new));
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    pub(crate) fn features(&self) -> &Path {
        &self.features
    }

    pub(crate) fn project(&self) -> &ProjectName {
        &self.project
    }

    pub(crate) fn store(&self) -> &OnlineStore {
        &self.store
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn max_instances(&self) -> usize {
        self.max_instances
    }

    pub(crate) fn is_controlled(&self) -> bool {
        self.model_control
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}
