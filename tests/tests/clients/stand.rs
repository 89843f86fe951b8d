//! The feature server as `serve` runs it, on stores of its own, with a thousand drivers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use end_to_end::postgres::{self, Database};
use end_to_end::redis_server::RedisServer;
use feature_defs::definitions;
use feature_server::{App, Mode, Progress, RunRequest, ServeOptions, Settings, Time};
use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::puppet::Puppet;

/// Drivers: of every seventh nothing is known but that he is, of every eleventh the row is too old.
pub(crate) const DRIVERS: i64 = 1_000;

const TABLES: &str = "
    CREATE TABLE stats (driver_id int8, event_timestamp timestamptz, created timestamptz DEFAULT now(), conv_rate float8,
        acc_rate float4, trips int8, tag text, ok bool, last timestamptz, vec float4[]);
    CREATE INDEX ON stats (driver_id, event_timestamp);
    CREATE TABLE rides (driver_id int8, at timestamptz, created timestamptz DEFAULT now());
    CREATE TABLE delays (carrier text, dest text, at timestamptz, delay float8);
    INSERT INTO stats
        SELECT i, date_trunc('second', now()) - CASE WHEN i % 11 = 0 THEN interval '3 days' ELSE interval '1 hour' END, now(),
            CASE WHEN i % 7 > 0 THEN i / 3.0 END, i / 10.0, 9007199254740993 + i, 'driver ' || i, i % 2 = 0,
            '2026-01-01 00:00:00+00'::timestamptz + make_interval(secs => i), ARRAY[i, i / 2.0]::float4[]
        FROM generate_series(1, 1000) i;
    INSERT INTO rides SELECT i, now() - interval '10 minutes' FROM generate_series(1, 1000, 2) i, generate_series(1, 1 + i % 3);
    INSERT INTO delays VALUES ('UA', 'JFK', now() - interval '1 hour', 7.5);";

const TOML: &str = r#"
format = 1
project = "clients"

[[entity]]
name = "driver"
join_keys = [{ name = "driver_id", type = "int64" }]
[[entity]]
name = "route"
join_keys = [{ name = "carrier", type = "string" }, { name = "dest", type = "string" }]

[[source]]
name = "stats"
table = "stats"
event_timestamp = "event_timestamp"
created_timestamp = "created"
push_to = "stats"
[[source]]
name = "rides"
table = "rides"
event_timestamp = "at"
created_timestamp = "created"
[[source]]
name = "delays"
table = "delays"
event_timestamp = "at"

[[feature_view]]
name = "driver_stats"
entity = "driver"
source = "stats"
ttl = "2d"
features = [
  { name = "conv_rate", type = "float64" }, { name = "acc_rate", type = "float32" }, { name = "trips", type = "int64" },
  { name = "tag", type = "string" }, { name = "ok", type = "bool" }, { name = "last", type = "timestamp" },
  { name = "vec", type = "float32_list" },
]
[[feature_view]]
name = "driver_rides"
entity = "driver"
source = "rides"
ttl = "1d"
aggregate = [{ name = "rides", function = "count", windows = ["1h"] }]
[[feature_view]]
name = "route_delay"
entity = "route"
source = "delays"
features = [{ name = "delay", type = "float64" }]

[[derived]]
name = "rate_per_km"
type = "float64"
expression = "driver_stats.conv_rate / distance"

[[feature_service]]
name = "trip"
request = [{ name = "distance", type = "float64" }]
features = [
  "request:distance", "derived:rate_per_km", "driver_rides:rides_1h", { feature = "driver_stats:conv_rate", default = 0.5 },
  "driver_stats:acc_rate", "driver_stats:trips", "driver_stats:tag", "driver_stats:ok", "driver_stats:last",
  "driver_stats:vec",
]
"#;

/// A server and a client.
pub(crate) struct Stand {
    pub(crate) app: Arc<App>,
    pub(crate) database: Database,
    pub(crate) redis: RedisServer,
    pub(crate) puppet: Puppet,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Stand {
    /// A server on which nothing is materialized yet, and a client.
    pub(crate) async fn new() -> Self {
        let (database, redis) = (postgres::empty().await.unwrap(), RedisServer::start().unwrap());
        let settings = Settings {
            database: database.url.parse().unwrap(),
            source_database: None,
            named_databases: BTreeMap::new(),
            redis: redis.url().parse().unwrap(),
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clients.toml"), TOML).unwrap();
        let definitions = definitions::load(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        sqlx::raw_sql(AssertSqlSafe(TABLES))
            .execute(&database.pool)
            .await
            .unwrap();
        feature_server::migrate(&settings.database).await.unwrap();
        let app = App::open(&settings, definitions, Time::SourceDatabase).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn({
            let (app, stop) = (Arc::clone(&app), stop.clone());
            async move { app.serve(listener, None, stop, ServeOptions::default()).await }
        });
        let puppet = tokio::task::block_in_place(|| Puppet::start(&url));
        Self {
            app,
            database,
            redis,
            puppet,
            stop,
            server,
        }
    }

    /// With everything materialized.
    pub(crate) async fn materialized() -> Self {
        let stand = Self::new().await;
        for view in ["driver_stats", "driver_rides", "route_delay"] {
            let request = RunRequest::new(Mode::Full);
            stand
                .app
                .materialize(view, &request, &Progress::hidden())
                .await
                .unwrap();
        }
        stand
    }

    /// A call of the SDK.
    pub(crate) fn call(&mut self, call: &Json) -> Json {
        tokio::task::block_in_place(|| self.puppet.call(call))
    }

    /// A call of the SDK that is refused at once, in words.
    pub(crate) fn refused(&mut self, call: &Json, said: &str) {
        tokio::task::block_in_place(|| self.puppet.refused(call, said));
    }

    /// The values of these features of a driver, and their statuses.
    pub(crate) fn driver(&mut self, id: i64, features: &[&str]) -> Vec<(Json, String)> {
        let references: Vec<String> = features.iter().map(|name| format!("driver_stats:{name}")).collect();
        let said = self.call(&json!({"call": "read", "features": references, "rows": [{"driver_id": id}]}));
        let of = |name: &&str| {
            let status = said["statuses"][name][0].as_str().unwrap().to_owned();
            (said["values"][name][0].clone(), status)
        };
        features.iter().map(of).collect()
    }

    /// So long ago by the database's clock, in UTC, as Python's naive datetimes are written.
    pub(crate) async fn moment(&self, ago: &str) -> String {
        let sql = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' - $1::interval, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')";
        let query = sqlx::query_scalar(sql).bind(ago.to_owned());
        query.fetch_one(&self.database.pool).await.unwrap()
    }

    /// Runs SQL in the source.
    pub(crate) async fn sql(&self, sql: &str) {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        query.execute(&self.database.pool).await.unwrap();
    }

    /// Stops the server as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        drop(self.puppet);
        let stopped = tokio::time::timeout(Duration::from_secs(60), self.server).await;
        stopped.unwrap().unwrap().unwrap();
    }
}
