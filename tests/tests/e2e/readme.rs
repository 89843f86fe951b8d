//! What README.md tells a newcomer to type is run, as it stands there.

use end_to_end::documents::Document;
use end_to_end::env::{required, root};
use end_to_end::flights::Stand;
use end_to_end::shell::Shell;
use feature_defs::time::Timestamp;
use predictor::Explain;
use serde_json::Value;
use sqlx::AssertSqlSafe;

/// The one block of README.md in this language that mentions this.
fn block(language: &str, mention: &str) -> String {
    Document::read("README.md").block(language, mention)
}

#[test]
fn the_two_commands_are_what_ci_runs() {
    let commands = block("sh", "cargo xtask");
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .map(|line| line.split('#').next().unwrap().trim())
        .collect();
    assert_eq!(commands, ["cargo xtask demo", "cargo xtask test"]);
    for command in commands {
        assert!(ci.contains(command), "CI does not run {command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_prediction_is_answered_as_shown() {
    let now: Timestamp = "2013-11-06T22:00:00Z".parse().unwrap();
    let stand = Stand::new(now).await.unwrap();
    stand.materialize(now).await.unwrap();
    let curl = block("sh", "flight_delay:predict");
    let (_, body) = curl.split_once("<<'JSON'\n").unwrap();
    let body: Value = serde_json::from_str(body.trim_end().trim_end_matches("JSON")).unwrap();
    let shown: Value = serde_json::from_str(&block("json", "late_probability")).unwrap();
    let instances = body["instances"].as_array().unwrap().clone();
    let answer = stand.predict("flight_delay", instances, Explain::No).await.unwrap();
    assert_eq!(shape(&answer), shape(&shown));
}

/// A JSON value with numbers, and texts that differ from call to call, left out.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(text) if text.contains('-') => "…".into(),
        Value::Number(_) => 0.into(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_table_and_model_of_ones_own_are_served_in_the_lines_shown() {
    let shell = Shell::new().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(block("sql", "CREATE TABLE")))
        .execute(&shell.database.pool)
        .await
        .unwrap();
    shell.write("features/shop.toml", &block("toml", "format = 1"));
    shell.write("models/fraud/1/version.toml", &block("toml", "feature_service = "));
    std::fs::copy(
        root().join("tests/models/fraud.onnx"),
        shell.dir.path().join("models/fraud/1/model.onnx"),
    )
    .unwrap();
    let commands = block("sh", "feature-server migrate") + &block("sh", "printf") + "cat train.csv\n";
    let said = shell.sh(&commands);
    // (80 - (20 + 40) / 2) / 64
    assert!(said.contains("score = 0.78125"), "{said}");
    assert!(said.contains("spending__amount_30d = 30"), "{said}");
    // No order was placed before the label's moment: the default stands in.
    let training = "event_timestamp,customer_id,amount,is_fraud,spending__amount_30d\n2024-05-01T12:00:00Z,7,80,0,0\n";
    assert!(said.replace(".0", "").ends_with(training), "{said}");
}

#[tokio::test]
async fn a_correction_is_followed_from_the_source_to_the_online_store() {
    let mut demo = Shell::new().await.unwrap();
    let definitions = root().join("examples/flights/features");
    demo.variables = vec![
        ("LARDER_FEATURES", definitions.display().to_string()),
        ("LARDER_FLIGHTS_DATA", required("LARDER_TEST_FLIGHTS")),
    ];
    demo.sh("flights begin && feature-server migrate && feature-server materialize");
    let labels = block("sh", "--moved").replace(". .larder/demo/env\n", "");
    let said = demo.sh(&labels);
    assert_eq!(said, block("text", "961 flights"));
    let said = demo.sh(&block("sh", "psql"));
    let stale = "16 entities compared: 15 matched, 0 different, 0 missing, 0 extra, 1 stale\n  carrier=UA stale";
    assert!(said.contains(stale), "{said}");
    assert!(block("text", "by the source").contains(stale));
    let said = demo.sh(&block("sh", "carrier_ops --incremental"));
    let matched = "16 entities compared: 16 matched, 0 different, 0 missing, 0 extra, 0 stale\n";
    assert!(said.ends_with(matched), "{said}");
    assert!(block("text", "read  written").ends_with(matched));
}
