//! A predictor with definitions, models and stored rows of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::codec::{self, Body, Field, Header, Schema};
use feature_defs::definitions::{self, Definitions, View};
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::{ManualClock, Timestamp};
use feature_defs::value::Value;
use online_store::{Guard, OnlineStore, RedisUrl};
use predictor::{App, Asked, Explain, Freshness, LoadError, PredictError, Settings};
use serde_json::{Value as Json, json};

const DEFINITIONS: &str = r#"
format = 1
project = "PROJECT"

[[entity]]
name = "carrier"
join_keys = [{ name = "carrier", type = "string" }]

[[source]]
name = "carriers"
table = "carriers"
event_timestamp = "at"

[[feature_view]]
name = "ops"
entity = "carrier"
source = "carriers"
ttl = "1h"
features = [{ name = "late_rate", type = "float64" }, { name = "arrivals", type = "int64" }]

[[derived]]
name = "busy"
type = "float64"
expression = "ops.arrivals * 2"

[[feature_service]]
name = "full"
request = [{ name = "minute", type = "int64" }]
features = ["request:minute", "ops:late_rate", "derived:busy"]

[[feature_service]]
name = "defaults"
request = [{ name = "minute", type = "int64" }]
features = ["request:minute", { feature = "ops:late_rate", default = 0.5 }, { feature = "derived:busy", default = 7.0 }]

[[feature_service]]
name = "minute_only"
request = [{ name = "minute", type = "int64" }]
features = ["request:minute"]

[[feature_service]]
name = "typed"
request = [
  { name = "carrier", type = "string" },
  { name = "minute", type = "int64" },
  { name = "distance", type = "float64" },
]
features = [{ feature = "request:carrier", default = "" }, { feature = "request:minute", default = 0 }, "request:distance"]

[[feature_service]]
name = "typed_without_defaults"
request = [
  { name = "carrier", type = "string" },
  { name = "minute", type = "int64" },
  { name = "distance", type = "float64" },
]
features = ["request:carrier", "request:minute", "request:distance"]

[[feature_service]]
name = "number"
request = [{ name = "x", type = "float64" }]
features = ["request:x"]
"#;

/// `version.toml` of the model that adds up: a + 10 b + 100 c, with nulls as -1.
pub(crate) const LINEAR: &str = r#"
feature_service = "full"
inputs = { features = "float32" }
outputs = { y = { tensor = "scores", column = 1 } }
"#;

/// `version.toml` of the model that is `-minute`.
pub(crate) const REQUEST_ONLY: &str = r#"
feature_service = "minute_only"
inputs = { x = "float64" }
outputs = { y = { tensor = "y" } }
"#;

/// `version.toml` of a model with one input and one output.
pub(crate) const NUMBER: &str = r#"
feature_service = "number"
inputs = { x = "float32" }
outputs = { y = { tensor = "y" } }
"#;

/// A deadline that no test misses on a busy machine.
pub(crate) const PATIENT: &str = "deadline = \"20s\"\n";

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    definitions: Definitions,
    settings: Settings,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

