//! Over HTTP: routes, envelope, and what is said of models.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use predictor::App;
use serde_json::Value as Json;
use std::sync::Arc;
use tower::ServiceExt;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY};

async fn call(app: &Arc<App>, method: &str, path: &str, body: &str) -> (u16, Json) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = app.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()),
    )
}

#[tokio::test]
async fn paths_lead_where_they_should() {
    let app = Bench::new()
        .model("m", "picky", PATIENT, NUMBER)
        .model("broken", "picky", PATIENT, LINEAR)
        .app();
    let good = r#"{"instances":[{"x":1}]}"#;
    let (status, answer) = call(&app, "POST", "/v1/models/m:predict", good).await;
    assert_eq!((status, &answer["predictions"][0]["y"]), (200, &1.5.into()));
    let (status, answer) = call(&app, "POST", "/v1/models/m/versions/1:predict?explain=true", good).await;
    assert_eq!((status, &answer["rows"][0]["inputs"]["x"]["value"]), (200, &1.0.into()));
    for (method, path, status, code) in [
        ("POST", "/v1/models/n:predict", 404, "unknown_model"),
        ("POST", "/v1/models/..%2Fm:predict", 404, "unknown_model"),
        ("POST", "/v1/models/m/versions/2:predict", 404, "unknown_version"),
        ("POST", "/v1/models/broken:predict", 503, "model_not_loaded"),
        ("POST", "/v1/models/m:train", 404, "unknown_method"),
        ("POST", "/v1/models/m", 405, "method_not_allowed"),
        ("GET", "/v1/models/n", 404, "unknown_model"),
        ("GET", "/v1/models/m:predict", 405, "method_not_allowed"),
        ("GET", "/v1/models/%FF", 400, "invalid_path"),
        ("POST", "/v1/models/%FF:predict", 400, "invalid_path"),
        ("POST", "/v1/models/m:predict?explain=maybe", 400, "invalid_query"),
        ("POST", "/v1/models/m:predict?explian=true", 400, "invalid_query"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v3", 404, "unknown_path"),
    ] {
        let (got, body) = call(&app, method, path, good).await;
        assert_eq!(
            (got, body["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {body}"
        );
    }
    let large = format!(r#"{{"instances":[{{"x":1}}],"ids":["{}"]}}"#, "a".repeat(5 << 20));
    let (status, body) = call(&app, "POST", "/v1/models/m:predict", &large).await;
    assert_eq!((status, body["code"].as_str()), (413, Some("body_too_large")));
}

#[tokio::test]
async fn models_say_what_they_take_or_why_they_are_refused() {
    let app = Bench::new()
        .model("base", "request_only", PATIENT, REQUEST_ONLY)
        .model("broken", "picky", PATIENT, LINEAR)
        .model("m", "linear", "fallback = { model = \"base\" }\n", LINEAR)
        .app();
    let (status, mut one) = call(&app, "GET", "/v1/models/m", "").await;
    assert_eq!(status, 200);
    assert_eq!(one["versions"][0]["sha256"].as_str().map(str::len), Some(64));
    one["versions"][0]["sha256"] = "…".into();
    // Learned, so that it depends on the machine.
    assert!(one["versions"][0]["max_rows"].take().as_u64() > Some(0));
    insta::assert_snapshot!(serde_json::to_string_pretty(&one).unwrap(), @r#"
    {
      "name": "m",
      "state": "serving",
      "versions": [
        {
          "version": "1",
          "state": "serving",
          "sha256": "…",
          "bytes": 420,
          "max_rows": null,
          "sessions": 2
        }
      ],
      "version": "1",
      "feature_service": "full",
      "signature": {
        "keys": [
          {
            "name": "carrier",
            "type": "string"
          }
        ],
        "request": [
          {
            "name": "minute",
            "type": "int64"
          }
        ],
        "inputs": [
          {
            "name": "minute",
            "type": "int64",
            "tensor_type": "float32",
            "default": null
          },
          {
            "name": "ops__late_rate",
            "type": "float64",
            "tensor_type": "float32",
            "default": null
          },
          {
            "name": "busy",
            "type": "float64",
            "tensor_type": "float32",
            "default": null
          }
        ],
        "outputs": [
          {
            "name": "y",
            "type": "float32"
          }
        ]
      },
      "tensors": {
        "inputs": [
          {
            "name": "features",
            "type": "float32",
            "shape": [
              -1,
              3
            ]
          }
        ],
        "outputs": [
          {
            "name": "scores",
            "type": "float32",
            "shape": [
              -1,
              2
            ]
          },
          {
            "name": "total",
            "type": "float32",
            "shape": [
              1
            ]
          }
        ]
      },
      "deadline_ms": 50,
      "cache": "memory",
      "fallback": {
        "model": "base",
        "version": "1"
      }
    }
    "#);
    let (_, all) = call(&app, "GET", "/v1/models", "").await;
    let states: Vec<_> = all["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (&m["name"], &m["state"]))
        .collect();
    let (serving, refused) = ("serving".into(), "refused".into());
    assert_eq!(
        states,
        [
            (&"base".into(), &serving),
            (&"broken".into(), &refused),
            (&"m".into(), &serving)
        ]
    );
    assert_eq!(all["models"][1]["versions"][0]["state"], "refused");
    assert!(
        all["models"][1]["reasons"][0]
            .as_str()
            .unwrap()
            .contains("feeds one tensor `features`"),
        "{all}"
    );

    let (status, ready) = call(&app, "GET", "/health/ready", "").await;
    assert_eq!((status, &ready["ready"]), (200, &true.into()));
    let broken = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "model broken")
        .unwrap();
    assert_eq!(broken["ok"], false);
    assert_eq!(call(&app, "GET", "/health/live", "").await.0, 200);
}

#[tokio::test]
async fn metrics_tell_stages_rows_and_errors() {
    let app = Bench::new()
        .model("measured", "picky", PATIENT, NUMBER)
        .model("unloaded", "picky", PATIENT, LINEAR)
        .model("overdue", "slow", "deadline = \"1ms\"", NUMBER)
        .app();
    for path in ["measured/versions/9", "unloaded", "nobody", "overdue"] {
        let path = format!("/v1/models/{path}:predict");
        call(&app, "POST", &path, r#"{"instances":[{"x":1}]}"#).await;
    }
    call(
        &app,
        "POST",
        "/v1/models/measured:predict",
        r#"{"instances":[{"x":1},{"x":9}]}"#,
    )
    .await;
    call(&app, "POST", "/v1/models/measured:predict", "{}").await;
    let (_, metrics) = call(&app, "GET", "/metrics", "").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        r#"larder_prediction_seconds_bucket{model="measured",version="1",le="0.00005"}"#,
        r#"larder_prediction_model_run_seconds_count{model="measured",version="1"} 1"#,
        r#"larder_prediction_rows_total{model="measured",version="1"} 2"#,
        r#"larder_prediction_cache_rows_total{model="measured",version="1",state="miss"} 2"#,
        r#"larder_prediction_errors_total{model="measured",version="1",class="client"} 1"#,
        r#"larder_prediction_errors_total{model="measured",version="",class="client"} 1"#,
        r#"larder_prediction_batch_rows_sum{model="measured",version="1"} "#,
        r#"larder_prediction_errors_total{model="unloaded",version="",class="infrastructure"} 1"#,
        r#"larder_prediction_errors_total{model="unknown",version="",class="client"}"#,
        r#"larder_prediction_errors_total{model="overdue",version="1",class="infrastructure"} 1"#,
        r#"larder_prediction_seconds_count{model="overdue",version="1"} 1"#,
        r#"larder_prediction_errors_total{model="measured",version="1",class="model"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
