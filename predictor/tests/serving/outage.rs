//! What callers see when the store or the model is too slow or away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::serving::Status;
use predictor::{Explain, PredictError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY, Redis, ask, explain, free_port, nobody, predict};

/// What a busy machine may add to a deadline.
const NOISE: Duration = Duration::from_millis(500);

fn with(policy: &str) -> String {
    format!("{LINEAR}when_unavailable = \"{policy}\"\n")
}

fn bench() -> Bench {
    Bench::new()
        .model("base", "request_only", "deadline = \"200ms\"", REQUEST_ONLY)
        .model(
            "by_model",
            "linear",
            "deadline = \"200ms\"\nfallback = { model = \"base\" }",
            &with("fallback"),
        )
        .model(
            "by_output",
            "linear",
            "deadline = \"200ms\"\nfallback = { output = { y = 0.125 } }",
            &with("fallback"),
        )
        .model("by_default", "linear", "deadline = \"200ms\"", &with("default"))
        .model("reject", "linear", "deadline = \"200ms\"", &with("reject"))
}

async fn outage(bench: Bench) {
    let app = bench.app();
    let instances = json!([{ "carrier": "UA", "minute": 3 }]);
    let expected = [
        ("by_model", -3.0, json!(["store_unavailable", "fallback_model"]), "miss"),
        (
            "by_model",
            -3.0,
            json!(["store_unavailable", "fallback_model"]),
            "hit_memory",
        ),
        (
            "by_output",
            0.125,
            json!(["store_unavailable", "fallback_output"]),
            "off",
        ),
        ("by_default", 3.0 - 10.0 - 100.0, json!(["store_unavailable"]), "miss"),
    ];
    for (model, y, degraded, cache) in expected {
        let started = Instant::now();
        let answer = explain(&app, model, instances.clone()).await;
        assert!(
            started.elapsed() < Duration::from_millis(200) + NOISE,
            "{model} took {:?}",
            started.elapsed()
        );
        assert_eq!(answer["predictions"], json!([{ "y": y }]), "{model}");
        assert_eq!(answer["model_name"], model);
        let row = &answer["rows"][0];
        assert_eq!(
            (&row["degraded"], row["cache"].as_str()),
            (&degraded, Some(cache)),
            "{model}"
        );
        assert_eq!(row["features"]["ops"]["status"], Status::Unavailable.name());
    }
    let error = ask(&app, "reject", instances, Explain::No).await.unwrap_err();
    assert!(matches!(error, PredictError::FeaturesUnavailable(_)), "{error}");
}

#[tokio::test]
async fn a_redis_that_is_away_is_answered_as_policy_says() {
    outage(bench().features_at(nobody())).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_answered_as_policy_says_within_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap()).parse().unwrap();
    outage(bench().features_at(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_is_bridged_and_comes_back_by_itself() {
    let port = free_port();
    let redis = Redis::start(port).await;
    let bench = bench().features_at(redis.url());
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let app = bench.app();
    let stop = CancellationToken::new();
    let freshness = tokio::spawn({
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move { app.keep_fresh(stop).await }
    });
    let instances = json!([{ "carrier": "UA", "minute": 3 }]);
    let good = json!([{ "y": 3.0 + 2.5 + 600.0 }]);
    assert_eq!(predict(&app, "by_model", instances.clone()).await["predictions"], good);

    drop(redis);
    for _ in 0..50 {
        let started = Instant::now();
        let answer = predict(&app, "by_model", instances.clone()).await;
        assert!(
            started.elapsed() < Duration::from_millis(200) + NOISE,
            "{:?}",
            started.elapsed()
        );
        assert_eq!(
            answer["rows"][0]["degraded"],
            json!(["store_unavailable", "fallback_model"])
        );
        assert_eq!(answer["predictions"], json!([{ "y": -3.0 }]));
    }

    let _redis = Redis::start(port).await;
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let give_up = Instant::now() + Duration::from_secs(10);
    while predict(&app, "by_model", instances.clone()).await["predictions"] != good {
        assert!(Instant::now() < give_up, "it does not recover");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    freshness.await.unwrap();
}

#[tokio::test]
async fn only_rows_that_need_it_fall_back() {
    let app = bench().features_at(nobody()).app();
    // A null join key has no row, whatever the store would say.
    let instances = json!([{ "carrier": null, "minute": 3 }, { "carrier": "UA", "minute": 3 }]);
    let answer = predict(&app, "by_model", instances).await;
    assert_eq!(
        answer["predictions"],
        json!([{ "y": 3.0 - 10.0 - 100.0 }, { "y": -3.0 }])
    );
    assert_eq!(answer["rows"][0]["degraded"], json!([]));
    assert_eq!(answer["rows"][0]["features"]["ops"]["status"], "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_model_is_a_missed_deadline_and_is_stopped() {
    let app = Bench::new().model("slow", "slow", "deadline = \"20ms\"", NUMBER).app();
    for x in 0..20 {
        let started = Instant::now();
        let error = ask(&app, "slow", json!([{ "x": x }]), Explain::No).await.unwrap_err();
        assert!(
            started.elapsed() < Duration::from_millis(20) + NOISE,
            "{:?}",
            started.elapsed()
        );
        assert_eq!(error.to_string(), "no answer within the deadline of model `slow`, 20ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_is_refused_at_once() {
    // One at a time: a batch that takes many away at once makes room.
    let model = format!("{PATIENT}cache = {{ tier = \"off\" }}\nbatching = {{ max_rows = 1 }}\n").replace("20s", "2s");
    let app = Bench::new().model("full", "slow", &model, NUMBER).sessions(1).app();
    let asking: Vec<_> = (0..200)
        .map(|x| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { ask(&app, "full", json!([{ "x": x }]), Explain::No).await })
        })
        .collect();
    let (mut overloaded, mut late, mut answered) = (0, 0, 0);
    for answer in asking {
        match answer.await.unwrap() {
            Err(PredictError::Overloaded(_)) => overloaded += 1,
            Err(PredictError::DeadlineExceeded { .. }) => late += 1,
            Err(other) => panic!("{other}"),
            Ok(_) => answered += 1,
        }
    }
    // One runs and 64 wait, over and over while a slow machine is still asking.
    assert!(
        overloaded >= 60 && late + answered >= 65,
        "{overloaded} overloaded, {late} late, {answered} answered"
    );
}
