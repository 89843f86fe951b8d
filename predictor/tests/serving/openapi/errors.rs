//! Errors against what is documented of them.

use std::fs;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT};

use super::described::{Described, Sent, send};
use super::{app, bench};

#[tokio::test]
async fn errors_are_as_described() {
    let bench = bench().model("late", "slow", "deadline = \"1ms\"", NUMBER).model(
        "strict",
        "linear",
        PATIENT,
        &format!("{LINEAR}when_missing = \"reject\"\n"),
    );
    let app = app(&bench).await;
    let described = Described::of(&app).await;
    let good = r#"{"instances":[{"carrier":"text","minute":1}]}"#;
    let row = r#"{"inputs":[{"name":"carrier","datatype":"BYTES","shape":[1],"data":["nobody"]},
        {"name":"minute","datatype":"INT64","shape":[1],"data":[1]}]}"#;
    let nine = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[9]}]}"#;
    let large = "a".repeat(5 << 20);
    for (path, body, status, code) in [
        ("/v1/models/any:predict", "{", 400, "invalid_json"),
        (
            "/v1/models/any:predict",
            r#"{"instances":[{},5]}"#,
            400,
            "invalid_request",
        ),
        ("/v1/models/any:predict?explain=maybe", good, 400, "invalid_query"),
        ("/v1/models/any:predict", large.as_str(), 413, "body_too_large"),
        ("/v1/models/tensors:predict", good, 400, "needs_tensors"),
        ("/v1/models/nobody:predict", good, 404, "unknown_model"),
        ("/v1/models/%FF:predict", good, 400, "invalid_path"),
        ("/v1/models/refused:predict", good, 503, "model_not_loaded"),
        ("/v1/models/unloaded:predict", good, 503, "model_not_loaded"),
        (
            "/v1/models/late:predict",
            r#"{"instances":[{"x":1}]}"#,
            504,
            "deadline_exceeded",
        ),
        ("/v1/models/any/versions/7:predict", good, 404, "unknown_version"),
        ("/v2/models/any/infer", "[]", 400, "invalid_request"),
        ("/v2/models/any/infer", r#"{"inputs":[]}"#, 400, "invalid_request"),
        ("/v2/models/strict/infer", row, 400, "feature_missing"),
        ("/v2/models/canaried/versions/3/infer", nine, 500, "model_failed"),
        ("/v2/models/any/versions/7/infer", nine, 404, "unknown_version"),
        ("/v2/models/tensors/infer", "{", 400, "invalid_json"),
        ("/v2/repository/index", "{", 400, "invalid_json"),
        ("/v2/repository/models/nobody/load", "", 404, "unknown_model"),
        ("/v2/repository/models/refused/load", "", 400, "model_refused"),
        ("/v1/models/any:promote", "{}", 400, "invalid_request"),
        ("/v1/models/nobody:promote", r#"{"version":"1"}"#, 404, "unknown_model"),
        ("/v1/models/any:promote", r#"{"version":"9"}"#, 400, "model_refused"),
    ] {
        described
            .check_error(&app, &Sent::post(path, body), (status, code))
            .await;
    }
    for (path, status, code) in [
        ("/v1/models/nobody", 404, "unknown_model"),
        ("/v2/models/nobody", 404, "unknown_model"),
        ("/v2/models/any/versions/7", 404, "unknown_version"),
        ("/v2/models/refused/config", 503, "model_not_loaded"),
        ("/v2/models/nobody/ready", 404, "unknown_model"),
        ("/v2/models/any/versions/7/ready", 404, "unknown_version"),
        ("/v2/models/%FF", 400, "invalid_path"),
    ] {
        described.check_error(&app, &Sent::get(path), (status, code)).await;
    }
    // What no operation answers has the same body.
    for sent in [
        Sent::get("/nowhere"),
        Sent::post("/v1/models", ""),
        Sent::post("/v1/models/any:train", ""),
    ] {
        let answer = send(&app, &sent).await;
        described.check("Error", &serde_json::from_slice(&answer.body).unwrap());
    }
    let packed = |encoding: &'static str| Sent {
        headers: vec![("content-encoding", encoding)],
        ..Sent::post("/v1/models/any:predict", good)
    };
    let answer = send(&app, &packed("compress")).await;
    assert_eq!(answer.status, 415);
    described.check_answer(&packed("compress"), &answer);
    described.check_error(&app, &packed("gzip"), (400, "broken_body")).await;
    // Nothing can be reloaded.
    fs::write(bench.features().join("all.toml"), "format = 1\nproject =").unwrap();
    let load = Sent::post("/v2/repository/models/any/load", "");
    described.check_error(&app, &load, (409, "not_reloaded")).await;
}

#[tokio::test]
async fn what_an_operator_forbids_is_as_described() {
    let app = Bench::new()
        .model("m", "picky", PATIENT, NUMBER)
        .told(|settings| settings.model_control = false)
        .app();
    let described = Described::of(&app).await;
    for (path, body) in [
        ("/v1/models/m:promote", r#"{"version":"1"}"#),
        ("/v2/repository/models/m/load", ""),
        ("/v2/repository/models/m/unload", ""),
    ] {
        described
            .check_error(&app, &Sent::post(path, body), (403, "model_control_off"))
            .await;
    }
    let full = Bench::new()
        .model("m", "picky", PATIENT, NUMBER)
        .told(|settings| settings.limits.in_flight = 0)
        .app();
    for sent in described.examples() {
        let answer = send(&full, &sent).await;
        // Health and metrics answer under any load.
        if answer.status != 200 {
            described.check_error(&full, &sent, (429, "overloaded")).await;
        }
    }
}

#[tokio::test]
async fn no_path_answers_methods_that_are_not_described() {
    let app = app(&bench()).await;
    let described = Described::of(&app).await;
    for sent in described.examples() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if described.operation(method, &sent.path).is_some() {
                continue;
            }
            let other = Sent {
                method: method.to_owned(),
                ..sent.clone()
            };
            let answer = send(&app, &other).await;
            assert_eq!(answer.status, 405, "{other:?}: {answer:?}");
            described.check("Error", &serde_json::from_slice(&answer.body).unwrap());
        }
    }
}