/// A Redis server of a test's own, killed when dropped.
pub(crate) struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    pub(crate) async fn start(port: u16) -> Self {
        let program = std::env::var("LARDER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { port, child };
        let store = OnlineStore::open(&server.url(), "ping".parse().unwrap()).unwrap();
        while store.ping(Duration::from_secs(1)).await.is_err() {
            tokio::task::yield_now().await;
        }
        server
    }

    pub(crate) fn url(&self) -> RedisUrl {
        format!("redis://127.0.0.1:{}", self.port).parse().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A URL at which nobody answers.
pub(crate) fn nobody() -> RedisUrl {
    let port = free_port();
    format!("redis://127.0.0.1:{port}").parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2013-11-05T16:30:00Z".parse().unwrap()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        fs::create_dir(dir.path().join("features")).unwrap();
        fs::create_dir(dir.path().join("models")).unwrap();
        fs::write(
            dir.path().join("features/all.toml"),
            DEFINITIONS.replace("PROJECT", &project),
        )
        .unwrap();
        let definitions = definitions::load(&dir.path().join("features")).unwrap();
        let redis: RedisUrl = required("LARDER_TEST_REDIS_URL").parse().unwrap();
        let settings = Settings {
            features: dir.path().join("features"),
            models: dir.path().join("models"),
            onnxruntime: PathBuf::from(required("LARDER_ONNXRUNTIME")),
            redis: redis.clone(),
            cache_redis: redis,
            sessions: 2.try_into().unwrap(),
            max_instances: 5.try_into().unwrap(),
            model_control: true,
            limits: Settings::LIMITS,
        };
        Self {
            dir,
            definitions,
            settings,
            clock: Arc::new(ManualClock::new(now())),
        }
    }

    /// Puts a model into the repository, made of one of tests/models.
    pub(crate) fn model(self, name: &str, onnx: &str, model: &str, version: &str) -> Self {
        let dir = self.dir.path().join("models").join(name);
        fs::create_dir_all(dir.join("1")).unwrap();
        fs::write(dir.join("model.toml"), model).unwrap();
        fs::write(dir.join("1/version.toml"), version).unwrap();
        fs::copy(onnx_file(onnx), dir.join("1/model.onnx")).unwrap();
        self
    }

    /// Puts a further version of a model into the repository.
    pub(crate) fn version(self, name: &str, version: &str, onnx: &str, settings: &str) -> Self {
        self.add_version(name, version, onnx, settings);
        self
    }

    /// The same while it is in use.
    pub(crate) fn add_version(&self, name: &str, version: &str, onnx: &str, settings: &str) {
        let dir = self.dir.path().join("models").join(name).join(version);
        fs::create_dir_all(&dir).unwrap();
        fs::copy(onnx_file(onnx), dir.join("model.onnx")).unwrap();
        fs::write(dir.join("version.toml"), settings).unwrap();
    }

    pub(crate) fn max_instances(mut self, max: usize) -> Self {
        self.settings.max_instances = max.try_into().unwrap();
        self
    }

    pub(crate) fn sessions(mut self, sessions: usize) -> Self {
        self.settings.sessions = sessions.try_into().unwrap();
        self
    }

    /// Changes what the predictor is told.
    pub(crate) fn told(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The repository.
    pub(crate) fn models(&self) -> &Path {
        &self.settings.models
    }

    /// Puts other bytes in the place of one of the repository's files.
    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.settings.models.join(file), bytes).unwrap();
    }

    pub(crate) fn features_at(mut self, url: RedisUrl) -> Self {
        self.settings.redis = url;
        self
    }

    /// With so many requests served at once.
    pub(crate) fn in_flight(mut self, requests: usize) -> Self {
        self.settings.limits.in_flight = requests;
        self
    }

    pub(crate) fn cache_at(mut self, url: RedisUrl) -> Self {
        self.settings.cache_redis = url;
        self
    }

    /// Stores a row of view `ops` that was true `age_s` seconds ago.
    pub(crate) async fn row(&self, carrier: &str, age_s: u32, late_rate: Option<f64>, arrivals: Option<i64>) {
        let view = self.definitions.view("ops").unwrap();
        let values = vec![late_rate.map(Value::Float64), arrivals.map(Value::Int64)];
        self.row_of(view, carrier, age_s, values).await;
    }

    /// Stores a row of view `ops` as it was when it had only these features.
    pub(crate) async fn row_with(&self, carrier: &str, features: &[(&str, Value)]) {
        let field = |(name, value): &(&str, Value)| Field {
            name: name.parse().unwrap(),
            value_type: value.value_type(),
        };
        let view = View {
            schema: Schema::new(features.iter().map(field).collect()),
            ..View::clone(self.definitions.view("ops").unwrap())
        };
        let values = features.iter().map(|(_, value)| Some(value.clone())).collect();
        self.row_of(&view, carrier, 1, values).await;
    }

    async fn row_of(&self, view: &View, carrier: &str, age_s: u32, values: Vec<Option<Value>>) {
        let at = now().minus(feature_defs::time::Span::from_secs(age_s));
        let header = Header {
            event: at,
            created: None,
            as_of: now(),
        };
        let mut blob = Vec::new();
        codec::encode(&view.schema, header, &Body::Values(values), &mut blob);
        let join_key = "carrier".parse().unwrap();
        let key = EntityKey::new([(&join_key, &KeyValue::String(carrier.to_owned()))]);
        let writer = self.store().writer();
        writer.put_schema(view).await.unwrap();
        writer
            .write(
                &view.name,
                Guard::EventThenCreated { complete_as_of: None },
                &[(key, blob)],
            )
            .await
            .unwrap();
    }

    /// The environment of a command that uses this bench.
    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LARDER_FEATURES", self.features().display().to_string()),
            ("LARDER_MODELS", self.models().display().to_string()),
            ("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME")),
            ("LARDER_REDIS_URL", required("LARDER_TEST_REDIS_URL")),
        ]
    }

    /// Where the definitions are.
    pub(crate) fn features(&self) -> PathBuf {
        self.dir.path().join("features")
    }

    /// Writes the definitions with these texts in the places of those.
    pub(crate) fn define(&self, changes: &[(&str, &str)]) {
        let mut text = DEFINITIONS.replace("PROJECT", self.definitions.project.as_str());
        for (from, to) in changes {
            assert!(text.contains(from), "not in the definitions: {from}");
            text = text.replacen(from, to, 1);
        }
        self.write_definitions(&text);
    }

    /// Writes the definitions without view `ops` and whatever reads it.
    pub(crate) fn define_without_ops(&self) {
        let text = DEFINITIONS.replace("PROJECT", self.definitions.project.as_str());
        let (head, rest) = text.split_once("[[feature_view]]").unwrap();
        let at = rest.find("[[feature_service]]\nname = \"minute_only\"").unwrap();
        self.write_definitions(&format!("{head}{}", &rest[at..]));
    }

    fn write_definitions(&self, text: &str) {
        fs::write(self.features().join("all.toml"), text).unwrap();
    }

    /// The project's store.
    pub(crate) fn store(&self) -> OnlineStore {
        OnlineStore::open(&self.settings.redis, self.definitions.project.clone()).unwrap()
    }

    pub(crate) fn load(&self) -> Result<Arc<App>, LoadError> {
        service::telemetry::metrics_handle();
        App::load(&self.settings, &self.definitions, self.clock.clone(), None)
    }

    pub(crate) fn app(&self) -> Arc<App> {
        self.load().unwrap()
    }
}

