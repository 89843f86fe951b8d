//! The cache tier that predictors share. Without it the model runs, and nothing else changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use feature_defs::codec::{self, Body, Header, Schema};
use feature_defs::time::Timestamp;
use online_store::{RedisUrl, SharedConnection, StoreError};
use redis::{Pipeline, Value as Answer};
use tokio::sync::Semaphore;

use super::cache_key::CacheKey;
use crate::model::tensor::Outputs;

/// After a failure the tier is left alone for so long, so that a slow Redis costs requests no time.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a write in the background may take.
const WRITE_WITHIN: Duration = Duration::from_millis(500);
/// Batches written at once; while there are so many, further ones are not written at all.
const WRITES_AT_ONCE: usize = 32;

/// Predictions in Redis, under `larder:prediction:<key>`, as blobs of [`feature_defs::codec`] whose schema is that of the
/// model's outputs.
#[derive(Debug)]
pub struct RedisCache {
    connection: SharedConnection,
    down_until: Mutex<Option<Instant>>,
    writes: Arc<Semaphore>,
}

impl RedisCache {
    /// A cache that connects when it is first used.
    ///
    /// # Errors
    /// A URL of a kind that this build does not speak.
    pub fn open(url: &RedisUrl) -> Result<Self, StoreError> {
        Ok(Self {
            connection: SharedConnection::open(url)?,
            down_until: Mutex::new(None),
            writes: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
        })
    }

    /// One answer a key: what is there, or `None`; all `None` if Redis does not answer in time.
    pub async fn get(&self, keys: &[CacheKey], schema: &Schema, within: Duration) -> Vec<Option<Outputs>> {
        let nothing = || vec![None; keys.len()];
        if keys.is_empty() || self.is_down() {
            return nothing();
        }
        let mut commands = Pipeline::with_capacity(keys.len());
        for key in keys {
            commands.cmd("GET").arg(redis_key(*key));
        }
        match self.connection.send(&commands, within).await {
            Ok(answers) => answers.iter().map(|answer| decode(answer, schema)).collect(),
            Err(error) => {
                self.failed(&error);
                nothing()
            }
        }
    }

    /// Writes predictions in the background, for `ttl`.
    pub fn put(self: &Arc<Self>, predictions: &[(CacheKey, Outputs)], schema: &Schema, ttl: Duration, now: Timestamp) {
        if predictions.is_empty() || self.is_down() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else {
            return;
        };
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut commands = Pipeline::with_capacity(predictions.len());
        for (key, outputs) in predictions {
            let header = Header {
                event: now,
                created: None,
                as_of: now,
            };
            let mut blob = Vec::new();
            let values = outputs.0.iter().cloned().map(Some).collect();
            codec::encode(schema, header, &Body::Values(values), &mut blob);
            commands.cmd("SET").arg(redis_key(*key)).arg(blob).arg("PX").arg(ttl_ms);
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = this.connection.send(&commands, WRITE_WITHIN).await {
                this.failed(&error);
            }
            drop(permit);
        });
    }

    fn is_down(&self) -> bool {
        self.down_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|until| Instant::now() < until)
    }

    fn failed(&self, error: &StoreError) {
        let mut down_until = self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        if down_until.is_none_or(|until| until <= Instant::now()) {
            tracing::debug!(%error, "the shared prediction cache is left alone for a moment");
        }
        *down_until = Some(Instant::now() + PAUSE);
    }
}

fn redis_key(key: CacheKey) -> String {
    format!("larder:prediction:{}", key.to_hex())
}

/// What a blob holds; nothing if it is absent, of another layout, or damaged.
fn decode(answer: &Answer, schema: &Schema) -> Option<Outputs> {
    let Answer::BulkString(blob) = answer else { return None };
    let (_, schema_id) = codec::decode_header(blob).ok()?;
    if schema_id != schema.id() {
        return None;
    }
    match codec::decode_body(blob, schema).ok()? {
        Body::Values(values) => values
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map(|values| Outputs(values.into())),
        Body::Tombstone => None,
    }
}
