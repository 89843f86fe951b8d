//! `/openapi.json` and `/docs/` against what is really answered.

mod described;
mod errors;
mod pages;

use std::sync::Arc;

use predictor::App;
use serde_json::{Value as Json, json};

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY, nobody};
use described::{Described, Sent, send};

/// `version.toml` of a model of one number that takes doubles.
const DOUBLE: &str = r#"
feature_service = "number"
inputs = { x = "float64" }
outputs = { y = { tensor = "y" } }
"#;

/// `version.toml` of a model with one tensor an input.
const EACH: &str = r#"
feature_service = "typed"
inputs = "each"
outputs = { y = { tensor = "y" }, name = { tensor = "name" }, known = { tensor = "known" } }
"#;

fn falls_back(to: &str) -> (String, String) {
    let model = format!("{PATIENT}fallback = {to}\n");
    (model, format!("{LINEAR}when_unavailable = \"fallback\"\n"))
}

/// Models of all kinds.
fn bench() -> Bench {
    let traffic =
        "serve = \"1\"\nload = \"all\"\nshadow = \"3\"\ncanary = { version = \"2\", share = 0.5, key = \"x\" }\n";
    let by_model = falls_back("{ model = \"base\" }");
    let by_output = falls_back("{ output = { y = 0.125 } }");
    Bench::new()
        .model("any", "linear", PATIENT, &format!("{LINEAR}overrides = true\n"))
        .model("base", "request_only", PATIENT, REQUEST_ONLY)
        .model("by_model", "linear", &by_model.0, &by_model.1)
        .model("by_output", "linear", &by_output.0, &by_output.1)
        .model("canaried", "request_only", &format!("{PATIENT}{traffic}"), DOUBLE)
        .version("canaried", "2", "plus_one", DOUBLE)
        .version("canaried", "3", "picky", NUMBER)
        .model("each", "each", PATIENT, EACH)
        .model("refused", "picky", PATIENT, LINEAR)
        .model("tensors", "linear", PATIENT, "")
        .model("tensors_by_row", "each", PATIENT, "batch = true\n")
        .model("unloaded", "picky", PATIENT, NUMBER)
}

/// Unloads the one that is to be.
async fn app(bench: &Bench) -> Arc<App> {
    bench.row("text", 60, Some(0.25), Some(3)).await;
    bench.row("old", 7_200, Some(0.25), None).await;
    let app = bench.app();
    app.refresh().await.unwrap();
    let unloaded = send(&app, &Sent::post("/v2/repository/models/unloaded/unload", "")).await;
    assert_eq!(unloaded.status, 200);
    app
}

#[tokio::test]
async fn the_document_is_whole() {
    let app = app(&bench()).await;
    let described = Described::of(&app).await;
    described.check_structure();
    let mut own: Vec<&str> = described.paths().filter(|path| !path.contains('{')).collect();
    own.retain(|path| path.contains("/models/"));
    assert_eq!(
        own,
        [
            "/v1/models/any:predict",
            "/v1/models/base:predict",
            "/v1/models/by_model:predict",
            "/v1/models/by_output:predict",
            "/v1/models/canaried:predict",
            "/v1/models/canaried/versions/2:predict",
            "/v1/models/canaried/versions/3:predict",
            "/v1/models/each:predict",
            "/v2/models/tensors/infer",
            "/v2/models/tensors_by_row/infer",
        ]
    );
}

#[tokio::test]
async fn a_model_says_what_to_send() {
    let app = app(&bench()).await;
    let described = Described::of(&app).await;
    let schemas = &described.document["components"]["schemas"];
    let nullable = |kind: &str, format: &str, description: &str| json!({ "type": [kind, "null"], "format": format, "description": description });
    assert_eq!(
        schemas["any.Instance"],
        json!({
            "type": "object",
            "description": "One row. Needed, here or in `context`: `carrier`, `minute`.",
            "additionalProperties": false,
            "properties": {
                "carrier": { "type": ["string", "null"], "description": "Join key, string." },
                "minute": nullable("integer", "int64", "Request feature, int64."),
                "ops__late_rate": nullable(
                    "number",
                    "double",
                    "Stored feature, float64: sets it, in place of what is stored."
                ),
                "ops__arrivals": nullable(
                    "integer",
                    "int64",
                    "Stored feature, int64: sets it, in place of what is stored."
                ),
            },
        })
    );
    assert_eq!(
        schemas["each.Instance"]["properties"]["minute"]["description"],
        "Request feature, int64. 0 stands for a null."
    );
    assert_eq!(
        schemas["each.Prediction"]["properties"],
        json!({
            "known": { "type": ["boolean", "null"] },
            "name": { "type": ["string", "null"] },
            "y": { "type": ["number", "null"], "format": "float" },
        })
    );
    let request = &described.document["paths"]["/v1/models/each:predict"]["post"]["requestBody"];
    let examples = &request["content"]["application/json"]["examples"];
    assert_eq!(
        examples["one"]["value"],
        json!({ "instances": [{ "carrier": "", "minute": 0, "distance": 0.5 }] })
    );
    assert_eq!(
        examples["two"]["value"],
        json!({
            "context": { "minute": 0, "distance": 0.5 },
            "instances": [{ "carrier": "" }, { "carrier": "" }],
            "ids": ["first", 2],
        })
    );
    let request = &described.document["paths"]["/v2/models/tensors/infer"]["post"]["requestBody"];
    assert_eq!(
        request["content"]["application/json"]["examples"]["zeros"]["value"],
        json!({ "inputs": [{ "name": "features", "datatype": "FP32", "shape": [1, 3], "data": [0.0, 0.0, 0.0] }] })
    );
}

