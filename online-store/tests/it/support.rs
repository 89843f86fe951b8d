//! What the tests share: views, values, and Redis servers that a test may kill.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::codec::{Body, Field, Header, Schema, encode};
use feature_defs::definitions::{Aggregate, Entity, Function, JoinKey, Relation, Source, View, ViewKind};
use feature_defs::key::{EntityKey, KeyType, KeyValue};
use feature_defs::name::FeatureName;
use feature_defs::serving::{Marker, StoredRow};
use feature_defs::time::{Span, Timestamp};
use feature_defs::value::{Value, ValueType};
use online_store::{Guard, Lookup, OnlineReader, OnlineStore, OnlineWriter, RedisUrl, SharedConnection, StoreError};
use tempfile::TempDir;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The URL of the Redis that tests share and never flush.
pub(crate) fn shared_url() -> RedisUrl {
    std::env::var("LARDER_TEST_REDIS_URL")
        .expect("LARDER_TEST_REDIS_URL is not set: run the tests with `cargo xtask test`")
        .parse()
        .unwrap()
}

/// A store on the shared Redis, in a project of its own.
pub(crate) fn store() -> OnlineStore {
    store_at(&shared_url()).0
}

/// A store in a project of its own, and a connection for what the store itself would never do.
pub(crate) fn store_at(url: &RedisUrl) -> (OnlineStore, Raw) {
    let project = format!("t{}", uuid::Uuid::new_v4().simple());
    let raw = Raw {
        connection: SharedConnection::open(url).unwrap(),
        project: project.clone(),
    };
    (OnlineStore::open(url, project.parse().unwrap()).unwrap(), raw)
}

/// Begins and ends a full run that writes nothing: whether its marker stands.
pub(crate) async fn create(writer: &OnlineWriter, view: &View, marker: &Marker) -> bool {
    let begun = writer.begin_run(&view.name, &marker.run).await.unwrap();
    writer.create_marker(&view.name, marker, &begun).await.unwrap()
}

/// The same of an incremental run that follows `previous`.
pub(crate) async fn advance(writer: &OnlineWriter, view: &View, previous: &str, marker: &Marker) -> bool {
    let begun = writer.begin_run(&view.name, &marker.run).await.unwrap();
    writer
        .advance_marker(&view.name, previous, marker, &begun)
        .await
        .unwrap()
}

/// Commands as a person at redis-cli would give them.
pub(crate) struct Raw {
    connection: SharedConnection,
    pub(crate) project: String,
}

impl Raw {
    /// Runs a command; `@` at the start of an argument stands for `larder:<project>:`.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, args: &[&[u8]]) -> T {
        self.try_run(args).await.unwrap()
    }

    pub(crate) async fn try_run<T: redis::FromRedisValue>(&self, args: &[&[u8]]) -> Result<T, StoreError> {
        let mut command = redis::Cmd::new();
        for arg in args {
            match arg.strip_prefix(b"@") {
                Some(rest) => command.arg([format!("larder:{}:", self.project).as_bytes(), rest].concat()),
                None => command.arg(*arg),
            };
        }
        self.connection.query(command, 5 * SECOND).await
    }
}

/// A Redis server of one test's own. Killed when dropped.
pub(crate) struct Server {
    process: Option<Child>,
    port: u16,
    dir: TempDir,
    environment: Vec<(String, String)>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// A server with these variables in its environment.
    pub(crate) fn start_with(environment: Vec<(String, String)>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self {
            process: None,
            port,
            dir: tempfile::tempdir().unwrap(),
            environment,
        };
        server.restart();
        server
    }

