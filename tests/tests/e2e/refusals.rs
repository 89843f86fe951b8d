//! Bad input gets a clear error and changes nothing: requests, command lines, definitions, models, databases.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use end_to_end::env::{program, required, root};
use end_to_end::flights::{Stand, copy_tree};
use end_to_end::postgres;
use end_to_end::redis_server::RedisServer;
use feature_defs::time::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;
use tower::ServiceExt;

async fn post(stand: &Stand, path: &str, body: String) -> (u16, Value) {
    let request = Request::post(path).body(Body::from(body)).unwrap();
    let response = stand.predictor.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Everything in a Redis, by key: a text as it is, a hash as its fields.
fn contents(redis: &RedisServer) -> BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let mut all = BTreeMap::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
        let fields = if kind == "hash" {
            redis::cmd("HGETALL").arg(&key).query(&mut connection).unwrap()
        } else {
            BTreeMap::from([(Vec::new(), redis::cmd("GET").arg(&key).query(&mut connection).unwrap())])
        };
        all.insert(key, fields);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_refused_whole_with_every_reason() {
    let now: Timestamp = "2013-12-05T22:00:00Z".parse().unwrap();
    let stand = Stand::new(now).await.unwrap();
    stand.materialize(now).await.unwrap();
    let before = contents(&stand.redis);
    let good = stand.replay.dataset().flights[0].instance();
    let with = |name: &str, value: Value| {
        let mut instance = good.clone();
        instance.insert(name.into(), value);
        Value::Object(instance)
    };
    let without = |name: &str| {
        Value::Object(
            good.clone()
                .into_iter()
                .filter(|(n, _)| n != name)
                .collect::<Map<_, _>>(),
        )
    };
    let asking = |instances: Vec<Value>| json!({ "instances": instances }).to_string();
    let predict = "/v1/models/flight_delay:predict";
    let not_a_number = asking(vec![with("distance", json!(1))]).replace("\"distance\":1", "\"distance\":NaN");

    let cases: Vec<(&str, &str, String, u16, &str)> = vec![
        (
            "unknown model",
            "/v1/models/flight_dela:predict",
            asking(vec![]),
            404,
            "flight_delay",
        ),
        (
            "unknown method",
            "/v1/models/flight_delay:guess",
            asking(vec![]),
            404,
            "guess",
        ),
        (
            "unknown version",
            "/v1/models/flight_delay/versions/9:predict",
            asking(vec![]),
            404,
            "9",
        ),
        ("broken JSON", predict, "{\"instances\": [".into(), 400, "JSON"),
        ("NaN", predict, not_a_number, 400, "JSON"),
        ("no instances", predict, asking(vec![]), 400, "instances"),
        (
            "not a list",
            predict,
            json!({ "instances": 5 }).to_string(),
            400,
            "instances",
        ),
        ("too many", predict, asking(vec![json!({}); 1_001]), 400, "1000"),
        (
            "unknown join key",
            predict,
            asking(vec![with("carier", json!("UA"))]),
            400,
            "carier",
        ),
        (
            "missing join key",
            predict,
            asking(vec![without("tailnum")]),
            400,
            "tailnum",
        ),
        (
            "missing request feature",
            predict,
            asking(vec![without("distance")]),
            400,
            "distance",
        ),
        (
            "text for a number",
            predict,
            asking(vec![with("distance", json!("far"))]),
            400,
            "distance",
        ),
        (
            "NaN as text",
            predict,
            asking(vec![with("distance", json!("NaN"))]),
            400,
            "distance",
        ),
        (
            "a number for a key",
            predict,
            asking(vec![with("carrier", json!(7))]),
            400,
            "carrier",
        ),
        (
            "a fraction for an integer",
            predict,
            asking(vec![with("weekday", json!(1.5))]),
            400,
            "weekday",
        ),
        (
            "an override",
            predict,
            asking(vec![with("plane__seats", json!(7))]),
            400,
            "plane__seats",
        ),
        ("no object", predict, asking(vec![json!(7)]), 400, "instance"),
    ];
    for (what, path, body, expected, mention) in cases {
        let (status, answer) = post(&stand, path, body).await;
        assert_eq!(status, expected, "{what}: {answer}");
        assert!(
            answer.to_string().contains(mention),
            "{what} should mention {mention}: {answer}"
        );
        assert!(
            answer["code"].is_string() && answer["request_id"].is_string(),
            "{what}: {answer}"
        );
    }

    let two_wrong = asking(vec![
        without("distance"),
        Value::Object(good.clone()),
        with("weekday", json!("Monday")),
    ]);
    let (status, answer) = post(&stand, predict, two_wrong).await;
    assert_eq!(status, 400);
    let problems = answer["details"]["problems"].as_array().unwrap();
    let places: Vec<_> = problems
        .iter()
        .map(|p| (p["instance"].as_u64(), p["name"].as_str()))
        .collect();
    assert_eq!(places, [(Some(0), Some("distance")), (Some(2), Some("weekday"))]);
    assert!(contents(&stand.redis) == before, "a refused request wrote something");
}

const TABLES: &str =
    "CREATE TABLE orders (customer_id bigint, amount float8, note text, at timestamptz, local timestamp);
INSERT INTO orders VALUES (7, 20, 'x', now() - interval '1 hour', now())";

const SHOP: &str = r#"format = 1
project = "shop"

[[entity]]
name = "customer"
join_keys = [{ name = "customer_id", type = "int64" }]

[[source]]
name = "orders"
table = "orders"
event_timestamp = "at"

[[feature_view]]
name = "spending"
entity = "customer"
source = "orders"
aggregate = [{ name = "amount", function = "mean", column = "amount", windows = ["30d"] }]

[[feature_service]]
name = "fraud"
request = [{ name = "amount", type = "float64" }]
features = ["request:amount", "spending:amount_30d"]
"#;

/// A shell in which the programs know where everything is.
struct Shell {
    features: tempfile::TempDir,
    database: postgres::Database,
    redis: RedisServer,
}

impl Shell {
    async fn new() -> Self {
        let database = postgres::empty().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(TABLES))
            .execute(&database.pool)
            .await
            .unwrap();
        let shell = Self {
            features: tempfile::tempdir().unwrap(),
            database,
            redis: RedisServer::start().unwrap(),
        };
        shell.define(SHOP);
        shell
    }

    fn define(&self, text: &str) {
        std::fs::write(self.features.path().join("shop.toml"), text).unwrap();
    }

    fn run(&self, command: &str, environment: &[(&str, &str)]) -> Output {
        let mut words = command.split_whitespace();
        let mut command = Command::new(program(words.next().unwrap()));
        command
            .args(words)
            .env("LARDER_FEATURES", self.features.path())
            .env("DATABASE_URL", &self.database.url);
        command
            .env("REDIS_URL", self.redis.url())
            .envs(environment.iter().copied());
        command.output().unwrap()
    }

    /// Runs a command that must fail with this exit code and say all of this.
    fn refuses(&self, command: &str, environment: &[(&str, &str)], code: i32, mentions: &[&str]) {
        let output = self.run(command, environment);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        for mention in mentions {
            assert!(said.contains(mention), "{command} should mention {mention}: {said}");
        }
        assert!(!said.contains("secret-word"), "{command} shows a password: {said}");
        assert!(!said.contains("panicked"), "{command}: {said}");
    }

    fn succeeds(&self, command: &str) {
        let output = self.run(command, &[]);
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn wrong_commands_definitions_and_places_are_refused_and_change_nothing() {
    let shell = Shell::new().await;
    shell.refuses("feature-server materialize", &[], 1, &["migrate"]);
    shell.succeeds("feature-server migrate");
    shell.succeeds("feature-server materialize");
    let before = contents(&shell.redis);
    let runs: i64 = count_runs(&shell).await;

    shell.refuses("feature-server materialise", &[], 2, &["materialize"]);
    shell.refuses(
        "feature-server materialize spendings",
        &[],
        2,
        &["spendings", "spending"],
    );
    shell.refuses(
        "feature-server materialize --as-of tomorrow",
        &[],
        2,
        &["tomorrow", "RFC 3339"],
    );
    shell.refuses(
        "feature-server materialize --as-of 2099-01-01T00:00:00Z",
        &[],
        2,
        &["2099"],
    );
    shell.refuses("feature-server get fraud customer=7", &[], 2, &["customer_id"]);
    let away = "postgres://larder:secret-word@127.0.0.1:1/larder";
    shell.refuses(
        "feature-server materialize",
        &[("DATABASE_URL", away)],
        1,
        &["127.0.0.1:1", "larder"],
    );
    let away = "redis://larder:secret-word@127.0.0.1:1";
    shell.refuses(
        "feature-server materialize",
        &[("REDIS_URL", away)],
        1,
        &["127.0.0.1:1"],
    );

    let wrong: [(&str, &str, &str, &[&str]); 5] = [
        (
            "a typo",
            "entity = \"customer\"",
            "entity = \"custmer\"",
            &["shop.toml:15:10", "custmer", "did you mean `customer`"],
        ),
        (
            "an unknown key",
            "function = \"mean\"",
            "functoin = \"mean\"",
            &["functoin", "function"],
        ),
        (
            "a missing column",
            "column = \"amount\"",
            "column = \"amuont\"",
            &["amuont", "amount", "spending"],
        ),
        (
            "a column of another type",
            "column = \"amount\"",
            "column = \"note\"",
            &["note", "text", "spending"],
        ),
        (
            "a time without a zone",
            "timestamp = \"at\"",
            "timestamp = \"local\"",
            &["local", "time zone"],
        ),
    ];
    for (what, from, to, mentions) in wrong {
        let text = SHOP.replace(from, to);
        assert_ne!(text, SHOP, "{what} replaces something");
        shell.define(&text);
        shell.refuses("feature-server check --database", &[], 1, mentions);
        shell.refuses("feature-server materialize", &[], 1, mentions);
    }
    assert!(contents(&shell.redis) == before, "a refused run wrote something");
    assert_eq!(count_runs(&shell).await, runs, "a refused run was recorded");
}

async fn count_runs(shell: &Shell) -> i64 {
    let count = "SELECT count(*) FROM larder.materialization_runs WHERE outcome = 'done'";
    sqlx::query_scalar(count).fetch_one(&shell.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_refused_with_the_reason() {
    let shell = Shell::new().await;
    let models = tempfile::tempdir().unwrap();
    let version = models.path().join("fraud/1");
    std::fs::create_dir_all(&version).unwrap();
    // Three inputs; the service has two.
    std::fs::copy(
        root().join("predictor/tests/models/linear.onnx"),
        version.join("model.onnx"),
    )
    .unwrap();
    std::fs::write(models.path().join("fraud/model.toml"), "").unwrap();
    let check = |text: &str, mentions: &[&str]| {
        std::fs::write(version.join("version.toml"), text).unwrap();
        let directory = models.path().join("fraud");
        let command = format!("predictor check {}", directory.display());
        shell.refuses(
            &command,
            &[("LARDER_ONNXRUNTIME", &required("LARDER_ONNXRUNTIME"))],
            1,
            mentions,
        );
    };
    let outputs = "outputs = { score = { tensor = \"scores\", column = 1 } }\n";
    let service = "feature_service = \"fraud\"\n";
    check(
        &format!("{service}inputs = {{ features = \"float32\" }}\n{outputs}"),
        &["3", "2"],
    );
    check(
        &format!("{service}inputs = {{ vector = \"float32\" }}\n{outputs}"),
        &["vector", "features"],
    );
    check(
        &format!("feature_service = \"frod\"\ninputs = {{ features = \"float32\" }}\n{outputs}"),
        &["frod", "fraud"],
    );
    check(
        &format!("{service}inputs = {{ features = \"float32\" }}\noutputs = {{ score = {{ tensor = \"scroes\" }} }}\n"),
        &["scroes", "scores"],
    );
    check(
        &format!("{service}inputs = {{ features = \"float32\" }}\n{outputs}when_stalled = \"serve\"\n"),
        &["when_stalled"],
    );
}

#[test]
fn the_flights_models_are_accepted() {
    let models = tempfile::tempdir().unwrap();
    copy_tree(&root().join("examples/flights/models"), models.path()).unwrap();
    for (model, input) in [
        ("flight_delay", "carrier_ops__late_rate_3h"),
        ("flight_delay_request_only", "distance"),
        ("flight_delay_mlp", "carrier_ops__late_rate_3h"),
    ] {
        let output = Command::new(program("predictor"))
            .args([Path::new("check"), &models.path().join(model)])
            .env("LARDER_FEATURES", root().join("examples/flights/features"))
            .env("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(input) && said.contains("late_probability"), "{said}");
    }
}
