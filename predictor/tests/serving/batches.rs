//! Batches: they form under load, are as large as they may be, and leave out what nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use predictor::{App, Explain, PredictError};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, ask, predict, sum, until};

const NO_CACHE: &str = "cache = { tier = \"off\" }\n";

fn slow(name: &str, model: &str) -> Bench {
    let model = format!("{PATIENT}{NO_CACHE}{model}");
    Bench::new()
        .model(name, "slow", &model, NUMBER)
        .sessions(1)
        .max_instances(1_000)
}

fn asking(app: &Arc<App>, name: &str, x: u32) -> JoinHandle<Result<Json, PredictError>> {
    let (app, name) = (Arc::clone(app), name.to_owned());
    tokio::spawn(async move { ask(&app, &name, json!([{ "x": x }]), Explain::No).await })
}

/// Runs and rows of a model's batches.
fn batches(name: &str) -> (u64, u64) {
    let of = |part: &str| sum(&format!("larder_prediction_batch_rows_{part}"), &[("model", name)]);
    (of("count"), of("sum"))
}

async fn is_running(name: &str) {
    until("larder_prediction_batches_running", &[("model", name)], 1).await;
}

async fn are_waiting(name: &str, requests: u64) {
    // The one that runs waits, too.
    until("larder_prediction_requests_waiting", &[("model", name)], requests + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_session_runs_together() {
    let app = slow("batched", "batching = { max_rows = 8 }\n").app();
    let first = asking(&app, "batched", 100);
    is_running("batched").await;
    let others: Vec<_> = (0..12).map(|x| asking(&app, "batched", x)).collect();
    for (x, other) in others.into_iter().enumerate() {
        let answer = other.await.unwrap().unwrap();
        assert_eq!(answer["predictions"][0]["y"], x as f64, "everybody has their own");
    }
    first.await.unwrap().unwrap();
    let (runs, rows) = batches("batched");
    assert_eq!(rows, 13);
    assert!(runs <= 4, "{runs} runs: one alone, then batches of at most 8");
}

/// One thread, as each that answers HTTP.
#[tokio::test]
async fn rows_whose_features_come_together_run_together() {
    let app = Bench::new()
        .model("fed", "linear", &format!("{PATIENT}{NO_CACHE}"), LINEAR)
        .app();
    let asking = |minute: u32| {
        let app = Arc::clone(&app);
        let instances = json!([{ "carrier": "UA", "minute": minute }]);
        tokio::spawn(async move { ask(&app, "fed", instances, Explain::No).await })
    };
    // With nobody beside it, and the connection is there for the others.
    let first = asking(0).await.unwrap().unwrap();
    let base = first["predictions"][0]["y"].as_f64().unwrap();
    let askings: Vec<_> = (1..=20).map(asking).collect();
    for (minute, asking) in (1..).zip(askings) {
        let answer = asking.await.unwrap().unwrap();
        let y = answer["predictions"][0]["y"].as_f64().unwrap();
        assert_eq!(y, base + f64::from(minute), "everybody has their own");
    }
    let (runs, rows) = batches("fed");
    assert_eq!(rows, 21);
    assert!(runs < 11, "{runs} runs");
}

#[tokio::test]
async fn a_large_request_is_split_and_answered_in_its_order() {
    let model = format!("{PATIENT}{NO_CACHE}batching = {{ max_rows = 7 }}\n");
    let app = Bench::new()
        .model("split", "picky", &model, NUMBER)
        .max_instances(1_000)
        .app();
    let instances: Vec<Json> = (0..100).map(|x| json!({ "x": x % 3 })).collect();
    let answer = predict(&app, "split", instances.into()).await;
    for (i, prediction) in answer["predictions"].as_array().unwrap().iter().enumerate() {
        assert_eq!(prediction["y"], (i % 3) as f64 + 0.5);
    }
    assert_eq!(batches("split"), (15, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_those_who_have_left_do_not_run() {
    let app = slow("left", "").app();
    let first = asking(&app, "left", 100);
    is_running("left").await;
    let leaving: Vec<_> = (0..5).map(|x| asking(&app, "left", x)).collect();
    are_waiting("left", 5).await;
    leaving.iter().for_each(JoinHandle::abort);
    are_waiting("left", 0).await;
    let last = asking(&app, "left", 7);
    first.await.unwrap().unwrap();
    assert_eq!(last.await.unwrap().unwrap()["predictions"][0]["y"], 7.0);
    assert_eq!(batches("left"), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_too_late_do_not_run() {
    // The model takes a good part of a second, and nobody waits for it as long.
    let model = format!("deadline = \"50ms\"\n{NO_CACHE}");
    let app = Bench::new().model("hasty", "slow", &model, NUMBER).sessions(1).app();
    let askings: Vec<_> = (0..4).map(|x| asking(&app, "hasty", x)).collect();
    for asking in askings {
        let error = asking.await.unwrap().unwrap_err();
        assert!(matches!(error, PredictError::DeadlineExceeded { .. }), "{error}");
    }
    until("larder_prediction_batches_running", &[("model", "hasty")], 0).await;
    assert_eq!(
        batches("hasty").1,
        0,
        "the one that ran was ended, and the others never began"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_fails_does_not_fail_its_batch() {
    let model = format!("{PATIENT}{NO_CACHE}batching = {{ max_wait = \"300ms\", max_rows = 64 }}\n");
    let app = Bench::new().model("mixed", "picky", &model, NUMBER).sessions(1).app();
    let askings: Vec<_> = (0..20).map(|x| asking(&app, "mixed", x % 4)).collect();
    for (x, asking) in askings.into_iter().enumerate() {
        let answer = asking.await.unwrap().unwrap();
        match x % 4 {
            3 => assert_eq!(answer["rows"][0]["error"]["code"], "model_failed"),
            x => assert_eq!(answer["predictions"][0]["y"], x as f64 + 0.5),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_waits_for_others_if_it_is_told_to_and_no_longer_than_it_must() {
    let model = format!("{PATIENT}{NO_CACHE}batching = {{ max_wait = \"15s\", max_rows = 3 }}\n");
    let app = Bench::new().model("gathered", "picky", &model, NUMBER).app();
    let askings: Vec<_> = (0..3).map(|x| asking(&app, "gathered", x)).collect();
    for asking in askings {
        let answered = tokio::time::timeout(Duration::from_secs(14), asking).await;
        answered.expect("three are enough").unwrap().unwrap();
    }
    assert_eq!(batches("gathered"), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_requests_do_not_wait_for_all_of_a_large_one() {
    let app = slow("fair", "batching = { max_rows = 1 }\n").app();
    let large = {
        let app = Arc::clone(&app);
        let instances: Vec<Json> = (0..12).map(|x| json!({ "x": x })).collect();
        tokio::spawn(async move { predict(&app, "fair", instances.into()).await })
    };
    is_running("fair").await;
    asking(&app, "fair", 50).await.unwrap().unwrap();
    assert!(!large.is_finished(), "the small one had its turn in between");
    large.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_with_too_much_to_do_takes_nothing_from_another() {
    let model = format!("{PATIENT}{NO_CACHE}batching = {{ max_waiting = 2 }}\n");
    let app = slow("flooded", "batching = { max_waiting = 2, max_rows = 1 }\n")
        .model("quiet", "picky", &model, NUMBER)
        .app();
    let flood: Vec<_> = (0..40).map(|x| asking(&app, "flooded", x)).collect();
    is_running("flooded").await;
    for x in 0..20 {
        let answer = predict(&app, "quiet", json!([{ "x": x % 3 }])).await;
        assert_eq!(answer["predictions"][0]["y"], f64::from(x % 3) + 0.5);
    }
    let mut refused = 0;
    for asking in flood {
        match asking.await.unwrap() {
            Ok(_) => {}
            Err(PredictError::Overloaded(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused >= 30, "only {refused} of 40 were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_brings_what_fails_does_not_hold_up_others_of_the_batch() {
    let model = format!("deadline = \"3s\"\n{NO_CACHE}batching = {{ max_wait = \"1s\", max_rows = 400 }}\n");
    let app = Bench::new()
        .model("poisoned", "picky", &model, NUMBER)
        .sessions(1)
        .max_instances(1_000)
        .app();
    let poison = {
        let app = Arc::clone(&app);
        let instances: Vec<Json> = (0..399).map(|x| json!({ "x": 100 + x })).collect();
        tokio::spawn(async move { ask(&app, "poisoned", instances.into(), Explain::No).await })
    };
    until("larder_prediction_requests_waiting", &[("model", "poisoned")], 1).await;
    // It makes the batch full.
    let answer = asking(&app, "poisoned", 1).await.unwrap().unwrap();
    assert_eq!(answer["predictions"][0]["y"], 1.5);
    assert!(!poison.is_finished(), "the small one comes first");
    let _answered_or_late = poison.await.unwrap();
}
