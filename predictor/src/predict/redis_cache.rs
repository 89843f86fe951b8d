//! The cache tier that predictors share. Without it the model runs, and nothing else changes.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use feature_defs::codec::{self, Body, Field, Header, Schema};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};
use online_store::{RedisUrl, SharedConnection, StoreError};
use redis::{Pipeline, Value as Answer};
use tokio::sync::Semaphore;

use super::cache_key::CacheKey;
use crate::model::element::Element;
use crate::model::program::Outputs;
use crate::model::raw;
use crate::model::tensor::Tensor;

/// After a failure the tier is left alone for so long, so that a slow Redis costs requests no time.
const PAUSE: Duration = Duration::from_millis(500);
/// How long what nobody waits for may take: a write in the background, a lookup that is timed.
const WITHIN: Duration = Duration::from_millis(500);
/// Batches written at once; while there are so many, further ones are not written at all.
const WRITES_AT_ONCE: usize = 32;

/// How many lookups are timed to know what one takes.
const TIMED_LOOKUPS: usize = 101;

/// How predictions are stored.
#[derive(Debug, Clone, Copy)]
pub enum Stored<'a> {
    /// Values of this schema.
    Values(&'a Schema),
    /// Tensors, packed.
    Tensors,
}

/// The schema of packed tensors.
static TENSORS: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(vec![Field {
        name: "tensors".parse().expect("a good name"),
        value_type: ValueType::Bytes,
    }])
});

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

    /// One answer a key: what is there, and when the model made it; all `None` if Redis does not answer in time.
    pub async fn get(
        &self,
        keys: &[CacheKey],
        stored: Stored<'_>,
        within: Duration,
    ) -> Vec<Option<(Outputs, Timestamp)>> {
        let nothing = || vec![None; keys.len()];
        if keys.is_empty() || self.is_down() {
            return nothing();
        }
        let mut commands = Pipeline::with_capacity(keys.len());
        for key in keys {
            commands.cmd("GET").arg(redis_key(*key));
        }
        match self.connection.send(&commands, within).await {
            Ok(answers) => answers.iter().map(|answer| decode(answer, stored)).collect(),
            Err(error) => {
                self.failed(&error);
                nothing()
            }
        }
    }

    /// What a lookup takes: the median of some, of keys that are not there, which is the least that one takes.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(crate) async fn time_of_a_lookup(&self) -> Result<Duration, StoreError> {
        let mut took = Vec::with_capacity(TIMED_LOOKUPS);
        // The first connects.
        for i in 0..=TIMED_LOOKUPS {
            let mut command = redis::cmd("GET");
            command.arg(format!("larder:prediction:none-{i}"));
            let started = Instant::now();
            self.connection.query::<Option<Vec<u8>>>(command, WITHIN).await?;
            if i > 0 {
                took.push(started.elapsed());
            }
        }
        took.sort();
        Ok(took[TIMED_LOOKUPS / 2])
    }

    /// Writes predictions in the background, each for its time.
    pub fn put(self: &Arc<Self>, predictions: &[(CacheKey, Outputs, Duration)], stored: Stored<'_>, now: Timestamp) {
        if predictions.is_empty() || self.is_down() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else {
            return;
        };
        let mut commands = Pipeline::with_capacity(predictions.len());
        for (key, outputs, life) in predictions {
            let header = Header {
                event: now,
                created: None,
                as_of: now,
            };
            let (schema, values) = match (stored, outputs) {
                (Stored::Values(schema), Outputs::Values(values)) => (schema, values.to_vec()),
                (_, outputs) => (&*TENSORS, vec![Value::Bytes(pack(outputs.tensors()))]),
            };
            let mut blob = Vec::new();
            let values = values.into_iter().map(Some).collect();
            codec::encode(schema, header, &Body::Values(values), &mut blob);
            let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
            commands
                .cmd("SET")
                .arg(redis_key(*key))
                .arg(blob)
                .arg("PX")
                .arg(life_ms);
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = this.connection.send(&commands, WITHIN).await {
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

/// What a blob holds, and when that was made; nothing if it is absent, of another layout, or damaged.
fn decode(answer: &Answer, stored: Stored<'_>) -> Option<(Outputs, Timestamp)> {
    let Answer::BulkString(blob) = answer else { return None };
    let (header, schema_id) = codec::decode_header(blob).ok()?;
    let schema = match stored {
        Stored::Values(schema) => schema,
        Stored::Tensors => &*TENSORS,
    };
    if schema_id != schema.id() {
        return None;
    }
    let Body::Values(values) = codec::decode_body(blob, schema).ok()? else {
        return None;
    };
    let values = values.into_iter().collect::<Option<Vec<_>>>()?;
    let outputs = match (stored, values.as_slice()) {
        (Stored::Values(_), _) => Outputs::Values(values.into()),
        (Stored::Tensors, [Value::Bytes(packed)]) => Outputs::Tensors(unpack(packed)?.into()),
        (Stored::Tensors, _) => return None,
    };
    Some((outputs, header.event))
}

/// Tensors as bytes: for each its type, its dimensions and its elements, as the Open Inference Protocol packs them.
fn pack(tensors: &[Tensor]) -> Vec<u8> {
    let mut packed = Vec::new();
    let count = |packed: &mut Vec<u8>, n: usize| packed.extend_from_slice(&(n as u64).to_le_bytes());
    for tensor in tensors {
        let kind = Element::ALL.iter().position(|element| *element == tensor.element());
        count(&mut packed, kind.unwrap_or_default());
        count(&mut packed, tensor.shape().len());
        tensor.shape().iter().for_each(|d| count(&mut packed, *d));
        let elements = raw::encode(tensor.data());
        count(&mut packed, elements.len());
        packed.extend_from_slice(&elements);
    }
    packed
}

fn unpack(mut packed: &[u8]) -> Option<Vec<Tensor>> {
    fn count(packed: &mut &[u8]) -> Option<usize> {
        let (bytes, rest) = packed.split_first_chunk()?;
        *packed = rest;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    }
    let mut tensors = Vec::new();
    while !packed.is_empty() {
        let element = *Element::ALL.get(count(&mut packed)?)?;
        let rank = count(&mut packed)?;
        let shape: Vec<usize> = (0..rank).map(|_| count(&mut packed)).collect::<Option<_>>()?;
        let length = count(&mut packed)?;
        let (elements, rest) = packed.split_at_checked(length)?;
        packed = rest;
        let data = raw::decode(element, elements).ok()?;
        tensors.push(Tensor::new(shape, data).ok()?);
    }
    Some(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tensor::Data;

    #[test]
    fn tensors_come_back_as_they_were() {
        let tensors = [
            Tensor::new(vec![], Data::Bool(vec![true])).unwrap(),
            Tensor::new(vec![2, 1], Data::String(vec!["".into(), "ü".into()])).unwrap(),
            Tensor::new(vec![0, 3], Data::Float64(vec![])).unwrap(),
            Tensor::new(vec![2], Data::Uint16(vec![1, 65_535])).unwrap(),
        ];
        let packed = pack(&tensors);
        assert_eq!(unpack(&packed).unwrap(), tensors);
        for cut in 1..packed.len() {
            let _no_panic = unpack(&packed[..cut]);
        }
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
    }
}
