//! The prediction cache of one model: this process's memory, then a Redis that all predictors share.
//!
//! Keys are made of the values themselves (see [`super::cache_key`]), so nothing here is ever out of date.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::time::Timestamp;

use super::answer::CacheState;
use super::budget::Budget;
use super::cache_key::CacheKey;
use super::redis_cache::RedisCache;
use super::single_flight::{Claim, SingleFlight, Turn, Waiter};
use super::stages::Stages;
use crate::meters::CacheMeters;
use crate::model::Model;
use crate::model::batcher::{RunError, Thread};
use crate::model::program::{Inputs, Outputs, Program};

/// Where a model's predictions are kept.
#[derive(Debug)]
pub enum Cache {
    /// Nowhere.
    Off,
    /// In this process.
    Memory(Memory),
    /// In this process, then in Redis.
    MemoryRedis(Memory, Arc<RedisCache>),
}

/// The tier in this process.
#[derive(Debug)]
pub struct Memory {
    entries: moka::future::Cache<CacheKey, Kept>,
    flight: SingleFlight,
    ttl: Duration,
    meters: CacheMeters,
}

/// A prediction in memory. Cheap to clone.
#[derive(Debug, Clone)]
struct Kept {
    outputs: Outputs,
    /// When the model made it.
    made: Timestamp,
    /// How long it is kept from now on.
    lives: Duration,
}

/// What an entry takes besides its outputs: key, hash table and bookkeeping.
const ENTRY_BYTES: usize = 200;
/// Keys that are made before others have a turn.
const UNITS_AT_A_TIME: usize = 64;
/// Predictions of one moment must not all go in one: each lives for at least this part of the ttl, and at most for all.
const LEAST_LIFE: f32 = 0.8;

struct Expires;

impl moka::Expiry<CacheKey, Kept> for Expires {
    fn expire_after_create(&self, _: &CacheKey, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.lives)
    }
    fn expire_after_update(&self, _: &CacheKey, kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.lives)
    }
}

impl Memory {
    /// At most `max_bytes` of predictions, each for at most `ttl`.
    pub fn new(max_bytes: u64, ttl: Duration, meters: CacheMeters) -> Self {
        let counted = meters.clone();
        let entries = moka::future::Cache::builder()
            .weigher(|_, kept: &Kept| u32::try_from(kept.outputs.bytes() + ENTRY_BYTES).unwrap_or(u32::MAX))
            .max_capacity(max_bytes)
            .expire_after(Expires)
            .eviction_listener(move |_, _, cause| counted.evicted(cause))
            .build();
        Self {
            entries,
            flight: SingleFlight::default(),
            ttl,
            meters,
        }
    }

    async fn get(&self, key: CacheKey) -> Option<Predicted> {
        let kept = self.entries.get(&key).await?;
        Some(Predicted {
            outcome: Ok(kept.outputs),
            cache: CacheState::HitMemory,
            made: kept.made,
        })
    }

    /// Keeps what the model made at `made`, for what is left of its life `now`.
    async fn put(&self, key: CacheKey, outputs: Outputs, (made, now): (Timestamp, Timestamp)) {
        let age = u64::try_from(now.micros_since(made)).unwrap_or_default();
        let lives = self.life_of(key).saturating_sub(Duration::from_micros(age));
        self.entries.insert(key, Kept { outputs, made, lives }).await;
        self.meters
            .holds(self.entries.weighted_size(), self.entries.entry_count());
    }

    fn life_of(&self, key: CacheKey) -> Duration {
        self.ttl.mul_f32(LEAST_LIFE + (1.0 - LEAST_LIFE) * key.fraction())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.meters.holds(0, 0);
    }
}

/// A prediction, or why the model failed, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// The outputs, or why the model failed.
    pub outcome: Result<Outputs, String>,
    /// Where it came from.
    pub cache: CacheState,
    /// When the model made it.
    pub made: Timestamp,
}

impl Predicted {
    /// When the model made it, if it comes from a cache.
    pub fn kept(&self) -> Option<Timestamp> {
        matches!(self.cache, CacheState::HitMemory | CacheState::HitRedis).then_some(self.made)
    }
}

/// What one request brings to predicting.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The model.
    pub model: &'a Model,
    /// How it is used.
    pub program: &'a Arc<Program>,
    /// The moment of the prediction.
    pub now: Timestamp,
    /// The time there is.
    pub budget: Budget,
    /// Whether what is kept may answer.
    pub freshness: Freshness,
    /// Where the model may run.
    pub thread: Thread,
}

/// Whether a kept prediction may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// It may.
    #[default]
    Any,
    /// The model runs (`Cache-Control: no-cache`); what it gives is kept.
    Fresh,
}

