//! Versions in traffic: the latest that fits, canaries, shadows, promotion and rollback.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use predictor::App;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::bench::{Bench, NUMBER, PATIENT, predict, sum, until};

/// `version.toml` of a model of one number that takes doubles.
const DOUBLE: &str = r#"
feature_service = "number"
inputs = { x = "float64" }
outputs = { y = { tensor = "y" } }
"#;

/// Version 1 says -x, version 2 says x + 1, and version 3 takes 0, 1 and 2 only.
fn three(name: &str, model: &str) -> Bench {
    Bench::new()
        .model(name, "request_only", &format!("{PATIENT}{model}"), DOUBLE)
        .version(name, "2", "plus_one", DOUBLE)
        .version(name, "3", "picky", NUMBER)
}

async fn call(app: &Arc<App>, method: &str, path: &str, body: &str) -> (u16, Json) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = app.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn y(app: &App, name: &str, x: f64) -> f64 {
    let answer = predict(app, name, json!([{ "x": x }])).await;
    answer["predictions"][0]["y"].as_f64().unwrap()
}

/// Each version's state.
async fn states(app: &Arc<App>, name: &str) -> HashMap<String, String> {
    let (_, told) = call(app, "GET", &format!("/v1/models/{name}"), "").await;
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let versions = told["versions"].as_array().unwrap();
    versions
        .iter()
        .map(|version| (text(&version["version"]), text(&version["state"])))
        .collect()
}

fn is(states: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = |(version, state): &(&str, &str)| ((*version).to_owned(), (*state).to_owned());
    states.iter().map(owned).collect()
}

#[tokio::test]
async fn the_latest_version_that_fits_serves_and_broken_ones_are_told() {
    let bench = three("m", "");
    bench.write("m/3/model.onnx", b"not a model");
    let app = bench.app();
    assert_eq!(y(&app, "m", 5.0).await, 6.0);
    assert_eq!(
        states(&app, "m").await,
        is(&[("1", "idle"), ("2", "serving"), ("3", "refused")])
    );
    let (_, told) = call(&app, "GET", "/v1/models/m", "").await;
    let reason = told["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("version 3: ONNX Runtime refuses model.onnx"),
        "{reason}"
    );
    let (_, ready) = call(&app, "GET", "/health/ready", "").await;
    assert!(ready.to_string().contains("; version 2 serves\""), "{ready}");
    // Mended, it takes over.
    let mended = bench.models().join("m/2/model.onnx");
    fs::copy(mended, bench.models().join("m/3/model.onnx")).unwrap();
    bench.write("m/3/version.toml", DOUBLE.as_bytes());
    app.reload().await.unwrap();
    assert_eq!(
        states(&app, "m").await,
        is(&[("1", "idle"), ("2", "idle"), ("3", "serving")])
    );
}

#[tokio::test]
async fn one_that_is_pinned_and_broken_leaves_the_one_that_served() {
    let bench = three("m", "serve = \"2\"\n");
    let app = bench.app();
    bench.write("m/model.toml", format!("{PATIENT}serve = \"3\"\n").as_bytes());
    bench.write("m/3/model.onnx", b"not a model");
    app.reload().await.unwrap();
    assert_eq!(y(&app, "m", 5.0).await, 6.0);
    assert_eq!(
        states(&app, "m").await,
        is(&[("1", "idle"), ("2", "serving"), ("3", "refused")])
    );
}

#[tokio::test]
async fn versions_that_are_held_ready_are_asked_by_number() {
    let bench = three("m", "serve = \"1\"\nload = [\"2\"]\n");
    let app = bench.app();
    let body = r#"{"instances":[{"x":5}]}"#;
    let (_, answer) = call(&app, "POST", "/v1/models/m/versions/2:predict", body).await;
    assert_eq!(
        (&answer["model_version"], &answer["predictions"][0]["y"]),
        (&json!("2"), &json!(6.0))
    );
    let (status, error) = call(&app, "POST", "/v1/models/m/versions/3:predict", body).await;
    assert_eq!((status, &error["code"]), (404, &json!("unknown_version")));
    assert_eq!(
        error["error"],
        "model `m` has no version `3` ready: it has 1, 2 (`load` in its model.toml says which)"
    );
    bench.write(
        "m/model.toml",
        format!("{PATIENT}serve = \"1\"\nload = \"all\"\n").as_bytes(),
    );
    app.reload().await.unwrap();
    assert_eq!(
        states(&app, "m").await,
        is(&[("1", "serving"), ("2", "ready"), ("3", "ready")])
    );
}

