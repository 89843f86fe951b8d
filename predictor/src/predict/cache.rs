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
use crate::model::Model;
use crate::model::runtime::RunError;
use crate::model::tensor::{InputRow, Outputs};

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
    entries: moka::future::Cache<CacheKey, Outputs>,
    flight: SingleFlight,
    ttl: Duration,
}

/// What an entry takes besides its outputs: key, hash table and bookkeeping.
const ENTRY_BYTES: usize = 200;

impl Memory {
    /// At most `max_bytes` of predictions, each for at most `ttl`.
    pub fn new(max_bytes: u64, ttl: Duration) -> Self {
        let entries = moka::future::Cache::builder()
            .weigher(|_, outputs: &Outputs| u32::try_from(outputs.bytes() + ENTRY_BYTES).unwrap_or(u32::MAX))
            .max_capacity(max_bytes)
            .time_to_live(ttl)
            .build();
        Self {
            entries,
            flight: SingleFlight::default(),
            ttl,
        }
    }
}

/// One row's prediction, or why the model failed on it, and where it came from.
pub type Predicted = (Result<Outputs, String>, CacheState);

/// What one request brings to predicting.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The model.
    pub model: &'a Model,
    /// The moment of the prediction.
    pub now: Timestamp,
    /// The time there is.
    pub budget: Budget,
}

/// A prediction a row, from the cache or the model. Equal rows run once, in this request and across requests; what must
/// run, runs as one batch.
///
/// # Errors
/// [`RunError`]: no row was predicted.
pub async fn predict(
    asking: &Asking<'_>,
    rows: Vec<InputRow>,
    stages: &mut Stages,
) -> Result<Vec<Predicted>, RunError> {
    let model = asking.model;
    let (memory, redis) = match &model.cache {
        Cache::Off => {
            let answers = run(asking, rows, stages).await?;
            return Ok(answers.into_iter().map(|answer| (answer, CacheState::Off)).collect());
        }
        Cache::Memory(memory) => (memory, None),
        Cache::MemoryRedis(memory, redis) => (memory, Some(redis)),
    };
    let started = Instant::now();
    let keys: Vec<CacheKey> = rows.iter().map(|row| model.keys.key(row)).collect();
    let mut open: HashMap<CacheKey, InputRow> = keys.iter().copied().zip(rows).collect();
    let mut done: HashMap<CacheKey, Predicted> = HashMap::with_capacity(open.len());
    let mut elsewhere = Duration::ZERO;
    while !open.is_empty() {
        let (claims, waiters) = ask(memory, &open, &mut done).await;
        let claims = from_redis(asking, memory, redis, claims, &mut done).await;
        let ours: Vec<InputRow> = claims
            .iter()
            .filter_map(|claim| open.get(&claim.key()).cloned())
            .collect();
        if !ours.is_empty() {
            let running = Instant::now();
            let answers = run(asking, ours, stages).await?;
            elsewhere += running.elapsed();
            keep(asking, memory, redis, claims.into_iter().zip(answers), &mut done).await;
        }
        // Own claims have landed: waiting for others cannot go round in a circle.
        for (key, waiter) in waiters {
            if let Some(predicted) = waiter.landed().await {
                done.insert(key, predicted);
            }
        }
        open.retain(|key, _| !done.contains_key(key));
    }
    Stages::add(&mut stages.cache, started.elapsed().saturating_sub(elsewhere));
    Ok(keys.iter().filter_map(|key| done.get(key).cloned()).collect())
}

/// Looks into memory, and claims or joins what is not there.
async fn ask(
    memory: &Memory,
    open: &HashMap<CacheKey, InputRow>,
    done: &mut HashMap<CacheKey, Predicted>,
) -> (Vec<Claim>, Vec<(CacheKey, Waiter)>) {
    let (mut claims, mut waiters) = (Vec::new(), Vec::new());
    for &key in open.keys() {
        if let Some(outputs) = memory.entries.get(&key).await {
            done.insert(key, (Ok(outputs), CacheState::HitMemory));
            continue;
        }
        match memory.flight.ask(key) {
            Turn::Theirs(waiter) => waiters.push((key, waiter)),
            // Between the look and the claim another may have landed: a claimed key is put into memory before that.
            Turn::Mine(claim) => match memory.entries.get(&key).await {
                Some(outputs) => {
                    let predicted = (Ok(outputs), CacheState::HitMemory);
                    done.insert(key, predicted.clone());
                    claim.land(predicted);
                }
                None => claims.push(claim),
            },
        }
    }
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
        .get(&keys, &asking.model.signature.outputs, asking.budget.for_cache())
        .await;
    let mut rest = Vec::new();
    for (claim, found) in claims.into_iter().zip(found) {
        match found {
            None => rest.push(claim),
            Some(outputs) => {
                memory.entries.insert(claim.key(), outputs.clone()).await;
                let predicted = (Ok(outputs), CacheState::HitRedis);
                done.insert(claim.key(), predicted.clone());
                claim.land(predicted);
            }
        }
    }
    rest
}

/// Lands what the model gave, and keeps it. Failures go to those who wait already, and are not kept.
async fn keep(
    asking: &Asking<'_>,
    memory: &Memory,
    redis: Option<&Arc<RedisCache>>,
    answers: impl Iterator<Item = (Claim, Result<Outputs, String>)>,
    done: &mut HashMap<CacheKey, Predicted>,
) {
    let mut fresh = Vec::new();
    for (claim, answer) in answers {
        if let Ok(outputs) = &answer {
            memory.entries.insert(claim.key(), outputs.clone()).await;
            fresh.push((claim.key(), outputs.clone()));
        }
        let predicted = (answer, CacheState::Miss);
        done.insert(claim.key(), predicted.clone());
        claim.land(predicted);
    }
    if let Some(redis) = redis {
        redis.put(&fresh, &asking.model.signature.outputs, memory.ttl, asking.now);
    }
}

async fn run(
    asking: &Asking<'_>,
    rows: Vec<InputRow>,
    stages: &mut Stages,
) -> Result<Vec<Result<Outputs, String>>, RunError> {
    let ran = asking
        .model
        .sessions
        .run(&asking.model.signature, rows, asking.budget.deadline())
        .await?;
    Stages::add(&mut stages.queue, ran.waited);
    Stages::add(&mut stages.model_run, ran.ran);
    Ok(ran.rows)
}
