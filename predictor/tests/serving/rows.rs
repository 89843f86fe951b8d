//! What rows are made of: stored values, types, and a model that fails on some.

use serde_json::{Value as Json, json};

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, Redis, free_port, predict};

#[tokio::test]
async fn stored_request_and_derived_features_meet_in_one_tensor() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    bench.row("UA", 60, Some(0.25), Some(3)).await;
    bench.row("DL", 60, None, Some(1)).await;
    let app = bench.app();
    let answer = predict(
        &app,
        "m",
        json!([
            { "carrier": "UA", "minute": 7 },
            { "minute": 7, "carrier": "DL" },
            { "carrier": "nobody", "minute": 7 },
            { "carrier": null, "minute": null },
        ]),
    )
    .await;
    let y: Vec<_> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["y"].as_f64().unwrap())
        .collect();
    assert_eq!(
        y,
        [
            7.0 + 2.5 + 600.0,
            7.0 - 10.0 + 200.0,
            7.0 - 10.0 - 100.0,
            -1.0 - 10.0 - 100.0
        ]
    );
    assert_eq!(answer["model_version"], "1");
    let found: Vec<_> = answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["features"]["ops"].clone())
        .collect();
    assert_eq!(
        found[0],
        json!({ "status": "PRESENT", "event_timestamp": "2013-11-05T16:29:00Z", "age_ms": 60_000 })
    );
    assert_eq!(
        found[1]["status"], "PRESENT",
        "the null is a feature's, the row is there"
    );
    for row in &found[2..] {
        assert_eq!(
            *row,
            json!({ "status": "NOT_FOUND", "event_timestamp": null, "age_ms": null })
        );
    }
    for row in answer["rows"].as_array().unwrap() {
        assert_eq!(row["degraded"], json!([]));
    }
}

#[tokio::test]
async fn a_row_a_little_ahead_of_the_clock_has_no_age_yet() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    bench.row("UA", 0, Some(0.25), Some(3)).await;
    let second = feature_defs::time::Span::from_secs(1);
    bench.clock.set(crate::bench::now().minus(second));
    let answer = predict(&bench.app(), "m", json!([{ "carrier": "UA", "minute": 7 }])).await;
    assert_eq!(answer["rows"][0]["features"]["ops"]["age_ms"], 0, "{answer}");
}

#[tokio::test]
async fn each_input_has_a_tensor_of_its_own_type() {
    let outputs = "inputs = \"each\"\noutputs = { y = { tensor = \"y\" }, name = { tensor = \"name\" }, known = { tensor = \"known\" } }\n";
    let version = format!("feature_service = \"typed\"\n{outputs}");
    let app = Bench::new().model("m", "each", PATIENT, &version).app();
    let answer = predict(
        &app,
        "m",
        json!([
            { "carrier": "UA", "minute": 5, "distance": 0.5 },
            { "carrier": "DL", "minute": null, "distance": -1 },
            { "carrier": "é", "minute": 1, "distance": null },
        ]),
    )
    .await;
    assert_eq!(
        answer["predictions"],
        json!([
            { "known": true, "name": "UA", "y": 1005.5 },
            { "known": true, "name": "DL", "y": 1999.0 },
            { "known": false, "name": "é", "y": null },
        ]),
        "the null distance is NaN, and NaN is null again"
    );
}

#[tokio::test]
async fn a_row_the_model_fails_on_leaves_its_neighbours_alone() {
    let app = Bench::new().model("picky", "picky", PATIENT, NUMBER).app();
    let answer = predict(
        &app,
        "picky",
        json!([{ "x": 0 }, { "x": 9 }, { "x": 2 }, { "x": 9 }, { "x": 1 }]),
    )
    .await;
    assert_eq!(
        answer["predictions"],
        json!([{ "y": 0.5 }, null, { "y": 2.5 }, null, { "y": 1.5 }])
    );
    for failed in [1, 3] {
        let error = &answer["rows"][failed]["error"];
        assert_eq!(error["code"], "model_failed");
        assert!(
            error["message"].as_str().unwrap().contains("out of data bounds"),
            "{error}"
        );
    }
    assert_eq!(answer["rows"][0].get("error"), None);
    let again = predict(&app, "picky", json!([{ "x": 0 }, { "x": 9 }])).await;
    assert_eq!(again["rows"][0]["cache"], "hit_memory");
    assert_eq!(again["rows"][1]["cache"], "miss", "a failure is not cached");
}

