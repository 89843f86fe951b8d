//! Pushed rows: online in little more time than it takes to store them, and in the next training set.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use end_to_end::postgres::{self, Database};
use end_to_end::redis_server::RedisServer;
use feature_defs::definitions;
use feature_defs::time::Timestamp;
use feature_server::{App, Mode, Progress, PushOptions, PushedRow, RunRequest, Settings, Time};
use redis::AsyncCommands;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use table_files::{Format, TableOutput, TableReader};

/// How many times as long as a plain INSERT and SET a push may take here: the programs are not optimized, the database writes
/// nothing to disk, and other tests run beside, so that this finds questions too many a push and no more.
/// docs/performance.md has what was measured by itself.
const BOUND: f64 = 20.0;

const TABLES: &str = "
    CREATE TABLE orders (customer_id text NOT NULL, amount float8, items int8, event_timestamp timestamptz NOT NULL, created timestamptz);
    CREATE INDEX ON orders (customer_id, event_timestamp);
    CREATE INDEX ON orders (event_timestamp);
    CREATE INDEX ON orders (created);
    CREATE TABLE plain (LIKE orders INCLUDING ALL);
    INSERT INTO orders SELECT 'C' || i % 1000, i % 97, i % 7, now() - i * interval '1 min', now() - i * interval '1 min' FROM generate_series(1, 20000) AS i;
    INSERT INTO plain SELECT * FROM orders;
    ANALYZE";

const DEFINITIONS: &str = r#"
format = 1
project = "shop"

[[entity]]
name = "customer"
join_keys = [{ name = "customer_id", type = "string" }]

[[source]]
name = "orders"
table = "orders"
push_to = "orders"
event_timestamp = "event_timestamp"
created_timestamp = "created"

[[feature_view]]
name = "last_order"
entity = "customer"
source = "orders"
features = [{ name = "amount", type = "float64" }, { name = "items", type = "int64" }]

[[feature_view]]
name = "spending"
entity = "customer"
source = "orders"
aggregate = [
  { name = "orders", function = "count", windows = ["1h", "7d"] },
  { name = "spent", function = "sum", column = "amount", windows = ["7d"] },
]

[[feature_service]]
name = "shop"
features = ["last_order:amount", "last_order:items", "spending:orders_1h", "spending:orders_7d", "spending:spent_7d"]
"#;

struct Shop {
    app: Arc<App>,
    database: Database,
    redis: RedisServer,
}

async fn shop() -> Shop {
    let database = postgres::empty().await.unwrap();
    let redis = RedisServer::start().unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let public = "SET search_path = public";
    sqlx::raw_sql(public).execute(&mut connection).await.unwrap();
    sqlx::raw_sql(TABLES).execute(&mut connection).await.unwrap();
    let settings = Settings {
        database: database.url.parse().unwrap(),
        source_database: None,
        named_databases: std::collections::BTreeMap::new(),
        redis: redis.url().parse().unwrap(),
    };
    feature_server::migrate(&settings.database).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shop.toml"), DEFINITIONS).unwrap();
    let definitions = definitions::load(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    let app = App::open(&settings, definitions, Time::SourceDatabase).unwrap();
    for view in ["last_order", "spending"] {
        let run = RunRequest::new(Mode::Incremental);
        app.materialize(view, &run, &Progress::hidden()).await.unwrap();
    }
    Shop { app, database, redis }
}

fn order(customer: &str, amount: f64, items: u32, at: Timestamp) -> PushedRow {
    let row = json!({"customer_id": customer, "amount": amount, "items": items, "event_timestamp": at.to_string()});
    row.as_object().unwrap().clone()
}

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_row_is_online_within_a_few_times_an_insert_and_a_set() {
    let shop = shop().await;
    let mut plain = PgConnection::connect(&shop.database.url).await.unwrap();
    let client = redis::Client::open(shop.redis.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let value = [7_u8; 64];
    let (mut stored, mut pushed) = (Vec::new(), Vec::new());
    for i in 0..400_u32 {
        let (customer, amount) = (format!("C{}", i * 7 % 1_000), f64::from(i));
        let at = shop.app.now().await.unwrap();
        let begun = Instant::now();
        sqlx::query("INSERT INTO public.plain VALUES ($1, $2, $3, now(), now())")
            .bind(&customer)
            .bind(amount)
            .bind(i64::from(i))
            .execute(&mut plain)
            .await
            .unwrap();
        let _: () = redis.set(format!("plain:{customer}"), value.as_slice()).await.unwrap();
        let between = Instant::now();
        let row = order(&customer, amount, i, at);
        let done = shop.app.push("orders", &[row], PushOptions::default()).await.unwrap();
        let end = Instant::now();
        assert_eq!((done.appended, done.not_online, done.views.len()), (1, None, 2));
        // The first ones open connections and plan statements.
        if i >= 100 {
            stored.push(between - begun);
            pushed.push(end - between);
        }
    }
    let (stored, pushed) = (median(stored), median(pushed));
    let ratio = pushed.as_secs_f64() / stored.as_secs_f64();
    println!("an INSERT and a SET: {stored:?}; a push to two views: {pushed:?}; {ratio:.2} times");
    assert!(ratio < BOUND, "{stored:?} and {pushed:?}: {ratio:.2} times");
}

/// A training set of the shop's service for a customer, at a moment: its cells by column.
async fn trained(shop: &Shop, dir: &Path, customer: &str, at: Timestamp) -> Vec<(String, String)> {
    let (labels, out) = (dir.join("labels.csv"), dir.join("train.csv"));
    std::fs::write(&labels, format!("customer_id,event_timestamp\n{customer},{at}\n")).unwrap();
    let output = TableOutput {
        format: Format::of(&out).unwrap(),
        to: std::fs::File::create(&out).unwrap(),
    };
    let labels = TableReader::open(&labels).unwrap();
    shop.app
        .training_set("shop", labels, output, &Progress::hidden())
        .await
        .unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
    let (names, cells) = (lines.next().unwrap(), lines.next().unwrap());
    names.zip(cells).skip(2).collect()
}

#[tokio::test]
async fn pushed_rows_are_in_the_next_training_set_as_they_are_online() {
    let (shop, dir) = (shop().await, tempfile::tempdir().unwrap());
    let at = shop.app.now().await.unwrap();
    let rows = [order("new", 12.5, 3, at), order("C7", 1.25, 1, at)];
    let pushed = shop.app.push("spending", &rows, PushOptions::default()).await.unwrap();
    assert_eq!((pushed.appended, pushed.not_online), (2, None));
    let now = shop.app.now().await.unwrap();
    for customer in ["new", "C7"] {
        let online = shop
            .app
            .get("shop", &[("customer_id".to_owned(), customer.to_owned())])
            .await
            .unwrap();
        let online: Vec<(String, String)> = online
            .into_iter()
            .map(|feature| (feature.feature, feature.value.to_string()))
            .collect();
        assert_eq!(trained(&shop, dir.path(), customer, now).await, online, "{customer}");
        assert_eq!(online[1].1, if customer == "new" { "3" } else { "1" });
    }
}
