//! Arguments that several commands share.

use std::num::NonZero;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use feature_defs::definitions::{self, Definitions};
use online_store::RedisUrl;
use service::secret::Secret;

/// Where definitions and the runtime are.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Folder of the feature definitions
    #[arg(long, env = "LARDER_FEATURES", value_name = "DIR", default_value = "features")]
    pub(super) features: PathBuf,
    /// ONNX Runtime's library, 1.24 or later: libonnxruntime.so
    #[arg(long, env = "LARDER_ONNXRUNTIME", value_name = "FILE")]
    pub(super) onnxruntime: PathBuf,
}

impl LoadArgs {
    /// Reads the definitions.
    pub(super) fn definitions(&self) -> anyhow::Result<Definitions> {
        definitions::load(&self.features)
            .with_context(|| format!("the feature definitions in {} are wrong", self.features.display()))
    }
}

/// Where Redis is. URLs may hold passwords, so that what is wrong with one is said here and not by the parser, which
/// would repeat it.
#[derive(Debug, Args)]
pub(super) struct RedisArgs {
    /// Redis that holds the features; REDIS_URL is understood too [default: redis://127.0.0.1:6379]
    #[arg(long, env = "LARDER_REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<Secret>,
    /// What other programs call it
    #[arg(long, env = "REDIS_URL", hide = true, hide_env_values = true)]
    plain_redis_url: Option<Secret>,
    /// Redis that predictors share cached predictions in; the features' by default. Features want `noeviction`, a cache
    /// wants eviction: two servers can have both
    #[arg(long, env = "LARDER_CACHE_REDIS_URL", value_name = "URL", hide_env_values = true)]
    cache_redis_url: Option<Secret>,
}

impl RedisArgs {
    /// The features' Redis.
    pub(super) fn features(&self) -> anyhow::Result<RedisUrl> {
        let given = self.redis_url.as_ref().or(self.plain_redis_url.as_ref());
        let url = given.map_or("redis://127.0.0.1:6379", |Secret(url)| url.as_str());
        url.parse().context("--redis-url (LARDER_REDIS_URL, REDIS_URL)")
    }

    /// The cache's Redis, if any Redis is said.
    pub(super) fn cache_if_said(&self) -> anyhow::Result<Option<RedisUrl>> {
        let is_said = [&self.cache_redis_url, &self.redis_url, &self.plain_redis_url]
            .into_iter()
            .any(Option::is_some);
        is_said.then(|| self.cache()).transpose()
    }

    /// The cache's Redis.
    pub(super) fn cache(&self) -> anyhow::Result<RedisUrl> {
        match &self.cache_redis_url {
            Some(Secret(url)) => url.parse().context("--cache-redis-url (LARDER_CACHE_REDIS_URL)"),
            None => self.features(),
        }
    }
}

/// How models run.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// Folder of the model repository
    #[arg(long, env = "LARDER_MODELS", value_name = "DIR", default_value = "models")]
    pub(super) models: PathBuf,
    /// Batches of a model that run at once, one thread each [default: one a processor]
    #[arg(long, env = "LARDER_SESSIONS", value_name = "N")]
    pub(super) sessions: Option<NonZero<usize>>,
}
