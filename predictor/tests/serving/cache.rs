//! The prediction cache: two tiers, one run for equal rows, harmless when its Redis is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, nobody, predict, runs, sum, until};

fn redis_tier() -> String {
    format!("{PATIENT}cache = {{ tier = \"memory+redis\", ttl = \"1m\" }}\n")
}

/// A number nobody predicted before: the shared Redis keeps predictions between runs of the tests.
fn fresh() -> f64 {
    f64::from(u32::from_le_bytes(uuid::Uuid::new_v4().into_bytes()[..4].try_into().unwrap()) >> 10) * 2.0_f64.powi(-20)
}

#[tokio::test]
async fn a_changed_feature_is_another_key_and_the_old_value_hits_again() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    let app = bench.app();
    let instance = json!([{ "carrier": "UA", "minute": 1 }]);
    let mut told = Vec::new();
    for (age, late_rate) in [(30, 0.25), (20, 0.5), (10, 0.25)] {
        bench.row("UA", age, Some(late_rate), Some(1)).await;
        let answer = predict(&app, "m", instance.clone()).await;
        told.push((
            answer["predictions"][0]["y"].as_f64().unwrap(),
            answer["rows"][0]["cache"].clone(),
        ));
        let again = predict(&app, "m", instance.clone()).await;
        assert_eq!(again["rows"][0]["cache"], "hit_memory");
        assert_eq!(again["predictions"], answer["predictions"]);
    }
    assert_eq!(
        told,
        [
            (203.5, json!("miss")),
            (206.0, json!("miss")),
            (203.5, json!("hit_memory"))
        ]
    );
}

#[tokio::test]
async fn predictors_share_the_second_tier() {
    let bench = Bench::new().model(
        "m",
        "request_only",
        &redis_tier(),
        &NUMBER.replace("float32", "float64"),
    );
    let instance = json!([{ "x": fresh() }]);
    let first = predict(&bench.app(), "m", instance.clone()).await;
    assert_eq!(first["rows"][0]["cache"], "miss");
    // The first one writes in the background, and a predictor that has to connect first may not wait for that.
    let give_up = Instant::now() + Duration::from_secs(20);
    let (other, answer) = loop {
        let other = bench.app();
        let answer = predict(&other, "m", instance.clone()).await;
        assert_eq!(answer["predictions"], first["predictions"]);
        if answer["rows"][0]["cache"] == "hit_redis" {
            break (other, answer);
        }
        assert!(Instant::now() < give_up, "nothing was shared");
    };
    assert_eq!(answer["predictions"], first["predictions"]);
    assert_eq!(predict(&other, "m", instance).await["rows"][0]["cache"], "hit_memory");
}

#[tokio::test]
async fn without_its_redis_the_model_runs_and_that_is_all() {
    let model = redis_tier().replace("20s", "2s");
    let app = Bench::new()
        .model("m", "picky", &model, NUMBER)
        .cache_at(nobody())
        .app();
    let answer = predict(&app, "m", json!([{ "x": 2 }])).await;
    assert_eq!(answer["predictions"], json!([{ "y": 2.5 }]));
    assert_eq!(answer["rows"][0]["cache"], "miss");
    assert_eq!(answer["rows"][0]["degraded"], json!([]));
    assert_eq!(
        predict(&app, "m", json!([{ "x": 2 }])).await["rows"][0]["cache"],
        "hit_memory"
    );
}

#[tokio::test]
async fn off_means_off() {
    let model = format!("{PATIENT}cache = {{ tier = \"off\" }}\n");
    let app = Bench::new().model("off", "picky", &model, NUMBER).app();
    for _ in 0..2 {
        let answer = predict(&app, "off", json!([{ "x": 2 }, { "x": 2 }])).await;
        assert_eq!(answer["rows"][0]["cache"], "off");
    }
    assert_eq!(runs("off"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_rows_at_the_same_time_run_once() {
    let app = Bench::new().model("together", "slow", PATIENT, NUMBER).app();
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { predict(&app, "together", json!([{ "x": 3 }, { "x": 3 }])).await })
        })
        .collect();
    for answer in asking {
        assert_eq!(
            answer.await.unwrap()["predictions"],
            json!([{ "y": 3.0 }, { "y": 3.0 }])
        );
    }
    assert_eq!(runs("together"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_one_that_runs_is_cancelled_the_others_are_answered() {
    let app = Bench::new().model("cancelled", "slow", PATIENT, NUMBER).app();
    let ask = || {
        let app = Arc::clone(&app);
        tokio::spawn(async move { predict(&app, "cancelled", json!([{ "x": 3 }])).await })
    };
    let first = ask();
    until("larder_prediction_batches_running", &[("model", "cancelled")], 1).await;
    let others: Vec<_> = (0..8).map(|_| ask()).collect();
    first.abort();
    for answer in others {
        let answer = tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .expect("nobody hangs")
            .unwrap();
        assert_eq!(answer["predictions"], json!([{ "y": 3.0 }]));
    }
    assert_eq!(runs("cancelled"), 1, "one of the others took over, and ran for all");
}

#[tokio::test]
async fn a_caller_may_want_the_model_to_run() {
    let app = Bench::new().model("bypassed", "picky", PATIENT, NUMBER).app();
    let instances = json!([{ "x": 2 }]);
    let body = json!({ "instances": instances }).to_string();
    assert_eq!(
        predict(&app, "bypassed", instances.clone()).await["rows"][0]["cache"],
        "miss"
    );
    let request = |cache_control: &str| {
        axum::http::Request::builder()
            .method("POST")
            .uri("/v1/models/bypassed:predict")
            .header("cache-control", cache_control)
            .body(axum::body::Body::from(body.clone()))
            .unwrap()
    };
    for (cache_control, cache, runs_after) in [("max-age=0, no-cache", "miss", 2), ("max-stale", "hit_memory", 2)] {
        let response = tower::ServiceExt::oneshot(app.router(), request(cache_control))
            .await
            .unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["rows"][0]["cache"], cache, "{cache_control}");
        assert_eq!(runs("bypassed"), runs_after);
    }
}

#[tokio::test]
async fn a_kept_prediction_tells_its_age_and_goes_in_its_time() {
    let model = format!("{PATIENT}cache = {{ tier = \"memory\", ttl = \"300ms\", max_bytes = \"1KiB\" }}\n");
    let bench = Bench::new().model("aging", "picky", &model, NUMBER);
    let app = bench.app();
    let ask = async || predict(&app, "aging", json!([{ "x": 1 }])).await["rows"][0].clone();
    assert_eq!(ask().await.get("cache_age_ms"), None, "the model just ran");
    // By the clock of the request, which stands still in this test.
    assert_eq!(ask().await["cache_age_ms"], 0);
    let give_up = Instant::now() + Duration::from_secs(20);
    while ask().await["cache"] == "hit_memory" {
        assert!(Instant::now() < give_up, "it lives for 300 ms at most");
    }
    // More than there is room for: what is kept stays within the bound.
    let app = Bench::new()
        .model(
            "tight",
            "plus_one",
            &model.replace("300ms", "1h"),
            &NUMBER.replace("float32", "float64"),
        )
        .app();
    for x in 0..200 {
        predict(&app, "tight", json!([{ "x": x }])).await;
    }
    let labels = [("model", "tight"), ("version", "1")];
    assert!(sum("larder_prediction_cache_bytes", &labels) <= 1_024);
    assert!(sum("larder_prediction_cache_evictions_total", &labels) > 100);
}
