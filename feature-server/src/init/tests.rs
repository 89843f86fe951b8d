//! Tables of many shapes on a real Postgres: what is written loads, fits the database, and says what it should.

mod refusals;

use feature_defs::definitions::{self, Definitions};
use serde_json::json;

use super::{InitError, InitOptions, InitSummary, init};
use crate::testing::Ground;
use crate::{App, Mode, Progress, RunRequest, Time};

/// A database with these tables, and a directory for definitions.
struct Place {
    ground: Ground,
    dir: tempfile::TempDir,
}

impl Place {
    async fn new(tables: &str) -> Self {
        Self {
            ground: Ground::new(tables, "").await,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn features(&self) -> std::path::PathBuf {
        self.dir.path().join("features")
    }

    async fn init(&self, table: &str, options: &InitOptions) -> Result<InitSummary, InitError> {
        init(&self.ground.settings.database, &self.features(), table, options).await
    }

    fn app(&self) -> std::sync::Arc<App> {
        let definitions = definitions::load(&self.features()).unwrap_or_else(|error| panic!("{error}"));
        App::open(&self.ground.settings, definitions, Time::SourceDatabase).unwrap()
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.features().join(file)).unwrap()
    }
}

fn options() -> InitOptions {
    InitOptions::default()
}

/// What was declared, in short: entity, source, views with their features.
fn outline(definitions: &Definitions) -> String {
    let mut lines = Vec::new();
    for entity in &definitions.entities {
        let keys = entity.join_keys.iter();
        let keys: Vec<String> = keys
            .map(|key| format!("{}:{}", key.name, key.key_type.value_type()))
            .collect();
        lines.push(format!("entity {} ({})", entity.name, keys.join(" ")));
    }
    for source in &definitions.sources {
        let mut line = format!("source {} at {}", source.name, source.event_timestamp);
        for (what, column) in [("created", &source.created_timestamp), ("deleted", &source.deleted)] {
            if let Some(column) = column {
                line.push_str(&format!(" {what} {column}"));
            }
        }
        lines.push(line);
    }
    for view in &definitions.views {
        let fields = view.fields().iter();
        let fields: Vec<String> = fields.map(|f| format!("{}:{}", f.name, f.value_type)).collect();
        lines.push(format!(
            "view {} by {}: {}",
            view.name,
            view.key_columns.join(","),
            fields.join(" ")
        ));
    }
    for service in &definitions.services {
        lines.push(format!("service {}: {} inputs", service.name, service.inputs.len()));
    }
    lines.join("\n")
}

struct Case {
    name: &'static str,
    tables: &'static str,
    table: &'static str,
    options: InitOptions,
    expected: &'static str,
}

fn case(name: &'static str, tables: &'static str, table: &'static str, expected: &'static str) -> Case {
    Case {
        name,
        tables,
        table,
        options: options(),
        expected,
    }
}

fn cases() -> Vec<Case> {
    let events = "CREATE TYPE channel AS ENUM ('web', 'shop');
        CREATE DOMAIN price AS numeric CHECK (VALUE >= 0);
        CREATE TABLE orders (order_id bigint PRIMARY KEY, customer_id bigint NOT NULL, amount price, paid bool, channel channel,
          ordered_at timestamptz NOT NULL, shipped_at timestamptz, ingested_at timestamptz NOT NULL, is_deleted bool,
          detail jsonb, tags text[], days date);
        INSERT INTO orders (order_id, customer_id, amount, ordered_at, ingested_at)
          SELECT i, i % 2, i, now() - i * interval '1 hour', now() FROM generate_series(1, 6) i;";
    vec![
        case(
            "a table of events",
            events,
            "public.orders",
            "entity customer (customer_id:int64)
             source orders at ordered_at created ingested_at deleted is_deleted
             view orders_latest by customer_id: amount:float64 paid:bool channel:string tags:string_list
             view orders_recent by customer_id: rows_1d:int64 rows_7d:int64 rows_30d:int64 amount_mean_1d:float64 amount_mean_7d:float64 amount_mean_30d:float64 paid_mean_1d:float64 paid_mean_7d:float64 paid_mean_30d:float64
             service orders: 13 inputs",
        ),
        Case {
            options: InitOptions {
                entity: Some("sale".parse().unwrap()),
                join_keys: vec!["order_id".into(), "channel".into()],
                event_timestamp: Some("shipped_at".into()),
                created_timestamp: Some("ordered_at".into()),
                ..options()
            },
            ..case(
                "the user knows better",
                events,
                "orders",
                "entity sale (order_id:int64 channel:string)
                 source orders at shipped_at created ordered_at deleted is_deleted
                 view orders by order_id,channel: customer_id:int64 amount:float64 paid:bool tags:string_list
                 service orders: 4 inputs",
            )
        },
        case(
            "a dimension table",
            "CREATE TABLE planes (id text PRIMARY KEY, built_year int, seats int2, created_at timestamptz, updated_at timestamptz)",
            "planes",
            "entity plane (plane_id:string)
             source planes at updated_at
             view planes by id: built_year:int64 seats:int64
             service planes: 2 inputs",
        ),
        case(
            "snapshots by a composite key with a time",
            "CREATE TABLE weather (airport text, runway int, observed timestamptz, wind float4, PRIMARY KEY (airport, runway, observed));
             INSERT INTO weather SELECT 'JFK', 4, now() - i * interval '1 hour', i FROM generate_series(1, 3) i",
            "weather",
            "entity airport_runway (airport:string runway:int64)
             source weather at observed
             view weather_latest by airport,runway: wind:float32
             view weather_recent by airport,runway: rows_1d:int64 rows_7d:int64 rows_30d:int64 wind_mean_1d:float64 wind_mean_7d:float64 wind_mean_30d:float64
             service weather: 7 inputs",
        ),
        case(
            "a composite key without a time",
            "CREATE TABLE stock (warehouse text, shelf int, amount int, counted_at timestamptz, PRIMARY KEY (warehouse, shelf))",
            "stock",
            "entity warehouse_shelf (warehouse:string shelf:int64)
             source stock at counted_at
             view stock by warehouse,shelf: amount:int64
             service stock: 1 inputs",
        ),
        case(
            "weird names",
            "CREATE SCHEMA \"Größe\"; CREATE TABLE \"Größe\".\"Order \"\"Items\"\"\" (\"Order ID\" int, \"customerId\" uuid, \"größe\" int,
               gr_e int, \"select\" text, \"a__b\" float8, \"100%\" bool, \"tab\tname\" int, \"Event Time\" timestamptz, PRIMARY KEY (\"Order ID\"));
             INSERT INTO \"Größe\".\"Order \"\"Items\"\"\" SELECT i, '00000000-0000-0000-0000-000000000000' FROM generate_series(1, 2) i",
            "Größe.Order \"Items\"",
            "entity customer (customerId:string)
             source order_items at Event Time
             view order_items_latest by customerId: gr_e:int64 gr_e_2:int64 select:string a_b:float64 column_100:bool
             view order_items_recent by customerId: rows_1d:int64 rows_7d:int64 rows_30d:int64 gr_e_mean_1d:float64 gr_e_mean_7d:float64 gr_e_mean_30d:float64 gr_e_2_mean_1d:float64 gr_e_2_mean_7d:float64 gr_e_2_mean_30d:float64 a_b_mean_1d:float64 a_b_mean_7d:float64 a_b_mean_30d:float64 column_100_mean_1d:float64 column_100_mean_7d:float64 column_100_mean_30d:float64
             service order_items: 20 inputs",
        ),
        case(
            "a table called as a word of references",
            "CREATE TABLE request (id int PRIMARY KEY, request_time float8, ts timestamptz)",
            "request",
            "entity request (request_id:int64)
             source request at ts
             view request_2 by id: request_time:float64
             service request: 1 inputs",
        ),
        Case {
            options: InitOptions {
                time_zone: Some("Europe/Berlin".into()),
                ..options()
            },
            ..case(
                "no timestamptz, but a time zone",
                "CREATE TABLE visits (user_id int, at timestamp, \"Created\" timestamp, pages int);
                 INSERT INTO visits VALUES (1, now(), now(), 2), (1, now(), now(), 3)",
                "visits",
                "entity user (user_id:int64)
                 source visits at at created Created
                 view visits_latest by user_id: pages:int64
                 view visits_recent by user_id: rows_1d:int64 rows_7d:int64 rows_30d:int64 pages_mean_1d:float64 pages_mean_7d:float64 pages_mean_30d:float64
                 service visits: 7 inputs",
            )
        },
        case(
            "nothing but keys and times",
            "CREATE TABLE logins (user_id int, event_ts timestamptz, updated_at timestamptz)",
            "logins",
            "entity user (user_id:int64)
             source logins at event_ts created updated_at
             view logins_recent by user_id: rows_1d:int64 rows_7d:int64 rows_30d:int64
             service logins: 3 inputs",
        ),
        case(
            "a view in the database, of which no entity with several rows is seen",
            "CREATE TABLE t (customer_id int, score float8, at timestamptz); INSERT INTO t VALUES (1, 2, now()), (2, 3, now());
             CREATE VIEW scores AS SELECT * FROM t",
            "scores",
            "entity customer (customer_id:int64)
             source scores at at
             view scores_latest by customer_id: score:float64
             service scores: 1 inputs",
        ),
        case(
            "a foreign key that is not called an id",
            "CREATE TABLE carriers (code text PRIMARY KEY); CREATE TABLE arrivals (carrier text REFERENCES carriers, delay float8, arrived_at timestamptz)",
            "arrivals",
            "entity carrier (carrier:string)
             source arrivals at arrived_at
             view arrivals_latest by carrier: delay:float64
             view arrivals_recent by carrier: rows_1d:int64 rows_7d:int64 rows_30d:int64 delay_mean_1d:float64 delay_mean_7d:float64 delay_mean_30d:float64
             service arrivals: 7 inputs",
        ),
        case(
            "rows that say only when they were written",
            "CREATE TABLE clicks (id uuid PRIMARY KEY, session_id text, x int, updated_at timestamptz NOT NULL, created_at timestamptz)",
            "clicks",
            "entity session (session_id:string)
             source clicks at created_at created updated_at
             view clicks_latest by session_id: x:int64
             view clicks_recent by session_id: rows_1d:int64 rows_7d:int64 rows_30d:int64 x_mean_1d:float64 x_mean_7d:float64 x_mean_30d:float64
             service clicks: 7 inputs",
        ),
    ]
}

#[tokio::test]
async fn what_is_written_loads_fits_the_database_and_says_what_it_should() {
    for case in cases() {
        let place = Place::new(case.tables).await;
        let summary = place.init(case.table, &case.options).await;
        let summary = summary.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let app = place.app();
        let expected: Vec<&str> = case.expected.lines().map(str::trim).collect();
        assert_eq!(outline(app.definitions()), expected.join("\n"), "{}", case.name);
        let check = app.check_database().await.unwrap();
        assert_eq!(check.problems, [], "{}", case.name);
        assert!(
            app.service(&summary.service).is_ok(),
            "{}: {}",
            case.name,
            summary.service
        );
    }
}

#[tokio::test]
async fn what_is_written_is_materialized_and_read() {
    let place = Place::new(
        "CREATE TABLE orders (order_id int PRIMARY KEY, customer_id bigint, amount float8, ordered_at timestamp, ingested_at timestamptz);
         INSERT INTO orders VALUES (1, 7, 20, (now() AT TIME ZONE 'Asia/Tokyo') - interval '2 days', now()),
           (2, 7, 40, (now() AT TIME ZONE 'Asia/Tokyo') - interval '1 hour', now()), (3, 7, 999, (now() AT TIME ZONE 'Asia/Tokyo') + interval '1 hour', now())",
    )
    .await;
    let zone = InitOptions {
        time_zone: Some("Asia/Tokyo".into()),
        ..options()
    };
    let summary = place.init("orders", &zone).await.unwrap();
    assert_eq!(summary.join_keys, ["customer_id"]);
    let app = place.app();
    for view in ["orders_latest", "orders_recent"] {
        app.materialize(view, &RunRequest::new(Mode::Full), &Progress::hidden())
            .await
            .unwrap();
    }
    let values = app.get("orders", &[("customer_id".into(), "7".into())]).await.unwrap();
    let values: Vec<_> = values
        .iter()
        .map(|value| (value.feature.as_str(), &value.value))
        .collect();
    assert_eq!(
        values,
        [
            ("orders_latest__amount", &json!(40.0)),
            ("orders_recent__rows_1d", &json!(1)),
            ("orders_recent__rows_7d", &json!(2)),
            ("orders_recent__rows_30d", &json!(2)),
            ("orders_recent__amount_mean_1d", &json!(40.0)),
            ("orders_recent__amount_mean_7d", &json!(30.0)),
            ("orders_recent__amount_mean_30d", &json!(30.0)),
        ]
    );
}

#[tokio::test]
async fn a_newcomer_reads_why() {
    let place = Place::new(
        "CREATE TABLE planes (id text PRIMARY KEY, \"Seats\" int, \"built in\" int, detail jsonb, updated_at timestamptz)",
    )
    .await;
    let summary = place.init("planes", &options()).await.unwrap();
    let text = place.text("planes.toml");
    let text = text.replace(place.app().definitions().project.as_str(), "shop");
    insta::assert_snapshot!(text, @r##"
    # Features from public.planes: a first draft, to be changed.

    # One file of the directory says these two. The project is the namespace of all stored values.
    format = 1
    project = "shop"

    # What the features are about, and the keys by which a request names one.
    # Guessed: it is the table's own key, and nothing else looks like an id.
    [[entity]]
    name = "plane"
    join_keys = [{ name = "plane_id", type = "string" }]

    # Where rows come from. A row counts from its event timestamp on: a training set never sees it before.
    # Guessed: the only column with a time.
    # A row that is rewritten in place has its newest values for the past too: prefer tables that rows are added to.
    [[source]]
    name = "planes"
    table = "public.planes"
    event_timestamp = "updated_at"
    # created_timestamp = "…"  # a column that says when the row was written: late and corrected rows are found by it
    # lateness = "2h"  # without such a column: how late rows may come and still be found by incremental runs
    # deleted = "is_deleted"  # a bool column: a true row takes the value away

    # A row view: the newest row of an entity is its value.
    [[feature_view]]
    name = "planes"
    entity = "plane"
    source = "planes"
    columns = { plane_id = "id" }  # the source's columns for join keys of other names
    schedule = "5m"  # how often `feature-server serve` computes it
    # ttl = "30d"  # an older value counts as missing
    features = [
      { name = "Seats", type = "int64" },
      { name = "built_in", type = "int64", column = "built in" },
      # left out: detail: jsonb is no type of features: take what you need out of it in a query
    ]

    # A feature service: what one model takes in, in order. Leave only what it needs; `default` stands in for a missing value.
    # What only a request knows is declared here too: request = [{ name = "amount", type = "float64" }], and read as "request:amount".
    [[feature_service]]
    name = "planes"
    features = [
      "planes:Seats",
      "planes:built_in",
    ]
    "##);
    insta::assert_snapshot!(summary.guesses.join("\n"), @r##"
    `updated_at` says when a row was true (event_timestamp): the only column with a time
    rows are about entity `plane`, by id: it is the table's own key, and nothing else looks like an id
    an entity has one row, by a unique key: a row view is enough
    `detail` is left out: jsonb is no type of features: take what you need out of it in a query
    "##);
}

#[tokio::test]
async fn an_aggregate_view_that_is_a_comment_can_be_taken_up() {
    let place = Place::new(
        "CREATE TABLE scores (customer_id int, score float8, at timestamptz); INSERT INTO scores VALUES (1, 2, now())",
    )
    .await;
    place.init("scores", &options()).await.unwrap();
    let text = place.text("scores.toml");
    let (before, after) = text.split_once("take this up.\n").unwrap();
    let (comment, after) = after.split_once("\n\n").unwrap();
    let view: Vec<&str> = comment.lines().map(|line| line.strip_prefix("# ").unwrap()).collect();
    let text = format!("{before}\n{}\n\n{after}", view.join("\n"));
    std::fs::write(place.features().join("scores.toml"), text).unwrap();
    let app = place.app();
    assert_eq!(app.definitions().view("scores_recent").unwrap().fields().len(), 6);
    assert_eq!(app.check_database().await.unwrap().problems, []);
}
