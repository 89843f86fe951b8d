//! Old values, missing rows and overrides, as the model's policies say.

use feature_defs::value::Value;
use serde_json::json;

use crate::bench::{Bench, LINEAR, PATIENT, explain, predict};

fn with(policy: &str) -> String {
    format!("{LINEAR}{policy}\n")
}

#[tokio::test]
async fn a_value_as_old_as_its_ttl_is_treated_as_policy_says() {
    let bench = Bench::new()
        .model("plain", "linear", PATIENT, LINEAR)
        .model("serve", "linear", PATIENT, &with("when_stale = \"serve\""))
        .model("reject", "linear", PATIENT, &with("when_stale = \"reject\""));
    bench.row("UA", 3_600, Some(0.25), Some(3)).await;
    bench.row("DL", 3_599, Some(0.25), Some(3)).await;
    let app = bench.app();
    let instances = json!([{ "carrier": "UA", "minute": 1 }, { "carrier": "DL", "minute": 1 }]);

    let answer = predict(&app, "plain", instances.clone()).await;
    assert_eq!(
        answer["predictions"],
        json!([{ "y": 1.0 - 10.0 - 100.0 }, { "y": 1.0 + 2.5 + 600.0 }])
    );
    assert_eq!(answer["rows"][0]["features"]["ops"]["status"], "OUTSIDE_MAX_AGE");
    assert_eq!(answer["rows"][0]["features"]["ops"]["age_ms"], 3_600_000);
    assert_eq!(answer["rows"][0]["degraded"], json!([]));

    let answer = predict(&app, "serve", instances.clone()).await;
    assert_eq!(answer["predictions"], json!([{ "y": 603.5 }, { "y": 603.5 }]));
    assert_eq!(answer["rows"][0]["degraded"], json!(["stale_served"]));
    assert_eq!(answer["rows"][1]["degraded"], json!([]));

    let answer = predict(&app, "reject", instances).await;
    assert_eq!(answer["predictions"], json!([null, { "y": 603.5 }]));
    assert_eq!(answer["rows"][0]["error"]["code"], "feature_stale");
}

#[tokio::test]
async fn a_missing_row_is_a_default_or_a_reason_to_reject() {
    let defaults = LINEAR.replace("\"full\"", "\"defaults\"");
    let bench = Bench::new().model("defaults", "linear", PATIENT, &defaults).model(
        "reject",
        "linear",
        PATIENT,
        &with("when_missing = \"reject\""),
    );
    bench.row("UA", 1, None, Some(3)).await;
    let app = bench.app();
    let instances = json!([{ "carrier": "UA", "minute": 1 }, { "carrier": "XX", "minute": 1 }]);
    let answer = predict(&app, "defaults", instances.clone()).await;
    assert_eq!(
        answer["predictions"],
        json!([{ "y": 1.0 + 5.0 + 600.0 }, { "y": 1.0 + 5.0 + 700.0 }])
    );
    let answer = predict(&app, "reject", instances).await;
    assert_eq!(
        answer["predictions"],
        json!([{ "y": 1.0 - 10.0 + 600.0 }, null]),
        "a null is not a missing row"
    );
    assert_eq!(answer["rows"][1]["error"]["code"], "feature_missing");
}