/// Which entities the canary answers.
async fn canaries(app: &App, entities: u32) -> Vec<bool> {
    let mut chosen = Vec::new();
    let all: Vec<u32> = (1..=entities).collect();
    for part in all.chunks(1_000) {
        let instances: Vec<Json> = part.iter().map(|x| json!({ "x": x })).collect();
        let answer = predict(app, "sticky", instances.into()).await;
        for (i, x) in part.iter().enumerate() {
            let is_canary = answer["rows"][i]["model_version"] == "2";
            let expected = if is_canary { f64::from(*x) + 1.0 } else { -f64::from(*x) };
            assert_eq!(
                answer["predictions"][i]["y"], expected,
                "answered by the version it names"
            );
            chosen.push(is_canary);
        }
    }
    chosen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_has_its_share_and_keeps_its_entities() {
    const ENTITIES: u32 = 100_000;
    let with_share = |share: f64| {
        format!(
            "{PATIENT}serve = \"1\"\ncache = {{ tier = \"off\" }}\ncanary = {{ version = \"2\", share = {share}, key = \"x\" }}\n"
        )
    };
    let bench = three("sticky", "serve = \"1\"\n").max_instances(1_000);
    let mut before = vec![false; ENTITIES as usize];
    for share in [0.0, 0.1, 0.5, 1.0] {
        bench.write("sticky/model.toml", with_share(share).as_bytes());
        // Another process, as a restart or another replica is.
        let app = bench.app();
        let chosen = canaries(&app, ENTITIES).await;
        let count = chosen.iter().filter(|is_canary| **is_canary).count();
        let got = f64::from(u32::try_from(count).unwrap()) / f64::from(ENTITIES);
        assert!((got - share).abs() < 0.01, "{got} of {share}");
        // Whoever was asked by the canary at a smaller share still is: nobody goes to and fro.
        let flipped = before.iter().zip(&chosen).filter(|(was, is)| **was && !**is).count();
        assert_eq!(flipped, 0);
        before = chosen;
    }
}

#[tokio::test]
async fn a_canary_that_does_not_fit_takes_nothing() {
    for (canary, reason) in [
        (
            "{ version = \"2\", share = 0.5, key = \"y\" }",
            "model.toml says canary key = \"y\"",
        ),
        (
            "{ version = \"2\", share = 0.5 }",
            "version 2, the canary, needs a `key`",
        ),
        (
            "{ version = \"9\", share = 0.5, key = \"x\" }",
            "version 9: there is no folder of it",
        ),
        (
            "{ version = \"2\", share = 1.5, key = \"x\" }",
            "model.toml says canary share = 1.5",
        ),
    ] {
        let bench = three("m", "serve = \"1\"\n");
        let app = bench.app();
        bench.write(
            "m/model.toml",
            format!("{PATIENT}serve = \"1\"\ncanary = {canary}\n").as_bytes(),
        );
        app.reload().await.unwrap();
        let (_, told) = call(&app, "GET", "/v1/models/m", "").await;
        let told = told["reasons"].to_string().replace("\\\"", "\"");
        assert!(told.contains(reason), "{told}");
        for x in 0..20 {
            assert_eq!(y(&app, "m", f64::from(x)).await, -f64::from(x));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_fails_or_is_slow_changes_nothing() {
    let slow = "serve = \"1\"\ncache = { tier = \"off\" }\nshadow = \"4\"\n";
    let bench = three("shaded", "serve = \"1\"\ncache = { tier = \"off\" }\nshadow = \"3\"\n")
        .version("shaded", "4", "slow", NUMBER)
        .max_instances(1_000);
    let app = bench.app();
    let rows = |outcome, version| {
        sum(
            "larder_shadow_rows_total",
            &[("model", "shaded"), ("version", version), ("outcome", outcome)],
        )
    };
    // 0 is the same in both, 1 and 2 differ, and of 7 the shadow knows nothing.
    let answer = predict(&app, "shaded", json!([{ "x": 0 }, { "x": 1 }, { "x": 2 }, { "x": 7 }])).await;
    let ys: Vec<f64> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["y"].as_f64().unwrap())
        .collect();
    assert_eq!(ys, [0.0, -1.0, -2.0, -7.0]);
    assert_eq!(answer["rows"][0].get("model_version"), None);
    let labels = [("model", "shaded"), ("version", "3")];
    until("larder_shadow_rows_total", &labels, 4).await;
    assert_eq!((rows("differs", "3"), rows("failed", "3")), (3, 1));

    // One that is slow: callers have their answers while it runs, and what is too much for it is dropped.
    bench.write("shaded/model.toml", format!("{PATIENT}{slow}").as_bytes());
    app.reload().await.unwrap();
    let many = 300_u32;
    for x in 0..many {
        assert_eq!(y(&app, "shaded", f64::from(x)).await, -f64::from(x));
    }
    let labels = [("model", "shaded"), ("version", "4")];
    assert!(rows("dropped", "4") > 0, "the shadow cannot have kept up");
    until("larder_shadow_rows_total", &labels, many.into()).await;
    assert_eq!(
        sum(
            "larder_prediction_errors_total",
            &[("model", "shaded"), ("version", "1")]
        ),
        0
    );
}

#[tokio::test]
async fn promotion_and_rollback_are_one_call_each_and_stand_in_the_file() {
    let bench = three(
        "m",
        "serve = \"1\" # the first\ncanary = { version = \"2\", share = 0.1, key = \"x\" }\n",
    );
    bench.write("m/3/model.onnx", b"not a model");
    let app = bench.app();
    assert_eq!(y(&app, "m", 5.0).await, -5.0);
    let promote = |version: &str| json!({ "version": version }).to_string();
    let (status, told) = call(&app, "POST", "/v1/models/m:promote", &promote("2")).await;
    assert_eq!((status, &told["version"]), (200, &json!("2")), "{told}");
    assert_eq!(y(&app, "m", 5.0).await, 6.0);
    let file = || fs::read_to_string(bench.models().join("m/model.toml")).unwrap();
    assert_eq!(file(), format!("{PATIENT}serve = \"2\" # the first\n"));
    // One that does not fit is refused, and nothing has happened.
    let before = file();
    let (status, told) = call(&app, "POST", "/v1/models/m:promote", &promote("3")).await;
    assert_eq!((status, &told["code"]), (400, &json!("model_refused")), "{told}");
    assert!(
        told["error"].as_str().unwrap().contains("ONNX Runtime refuses"),
        "{told}"
    );
    assert_eq!((file(), y(&app, "m", 5.0).await), (before, 6.0));
    let (_, ready) = call(&app, "GET", "/v1/models/m", "").await;
    assert_eq!(ready.get("reasons"), None, "{ready}");
    // Back again.
    call(&app, "POST", "/v1/models/m:promote", &promote("1")).await;
    assert_eq!(y(&app, "m", 5.0).await, -5.0);
    assert_eq!(y(&bench.app(), "m", 5.0).await, -5.0, "after a restart, too");
    for (path, body, status, code) in [
        ("/v1/models/n:promote", promote("1"), 404, "unknown_model"),
        ("/v1/models/m:promote", "{}".to_owned(), 400, "invalid_request"),
        ("/v1/models/m:promote", promote("a/b"), 400, "invalid_request"),
    ] {
        let (got, told) = call(&app, "POST", path, &body).await;
        assert_eq!((got, &told["code"]), (status, &json!(code)), "{path} {body}");
    }
}

#[tokio::test]
async fn a_model_that_is_unloaded_serves_again_when_it_is_loaded() {
    let bench = three("m", "").model("other", "request_only", PATIENT, DOUBLE);
    let app = bench.app();
    let unload = call(&app, "POST", "/v2/repository/models/m/unload", "{}").await;
    assert_eq!(unload.0, 200);
    let body = r#"{"instances":[{"x":1}]}"#;
    let (status, error) = call(&app, "POST", "/v1/models/m:predict", body).await;
    assert_eq!((status, &error["code"]), (503, &json!("model_not_loaded")));
    assert!(error["error"].as_str().unwrap().contains("is unloaded"), "{error}");
    assert_eq!(y(&app, "other", 5.0).await, -5.0);
    // Files that change do not bring it back, and it is no reason to be unready.
    app.reload().await.unwrap();
    let (_, index) = call(&app, "POST", "/v2/repository/index", "").await;
    let of_m = index.as_array().unwrap().iter().find(|one| one["name"] == "m").unwrap();
    assert_eq!(
        (&of_m["state"], &of_m["reason"]),
        (&json!("UNAVAILABLE"), &json!("unloaded"))
    );
    assert_eq!(call(&app, "GET", "/v2/health/ready", "").await.0, 200);
    assert_eq!(call(&app, "GET", "/v2/models/m/ready", "").await.0, 503);
    assert_eq!(call(&app, "POST", "/v2/repository/models/m/load", "").await.0, 200);
    assert_eq!(y(&app, "m", 1.0).await, 1.5);
    let (status, told) = call(&app, "POST", "/v2/repository/models/nobody/load", "").await;
    assert_eq!((status, &told["code"]), (404, &json!("unknown_model")));
}

#[tokio::test]
async fn a_promotion_is_done_to_its_end_whether_or_not_the_caller_waits() {
    let bench = three("m", "serve = \"1\"\n");
    bench.write("m/3/model.onnx", b"not a model");
    let app = bench.app();
    let before = fs::read_to_string(bench.models().join("m/model.toml")).unwrap();
    let promote = |version: &'static str| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let body = json!({ "version": version }).to_string();
            call(&app, "POST", "/v1/models/m:promote", &body).await
        })
    };
    for _ in 0..20 {
        let leaving = promote("3");
        tokio::task::yield_now().await;
        leaving.abort();
    }
    // Whoever asks next waits for those before.
    let (status, told) = promote("3").await.unwrap();
    assert_eq!((status, &told["code"]), (400, &json!("model_refused")), "{told}");
    assert_eq!(fs::read_to_string(bench.models().join("m/model.toml")).unwrap(), before);
    assert_eq!(y(&app, "m", 5.0).await, -5.0);
}

