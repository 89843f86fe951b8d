//! Definitions that cannot be taken up, and models that they fit no more.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use feature_defs::value::Value;
use predictor::App;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use super::{ADDED, DEFAULT, bench, is_same, model, y};
use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY, explain, nobody, predict};

/// The service `full` is not there any more.
const REMOVED: (&str, &str) = ("name = \"full\"", "name = \"fuller\"");

async fn get(app: &Arc<App>, path: &str) -> Json {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = app.router().oneshot(request).await.unwrap();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into())
}

/// The problem that readiness tells of a check; null if it is well.
async fn problem(app: &Arc<App>, check: &str) -> Json {
    let ready = get(app, "/health/ready").await;
    assert_eq!(ready["ready"], true, "others serve");
    let checks = ready["checks"].as_array().unwrap();
    let found = checks.iter().find(|c| c["name"] == check).unwrap();
    assert_eq!(found["ok"], found["problem"].is_null());
    found["problem"].clone()
}

/// A metric of this process, which other tests may share.
fn metric(name: &str) -> Option<f64> {
    let rendered = service::telemetry::metrics_handle().render();
    let value = rendered.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn a_model_that_no_longer_fits_serves_on_by_what_it_was_loaded_with() {
    let bench = bench();
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let app = bench.app();
    let (full, expected) = (model(&app, "full"), (1.0 + 2.5 + 600.0, "miss".to_owned()));
    assert_eq!(y(&app, "full", "UA").await, expected);

    // `ops` is another view for `defaults` now, and both are read of the same row.
    let retyped = (
        "{ name = \"arrivals\", type = \"int64\" }",
        "{ name = \"arrivals\", type = \"float64\" }",
    );
    bench.define(&[REMOVED, retyped]);
    app.reload().await.unwrap();
    assert!(is_same(&full, &model(&app, "full")));
    assert_eq!(y(&app, "full", "UA").await, (expected.0, "hit_memory".to_owned()));
    assert_eq!(y(&app, "defaults", "UA").await.0, 1.0 + 2.5 + 700.0);
    let instance = json!([{ "carrier": "UA", "minute": 1 }]);
    for (name, status) in [("full", "PRESENT"), ("defaults", "NOT_FOUND")] {
        let row = &explain(&app, name, instance.clone()).await["rows"][0];
        assert_eq!(row["read_by_derived"]["ops__arrivals"]["status"], status, "{name}");
        assert_eq!(row["features"]["ops"]["status"], "PRESENT", "{name}");
    }
    let reason = "version.toml says feature_service = \"full\", which is not declared";
    let told = get(&app, "/v1/models/full").await;
    assert_eq!(
        (&told["state"], &told["reasons"]),
        (&json!("serving"), &json!([reason]))
    );
    assert_eq!(told["versions"].as_array().unwrap().len(), 1);
    assert_eq!(
        problem(&app, "model full").await,
        json!(format!("{reason}; version 1 serves on as it was loaded before"))
    );
    assert!(app.models().get("full").unwrap().is_kept);
    assert_eq!(problem(&app, "model defaults").await, Json::Null);
    assert_eq!(problem(&app, "definitions").await, Json::Null, "they are good");

    // And again, from what was kept.
    bench.define(&[REMOVED]);
    app.reload().await.unwrap();
    assert!(is_same(&full, &model(&app, "full")));
    // Rows are written anew by the new definition; then the service is back as it was.
    bench
        .row_with(
            "UA",
            &[("arrivals", Value::Int64(4)), ("late_rate", Value::Float64(0.5))],
        )
        .await;
    assert_eq!(y(&app, "full", "UA").await.0, 1.0 + 5.0 + 800.0);
    bench.define(&[]);
    app.reload().await.unwrap();
    assert!(is_same(&full, &model(&app, "full")), "nothing has to be loaded");
    assert_eq!(problem(&app, "model full").await, Json::Null);
    assert_eq!(get(&app, "/v1/models/full").await.get("reasons"), None);
}

#[tokio::test]
async fn fallbacks_hold_across_reloads() {
    let linear = format!("{LINEAR}when_unavailable = \"fallback\"\n");
    let bench = Bench::new()
        .model("base", "request_only", "deadline = \"2s\"", REQUEST_ONLY)
        .model(
            "m",
            "linear",
            "deadline = \"2s\"\nfallback = { model = \"base\" }",
            &linear,
        )
        .features_at(nobody());
    let app = bench.app();
    let falls_back = async |app: &App| {
        let answer = predict(app, "m", json!([{ "carrier": "UA", "minute": 3 }])).await;
        assert_eq!(
            answer["rows"][0]["degraded"],
            json!(["store_unavailable", "fallback_model"])
        );
        answer["predictions"][0]["y"].as_f64().unwrap()
    };
    assert_eq!(falls_back(&app).await, -3.0);

    // What is fed to the fallback is what no request of the model carries: the two that fit go on together.
    let other = (
        "name = \"minute_only\"\nrequest = [{ name = \"minute\", type = \"int64\" }]\nfeatures = [\"request:minute\"]",
        "name = \"minute_only\"\nrequest = [{ name = \"distance\", type = \"float64\" }]\nfeatures = [\"request:distance\"]",
    );
    let base = model(&app, "base");
    bench.define(&[other]);
    app.reload().await.unwrap();
    assert_eq!(falls_back(&app).await, -3.0);
    assert!(!is_same(&base, &model(&app, "base")));
    assert_eq!(
        predict(&app, "base", json!([{ "distance": 7 }])).await["predictions"][0]["y"],
        -7.0
    );
    let told = problem(&app, "model m").await;
    assert!(
        told.as_str()
            .unwrap()
            .starts_with("its fallback, model `base`, needs `distance`"),
        "{told}"
    );

    // A fallback that serves on as it was is as good as another, for a model that is loaded anew.
    bench.define(&[]);
    app.reload().await.unwrap();
    assert_eq!(problem(&app, "model m").await, Json::Null);
    let (m, base) = (model(&app, "m"), model(&app, "base"));
    bench.define(&[("name = \"minute_only\"", "name = \"minute\""), ADDED]);
    app.reload().await.unwrap();
    assert!(!is_same(&m, &model(&app, "m")) && is_same(&base, &model(&app, "base")));
    assert_eq!(problem(&app, "model m").await, Json::Null);
    assert_ne!(problem(&app, "model base").await, Json::Null);
    assert_eq!(falls_back(&app).await, -3.0);
}

#[tokio::test]
async fn what_cannot_be_taken_up_changes_nothing_and_is_told() {
    let bench = bench();
    let app = bench.app();
    let loaded = ["full", "defaults", "base"].map(|name| model(&app, name));
    let text = std::fs::read_to_string(bench.features().join("all.toml")).unwrap();
    let project = text.lines().find(|line| line.starts_with("project")).unwrap();
    for (changes, mention) in [
        (
            &[("ops.arrivals * 2", "ops.arivals * 2"), DEFAULT],
            "did you mean `arrivals`?",
        ),
        (
            &[(project, "project = \"other\""), DEFAULT],
            "are of project `other` now",
        ),
    ] {
        bench.define(changes);
        let error = app.reload().await.unwrap_err().to_string();
        assert!(error.contains(mention), "{error}");
        let told = problem(&app, "definitions").await;
        assert!(told.as_str().unwrap().contains(&error), "{told}");
        for before in &loaded {
            assert!(is_same(before, &model(&app, before.name.as_str())));
        }
        assert_eq!(y(&app, "defaults", "XX").await.0, 1.0 + 5.0 + 700.0);
    }
    let elsewhere = bench.features().with_extension("away");
    std::fs::rename(bench.features(), &elsewhere).unwrap();
    let nowhere = app.reload().await.unwrap_err().to_string();
    assert!(
        nowhere.starts_with(&format!(
            "the feature definitions in {} are wrong",
            bench.features().display()
        )),
        "{nowhere}"
    );
    std::fs::rename(&elsewhere, bench.features()).unwrap();
    bench.define(&[DEFAULT]);
    app.reload().await.unwrap();
    assert_eq!(problem(&app, "definitions").await, Json::Null);
    assert_eq!(y(&app, "defaults", "XX").await.0, 1.0 + 7.5 + 700.0);
    for outcome in ["done", "refused"] {
        let name = format!("larder_definitions_reloads_total{{outcome=\"{outcome}\"}}");
        assert!(metric(&name).is_some_and(|count| count >= 1.0), "{outcome}");
    }
}

#[tokio::test]
async fn a_reload_looks_at_the_repository_too() {
    let bench = bench().model("spoiled", "linear", PATIENT, LINEAR);
    let app = bench.app();
    let spoiled = model(&app, "spoiled");
    let bench = bench.model("more", "picky", PATIENT, NUMBER);
    bench.write("spoiled/model.toml", b"deadlin = \"1s\"");
    std::fs::remove_dir_all(bench.models().join("base")).unwrap();
    app.reload().await.unwrap();
    let models = app.models();
    let names: Vec<_> = models.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["defaults", "full", "more", "spoiled"]);
    assert!(is_same(&spoiled, &model(&app, "spoiled")));
    let told = problem(&app, "model spoiled").await;
    assert!(told.as_str().unwrap().contains("unknown field `deadlin`"), "{told}");
    assert_eq!(metric("larder_model_refused{model=\"spoiled\"}"), Some(1.0));
    // With nothing left to serve, what serves stays.
    std::fs::remove_dir_all(bench.models()).unwrap();
    let error = app.reload().await.unwrap_err().to_string();
    assert!(error.contains("cannot read the model repository"), "{error}");
    assert_eq!(y(&app, "full", "XX").await.0, 1.0 - 10.0 - 100.0);
}
