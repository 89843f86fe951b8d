//! The flights, loaded once per test program, and both servers on them under a simulated clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use feature_defs::definitions::{self, Definitions};
use feature_defs::time::{ManualClock, Timestamp};
use feature_server::{Mode, Progress, RunRequest, Settings as FeatureSettings, Time};
use flights::{Dataset, Ingested, Replay, Shift};
use predictor::{Asked, Explain, Freshness, ModelName, Settings as PredictorSettings};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::env::{required, root};
use crate::postgres::{self, Database};
use crate::redis_server::RedisServer;

/// The flights' definitions.
pub fn definitions() -> Definitions {
    definitions::load(&root().join("examples/flights/features")).unwrap_or_else(|error| panic!("{error}"))
}

/// Both servers, in this process, on a database with the whole year of flights and a Redis of their own. Events are where
/// they were in 2013 and were ingested as they happened, so that any moment of the year can be simulated by the clock.
#[derive(Debug)]
pub struct Stand {
    /// The clock of both servers.
    pub clock: Arc<ManualClock>,
    /// The database.
    pub database: Database,
    /// The features' Redis, and the prediction cache's.
    pub redis: RedisServer,
    /// The feature server.
    pub features: Arc<feature_server::App>,
    /// The predictor.
    pub predictor: Arc<predictor::App>,
    /// The year.
    pub replay: Arc<Replay>,
    _models: tempfile::TempDir,
}

impl Stand {
    /// Sets it all up, with nothing materialized yet.
    ///
    /// # Errors
    /// If anything real is missing.
    pub async fn new(now: Timestamp) -> Result<Self> {
        let replay = Arc::clone(&loaded().await.0);
        let database = postgres::copy_of(&loaded().await.1).await?;
        let redis = RedisServer::start()?;
        let clock = Arc::new(ManualClock::new(now));
        let settings = FeatureSettings {
            database: database.url.parse()?,
            source_database: None,
            named_databases: std::collections::BTreeMap::new(),
            redis: redis.url().parse()?,
        };
        let features = feature_server::App::open(&settings, definitions(), Time::Given(Arc::clone(&clock) as _))?;
        feature_server::migrate(&settings.database).await?;
        let models = patient_models()?;
        let predictor = load_predictor(models.path(), &redis.url(), Arc::clone(&clock) as _)?;
        Ok(Self {
            clock,
            database,
            redis,
            features,
            predictor,
            replay,
            _models: models,
        })
    }

    /// Sets the clock to `at` and materializes every view, incrementally where that is possible.
    ///
    /// # Errors
    /// If a run fails.
    pub async fn materialize(&self, at: Timestamp) -> Result<()> {
        self.clock.set(at);
        for view in &self.features.definitions().views {
            self.features
                .materialize(
                    view.name.as_str(),
                    &RunRequest::new(Mode::Incremental),
                    &Progress::hidden(),
                )
                .await?;
        }
        self.predictor.refresh().await?;
        Ok(())
    }

    /// The whole answer to these instances, as JSON.
    ///
    /// # Errors
    /// If the predictor refuses them.
    pub async fn predict(&self, model: &str, instances: Vec<Value>, explain: Explain) -> Result<Value> {
        let body = json!({ "instances": instances }).to_string();
        let asked = Asked {
            model,
            version: None,
            body: body.as_bytes(),
            explain,
            freshness: Freshness::Any,
        };
        Ok(serde_json::to_value(self.predictor.predict(asked).await?)?)
    }
}

/// The predictor on a model repository and a Redis.
///
/// # Errors
/// If a model does not fit.
pub fn load_predictor(
    models: &Path,
    redis: &str,
    clock: Arc<dyn feature_defs::time::Clock>,
) -> Result<Arc<predictor::App>> {
    let settings = PredictorSettings {
        features: root().join("examples/flights/features"),
        models: models.to_owned(),
        onnxruntime: required("LARDER_ONNXRUNTIME").into(),
        redis: redis.parse()?,
        cache_redis: redis.parse()?,
        sessions: PredictorSettings::one_a_processor(),
        max_instances: PredictorSettings::MAX_INSTANCES,
        model_control: false,
        limits: PredictorSettings::LIMITS,
    };
    let only: Option<&ModelName> = None;
    Ok(predictor::App::load(&settings, &definitions(), clock, only)?)
}

/// The flights' models with a deadline that a busy test machine can keep: what these tests are about is not time.
///
/// # Errors
/// If they can't be copied.
pub fn patient_models() -> Result<tempfile::TempDir> {
    let to = tempfile::tempdir()?;
    copy_tree(&root().join("examples/flights/models"), to.path())?;
    for model in ["flight_delay", "flight_delay_request_only", "flight_delay_mlp"] {
        let path = to.path().join(model).join("model.toml");
        let mut settings: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        settings.insert("deadline".into(), "60s".into());
        std::fs::write(&path, toml::to_string(&settings)?)?;
    }
    Ok(to)
}

/// Copies a folder with everything in it.
///
/// # Errors
/// If a file can't be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The CSV files.
pub fn data_dir() -> PathBuf {
    required("LARDER_TEST_FLIGHTS").into()
}

/// The year and the name of the database that holds it: made once, copied by each test.
async fn loaded() -> &'static (Arc<Replay>, String) {
    static LOADED: OnceCell<(Arc<Replay>, String)> = OnceCell::const_new();
    LOADED
        .get_or_init(|| async {
            load()
                .await
                .unwrap_or_else(|error| panic!("loading the flights: {error:#}"))
        })
        .await
}

async fn load() -> Result<(Arc<Replay>, String)> {
    let dataset = Dataset::read(&data_dir())?;
    let replay = Replay::new(Arc::new(dataset), Shift::NONE, Ingested::AtEvent);
    let database = postgres::empty().await?;
    replay.start(&database.pool, Replay::BEGINNING, replay.end()).await?;
    sqlx::query("ANALYZE").execute(&database.pool).await?;
    // A template must have no connections.
    database.pool.close().await;
    let (_, name) = database.url.rsplit_once('/').context("a database URL ends in /name")?;
    Ok((Arc::new(replay), name.to_owned()))
}