#[tokio::test]
async fn a_feature_that_its_row_was_written_without_is_missing() {
    let defaults = LINEAR.replace("\"full\"", "\"defaults\"");
    let bench = Bench::new().model("defaults", "linear", PATIENT, &defaults).model(
        "reject",
        "linear",
        PATIENT,
        &with("when_missing = \"reject\"\noverrides = true"),
    );
    // An input, and what only a derived feature reads; and one that no model reads.
    bench.row_with("no_rate", &[("arrivals", Value::Int64(3))]).await;
    bench
        .row_with("no_arrivals", &[("late_rate", Value::Float64(0.25))])
        .await;
    bench
        .row_with(
            "more",
            &[
                ("late_rate", Value::Float64(0.25)),
                ("old", Value::Int64(1)),
                ("arrivals", Value::Int64(3)),
            ],
        )
        .await;
    let app = bench.app();
    let instances = json!([
        { "carrier": "no_rate", "minute": 1 },
        { "carrier": "no_arrivals", "minute": 1 },
        { "carrier": "more", "minute": 1 },
    ]);
    let answer = explain(&app, "defaults", instances.clone()).await;
    assert_eq!(
        answer["predictions"],
        json!([{ "y": 1.0 + 5.0 + 600.0 }, { "y": 1.0 + 2.5 + 700.0 }, { "y": 1.0 + 2.5 + 600.0 }])
    );
    let rows = &answer["rows"];
    assert_eq!(rows[0]["features"]["ops"]["status"], "PRESENT", "the row is there");
    assert_eq!(
        rows[0]["inputs"]["ops__late_rate"],
        json!({ "value": 0.5, "status": "NOT_FOUND", "origin": "stored", "defaulted": true })
    );
    assert_eq!(rows[0]["read_by_derived"]["ops__arrivals"]["status"], "PRESENT");
    assert_eq!(rows[1]["read_by_derived"]["ops__arrivals"]["status"], "NOT_FOUND");

    let answer = predict(&app, "reject", instances).await;
    assert_eq!(answer["predictions"], json!([null, null, { "y": 1.0 + 2.5 + 600.0 }]));
    for (row, feature) in [(0, "late_rate"), (1, "arrivals")] {
        let error = &answer["rows"][row]["error"];
        let told =
            format!("view `ops` has no `{feature}` for this instance yet, and the model's policy is to reject then");
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("feature_missing"), &json!(told))
        );
    }
    // What the caller sets is not missing, and what it does not set is what it was.
    let answer = explain(
        &app,
        "reject",
        json!([
            { "carrier": "no_rate", "minute": 1, "ops__late_rate": 0.5 },
            { "carrier": "no_rate", "minute": 1, "ops__arrivals": 1 },
        ]),
    )
    .await;
    assert_eq!(answer["predictions"], json!([{ "y": 1.0 + 5.0 + 600.0 }, null]));
    assert_eq!(answer["rows"][0]["inputs"]["ops__late_rate"]["origin"], "override");
    assert_eq!(answer["rows"][0]["inputs"]["ops__late_rate"]["status"], "PRESENT");
}

#[tokio::test]
async fn overrides_stand_in_for_stored_values_and_are_shown() {
    let bench = Bench::new().model("m", "linear", PATIENT, &with("overrides = true"));
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    bench.row("old", 9_999, Some(0.25), Some(3)).await;
    let app = bench.app();
    let answer = explain(
        &app,
        "m",
        json!([
            { "carrier": "UA", "minute": 1, "ops__late_rate": 0.5 },
            { "carrier": "UA", "minute": 1, "ops__arrivals": null },
            { "carrier": "old", "minute": 1, "ops__late_rate": 0.5 },
            { "carrier": "XX", "minute": 1, "ops__arrivals": 1 },
        ]),
    )
    .await;
    assert_eq!(
        answer["predictions"],
        json!([
            { "y": 1.0 + 5.0 + 600.0 },
            { "y": 1.0 + 2.5 - 100.0 },
            { "y": 1.0 + 5.0 - 100.0 },
            { "y": 1.0 - 10.0 + 200.0 },
        ])
    );
    let rows = &answer["rows"];
    assert_eq!(rows[0]["inputs"]["ops__late_rate"]["origin"], "override");
    assert_eq!(rows[1]["read_by_derived"]["ops__arrivals"]["origin"], "override");
    assert_eq!(rows[1]["read_by_derived"]["ops__arrivals"]["status"], "NULL_VALUE");
    assert_eq!(
        rows[2]["features"]["ops"]["status"], "OUTSIDE_MAX_AGE",
        "what the store had stays visible"
    );
    assert_eq!(rows[2]["read_by_derived"]["ops__arrivals"]["status"], "OUTSIDE_MAX_AGE");
    assert_eq!(rows[3]["inputs"]["ops__late_rate"]["status"], "NOT_FOUND");
}
