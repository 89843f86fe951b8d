//! What README.md tells a newcomer to type is run, as it stands there.

use std::path::Path;
use std::process::Command;

use end_to_end::env::{program, required, root};
use end_to_end::flights::Stand;
use end_to_end::postgres;
use end_to_end::redis_server::RedisServer;
use feature_defs::time::Timestamp;
use predictor::Explain;
use serde_json::Value;
use sqlx::AssertSqlSafe;

/// The fenced blocks of the README: language and text.
fn blocks() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut parts = readme.split("```");
    parts.next();
    while let (Some(block), Some(_prose)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push((language.to_owned(), text.to_owned()));
    }
    assert!(blocks.len() >= 7, "the README has its blocks");
    blocks
}

/// The one block of this language that mentions this.
fn block(language: &str, mention: &str) -> String {
    let mut found = blocks()
        .into_iter()
        .filter(|(l, text)| l == language && text.contains(mention));
    let (_, text) = found
        .next()
        .unwrap_or_else(|| panic!("no {language} block with {mention}"));
    assert!(found.next().is_none(), "more than one {language} block with {mention}");
    text
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
    let database = postgres::empty().await.unwrap();
    let redis = RedisServer::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    sqlx::raw_sql(AssertSqlSafe(block("sql", "CREATE TABLE")))
        .execute(&database.pool)
        .await
        .unwrap();
    write("features/shop.toml", &block("toml", "format = 1"));
    write("models/fraud/1/version.toml", &block("toml", "feature_service = "));
    std::fs::copy(
        root().join("tests/models/fraud.onnx"),
        dir.path().join("models/fraud/1/model.onnx"),
    )
    .unwrap();

    let commands = block("sh", "feature-server migrate") + &block("sh", "printf") + "cat train.csv\n";
    let mut path = program("feature-server").parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-ec", &commands])
        .current_dir(dir.path())
        .env("PATH", path)
        .env("DATABASE_URL", &database.url)
        .env("REDIS_URL", redis.url())
        .env("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // (80 - (20 + 40) / 2) / 64
    assert!(said.contains("score = 0.78125"), "{said}");
    assert!(said.contains("spending__amount_30d = 30"), "{said}");
    // No order was placed before the label's moment: the default stands in.
    let training = "event_timestamp,customer_id,amount,is_fraud,spending__amount_30d\n2024-05-01T12:00:00Z,7,80,0,0\n";
    assert!(said.replace(".0", "").ends_with(training), "{said}");
}

/// The demo, but for its servers: a database and Redis of the test's own, and the variables that programs read.
struct Demo {
    dir: tempfile::TempDir,
    database: postgres::Database,
    redis: RedisServer,
}

impl Demo {
    /// Runs a line of the README in a shell, and gives what it prints.
    fn sh(&self, commands: &str) -> String {
        let mut path = program("feature-server").parent().unwrap().as_os_str().to_owned();
        for more in [
            required("LARDER_TEST_POSTGRES_BIN").into(),
            std::env::var_os("PATH").unwrap(),
        ] {
            path.push(":");
            path.push(more);
        }
        let output = Command::new("sh")
            .args(["-ec", commands])
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("DATABASE_URL", &self.database.url)
            .env("REDIS_URL", self.redis.url())
            .env("LARDER_FEATURES", root().join("examples/flights/features"))
            .env("LARDER_FLIGHTS_DATA", required("LARDER_TEST_FLIGHTS"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{said}{complained}");
        said
    }
}

#[tokio::test]
async fn a_correction_is_followed_from_the_source_to_the_online_store() {
    let demo = Demo {
        dir: tempfile::tempdir().unwrap(),
        database: postgres::empty().await.unwrap(),
        redis: RedisServer::start().unwrap(),
    };
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

#[test]
fn the_links_lead_somewhere() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(root().join(Path::new(link)).exists(), "README.md links to {link}");
    }
}
