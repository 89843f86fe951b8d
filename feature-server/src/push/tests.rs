//! Pushes on real stores: what is appended, what is served, and what neither loses.

mod append;
mod direct;
mod equal;
mod races;
mod rows;
mod served;

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_defs::codec::{Body, Header, decode_body, decode_header};
use feature_defs::key::{EntityKey, KeyValue, value_key};
use feature_defs::time::Timestamp;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::{PushError, PushOptions, Pushed, PushedRow};
use crate::App;
use crate::testing::{Ground, at, redis_url};

/// Events: what flight and leg it is, of whom, when, when written, whether taken away, how late.
const EVENTS: &str = "
    CREATE TABLE events (flight text, leg int2, carrier varchar(8), event timestamptz, created timestamptz, gone bool, delay int4, note text DEFAULT 'none');
    CREATE INDEX ON events (carrier, event);
    CREATE INDEX ON events (event);
    CREATE INDEX ON events (created);
    CREATE INDEX ON events (flight, leg);";

/// What the sources of [`KINDS`] say of them.
const PLAIN: &str = "table = \"events\"\ncreated_timestamp = \"created\"\ndeleted = \"gone\"";
const KEYED: &str =
    "table = \"events\"\ncreated_timestamp = \"created\"\ndeleted = \"gone\"\nkey = [\"flight\", \"leg\"]";
const BARE: &str = "table = \"events\"\nlateness = \"12h\"";
const QUERY: &str = "sql = \"events.sql\"\ncreated_timestamp = \"created\"";
const KEYED_QUERY: &str =
    "sql = \"events.sql\"\ncreated_timestamp = \"created\"\ndeleted = \"gone\"\nkey = [\"flight\", \"leg\"]";
const KINDS: [&str; 5] = [PLAIN, KEYED, BARE, QUERY, KEYED_QUERY];

/// A query that makes other entities of the events than their columns show.
const SQL: &str = "SELECT flight, leg, lower(carrier) AS carrier, event, created, gone, delay + 1 AS delay FROM events";

/// A source of such events with two views: `ops`, of windows, and `newest`.
fn definitions(source: &str) -> String {
    format!(
        r#"
[[entity]]
name = "carrier"
join_keys = [{{ name = "carrier", type = "string" }}]

[[source]]
name = "events"
push_to = "events"
event_timestamp = "event"
{source}

[[feature_view]]
name = "ops"
entity = "carrier"
source = "events"
aggregate = [
  {{ name = "n", function = "count", windows = ["1h", "3h"] }},
  {{ name = "sum", function = "sum", column = "delay", type = "int64", windows = ["3h"] }},
]

[[feature_view]]
name = "newest"
entity = "carrier"
source = "events"
features = [{{ name = "delay", type = "int64" }}]
"#
    )
}

/// All that rows are of, as columns and the query spell them.
const CARRIERS: [&str; 6] = ["UA", "ua", "AA", "aa", "DL", "dl"];
const VIEWS: [&str; 2] = ["ops", "newest"];

async fn events(source: &str) -> Ground {
    Ground::with_files(EVENTS, &definitions(source), &[("events.sql", SQL)]).await
}

fn object(json: Value) -> PushedRow {
    match json {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

/// Rows as `F1 1 UA 11:30 11:31 10`, then `gone` or nothing; `-` is not given.
fn rows(lines: &[&str]) -> Vec<PushedRow> {
    let row = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut row = PushedRow::new();
        let time = |word: &str| json!(at(word).to_string());
        let mut put = |name: &str, word: &str, value: &dyn Fn(&str) -> Value| {
            if word != "-" {
                row.insert(name.to_owned(), value(word));
            }
        };
        let number = |word: &str| json!(word.parse::<i64>().unwrap());
        put("flight", words[0], &|word| json!(word));
        put("leg", words[1], &number);
        put("carrier", words[2], &|word| json!(word));
        put("event", words[3], &time);
        put("created", words[4], &time);
        put("delay", words[5], &number);
        if words.get(6) == Some(&"gone") {
            row.insert("gone".to_owned(), json!(true));
        }
        row
    };
    lines.iter().map(row).collect()
}

const WHOLE: PushOptions = PushOptions { partial: false };
const PARTIAL: PushOptions = PushOptions { partial: true };

impl Ground {
    /// Pushes rows at a time of the day, as [`rows`] has them.
    async fn push(&self, time: &str, lines: &[&str]) -> Pushed {
        self.clock.set(at(time));
        self.app.push("events", &rows(lines), WHOLE).await.unwrap()
    }

    /// How many rows the table has.
    async fn count(&mut self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&mut self.source)
            .await
            .unwrap()
    }

    /// An app like this one, by the database's clock.
    fn by_the_database_clock(&self) -> Arc<App> {
        App::open(
            &self.settings,
            self.app.definitions().clone(),
            crate::Time::SourceDatabase,
        )
        .unwrap()
    }
}

/// How many values were written and how many rows were older, by view.
fn counts(pushed: &Pushed) -> Vec<(&str, u64, u64)> {
    let views = pushed.views.iter();
    views
        .map(|view| (view.view.as_str(), view.written, view.older))
        .collect()
}

/// What a row view's value says of its row's times, and the value.
type Meaning = (Option<(Timestamp, Option<Timestamp>)>, Body);

/// What is online in a view, by carrier, without the moments that values are as of.
async fn online(ground: &Ground, view: &str) -> BTreeMap<&'static str, Meaning> {
    let definition = ground.app.view(view).unwrap();
    let meaning = |blob: &[u8]| {
        let (Header { event, created, as_of }, _) = decode_header(blob).unwrap();
        let is_of_a_row = !definition.is_aggregate() && event != as_of;
        let body = decode_body(blob, &definition.schema).unwrap();
        (is_of_a_row.then_some((event, created)), body)
    };
    let values = values(ground, view).await.into_iter();
    values.map(|(carrier, blob)| (carrier, meaning(&blob))).collect()
}

/// The values of a view, by carrier.
async fn values(ground: &Ground, view: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let mut connection = connect().await;
    let mut values = BTreeMap::new();
    for carrier in CARRIERS {
        let value: Option<Vec<u8>> = connection.get(key(ground, view, carrier)).await.unwrap();
        values.extend(value.map(|value| (carrier, value)));
    }
    values
}

fn key(ground: &Ground, view: &str, carrier: &str) -> String {
    let view = ground.app.view(view).unwrap();
    let carrier = KeyValue::String(carrier.to_owned());
    let entity = EntityKey::new([(&view.entity.join_keys[0].name, &carrier)]);
    value_key(&ground.app.definitions().project, &view.name, &entity)
}

async fn connect() -> MultiplexedConnection {
    let client = redis::Client::open(redis_url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}
