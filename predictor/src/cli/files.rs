//! What the commands share that predict the rows of a file.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use feature_defs::time::SystemClock;
use service::lifecycle;
use table_files::{FileError, TableReader};
use tokio_util::sync::CancellationToken;

use super::WrongUsage;
use super::args::{LoadArgs, ModelArgs, RedisArgs};
use crate::app::{App, LoadError, Settings};
use crate::model::{ModelName, Version};

/// Opens the file of rows.
pub(super) fn open(path: &Path) -> anyhow::Result<TableReader> {
    match TableReader::open(path) {
        Err(error @ FileError::Extension { .. }) => Err(WrongUsage::new(error).into()),
        rows => Ok(rows?),
    }
}

/// Loads these versions of a model, or the one that serves if there is none.
pub(super) fn load(
    (load, models, redis): (&LoadArgs, &ModelArgs, &RedisArgs),
    model: (&ModelName, &[Version]),
) -> anyhow::Result<Arc<App>> {
    let settings = Settings {
        features: load.features.clone(),
        models: models.models.clone(),
        onnxruntime: load.onnxruntime.clone(),
        redis: redis.features()?,
        cache_redis: redis.cache()?,
        sessions: models.sessions.unwrap_or_else(Settings::one_a_processor),
        max_instances: Settings::MAX_INSTANCES,
        model_control: false,
        limits: Settings::LIMITS,
    };
    match App::load_for_a_file(&settings, &load.definitions()?, Arc::new(SystemClock), model) {
        Err(error @ (LoadError::NoSuchModel { .. } | LoadError::NoSuchVersion { .. })) => {
            Err(WrongUsage::new(error).into())
        }
        app => Ok(app?),
    }
}

/// What `working` gives, unless a signal ends it. What is stored is read as a server reads it meanwhile.
pub(super) async fn with_features<T>(
    app: &Arc<App>,
    working: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let stop = lifecycle::stop_on_signal()?;
    if let Err(error) = app.refresh().await {
        tracing::warn!("stored features cannot be read: {error}");
    }
    let done = CancellationToken::new();
    let fresh = tokio::spawn({
        let (app, done) = (Arc::clone(app), done.clone());
        async move { app.keep_fresh(done).await }
    });
    let outcome = stop.run_until_cancelled(working).await;
    done.cancel();
    fresh.await?;
    match outcome {
        Some(outcome) => outcome,
        None => bail!("interrupted: nothing was written"),
    }
}

/// A file has no tensors.
pub(super) fn needs_tensors(model: &ModelName) -> WrongUsage {
    WrongUsage(format!(
        "model `{model}` has no feature service, and takes tensors: a file's columns are the join keys and request features of a \
         service"
    ))
}