/// A prediction a unit, from the cache or the model. Equal ones run once, in this request and across requests; what must
/// run, runs as one batch.
///
/// # Errors
/// [`RunError`]: no unit was predicted.
pub async fn predict(asking: &Asking<'_>, inputs: Inputs, stages: &mut Stages) -> Result<Vec<Predicted>, RunError> {
    let model = asking.model;
    let (memory, redis) = match &model.cache {
        Cache::Off => {
            let answers = run(asking, inputs, stages).await?;
            let off = |outcome| Predicted {
                outcome,
                cache: CacheState::Off,
                made: asking.now,
            };
            return Ok(answers.into_iter().map(off).collect());
        }
        Cache::Memory(memory) => (memory, None),
        Cache::MemoryRedis(memory, redis) => (memory, Some(redis)),
    };
    let started = Instant::now();
    let mut keys: Vec<CacheKey> = Vec::with_capacity(inputs.units());
    for unit in 0..inputs.units() {
        keys.push(asking.program.keys.key(&inputs, unit));
        // Who has many must not hold up those who share the thread, nor itself beyond its deadline.
        if unit % UNITS_AT_A_TIME == UNITS_AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
    let mut done: HashMap<CacheKey, Predicted> = HashMap::with_capacity(keys.len());
    let mut elsewhere = Duration::ZERO;
    if asking.freshness == Freshness::Fresh {
        let answers = run(asking, inputs, stages).await?;
        elsewhere = started.elapsed();
        let answers = keys.iter().copied().zip(answers);
        keep(asking, memory, redis, answers, &mut done).await;
    } else {
        let mut open: HashMap<CacheKey, usize> = keys.iter().copied().zip(0..).collect();
        while !open.is_empty() {
            let (claims, waiters) = ask(memory, &open, &mut done).await;
            let claims = from_redis(asking, memory, redis, claims, &mut done).await;
            let ours: Vec<usize> = claims
                .iter()
                .filter_map(|claim| open.get(&claim.key()).copied())
                .collect();
            if !ours.is_empty() {
                let running = Instant::now();
                // Most requests ask for all that they bring.
                let is_all = ours.iter().copied().eq(0..inputs.units());
                let batch = if is_all {
                    inputs.clone()
                } else {
                    inputs.select(ours.into_iter())
                };
                let answers = run(asking, batch, stages).await?;
                elsewhere += running.elapsed();
                let answers = claims.iter().map(Claim::key).zip(answers);
                keep(asking, memory, redis, answers, &mut done).await;
                for claim in claims {
                    if let Some(predicted) = done.get(&claim.key()) {
                        claim.land(predicted.clone());
                    }
                }
            }
            // Own claims have landed: waiting for others cannot go round in a circle.
            for (key, waiter) in waiters {
                if let Some(predicted) = waiter.landed().await {
                    done.insert(key, predicted);
                }
            }
            open.retain(|key, _| !done.contains_key(key));
        }
    }
    Stages::add(&mut stages.cache, started.elapsed().saturating_sub(elsewhere));
    Ok(keys.iter().filter_map(|key| done.get(key).cloned()).collect())
}

/// Looks into memory, and claims or joins what is not there.
async fn ask(
    memory: &Memory,
    open: &HashMap<CacheKey, usize>,
    done: &mut HashMap<CacheKey, Predicted>,
) -> (Vec<Claim>, Vec<(CacheKey, Waiter)>) {
    let (mut claims, mut waiters) = (Vec::new(), Vec::new());
    for &key in open.keys() {
        if let Some(predicted) = memory.get(key).await {
            done.insert(key, predicted);
            continue;
        }
        match memory.flight.ask(key) {
            Turn::Theirs(waiter) => waiters.push((key, waiter)),
            // Between the look and the claim another may have landed: a claimed key is put into memory before that.
            Turn::Mine(claim) => match memory.get(key).await {
                Some(predicted) => {
                    done.insert(key, predicted.clone());
                    claim.land(predicted);
                }
                None => claims.push(claim),
            },
        }
    }
    // In the order in which they stand in the request.
    claims.sort_by_key(|claim| open.get(&claim.key()).copied());
    (claims, waiters)
}

/// Lands what Redis has; gives back the rest.
async fn from_redis(
    asking: &Asking<'_>,
    memory: &Memory,
    redis: Option<&Arc<RedisCache>>,
    claims: Vec<Claim>,
    done: &mut HashMap<CacheKey, Predicted>,
) -> Vec<Claim> {
    let Some(redis) = redis else { return claims };
    let keys: Vec<CacheKey> = claims.iter().map(Claim::key).collect();
    let found = redis
        .get(&keys, asking.model.stored_as(asking.program), asking.budget.for_cache())
        .await;
    let mut rest = Vec::new();
    for (claim, found) in claims.into_iter().zip(found) {
        match found {
            None => rest.push(claim),
            Some((outputs, made)) => {
                memory.put(claim.key(), outputs.clone(), (made, asking.now)).await;
                let predicted = Predicted {
                    outcome: Ok(outputs),
                    cache: CacheState::HitRedis,
                    made,
                };
                done.insert(claim.key(), predicted.clone());
                claim.land(predicted);
            }
        }
    }
    rest
}

/// Keeps what the model gave. Failures are not kept, but go to those who wait already.
async fn keep(
    asking: &Asking<'_>,
    memory: &Memory,
    redis: Option<&Arc<RedisCache>>,
    answers: impl Iterator<Item = (CacheKey, Result<Outputs, String>)>,
    done: &mut HashMap<CacheKey, Predicted>,
) {
    let mut fresh = Vec::new();
    for (key, outcome) in answers {
        if let Ok(outputs) = &outcome {
            memory.put(key, outputs.clone(), (asking.now, asking.now)).await;
            fresh.push((key, outputs.clone(), memory.life_of(key)));
        }
        let predicted = Predicted {
            outcome,
            cache: CacheState::Miss,
            made: asking.now,
        };
        done.insert(key, predicted);
    }
    if let Some(redis) = redis {
        redis.put(&fresh, asking.model.stored_as(asking.program), asking.now);
    }
}

async fn run(
    asking: &Asking<'_>,
    inputs: Inputs,
    stages: &mut Stages,
) -> Result<Vec<Result<Outputs, String>>, RunError> {
    let ran = asking
        .model
        .batcher
        .run(asking.program, inputs, asking.budget.deadline(), asking.thread)
        .await?;
    Stages::add(&mut stages.queue, ran.waited);
    Stages::add(&mut stages.model_run, ran.ran);
    Ok(ran.rows)
}
