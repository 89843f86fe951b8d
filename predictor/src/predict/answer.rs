//! The body of an answer.

use std::fmt::Display;
use std::sync::Arc;

use feature_defs::codec::Schema;
use feature_defs::definitions::Service;
use feature_defs::name::ViewName;
use feature_defs::serving::Status;
use feature_defs::time::Timestamp;
use feature_defs::value::Value;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value as Json;
use uuid::Uuid;

use super::explain::Explained;
use super::stages::Stages;
use crate::model::program::Outputs;
use crate::model::{ModelName, Version};

/// An answered request.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The model.
    pub model_name: ModelName,
    /// The version that answered.
    pub model_version: Version,
    /// One a row; `None` for a row that failed, whose `error` says why.
    pub predictions: Vec<Option<Prediction>>,
    /// One a row.
    pub rows: Vec<Row>,
    /// Where the time went. Not sent.
    #[serde(skip)]
    pub stages: Stages,
}

/// The outputs of one row, by name.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The names.
    pub schema: Arc<Schema>,
    /// The values, one a field of the schema.
    pub outputs: Outputs,
}

impl Serialize for Prediction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.outputs.values().len()))?;
        for (field, value) in self.schema.fields().iter().zip(self.outputs.values()) {
            map.serialize_entry(field.name.as_str(), &value.to_json())?;
        }
        map.end()
    }
}

impl Prediction {
    /// The output of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.schema.fields().iter().position(|f| f.name.as_str() == name)?;
        self.outputs.values().get(at)
    }
}

/// What is said of one row besides its prediction.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Ours, for good.
    pub prediction_id: Uuid,
    /// The caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Json>,
    /// The version that answered, if it is another one than the request's: the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_version: Option<Version>,
    /// Where the prediction came from.
    pub cache: CacheState,
    /// How long ago the model made it, if it comes from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_age_ms: Option<i64>,
    /// Why it is less than it could be; empty when it is not.
    pub degraded: Vec<Degraded>,
    /// What the store had, by view (or the alias of it).
    pub features: Found,
    /// Why there is no prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
    /// Every input, and what derived features were made of: when asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
}

/// Where a prediction came from. A row that waited for the run of another, equal one is what the other is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// This process had it.
    HitMemory,
    /// The Redis that predictors share had it.
    HitRedis,
    /// The model ran.
    Miss,
    /// There is no cache in play: the model ran, or none was needed.
    Off,
}

impl CacheState {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HitMemory => "hit_memory",
            Self::HitRedis => "hit_redis",
            Self::Miss => "miss",
            Self::Off => "off",
        }
    }
}

/// Why a prediction is less than it could be. A feature that is null or not found is ordinary life, and not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    /// Stored features could not be read: defaults or a fallback stand in.
    StoreUnavailable,
    /// A value older than its view's ttl was served.
    StaleServed,
    /// The fallback model answered.
    FallbackModel,
    /// The constant fallback answered.
    FallbackOutput,
}

impl Degraded {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StoreUnavailable => "store_unavailable",
            Self::StaleServed => "stale_served",
            Self::FallbackModel => "fallback_model",
            Self::FallbackOutput => "fallback_output",
        }
    }
}

/// What the store had for one row.
#[derive(Debug)]
pub struct Found {
    /// Of whose views.
    pub service: Arc<Service>,
    /// One a [`Service::joins`].
    pub rows: Vec<RowStatus>,
}

impl Found {
    /// By the names that the views have in the service.
    pub fn iter(&self) -> impl Iterator<Item = (&ViewName, &RowStatus)> {
        self.service.joins.iter().map(|join| &join.alias).zip(&self.rows)
    }
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(view, row)| (view.as_str(), row)))
    }
}

/// What the store had of one view for one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RowStatus {
    /// The status of the row as a whole.
    pub status: Status,
    /// When its values were true in the world.
    pub event_timestamp: Option<Timestamp>,
    /// How long ago that was.
    pub age_ms: Option<i64>,
}

/// Why a row has no prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// For programs: `feature_missing`, `feature_stale`, `input_out_of_range`, `model_failed`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// Pairs as a JSON object, in their order.
pub(crate) fn as_map<K: Display, V: Serialize, S: Serializer>(
    pairs: &[(K, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Shown<'a, K>(&'a K);
    impl<K: Display> Serialize for Shown<'_, K> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self.0)
        }
    }
    serializer.collect_map(pairs.iter().map(|(k, v)| (Shown(k), v)))
}