#[tokio::test]
async fn every_example_is_answered_as_described() {
    let bench = bench();
    let app = app(&bench).await;
    let described = Described::of(&app).await;
    let mut answered = 0;
    // The model that is unloaded is loaded again before others are asked: in the order of the document.
    for sent in described.examples() {
        described.check_request(&sent);
        let answer = send(&app, &sent).await;
        // One of the models is refused.
        let wanted = if sent.path == "/v2/health/ready" { 503 } else { 200 };
        assert_eq!(answer.status, wanted, "{sent:?}: {answer:?}");
        described.check_answer(&sent, &answer);
        answered += 1;
    }
    assert!(answered > 60, "{answered}");
}

#[tokio::test]
async fn a_document_changes_with_its_models() {
    let bench = Bench::new()
        .model("m", "picky", PATIENT, NUMBER)
        .model("other", "picky", PATIENT, NUMBER);
    let app = bench.app();
    let before = Described::of(&app).await;
    assert!(before.operation("POST", "/v1/models/m:predict").is_some());
    send(&app, &Sent::post("/v2/repository/models/m/unload", "")).await;
    send(&app, &Sent::post("/v2/repository/models/other/unload", "")).await;
    let after = Described::of(&app).await;
    after.check_structure();
    assert!(after.paths().all(|path| !path.starts_with("/v1/models/m")));
}

/// Predictions that examples do not bring about.
#[tokio::test]
async fn unusual_answers_are_as_described() {
    let app = app(&bench()).await;
    let described = Described::of(&app).await;
    let many: Vec<Json> = (0..5).map(|x| json!({ "x": x })).collect();
    let column = |name: &str, datatype: &str, data: Json| json!({ "name": name, "datatype": datatype, "shape": [2], "data": data });
    let rows = [
        column("carrier", "BYTES", json!(["text", "old"])),
        column("minute", "INT64", json!([1, 2])),
    ];
    let zeros = json!([{ "name": "features", "datatype": "FP32", "shape": [1, 3], "data": [[0, null, 0]] }]);
    for (path, body, told) in [
        (
            "/v1/models/canaried:predict",
            json!({ "instances": many }),
            "\"model_version\":\"2\",\"cache\"",
        ),
        (
            "/v1/models/canaried/versions/3:predict",
            json!({ "instances": [{ "x": 1 }, { "x": 9 }] }),
            "model_failed",
        ),
        (
            "/v1/models/any:predict",
            json!({ "instances": [{ "carrier": "old", "minute": null }] }),
            "OUTSIDE_MAX_AGE",
        ),
        (
            "/v1/models/any:predict?explain=true",
            json!({ "context": { "ops__late_rate": 0.5 }, "instances": [{ "carrier": null, "minute": 3 }] }),
            "\"override\"",
        ),
        (
            "/v2/models/any/infer",
            json!({ "inputs": rows, "id": "mine" }),
            "\"id\":\"mine\"",
        ),
        (
            "/v2/models/any/versions/1/infer",
            json!({ "inputs": zeros, "parameters": { "timeout": 9_000_000 } }),
            "FP32",
        ),
        (
            "/v2/models/tensors/infer",
            json!({ "inputs": zeros, "outputs": [{ "name": "total", "parameters": { "binary_data": false } }] }),
            "\"total\"",
        ),
        ("/v2/repository/index", json!({ "ready": true }), "READY"),
    ] {
        let sent = Sent::post(path, body.to_string());
        described.check_request(&sent);
        let answer = send(&app, &sent).await;
        assert_eq!(answer.status, 200, "{sent:?}: {answer:?}");
        described.check_answer(&sent, &answer);
        assert!(answer.text().contains(told), "{sent:?}: {}", answer.text());
    }
    // As bytes.
    let wanted = json!({ "inputs": zeros, "parameters": { "binary_data_output": true } });
    let sent = Sent::post("/v2/models/tensors/infer", wanted.to_string());
    let answer = send(&app, &sent).await;
    described.check_answer(&sent, &answer);
    assert_eq!(answer.content_type(), "application/octet-stream");
    // Models that do not serve.
    for path in [
        "/v1/models/refused",
        "/v1/models/unloaded",
        "/v2/models/unloaded/ready",
        "/v2/health/ready",
    ] {
        let sent = Sent::get(path);
        described.check_answer(&sent, &send(&app, &sent).await);
    }
}

#[tokio::test]
async fn without_a_store_answers_are_as_described() {
    let app = bench()
        .model(
            "reject",
            "linear",
            PATIENT,
            &format!("{LINEAR}when_unavailable = \"reject\"\n"),
        )
        .features_at(nobody())
        .app();
    let described = Described::of(&app).await;
    let body = json!({ "instances": [{ "carrier": "text", "minute": 1 }] }).to_string();
    for (model, status, told) in [
        ("by_model", 200, "fallback_model"),
        ("by_output", 200, "fallback_output"),
        ("any", 200, "store_unavailable"),
        ("reject", 503, "features_unavailable"),
    ] {
        let sent = Sent::post(&format!("/v1/models/{model}:predict"), body.as_str());
        let answer = send(&app, &sent).await;
        assert_eq!(answer.status, status, "{answer:?}");
        described.check_answer(&sent, &answer);
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    let ready = Sent::get("/health/ready");
    described.check_answer(&ready, &send(&app, &ready).await);
}
