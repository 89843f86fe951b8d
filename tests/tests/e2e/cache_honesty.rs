//! Whatever is written while requests run, a cached prediction is one that a fresh computation would have given at some
//! moment during its request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use end_to_end::env::{required, root};
use end_to_end::redis_server::RedisServer;
use feature_defs::codec::{Body, Header, encode};
use feature_defs::definitions::{self, Definitions};
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::{ManualClock, Timestamp};
use feature_defs::value::Value;
use online_store::{Guard, OnlineStore};
use predictor::{Asked, Explain};
use proptest::prelude::*;
use serde_json::json;

const DEFINITIONS: &str = r#"
format = 1
project = "honesty"

[[entity]]
name = "user"
join_keys = [{ name = "user", type = "string" }]

[[source]]
name = "states"
table = "states"
event_timestamp = "at"

[[feature_view]]
name = "state"
entity = "user"
source = "states"
features = [{ name = "level", type = "float64" }]

[[feature_service]]
name = "linear"
request = [{ name = "a", type = "float64" }, { name = "c", type = "float64" }]
features = ["request:a", "state:level", "request:c"]
"#;

const VERSION: &str = r#"
feature_service = "linear"
inputs = { features = "float32" }
outputs = { score = { tensor = "scores", column = 1 } }
"#;

/// `linear.onnx` is a + 10 level + 100 c.
const MODEL: &str = "predictor/tests/models/linear.onnx";
const USERS: usize = 3;
/// Levels come around again, so that old predictions are hit again, rightly.
const LEVELS: u64 = 4;

struct Stand {
    predictor: Arc<predictor::App>,
    definitions: Definitions,
    store: OnlineStore,
    _redis: RedisServer,
    _dirs: [tempfile::TempDir; 2],
}

fn stand(tier: &str) -> Stand {
    let redis = RedisServer::start().unwrap();
    let (features, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(features.path().join("honesty.toml"), DEFINITIONS).unwrap();
    let version = models.path().join("linear/1");
    std::fs::create_dir_all(&version).unwrap();
    let model = format!("deadline = \"60s\"\ncache = {{ tier = \"{tier}\", ttl = \"10m\", max_bytes = \"1MiB\" }}\n");
    std::fs::write(models.path().join("linear/model.toml"), model).unwrap();
    std::fs::write(version.join("version.toml"), VERSION).unwrap();
    std::fs::copy(root().join(MODEL), version.join("model.onnx")).unwrap();

    let definitions = definitions::load(features.path()).unwrap_or_else(|e| panic!("{e}"));
    let settings = predictor::Settings {
        features: features.path().to_owned(),
        models: models.path().to_owned(),
        onnxruntime: required("LARDER_ONNXRUNTIME").into(),
        redis: redis.url().parse().unwrap(),
        cache_redis: redis.url().parse().unwrap(),
        sessions: predictor::Settings::one_a_processor(),
        max_instances: predictor::Settings::MAX_INSTANCES,
        model_control: false,
        limits: predictor::Settings::LIMITS,
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1 << 50)));
    let predictor = predictor::App::load(&settings, &definitions, clock, None).unwrap();
    let store = OnlineStore::open(&settings.redis, definitions.project.clone()).unwrap();
    Stand {
        predictor,
        definitions,
        store,
        _redis: redis,
        _dirs: [features, models],
    }
}

/// How far the writer of one user's level has come: versions begun and versions done.
#[derive(Default)]
struct Level {
    begun: AtomicU64,
    done: AtomicU64,
}

async fn write_level(stand: &Stand, user: usize, version: u64) {
    let view = stand.definitions.view("state").unwrap();
    let name = view.entity.join_keys[0].name.clone();
    let key = KeyValue::String(user.to_string());
    let at = Timestamp::from_micros(i64::try_from(version).unwrap());
    let header = Header {
        event: at,
        created: None,
        as_of: at,
    };
    let level = f64::from(u32::try_from(version % LEVELS).unwrap());
    let mut blob = Vec::new();
    encode(
        &view.schema,
        header,
        &Body::Values(vec![Some(Value::Float64(level))]),
        &mut blob,
    );
    let batch = [(EntityKey::new([(&name, &key)]), blob)];
    let written = stand
        .store
        .writer()
        .write(&view.name, Guard::EventThenCreated { complete_as_of: None }, &batch)
        .await
        .unwrap();
    assert_eq!(written.written, 1);
}

