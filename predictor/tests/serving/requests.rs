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
    insta::assert_snapshot!(body, @r#"
    {
      "error": "8 problems, the first at `idss`: unknown key of the request; did you mean `ids`?",
      "code": "invalid_request",
      "details": {
        "problems": [
          {
            "name": "idss",
            "problem": "unknown key of the request; did you mean `ids`?"
          },
          {
            "instance": 0,
            "name": "carier",
            "problem": "unknown field; did you mean `carrier`?"
          },
          {
            "instance": 0,
            "name": "minute",
            "problem": "expected int64, got \"7\""
          },
          {
            "instance": 0,
            "name": "carrier",
            "problem": "missing join key: send null if there is none"
          },
          {
            "instance": 2,
            "name": "carrier",
            "problem": "expected string, got 5"
          },
          {
            "instance": 2,
            "name": "minute",
            "problem": "missing request feature: send null if its value is not known"
          },
          {
            "instance": 3,
            "name": "ops__late_rate",
            "problem": "a stored feature, which this model does not let callers set (overrides in version.toml)"
          },
          {
            "instance": 4,
            "problem": "not an object"
          }
        ],
        "count": 8
      }
    }
    "#);
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
    insta::assert_snapshot!(told, @r#"

        the body is not JSON: EOF while parsing a value at line 1 column 0
    []
        the body is not a JSON object: send {"instances": [{…}]}
    {}
        `instances`: missing: send {"instances": [{…}]}
    {"instances":{}}
        `instances`: not a list of objects
    {"instances":[]}
        `instances`: empty: send at least one instance
    {"instances":[{"carrier":"UA","minute":NaN}]}
        the body is not JSON: expected value at line 1 column 40: JSON has no NaN or Infinity, send null
    {"instances":[{"carrier":"UA","minute":-Infinity}]}
        the body is not JSON: invalid number at line 1 column 41: JSON has no NaN or Infinity, send null
    {"instances":[{"carrier":"UA","minute":1},]}
        the body is not JSON: trailing comma at line 1 column 43
    {"instances":[{"carrier":"UA","minute":1e400}]}
        the body is not JSON: number out of range at line 1 column 44
    {"instances":[{"carrier":"UA","minute":"NaN"}]}
        instance 0, `minute`: expected int64, got "NaN"
    {"instances":[{"carrier":"UA","minute":1.5}]}
        instance 0, `minute`: expected int64, got 1.5
    {"instances":[{},{},{},{},{},{}]}
        `instances`: 6 instances, at most 5 are taken in one request
    {"instances":[{"carrier":"UA","minute":1}],"ids":["a","b"]}
        `ids`: 2 id(s) for 1 instance(s)
    {"instances":[{"carrier":"UA","minute":1}],"ids":[null]}
        `ids`: id 0 is neither a text nor a whole number
    there is no model `mm`; did you mean `m`?
    "#);
}

#[tokio::test]
async fn a_key_that_is_given_twice_is_refused() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    let app = bench.app();
    let mut told = String::new();
    for wrong in [
        r#"{"instances":[{"carrier":"UA","minute":1,"minute":2}]}"#,
        r#"{"instances":[{"carrier":null,"minute":1,"carrier":null}]}"#,
        r#"{"instances":[5],"instances":[{"carrier":"UA","minute":1}]}"#,
        r#"{"instances":[{"carrier":"UA","minute":1}],"ids":[1],"ids":[1]}"#,
    ] {
        told.push_str(&format!("{}\n", refused(&app, "m", wrong).await));
    }
    insta::assert_snapshot!(told, @r"
    instance 0, `minute`: given twice
    instance 0, `carrier`: given twice
    `instances`: given twice
    `ids`: given twice
    ");
}

#[tokio::test]
async fn ids_are_counted_against_what_was_sent_and_all_bad_ones_are_told() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    let (_, body) = body(
        &bench,
        "m",
        r#"{"instances":[{"carrier":"UA","minute":1},5],"ids":[1.5,{}]}"#,
    )
    .await;
    let body: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body["details"]["problems"],
        serde_json::json!([
            { "instance": 1, "problem": "not an object" },
            { "name": "ids", "problem": "id 0 is neither a text nor a whole number" },
            { "name": "ids", "problem": "id 1 is neither a text nor a whole number" },
        ])
    );
}

#[tokio::test]
async fn a_hostile_body_costs_little_and_its_answer_is_small() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    let many: String = (0..200_000).map(|i| format!(r#","k{i}":0"#)).collect();
    let long = "x".repeat(1 << 20);
    let started = std::time::Instant::now();
    for (hostile, count) in [
        (
            format!(r#"{{"instances":[{{"carrier":"UA","minute":1{many}}}]}}"#),
            200_000,
        ),
        (
            format!(r#"{{"instances":[{{"carrier":"UA","minute":1}}]{many}}}"#),
            200_000,
        ),
        (
            format!(r#"{{"instances":[{{"carrier":"UA","minute":1,"{long}":1}}],"{long}":1}}"#),
            2,
        ),
    ] {
        let (_, body) = body(&bench, "m", &hostile).await;
        assert!(body.len() < 20_000, "{} bytes", body.len());
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body["details"]["count"], count);
    }
    // With a look for the nearest name for each of them it is a minute.
    assert!(
        started.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let error = refused(&bench.app(), &"m".repeat(5_000), "{}").await.to_string();
    assert!(error.len() < 100, "{error}");
}

#[tokio::test]
async fn a_number_too_large_for_the_tensor_is_refused() {
    let bench = Bench::new().model("m", "picky", PATIENT, crate::bench::NUMBER);
    let error = refused(&bench.app(), "m", r#"{"instances":[{"x":1e39}]}"#).await;
    assert_eq!(error.to_string(), "instance 0, `x`: too large for a float32 tensor");
}
