//! Requests that are wrong: everything that is wrong with them, at once, and nothing done.

use axum::response::IntoResponse;
use serde_json::Value as Json;
use service::error::ApiError;

use crate::bench::{Bench, LINEAR, PATIENT, refused};

async fn body(bench: &Bench, model: &str, body: &str) -> (u16, String) {
    let error = refused(&bench.app(), model, body).await;
    let response = ApiError::from(error).into_response();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let mut json: Json = serde_json::from_slice(&bytes).unwrap();
    json.as_object_mut().unwrap().remove("request_id");
    (status, serde_json::to_string_pretty(&json).unwrap())
}

#[tokio::test]
async fn all_problems_are_told_with_instance_and_name() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    let wrong = r#"{"instances":[
        {"carier":"UA","minute":"7"},
        {"carrier":"UA","minute":1},
        {"carrier":5},
        {"carrier":"UA","minute":1,"ops__late_rate":0.5},
        3
    ],"idss":[]}"#;
    let (status, body) = body(&bench, "m", wrong).await;
    assert_eq!(status, 400);
    insta::assert_snapshot!(body, @"");
}

#[tokio::test]
async fn broken_bodies_are_told_apart() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    let app = bench.app();
    let mut told = String::new();
    for wrong in [
        "",
        "[]",
        "{}",
        r#"{"instances":{}}"#,
        r#"{"instances":[]}"#,
        r#"{"instances":[{"carrier":"UA","minute":NaN}]}"#,
        r#"{"instances":[{"carrier":"UA","minute":-Infinity}]}"#,
        r#"{"instances":[{"carrier":"UA","minute":1},]}"#,
        r#"{"instances":[{"carrier":"UA","minute":1e400}]}"#,
        r#"{"instances":[{"carrier":"UA","minute":"NaN"}]}"#,
        r#"{"instances":[{"carrier":"UA","minute":1.5}]}"#,
        r#"{"instances":[{},{},{},{},{},{}]}"#,
        r#"{"instances":[{"carrier":"UA","minute":1}],"ids":["a","b"]}"#,
        r#"{"instances":[{"carrier":"UA","minute":1}],"ids":[null]}"#,
    ] {
        told.push_str(&format!("{wrong}\n    {}\n", refused(&app, "m", wrong).await));
    }
    told.push_str(&format!("{}\n", refused(&app, "mm", "").await));
    insta::assert_snapshot!(told, @"");
}

#[tokio::test]
async fn a_number_too_large_for_the_tensor_is_refused() {
    let bench = Bench::new().model("m", "picky", PATIENT, crate::bench::NUMBER);
    let error = refused(&bench.app(), "m", r#"{"instances":[{"x":1e39}]}"#).await;
    assert_eq!(error.to_string(), "instance 0, `x`: is too large for a float32 tensor");
}