    /// Starts it, empty, on its port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let program = std::env::var("LARDER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let port = self.port.to_string();
        let process = Command::new(&program)
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--loglevel",
                "warning",
                "--dir",
            ])
            .arg(self.dir.path())
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: run the tests with `cargo xtask test`"));
        self.process = Some(process);
        let started = Instant::now();
        while TcpStream::connect(self.address()).is_err() {
            assert!(
                started.elapsed() < 10 * SECOND,
                "redis-server does not listen on port {port}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> RedisUrl {
        format!("redis://{}", self.address()).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a German locale lies, in which Redis sorts `a` before `B`.
pub(crate) fn german_locale() -> String {
    std::env::var("LARDER_TEST_LOCPATH").expect("LARDER_TEST_LOCPATH is not set: run the tests with `cargo xtask test`")
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// `name:type` pairs as fields.
pub(crate) fn fields(fields: &[(&str, ValueType)]) -> Vec<Field> {
    fields
        .iter()
        .map(|(name, value_type)| Field {
            name: name.parse().unwrap(),
            value_type: *value_type,
        })
        .collect()
}

pub(crate) fn row_view(features: &[(&str, ValueType)]) -> Arc<View> {
    let columns = features.iter().map(|(name, _)| (*name).to_owned()).collect();
    Arc::new(view("rows", ViewKind::Row { columns }, features))
}

/// A row view of one int64.
pub(crate) fn counter_view() -> Arc<View> {
    row_view(&[("n", ValueType::Int64)])
}

/// An aggregate view of one int64.
pub(crate) fn aggregate_view() -> Arc<View> {
    let count = Aggregate {
        function: Function::Count,
        column: None,
        window: Span::from_secs(3600),
        value_type: ValueType::Int64,
    };
    Arc::new(view(
        "aggregates",
        ViewKind::Aggregate(vec![count]),
        &[("n", ValueType::Int64)],
    ))
}

fn view(name: &str, kind: ViewKind, features: &[(&str, ValueType)]) -> View {
    let entity = Entity {
        name: "carrier".parse().unwrap(),
        join_keys: vec![JoinKey {
            name: "carrier".parse().unwrap(),
            key_type: KeyType::String,
        }],
    };
    let source = Source {
        name: "arrivals".parse().unwrap(),
        database: None,
        relation: Relation::Table("arrivals".into()),
        event_timestamp: "at".into(),
        created_timestamp: None,
        key: Vec::new(),
        deleted: None,
        look_back: Span::ZERO,
        push_to: None,
    };
    View {
        name: name.parse().unwrap(),
        description: None,
        owner: None,
        entity: Arc::new(entity),
        source: Arc::new(source),
        key_columns: vec!["carrier".into()],
        ttl: Some(Span::from_secs(10)),
        schedule: None,
        fresh_for: None,
        expectations: Vec::new(),
        kind,
        schema: Schema::new(fields(features)),
    }
}

pub(crate) fn carrier(name: &str) -> EntityKey {
    let join_key: FeatureName = "carrier".parse().unwrap();
    EntityKey::new([(&join_key, &KeyValue::String(name.into()))])
}

/// The times of a value, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) event: i64,
    pub(crate) created: Option<i64>,
    pub(crate) as_of: i64,
}

impl Times {
    /// All times the same.
    pub(crate) const fn all(micros: i64) -> Self {
        Self {
            event: micros,
            created: Some(micros),
            as_of: micros,
        }
    }
}

pub(crate) fn blob(view: &View, times: Times, body: &Body) -> Vec<u8> {
    let header = Header {
        event: at(times.event),
        created: times.created.map(at),
        as_of: at(times.as_of),
    };
    let mut out = Vec::new();
    encode(&view.schema, header, body, &mut out);
    out
}

/// A blob of a view of one int64.
pub(crate) fn counter(view: &View, times: Times, n: i64) -> Vec<u8> {
    blob(view, times, &Body::Values(vec![Some(Value::Int64(n))]))
}

/// Writes a blob where its view's runs would.
pub(crate) async fn put(writer: &OnlineWriter, view: &View, name: &str, blob: Vec<u8>) {
    let guard = if view.is_aggregate() {
        Guard::AsOf
    } else {
        Guard::EventThenCreated { complete_as_of: None }
    };
    writer.write(&view.name, guard, &[(carrier(name), blob)]).await.unwrap();
}

pub(crate) fn marker(run: &str, as_of: i64, full_as_of: i64) -> Marker {
    Marker {
        run: run.into(),
        as_of: at(as_of),
        digest: "d".into(),
        full_as_of: at(full_as_of),
        complete_as_of: Some(at(full_as_of)),
    }
}

/// The row of one entity.
pub(crate) async fn read_one(reader: &OnlineReader, view: &View, entity: &EntityKey, now: i64) -> StoredRow {
    let rows = reader
        .read(
            &[Lookup {
                view,
                key: Some(entity),
            }],
            at(now),
            5 * SECOND,
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    rows.into_iter().next().unwrap()
}

/// The int64 that a row of one holds.
pub(crate) fn number(row: &StoredRow) -> Option<i64> {
    match row.values.as_slice() {
        [Some(Value::Int64(n))] => Some(*n),
        [] => None,
        other => panic!("not one int64: {other:?}"),
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < 10 * SECOND, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
