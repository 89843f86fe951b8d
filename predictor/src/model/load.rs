//! From files and definitions to a model that is checked and warm, or the reasons why not.

use std::path::PathBuf;
use std::sync::Arc;

use feature_defs::definitions::{Definitions, Service};
use service::nearest;

use super::config::{CacheTier, FallbackSettings, WhenUnavailable};
use super::repository::Files;
use super::runtime::{Runtime, Sessions};
use super::tensor::InputRow;
use super::{Model, ModelName, Version, repository, signature};
use crate::meters::Meters;
use crate::predict::cache::{Cache, Memory};
use crate::predict::cache_key::KeyMaker;
use crate::predict::redis_cache::RedisCache;
use crate::predict::request::RequestShape;

/// Loads models of one repository.
#[derive(Debug)]
pub struct Loader {
    /// The repository's folder.
    pub dir: PathBuf,
    /// What runs models.
    pub runtime: Runtime,
    /// How many sessions a model gets.
    pub sessions: usize,
    /// The cache tier that predictors share.
    pub redis: Arc<RedisCache>,
}

/// What came of loading one model.
pub(super) struct Loaded {
    pub(super) version: Option<Version>,
    pub(super) fallback: Option<FallbackSettings>,
    pub(super) outcome: Result<Arc<Model>, Vec<String>>,
}

impl Loader {
    /// The model of this name, as its files and the definitions are now. If that is what `before` was made of, it is
    /// `before`, with its sessions and its cache.
    pub(super) fn load(&self, name: &ModelName, definitions: &Definitions, before: Option<&Arc<Model>>) -> Loaded {
        let files = match repository::read(&self.dir, name) {
            Ok(files) => files,
            Err(reason) => {
                return Loaded {
                    version: None,
                    fallback: None,
                    outcome: Err(vec![reason]),
                };
            }
        };
        Loaded {
            version: Some(files.version.clone()),
            fallback: files.model.fallback.clone(),
            outcome: service_of(&files, definitions).and_then(|service| match before {
                Some(model) if model.is_made_of(&files, service) => Ok(Arc::clone(model)),
                _ => self.build(name, files, service).map(Arc::new),
            }),
        }
    }

    fn build(&self, name: &ModelName, files: Files, service: &Arc<Service>) -> Result<Model, Vec<String>> {
        let settings = files.settings;
        let (sessions, inputs, outputs) =
            Sessions::open(&self.runtime, &files.onnx, self.sessions).map_err(|e| vec![e])?;
        let signature = signature::check(&settings, service, &inputs, &outputs)?;
        let defaults: Vec<_> = service.inputs.iter().map(|i| i.default.clone()).collect();
        sessions
            .warm_up(&signature, &InputRow::neutral(&signature, &defaults))
            .map_err(|e| vec![e])?;
        let cache = files.model.cache;
        let memory = || Memory::new(cache.max_bytes.0, cache.ttl.to_std());
        Ok(Model {
            keys: KeyMaker::new(name, &files.digest, &signature),
            shape: RequestShape::new(service, &signature, settings.overrides),
            cache: match cache.tier {
                CacheTier::Off => Cache::Off,
                CacheTier::Memory => Cache::Memory(memory()),
                CacheTier::MemoryRedis => Cache::MemoryRedis(memory(), Arc::clone(&self.redis)),
            },
            meters: Meters::new(name, service),
            name: name.clone(),
            version: files.version,
            digest: files.digest,
            service: Arc::clone(service),
            settings,
            deadline: files.model.deadline.to_std(),
            cache_settings: cache,
            output_schema: Arc::new(signature.outputs.clone()),
            signature: Arc::new(signature),
            sessions: Arc::new(sessions),
        })
    }
}

/// The service that feeds a model, if its files do not contradict themselves.
fn service_of<'a>(files: &Files, definitions: &'a Definitions) -> Result<&'a Arc<Service>, Vec<String>> {
    let problems = files.model.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let name = files.settings.feature_service.as_str();
    let service = definitions.service(name).ok_or_else(|| {
        let hint = nearest::hint(name, definitions.services.iter().map(|s| s.name.as_str()));
        vec![format!(
            "version.toml says feature_service = \"{name}\", which is not declared{hint}"
        )]
    })?;
    if files.settings.when_unavailable == WhenUnavailable::Fallback && files.model.fallback.is_none() {
        return Err(vec![
            "version.toml says when_unavailable = \"fallback\", but model.toml has no fallback".to_owned(),
        ]);
    }
    Ok(service)
}

impl Model {
    /// Whether these files and this service would make the same model. Its fallback is no part of it.
    fn is_made_of(&self, files: &Files, service: &Service) -> bool {
        self.digest == files.digest
            && self.version == files.version
            && self.settings == files.settings
            && self.deadline == files.model.deadline.to_std()
            && self.cache_settings == files.model.cache
            && *self.service == *service
    }
}
