//! `explain`: every input with its value, status and origin.

use serde_json::json;

use crate::bench::{Bench, LINEAR, PATIENT, explain, predict};

#[tokio::test]
async fn every_input_is_shown_in_order() {
    let bench = Bench::new().model("m", "linear", PATIENT, &LINEAR.replace("\"full\"", "\"defaults\""));
    bench.row("UA", 1, None, Some(3)).await;
    let app = bench.app();
    let answer = explain(
        &app,
        "m",
        json!([{ "carrier": "UA", "minute": 1 }, { "carrier": "XX", "minute": null }]),
    )
    .await;
    let inputs = answer["rows"][0]["inputs"].as_object().unwrap();
    assert_eq!(inputs.keys().collect::<Vec<_>>(), ["minute", "ops__late_rate", "busy"]);
    assert_eq!(
        answer["rows"][0]["inputs"],
        json!({
            "minute": { "value": 1, "status": "PRESENT", "origin": "request", "defaulted": false },
            "ops__late_rate": { "value": 0.5, "status": "NULL_VALUE", "origin": "stored", "defaulted": true },
            "busy": { "value": 6.0, "status": "PRESENT", "origin": "derived", "defaulted": false },
        })
    );
    assert_eq!(
        answer["rows"][0]["read_by_derived"],
        json!({ "ops__arrivals": { "value": 3, "status": "PRESENT", "origin": "stored", "defaulted": false } })
    );
    assert_eq!(
        answer["rows"][1]["inputs"],
        json!({
            "minute": { "value": null, "status": "NULL_VALUE", "origin": "request", "defaulted": false },
            "ops__late_rate": { "value": 0.5, "status": "NOT_FOUND", "origin": "stored", "defaulted": true },
            "busy": { "value": 7.0, "status": "NULL_VALUE", "origin": "derived", "defaulted": true },
        })
    );
    let plain = predict(&app, "m", json!([{ "carrier": "UA", "minute": 1 }])).await;
    assert_eq!(plain["rows"][0].get("inputs"), None);
    assert_eq!(plain["rows"][0]["cache"], "hit_memory");
}