#[tokio::test]
async fn the_latest_version_can_be_promoted_too() {
    let bench = three("m", "serve = \"1\"\n");
    fs::remove_dir_all(bench.models().join("m/3")).unwrap();
    let app = bench.app();
    let (status, told) = call(&app, "POST", "/v1/models/m:promote", r#"{"version":"latest"}"#).await;
    assert_eq!((status, &told["version"]), (200, &json!("2")), "{told}");
    let file = fs::read_to_string(bench.models().join("m/model.toml")).unwrap();
    assert!(file.contains("serve = \"latest\""), "{file}");
    // Unloaded, it is not promoted.
    call(&app, "POST", "/v2/repository/models/m/unload", "").await;
    let (status, told) = call(&app, "POST", "/v1/models/m:promote", r#"{"version":"1"}"#).await;
    assert_eq!(status, 400);
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("it is unloaded: load it first"),
        "{told}"
    );
}

#[tokio::test]
async fn a_canary_or_shadow_that_is_the_serving_version_is_told() {
    let canary = "canary = { version = \"2\", share = 0.5, key = \"x\" }\nshadow = \"2\"\n";
    let bench = three("m", &format!("serve = \"2\"\n{canary}"));
    let app = bench.app();
    let (_, told) = call(&app, "GET", "/v1/models/m", "").await;
    let reasons = told["reasons"].to_string();
    assert!(
        reasons.contains("canary version 2, which is the one that serves") && reasons.contains("shadow version 2"),
        "{reasons}"
    );
    assert_eq!(y(&app, "m", 5.0).await, 6.0);
}

#[tokio::test]
async fn a_fallback_that_is_unloaded_is_told_as_that() {
    let linear = format!("{}when_unavailable = \"fallback\"\n", crate::bench::LINEAR);
    let bench = Bench::new()
        .model("base", "request_only", PATIENT, crate::bench::REQUEST_ONLY)
        .model("m", "linear", "fallback = { model = \"base\" }", &linear);
    let app = bench.app();
    call(&app, "POST", "/v2/repository/models/base/unload", "").await;
    let (_, told) = call(&app, "GET", "/v1/models/m", "").await;
    assert_eq!((&told["state"], &told["as_before"]), (&json!("serving"), &json!(true)));
    assert_eq!(
        told["reasons"][0],
        "its fallback, model `base`, is unloaded: POST /v2/repository/models/base/load loads it"
    );
}

#[tokio::test]
async fn tensors_have_as_many_rows_as_instances_may_be() {
    let app = Bench::new()
        .model("m", "plus_one", PATIENT, DOUBLE)
        .max_instances(3)
        .app();
    let infer = |rows: usize| {
        let data: Vec<usize> = (0..rows).collect();
        json!({ "inputs": [{ "name": "x", "datatype": "FP64", "shape": [rows, 1], "data": data }] }).to_string()
    };
    // By its own tensor, which is called as the request feature is.
    let (status, answer) = call(&app, "POST", "/v2/models/m/infer", &infer(3)).await;
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([1.0, 2.0, 3.0])));
    let (status, error) = call(&app, "POST", "/v2/models/m/infer", &infer(4)).await;
    assert_eq!((status, &error["code"]), (400, &json!("invalid_request")));
    assert_eq!(
        error["error"],
        "4 rows, at most 3 are taken in one request (--max-instances)"
    );
}

