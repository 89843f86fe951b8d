//! For tests: a database and a project of its own for each, definitions written inline, a clock that stands still.

mod online;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use feature_defs::definitions;
use feature_defs::key::{EntityKey, KeyValue, marker_key};
use feature_defs::serving::{Status, StoredRow};
use feature_defs::time::{ManualClock, Timestamp};
use feature_defs::value::Value;
use online_store::{Lookup, OnlineStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{App, DatabaseUrl, Mode, Progress, RunError, RunRequest, RunSummary, Settings, Time, migrate};
pub(crate) use online::{Way, content, redis_url};

/// The file that tests write definitions to.
const DEFINITIONS: &str = "definitions.toml";

/// A feature server on real stores, as of noon of a day in 2013.
pub(crate) struct Ground {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) settings: Settings,
    definitions: tempfile::TempDir,
    /// The source, as whoever writes rows there sees it.
    pub(crate) source: PgConnection,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("fs{}x{}", COUNT.fetch_add(1, Ordering::Relaxed), &id[..12])
}

/// A moment of the day that tests play in: `at("12:00")`.
pub(crate) fn at(time: &str) -> Timestamp {
    format!("2013-11-05T{time}:00Z").parse().unwrap()
}

impl Ground {
    /// New stores with these tables (SQL) and definitions (TOML, after format and project).
    pub(crate) async fn new(tables: &str, toml: &str) -> Self {
        Self::with_files(tables, toml, &[]).await
    }

    /// The same, with these files beside the definitions: name and text.
    pub(crate) async fn with_files(tables: &str, toml: &str, files: &[(&str, &str)]) -> Self {
        let name = unique();
        let admin = variable("LARDER_TEST_DATABASE_URL");
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        let database: DatabaseUrl = url.parse().unwrap();
        migrate(&database).await.unwrap();
        let mut source = PgConnection::connect(&url).await.unwrap();
        // A user called `larder` would make them in the schema of that name, which is there by now.
        sqlx::raw_sql("SET search_path = public")
            .execute(&mut source)
            .await
            .unwrap();
        sqlx::raw_sql(AssertSqlSafe(tables.to_owned()))
            .execute(&mut source)
            .await
            .unwrap();
        let settings = Settings {
            database,
            source_database: None,
            named_databases: BTreeMap::new(),
            redis: redis_url().parse().unwrap(),
        };
        let clock = Arc::new(ManualClock::new(at("12:00")));
        let definitions = tempfile::tempdir().unwrap();
        std::fs::write(
            definitions.path().join("project.toml"),
            format!("format = 1\nproject = \"{name}\"\n"),
        )
        .unwrap();
        for (name, text) in files {
            std::fs::write(definitions.path().join(name), text).unwrap();
        }
        let app = open(&settings, definitions.path(), toml, &clock);
        Self {
            app,
            clock,
            settings,
            definitions,
            source,
        }
    }

    /// A table of arrivals, an aggregate view `ops` and a row view `newest` over it, and a service of both.
    pub(crate) async fn arrivals() -> Self {
        Self::new(ARRIVALS, &arrivals_toml(CREATED)).await
    }

    /// The same without created timestamps.
    pub(crate) async fn arrivals_without_created() -> Self {
        Self::new(ARRIVALS, &arrivals_toml("")).await
    }

