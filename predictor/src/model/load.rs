//! From files to a model that is checked and warm, or the reasons why not.

use std::path::PathBuf;
use std::sync::Arc;

use feature_defs::definitions::Definitions;

use super::config::{CacheTier, WhenUnavailable};
use super::runtime::{Runtime, Sessions};
use super::tensor::InputRow;
use super::{Model, ModelName, Version, repository, signature};
use crate::meters::Meters;
use crate::nearest;
use crate::predict::cache::{Cache, Memory};
use crate::predict::cache_key::KeyMaker;
use crate::predict::redis_cache::RedisCache;
use crate::predict::request::RequestShape;

/// Loads models of one repository.
#[derive(Debug)]
pub struct Loader<'a> {
    /// The repository's folder.
    pub dir: PathBuf,
    /// What is declared.
    pub definitions: &'a Definitions,
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
    pub(super) fallback: Option<super::config::FallbackSettings>,
    pub(super) outcome: Result<Arc<Model>, Vec<String>>,
}

impl Loader<'_> {
    pub(super) fn load(&self, name: &ModelName) -> Loaded {
        match repository::read(&self.dir, name) {
            Err(reason) => Loaded {
                version: None,
                fallback: None,
                outcome: Err(vec![reason]),
            },
            Ok(files) => Loaded {
                version: Some(files.version.clone()),
                fallback: files.model.fallback.clone(),
                outcome: self.build(name, files).map(Arc::new),
            },
        }
    }

    fn build(&self, name: &ModelName, files: repository::Files) -> Result<Model, Vec<String>> {
        let problems = files.model.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let settings = files.settings;
        let service = self
            .definitions
            .service(settings.feature_service.as_str())
            .ok_or_else(|| {
                let known = self.definitions.services.iter().map(|s| s.name.as_str());
                let hint = nearest::hint(settings.feature_service.as_str(), known);
                vec![format!(
                    "version.toml says feature_service = \"{}\", which is not declared{hint}",
                    settings.feature_service
                )]
            })?;
        if settings.when_unavailable == WhenUnavailable::Fallback && files.model.fallback.is_none() {
            return Err(vec![
                "version.toml says when_unavailable = \"fallback\", but model.toml has no fallback".to_owned(),
            ]);
        }
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
