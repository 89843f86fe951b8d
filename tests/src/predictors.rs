//! Predictors of a test's own models, in this process, whose models read no stored feature.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use feature_defs::definitions;
use feature_defs::time::{ManualClock, Timestamp};
use predictor::{App, Settings};
use service::http::Limits;

use crate::env::required;

/// The largest body that [`load`]'s predictor takes.
const BODY_BYTES: usize = 64 << 20;

/// The models below `models` on the definitions below `features`, one session each.
///
/// # Errors
/// If the definitions cannot be read, or no model serves.
pub fn load(features: &Path, models: &Path) -> Result<Arc<App>> {
    let definitions = definitions::load(features).map_err(|error| anyhow::anyhow!("{error}"))?;
    let redis: String = required("LARDER_TEST_REDIS_URL");
    let settings = Settings {
        features: features.to_owned(),
        models: models.to_owned(),
        onnxruntime: required("LARDER_ONNXRUNTIME").into(),
        redis: redis.parse()?,
        cache_redis: redis.parse()?,
        sessions: NonZero::<usize>::MIN,
        max_instances: Settings::MAX_INSTANCES,
        model_control: false,
        limits: Limits {
            body_bytes: BODY_BYTES,
            ..Settings::LIMITS
        },
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1 << 50)));
    Ok(App::load(&settings, &definitions, clock, None)?)
}