    /// Where the definitions are.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.definitions.path()
    }

    /// Writes definitions that nobody has read yet.
    pub(crate) fn write(&self, toml: &str) {
        std::fs::write(self.definitions.path().join(DEFINITIONS), toml).unwrap();
    }

    /// The app after its definitions have changed.
    pub(crate) fn redefine(&mut self, toml: &str) {
        self.app = open(&self.settings, self.definitions.path(), toml, &self.clock);
    }

    /// The app as another process opens it, by the settings as they are now.
    pub(crate) fn reopen(&mut self) {
        let toml = std::fs::read_to_string(self.definitions.path().join(DEFINITIONS)).unwrap();
        self.redefine(&toml);
    }

    /// Runs SQL in the source.
    pub(crate) async fn sql(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.source)
            .await
            .unwrap();
    }

    /// Adds an arrival: carrier, event time, created time (of the day, or a whole timestamp) and delay.
    pub(crate) async fn arrival(&mut self, carrier: &str, event: &str, created: &str, delay: &str) {
        let full = |time: &str| {
            if time.len() == 5 {
                format!("2013-11-05 {time}:00+00")
            } else {
                time.to_owned()
            }
        };
        let (event, created) = (full(event), full(created));
        self.sql(&format!(
            "INSERT INTO arrivals VALUES ('{carrier}', '{event}', '{created}', {delay})"
        ))
        .await;
    }

    /// Runs a view as of a time of the day.
    pub(crate) async fn run(&self, view: &str, mode: Mode, time: &str) -> RunSummary {
        self.try_run(view, mode, time).await.unwrap()
    }

    pub(crate) async fn try_run(&self, view: &str, mode: Mode, time: &str) -> Result<RunSummary, RunError> {
        self.clock.set(at(time));
        self.app
            .materialize(view, &RunRequest::new(mode), &Progress::hidden())
            .await
    }

    /// What a reader finds for a carrier at a time of the day.
    pub(crate) async fn read(&self, view: &str, carrier: &str, time: &str) -> StoredRow {
        self.read_key(view, KeyValue::String(carrier.to_owned()), time).await
    }

    /// What a reader finds for the entity with this join key.
    pub(crate) async fn read_key(&self, view: &str, key: KeyValue, time: &str) -> StoredRow {
        let view = self.app.view(view).unwrap();
        let key = EntityKey::new([(&view.entity.join_keys[0].name, &key)]);
        let reader = self.online().reader(vec![Arc::clone(view)]);
        let lookup = Lookup { view, key: Some(&key) };
        let mut rows = reader
            .read(&[lookup], at(time), std::time::Duration::from_secs(5))
            .await
            .unwrap();
        rows.remove(0)
    }

    /// The values a reader finds, as text; `None` if there is no row.
    pub(crate) async fn values(&self, view: &str, carrier: &str, time: &str) -> Option<String> {
        let row = self.read(view, carrier, time).await;
        (row.status != Status::NotFound).then(|| text(&row.values))
    }

    pub(crate) fn online(&self) -> OnlineStore {
        OnlineStore::open(&self.settings.redis, self.app.definitions().project.clone()).unwrap()
    }

    /// Redis loses a view's marker.
    pub(crate) async fn lose_marker(&self, view: &str) {
        let key = marker_key(&self.app.definitions().project, &view.parse().unwrap());
        let client = redis::Client::open(redis_url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let _: () = redis::cmd("DEL").arg(key).query_async(&mut connection).await.unwrap();
    }
}

fn open(settings: &Settings, folder: &std::path::Path, toml: &str, clock: &Arc<ManualClock>) -> Arc<App> {
    std::fs::write(folder.join(DEFINITIONS), toml).unwrap();
    let definitions = definitions::load(folder).unwrap_or_else(|error| panic!("{error}"));
    let clock = Arc::clone(clock);
    App::open(settings, definitions, Time::Given(clock)).unwrap()
}

/// Values as one line of text, nulls as `-`.
pub(crate) fn text(values: &[Option<Value>]) -> String {
    values
        .iter()
        .map(|v| v.as_ref().map_or_else(|| "-".to_owned(), Value::to_text))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A table of arrivals: who, when, when written, how late.
pub(crate) const ARRIVALS: &str = "
    CREATE TABLE arrivals (carrier text, event timestamptz, created timestamptz, delay float8);
    CREATE INDEX ON arrivals (carrier, event);
    CREATE INDEX ON arrivals (event);
    CREATE INDEX ON arrivals (created);";

/// The line that tells of created timestamps.
pub(crate) const CREATED: &str = "created_timestamp = \"created\"\noverlap = \"5m\"";

/// Definitions over [`ARRIVALS`]; `created` is [`CREATED`] or nothing.
pub(crate) fn arrivals_toml(created: &str) -> String {
    format!(
        r#"
[[entity]]
name = "carrier"
join_keys = [{{ name = "carrier", type = "string" }}]

[[source]]
name = "arrivals"
table = "arrivals"
event_timestamp = "event"
{created}

[[feature_view]]
name = "ops"
entity = "carrier"
source = "arrivals"
aggregate = [
  {{ name = "delay", function = "mean", column = "delay", windows = ["1h", "3h"] }},
  {{ name = "n", function = "count", windows = ["1h", "3h"] }},
  {{ name = "total", function = "sum", column = "delay", type = "float64", windows = ["1h"] }},
  {{ name = "newest", function = "last", column = "delay", type = "float64", windows = ["3h"] }},
  {{ name = "at", function = "last_time", windows = ["3h"] }},
]

[[feature_view]]
name = "newest"
entity = "carrier"
source = "arrivals"
ttl = "6h"
features = [{{ name = "delay", type = "float64" }}]

[[feature_service]]
name = "delay"
request = [{{ name = "distance", type = "float64" }}]
features = [
  "request:distance", "ops:delay_1h", "ops:delay_3h", "ops:n_1h", "ops:n_3h", "ops:total_1h", "ops:newest_3h", "ops:at_3h",
  {{ feature = "newest:delay", default = -1.0 }},
]
"#
    )
}
