//! Definitions change twenty ways under constant reads and predictions: no request fails, no value is served that no applied
//! definition gave, and statuses say what is missing until the next run.

mod seen;
mod steps;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use end_to_end::env::{program, required, root};
use end_to_end::postgres::{self, Database};
use end_to_end::redis_server::RedisServer;
use end_to_end::servers::Server;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use seen::{Features, Seen, features};
use steps::{BEGINNING, DEFINITIONS, ORDERS, QUERY, STEPS, Step};

/// Longer than any machine takes for a reload or a run.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client was answered.
#[derive(Debug)]
enum Observed {
    Features(Features),
    Score(f64),
    Failed(String),
}

struct Ground {
    folder: tempfile::TempDir,
    database: Database,
    redis: RedisServer,
    /// The definitions as they are now.
    files: Files,
}

#[derive(Debug, Clone)]
struct Files {
    toml: String,
    sql: String,
}

fn write(folder: &Path, files: &Files) {
    std::fs::write(folder.join("queried.sql"), &files.sql).unwrap();
    std::fs::write(folder.join("shop.toml"), &files.toml).unwrap();
}

impl Ground {
    async fn new() -> Self {
        let database = postgres::empty().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(ORDERS.to_owned()))
            .execute(&database.pool)
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("models/fraud/1");
        std::fs::create_dir_all(&model).unwrap();
        std::fs::create_dir(folder.path().join("features")).unwrap();
        let version = r#"
            feature_service = "fraud"
            inputs = { features = "float32" }
            outputs = { score = { tensor = "score" } }
        "#;
        std::fs::write(model.join("version.toml"), version).unwrap();
        std::fs::write(folder.path().join("models/fraud/model.toml"), "deadline = \"30s\"\n").unwrap();
        std::fs::copy(root().join("tests/models/fraud.onnx"), model.join("model.onnx")).unwrap();
        let ground = Self {
            folder,
            database,
            redis: RedisServer::start().unwrap(),
            files: Files {
                toml: format!("project = \"changes\"\n{DEFINITIONS}"),
                sql: QUERY.to_owned(),
            },
        };
        ground.write();
        ground
    }

    fn write(&self) {
        write(&self.folder.path().join("features"), &self.files);
    }

    fn edit(&mut self, edits: &[(&str, &str)]) {
        for (from, to) in edits {
            let text = match self.files.toml.contains(from) {
                true => &mut self.files.toml,
                false => &mut self.files.sql,
            };
            assert_eq!(text.matches(from).count(), 1, "{from}\n{text}");
            *text = text.replace(from, to);
        }
        self.write();
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.database.url.clone()),
            ("REDIS_URL", self.redis.url()),
            ("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME")),
        ]
    }

    /// Runs a command of the feature server: whether it succeeded, and what it said.
    fn command(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program("feature-server"))
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(self.variables())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Everything there is in Redis.
    async fn keys(&self) -> Vec<String> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap()
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) {
        let (done, said) = self.command(arguments);
        assert!(done, "{arguments:?}: {said}");
    }
}

struct Servers {
    features: Server,
    predictor: Server,
    client: reqwest::Client,
}

impl Servers {
    async fn start(ground: &Ground) -> Self {
        let start = |name| {
            let variables = ground.variables();
            async move { Server::start(name, ground.folder.path(), &variables).await.unwrap() }
        };
        Self {
            features: start("feature-server").await,
            predictor: start("predictor").await,
            client: reqwest::Client::new(),
        }
    }

    fn both(&self) -> [&Server; 2] {
        [&self.features, &self.predictor]
    }

    async fn read(&self) -> Observed {
        // All keys that any of the definitions reads by: what a service does not need is ignored.
        let body = json!({
            "feature_service": "watch",
            "full_feature_names": true,
            "entities": {"customer": [7], "store": [1], "shop": [1], "pieces": [6]},
        });
        let url = format!("{}/get-online-features", self.features.base);
        match self.ask(url, &body).await.and_then(|answer| features(&answer)) {
            Ok(features) => Observed::Features(features),
            Err(failure) => Observed::Failed(failure),
        }
    }

    async fn predict(&self) -> Observed {
        let body = json!({"instances": [{"customer": 7, "amount": 80}]});
        let url = format!("{}/v1/models/fraud:predict", self.predictor.base);
        match self.ask(url, &body).await {
            Ok(answer) if answer["rows"][0]["degraded"] == json!([]) => {
                match answer["predictions"][0]["score"].as_f64() {
                    Some(score) => Observed::Score(score),
                    None => Observed::Failed(answer.to_string()),
                }
            }
            Ok(answer) => Observed::Failed(answer.to_string()),
            Err(failure) => Observed::Failed(failure),
        }
    }

    async fn ask(&self, url: String, body: &Value) -> Result<Value, String> {
        let answer = self
            .client
            .post(url)
            .json(body)
            .send()
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| e.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }

    async fn get(&self, server: &Server, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", server.base)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// How often each has taken over definitions with this outcome.
    async fn reloads(&self, outcome: &str) -> [u64; 2] {
        let name = format!("larder_definitions_reloads_total{{outcome=\"{outcome}\"}} ");
        let mut counts = [0; 2];
        for (count, server) in counts.iter_mut().zip(self.both()) {
            let metrics = self.get(server, "/metrics").await;
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            *count = line.map_or(0, |number| number.parse().unwrap());
        }
        counts
    }

    /// Waits until both have looked at the definitions again.
    async fn await_reload(&self, outcome: &str, before: [u64; 2]) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let now = self.reloads(outcome).await;
            if now[0] > before[0] && now[1] > before[1] {
                return;
            }
            assert!(Instant::now() < give_up, "not reloaded: {before:?}, {now:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until readers of both see this.
    async fn await_sight(&self, what: &str, expected: &Features) {
        let score = expected["spending__amount_30d"].score();
        let give_up = Instant::now() + PATIENCE;
        loop {
            let (read, predicted) = (self.read().await, self.predict().await);
            let agrees = matches!(&read, Observed::Features(found) if found == expected)
                && matches!(predicted, Observed::Score(found) if (found - score).abs() < 1e-6);
            if agrees {
                return;
            }
            assert!(
                Instant::now() < give_up,
                "{what}: {expected:?} and {score} expected, {read:?} and {predicted:?} seen"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What clients may be answered: one of the states that readers go through in a step.
fn check(what: &str, states: &[Features], observed: &[Observed]) {
    for one in observed {
        match one {
            Observed::Failed(failure) => panic!("{what}: a request failed: {failure}"),
            Observed::Features(found) => {
                for (name, seen) in found {
                    let may_be = states.iter().any(|state| state.get(name) == Some(seen));
                    assert!(may_be, "{what}: {name} was {seen:?}, of {states:?}");
                }
            }
            Observed::Score(score) => {
                let may_be = |state: &Features| (state["spending__amount_30d"].score() - score).abs() < 1e-6;
                assert!(states.iter().any(may_be), "{what}: a score of {score}, of {states:?}");
            }
        }
    }
}

/// The state that a step leads to from another.
fn changed(state: &Features, seen: &[(&str, Seen)], gone: &[&str]) -> Features {
    let mut state = state.clone();
    for name in gone {
        assert!(state.remove(*name).is_some(), "{name} was not there");
    }
    state.extend(seen.iter().map(|(name, seen)| ((*name).to_owned(), *seen)));
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_change_without_a_failed_request_or_a_value_that_none_gave() {
    let mut ground = Ground::new().await;
    for command in ["migrate", "apply", "materialize"] {
        ground.done(&[command]);
    }
    let servers = Arc::new(Servers::start(&ground).await);
    let mut state = changed(&Features::new(), BEGINNING, &[]);
    servers.await_sight("at the beginning", &state).await;

    let stop = Arc::new(AtomicBool::new(false));
    let observed: Arc<Mutex<Vec<Observed>>> = Arc::default();
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (servers, stop, observed) = (Arc::clone(&servers), Arc::clone(&stop), Arc::clone(&observed));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let one = match number % 2 {
                        0 => servers.read().await,
                        _ => servers.predict().await,
                    };
                    observed.lock().unwrap().push(one);
                }
            })
        })
        .collect();

    let mut requests = 0;
    for (number, step) in STEPS.iter().enumerate() {
        let states = change(&mut ground, &servers, (number, step), &state).await;
        let seen = std::mem::take(&mut *observed.lock().unwrap());
        check(step.what, &states, &seen);
        requests += seen.len();
        state = states.last().unwrap().clone();
    }
    assert!(STEPS.len() >= 20 && requests > 10 * STEPS.len(), "{requests} requests");

    broken_definitions_change_nothing(&ground, &servers, &state).await;
    ground.done(&["prune"]);
    servers.await_sight("after pruning", &state).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    check("at the end", &[state], &observed.lock().unwrap());
    let keys = ground.keys().await;
    assert!(keys.iter().any(|key| key.contains(":spending:")), "{keys:?}");
    for retired in [":asked:", ":rivals:"] {
        assert!(keys.iter().all(|key| !key.contains(retired)), "{keys:?}");
    }
}

/// Makes a change; the states that readers may see from its beginning to its end.
async fn change(
    ground: &mut Ground,
    servers: &Servers,
    (number, step): (usize, &Step),
    before: &Features,
) -> Vec<Features> {
    let reloads = servers.reloads("done").await;
    let old = ground.files.clone();
    ground.edit(step.edits);
    ground.done(&["apply"]);
    // By what the operator says, or by themselves.
    if number % 4 != 0 {
        for server in servers.both() {
            server.signal("HUP").unwrap();
        }
    }
    servers.await_reload("done", reloads).await;
    let at_once = changed(before, step.at_once, step.gone);
    servers.await_sight(step.what, &at_once).await;
    // Whoever still has the old definitions writes nothing by them.
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), &old);
    for view in step.runs {
        let (wrote, said) = ground.command(&["materialize", view, "--features", elsewhere.path().to_str().unwrap()]);
        assert!(!wrote, "{}: {said}", step.what);
    }
    for view in step.runs {
        ground.done(&["materialize", view]);
    }
    let after = changed(&at_once, step.after, &[]);
    servers.await_sight(step.what, &after).await;
    vec![before.clone(), at_once, after]
}

/// Both keep what they have, say so, and take over what is mended.
async fn broken_definitions_change_nothing(ground: &Ground, servers: &Servers, state: &Features) {
    let path = ground.folder.path().join("features/shop.toml");
    let refused = servers.reloads("refused").await;
    std::fs::write(&path, format!("{}\n[[feature_view]]\nname = 7\n", ground.files.toml)).unwrap();
    servers.await_reload("refused", refused).await;
    servers.await_sight("with broken definitions", state).await;
    for server in servers.both() {
        let ready: Value = serde_json::from_str(&servers.get(server, "/health/ready").await).unwrap();
        let check = ready["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == "definitions");
        assert!(ready["ready"] == true && check.unwrap()["ok"] == false, "{ready}");
        assert!(
            servers
                .get(server, "/metrics")
                .await
                .contains("larder_definitions_broken 1")
        );
    }
    let done = servers.reloads("done").await;
    ground.write();
    servers.await_reload("done", done).await;
    for server in servers.both() {
        assert!(
            servers
                .get(server, "/metrics")
                .await
                .contains("larder_definitions_broken 0")
        );
    }
}