#[tokio::test]
async fn a_version_that_breaks_while_it_is_ready_serves_on() {
    let bench = three("m", "serve = \"1\"\nload = [\"2\"]\n");
    let app = bench.app();
    bench.write("m/2/model.onnx", b"not a model");
    app.reload().await.unwrap();
    let body = r#"{"instances":[{"x":5}]}"#;
    let (status, answer) = call(&app, "POST", "/v1/models/m/versions/2:predict", body).await;
    assert_eq!((status, &answer["predictions"][0]["y"]), (200, &json!(6.0)));
    let (_, told) = call(&app, "GET", "/v1/models/m", "").await;
    assert!(
        told["reasons"][0].as_str().unwrap().starts_with("version 2: "),
        "{told}"
    );
    // It is loaded, and so that is no failure.
    assert_eq!(call(&app, "POST", "/v2/repository/models/m/load", "").await.0, 200);
}

#[tokio::test]
async fn a_shape_without_elements_costs_nothing() {
    let app = Bench::new().model("m", "echo", PATIENT, "").app();
    for shape in [
        json!([10_000_000_000_000_u64, 0]),
        json!([0, 30_000_000]),
        json!([4_294_967_296_u64, 4_294_967_296_u64, 0]),
    ] {
        let body = json!({ "inputs": [{ "name": "FP32", "datatype": "FP32", "shape": shape, "data": [] }] });
        let (status, error) = call(&app, "POST", "/v2/models/m/infer", &body.to_string()).await;
        assert_eq!((status, &error["code"]), (400, &json!("invalid_request")), "{error}");
        assert!(
            error["error"]
                .as_str()
                .unwrap()
                .contains("too large a shape for no elements"),
            "{error}"
        );
    }
}