/// One of tests/models.
fn onnx_file(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    dir.join(format!("{name}.onnx"))
}

/// The answer's JSON.
pub(crate) async fn predict(app: &App, model: &str, instances: Json) -> Json {
    ask(app, model, instances, Explain::No).await.unwrap()
}

pub(crate) async fn explain(app: &App, model: &str, instances: Json) -> Json {
    ask(app, model, instances, Explain::Yes).await.unwrap()
}

pub(crate) async fn refused(app: &App, model: &str, body: &str) -> PredictError {
    let asked = Asked {
        model,
        version: None,
        body: body.as_bytes(),
        explain: Explain::No,
        freshness: Freshness::Any,
    };
    app.predict(asked).await.unwrap_err()
}

pub(crate) async fn ask(app: &App, model: &str, instances: Json, explain: Explain) -> Result<Json, PredictError> {
    let body = json!({ "instances": instances }).to_string();
    let asked = Asked {
        model,
        version: None,
        body: body.as_bytes(),
        explain,
        freshness: Freshness::Any,
    };
    app.predict(asked)
        .await
        .map(|answer| serde_json::to_value(answer).unwrap())
}

/// How often requests have had a model run, all its versions together.
pub(crate) fn runs(model: &str) -> u64 {
    sum("larder_prediction_model_run_seconds_count", &[("model", model)])
}

/// The sum of a metric's series that have these labels, as a whole number.
pub(crate) fn sum(metric: &str, labels: &[(&str, &str)]) -> u64 {
    let rendered = service::telemetry::metrics_handle().render();
    let series = rendered.lines().filter(|line| {
        let has = |(name, value): &(&str, &str)| line.contains(&format!("{name}=\"{value}\""));
        line.starts_with(&format!("{metric}{{")) && labels.iter().all(has)
    });
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters are whole and small"
    )]
    let total = series.map(value).sum::<f64>() as u64;
    total
}

/// Waits until a metric's series that have these labels sum to `wanted`.
pub(crate) async fn until(metric: &str, labels: &[(&str, &str)], wanted: u64) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while sum(metric, labels) != wanted {
        assert!(
            Instant::now() < give_up,
            "{metric} {labels:?} is {}",
            sum(metric, labels)
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