#[tokio::test]
async fn ids_come_back_and_ours_are_unique() {
    let app = Bench::new().model("picky", "picky", PATIENT, NUMBER).app();
    let body = r#"{"instances":[{"x":0},{"x":1}],"ids":["a",7]}"#;
    let asked = predictor::Asked {
        model: "picky",
        version: Some("1"),
        body: body.as_bytes(),
        explain: predictor::Explain::No,
        freshness: predictor::Freshness::Any,
    };
    let answer = app.predict(asked).await.unwrap();
    assert_eq!(answer.rows[0].id, Some(json!("a")));
    assert_eq!(answer.rows[1].id, Some(json!(7)));
    let ids: Vec<_> = answer.rows.iter().map(|r| r.prediction_id).collect();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| id.get_version_num() == 7));
}

#[tokio::test]
async fn what_all_instances_share_stands_once_in_the_context() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    bench.row("UA", 10, Some(0.25), Some(3)).await;
    let app = bench.app();
    let ask = async |body: Json| {
        let body = body.to_string();
        let asked = predictor::Asked {
            model: "m",
            version: None,
            body: body.as_bytes(),
            explain: predictor::Explain::No,
            freshness: predictor::Freshness::Any,
        };
        app.predict(asked)
            .await
            .map(|answer| serde_json::to_value(answer).unwrap())
    };
    let shared = ask(json!({ "context": { "carrier": "UA" }, "instances": [{ "minute": 1 }, { "minute": 2 }] }))
        .await
        .unwrap();
    let written_out = predict(
        &app,
        "m",
        json!([{ "carrier": "UA", "minute": 1 }, { "carrier": "UA", "minute": 2 }]),
    )
    .await;
    assert_eq!(shared["predictions"], written_out["predictions"]);
    assert_eq!(shared["rows"][1]["features"], written_out["rows"][1]["features"]);
    let all = ask(json!({ "context": { "carrier": "UA", "minute": 1 }, "instances": [{}] }))
        .await
        .unwrap();
    assert_eq!(all["predictions"][0], written_out["predictions"][0]);
    for (body, name, problem) in [
        (
            json!({ "context": { "carier": "UA" }, "instances": [{ "carrier": "UA", "minute": 1 }] }),
            "context.carier",
            "unknown field; did you mean `carrier`?",
        ),
        (
            json!({ "context": { "minute": "x" }, "instances": [{ "carrier": "UA" }] }),
            "context.minute",
            "expected int64, got \"x\"",
        ),
        (
            json!({ "context": [], "instances": [{ "carrier": "UA", "minute": 1 }] }),
            "context",
            "not an object",
        ),
        (
            json!({ "context": { "minute": 1 }, "instances": [{ "carrier": "UA", "minute": 1 }] }),
            "minute",
            "given twice",
        ),
    ] {
        let predictor::PredictError::InvalidRequest(problems) = ask(body.clone()).await.unwrap_err() else {
            panic!("{body} is no request")
        };
        let shown = &problems.shown()[0];
        assert_eq!(
            (shown.name.as_deref(), shown.problem.as_str()),
            (Some(name), problem),
            "{body}"
        );
    }
}

#[tokio::test]
async fn what_instances_have_in_common_is_read_once() {
    let server = Redis::start(free_port()).await;
    let bench = Bench::new()
        .model("m", "linear", PATIENT, LINEAR)
        .max_instances(100)
        .features_at(server.url());
    bench.row("UA", 10, Some(0.25), Some(3)).await;
    bench.row("DL", 10, Some(0.5), Some(3)).await;
    let app = bench.app();
    app.refresh().await.unwrap();
    let reads = async || {
        let client = redis::Client::open(server.url().to_string()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let info: redis::InfoDict = redis::cmd("INFO")
            .arg("stats")
            .query_async(&mut connection)
            .await
            .unwrap();
        info.get::<u64>("keyspace_hits").unwrap()
    };
    let before = reads().await;
    let carrier = |i: u32| if i.is_multiple_of(10) { "DL" } else { "UA" };
    let instances: Vec<Json> = (0..100)
        .map(|i| json!({ "carrier": carrier(i), "minute": i }))
        .collect();
    let answer = predict(&app, "m", instances.into()).await;
    for (i, prediction) in answer["predictions"].as_array().unwrap().iter().enumerate() {
        let rate = if i.is_multiple_of(10) { 5.0 } else { 2.5 };
        assert_eq!(prediction["y"], i as f64 + rate + 600.0);
    }
    // Two rows, and what upkeep reads of the view's marker and layouts, about once a second.
    let read = reads().await - before;
    assert!((2..40).contains(&read), "{read} reads for two entities");
}