/// Writes the next `count` versions of a user's level.
async fn keep_writing(stand: &Stand, user: usize, level: &Level, count: u64) {
    let last = level.done.load(Ordering::SeqCst);
    for version in last + 1..=last + count {
        level.begun.store(version, Ordering::SeqCst);
        write_level(stand, user, version).await;
        level.done.store(version, Ordering::SeqCst);
    }
}

/// Asks once, for some users with some request features, and checks every answer. Returns the cache states.
async fn ask(stand: &Stand, levels: &[Level], asked: &[(usize, u8, u8)]) -> Vec<String> {
    let oldest: Vec<u64> = asked
        .iter()
        .map(|(user, ..)| levels[*user].done.load(Ordering::SeqCst))
        .collect();
    let instances: Vec<_> = asked
        .iter()
        .map(|(user, a, c)| json!({ "user": user.to_string(), "a": a, "c": c }))
        .collect();
    let body = json!({ "instances": instances }).to_string();
    let asking = Asked {
        model: "linear",
        version: None,
        body: body.as_bytes(),
        explain: Explain::No,
        freshness: predictor::Freshness::Any,
    };
    let answer = serde_json::to_value(stand.predictor.predict(asking).await.unwrap()).unwrap();
    for (i, (user, a, c)) in asked.iter().enumerate() {
        let newest = levels[*user].begun.load(Ordering::SeqCst);
        let score = answer["predictions"][i]["score"].as_f64().unwrap();
        let level = (score - f64::from(*a) - 100.0 * f64::from(*c)) / 10.0;
        let possible: Vec<f64> = (oldest[i]..=newest)
            .map(|v| f64::from(u32::try_from(v % LEVELS).unwrap()))
            .collect();
        assert!(
            possible.contains(&level),
            "level {level} for user {user} while it was one of {possible:?}"
        );
    }
    answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["cache"].as_str().unwrap().to_owned())
        .collect()
}

fn requests() -> impl Strategy<Value = Vec<Vec<(usize, u8, u8)>>> {
    let instance = (0..USERS, 0..3_u8, 0..2_u8);
    prop::collection::vec(prop::collection::vec(instance, 1..4), 20..60)
}

fn honest(tier: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let stand = Arc::new(stand(tier));
    let levels: Arc<Vec<Level>> = Arc::new((0..USERS).map(|_| Level::default()).collect());
    runtime.block_on(async {
        stand
            .store
            .writer()
            .put_schema(stand.definitions.view("state").unwrap())
            .await
            .unwrap();
        for (user, level) in levels.iter().enumerate() {
            keep_writing(&stand, user, level, 1).await;
        }
    });
    let states = Mutex::new(BTreeMap::<String, usize>::new());
    // Not shrunk: what fails is a race, which another run of the same case need not show.
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    proptest!(config, |(first in requests(), second in requests(), versions in 20..80_u64)| {
        let writers = (0..USERS).map(|user| {
            let (stand, levels) = (Arc::clone(&stand), Arc::clone(&levels));
            runtime.spawn(async move {
                keep_writing(&stand, user, &levels[user], versions).await;
                Vec::new()
            })
        });
        let askers = [first, second].map(|requests| {
            let (stand, levels) = (Arc::clone(&stand), Arc::clone(&levels));
            runtime.spawn(async move {
                let mut states = Vec::new();
                for asked in requests {
                    states.extend(ask(&stand, &levels, &asked).await);
                }
                states
            })
        });
        let tasks: Vec<_> = writers.chain(askers).collect();
        for task in tasks {
            let mut states = states.lock().unwrap();
            for state in runtime.block_on(task).unwrap() {
                *states.entry(state).or_default() += 1;
            }
        }
    });
    let states = states.into_inner().unwrap();
    println!("{tier}: {states:?}");
    // Neither a cache that never answers nor one that always does would have been tried.
    for state in ["hit_memory", "miss"] {
        assert!(
            states.get(state).is_some_and(|&n| n > 20),
            "too few answers are {state}: {states:?}"
        );
    }
}

#[test]
fn the_memory_tier_is_honest() {
    honest("memory");
}

#[test]
fn both_tiers_together_are_honest() {
    honest("memory+redis");
}
