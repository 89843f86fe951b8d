//! Generated SQL on real histories: what values are, and that every way to ask for them gives the same.

mod histories;
mod plans;
mod questions;
mod random;

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use feature_defs::definitions::View;
use feature_defs::key::{KeyType, KeyValue};
use feature_defs::time::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};

use super::columns::Columns;
use super::*;
use crate::testing::{Ground, at};

/// Events, each with versions: what flight and leg it is, of whom, when, when written, whether taken away, how late.
const EVENTS: &str = "
    CREATE TABLE events (flight text, leg int2, tail int4, carrier varchar, event timestamptz, created timestamptz, gone bool, delay int4);
    CREATE INDEX ON events (carrier, event);
    CREATE INDEX ON events (tail, carrier, event);
    CREATE INDEX ON events (event);
    CREATE INDEX ON events (created);
    CREATE INDEX ON events (flight, leg);";

/// Over them, for both kinds of source, by carrier and by aircraft and carrier: `keyed_ops`, `keyed_ops_pair`,
/// `keyed_newest`, `keyed_newest_pair`, and the same with `plain`.
fn definitions() -> String {
    let mut toml = r#"
[[entity]]
name = "carrier"
join_keys = [{ name = "carrier", type = "string" }]

[[entity]]
name = "pair"
join_keys = [{ name = "tail", type = "int64" }, { name = "carrier", type = "string" }]
"#
    .to_owned();
    for (source, key) in [("keyed", r#"key = ["flight", "leg"]"#), ("plain", "")] {
        let _infallible = write!(
            toml,
            r#"
[[source]]
name = "{source}"
table = "events"
event_timestamp = "event"
created_timestamp = "created"
deleted = "gone"
{key}
"#
        );
        for (entity, suffix) in [("carrier", ""), ("pair", "_pair")] {
            let _infallible = write!(
                toml,
                r#"
[[feature_view]]
name = "{source}_ops{suffix}"
entity = "{entity}"
source = "{source}"
aggregate = [
  {{ name = "n", function = "count", windows = ["1h", "3h"] }},
  {{ name = "sum", function = "sum", column = "delay", type = "int64", windows = ["3h"] }},
]

[[feature_view]]
name = "{source}_newest{suffix}"
entity = "{entity}"
source = "{source}"
ttl = "2h"
features = [{{ name = "delay", type = "int64", expect = {{ min = 0, max = 50, null_share = 0.5 }} }}]
"#
            );
        }
    }
    toml
}

/// All values. They are asked for in the other way as well, where there is one.
const ALL: Scope = Scope::All(History::Short);

/// A row of a query of values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    keys: Vec<KeyValue>,
    present: bool,
    event: Option<Timestamp>,
    created: Option<Timestamp>,
    features: Vec<Option<i64>>,
}

impl Found {
    /// `UA 11:30 7 -`, or `UA absent`.
    fn line(&self) -> String {
        let mut line = String::new();
        for key in &self.keys {
            let _infallible = match key {
                KeyValue::String(text) => write!(line, "{text} "),
                KeyValue::Int64(number) => write!(line, "{number} "),
            };
        }
        let times: Vec<&Timestamp> = self.event.iter().chain(&self.created).collect();
        line.push_str(if self.present { "" } else { "absent " });
        for time in times {
            let _infallible = write!(line, "{} ", &time.to_string()[11..16]);
        }
        for feature in &self.features {
            let text = feature.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let _infallible = write!(line, "{text} ");
        }
        line.trim_end().trim_end_matches(" -").to_owned()
    }
}

impl Ground {
    async fn events() -> Self {
        Self::new(EVENTS, &definitions()).await
    }

    /// Adds a row: `F1 1 7 UA 11:30 11:31 10`, then `gone` or nothing; `-` is null.
    async fn row(&mut self, row: &str) {
        let words: Vec<String> = row
            .split(' ')
            .map(|word| match word {
                "-" => "NULL".to_owned(),
                "gone" => "true".to_owned(),
                time if time.contains(':') => format!("'2013-11-05 {time}:00+00'"),
                other => format!("'{}'", other.replace('\'', "''")),
            })
            .collect();
        let [flight, leg, tail, carrier, event, created, delay] = &words[..7] else {
            panic!("{row}");
        };
        let gone = words.get(7).map_or("false", String::as_str);
        self.sql(&format!(
            "INSERT INTO events VALUES ({flight}, {leg}, {tail}, {carrier}, {event}, {created}, {gone}, {delay})"
        ))
        .await;
    }

    async fn view_and_columns(&mut self, view: &str) -> (Arc<View>, Columns) {
        let view = Arc::clone(self.app.view(view).unwrap());
        let columns = columns_of(&mut self.source, &view.source).await.unwrap();
        assert_eq!(check_view(&view, &columns), []);
        (view, columns)
    }

    async fn values_of(&mut self, view: &str, time: &str, scope: Scope, part: Part<'_>) -> Vec<Found> {
        let (view, columns) = self.view_and_columns(view).await;
        let mut wanted = Wanted {
            as_of: at(time),
            scope,
            part,
        };
        let query = values_query(&view, &columns, &wanted);
        let found = self.found(&view, &query).await;
        if scope == ALL {
            wanted.scope = Scope::All(History::Long);
            let other = values_query(&view, &columns, &wanted);
            if other != query {
                assert_eq!(self.found(&view, &other).await, found, "{other}");
            }
        }
        found
    }

    async fn found(&mut self, view: &View, query: &str) -> Vec<Found> {
        let rows = sqlx::query(AssertSqlSafe(query.to_owned()))
            .fetch_all(&mut self.source)
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}\n{query}"));
        rows.iter().map(|row| read(view, row)).collect()
    }

    /// What values there are, a line each.
    async fn all(&mut self, view: &str, time: &str) -> String {
        lines(&self.values_of(view, time, ALL, Part::ALL).await)
    }

    /// What a run as of a time looks at after a run as of `since`.
    async fn changed(&mut self, view: &str, since: &str, time: &str) -> String {
        lines(
            &self
                .values_of(view, time, Scope::Changed(after_run(since)), Part::ALL)
                .await,
        )
    }
}

/// What a run looks at after one as of this time, with an overlap of five minutes.
fn after_run(time: &str) -> Since {
    Since {
        event: at(time),
        created: Some(at(time).minus("5m".parse().unwrap())),
        as_of: at(time),
    }
}

fn lines(found: &[Found]) -> String {
    found.iter().map(Found::line).collect::<Vec<_>>().join(" | ")
}

fn read(view: &View, row: &sqlx::postgres::PgRow) -> Found {
    let time = |name| row.get::<Option<DateTime<Utc>>, _>(name).map(Timestamp::from);
    let key = |(i, key_type): (usize, KeyType)| match key_type {
        KeyType::String => KeyValue::String(row.get(format!("k{i}").as_str())),
        KeyType::Int64 => KeyValue::Int64(row.get(format!("k{i}").as_str())),
    };
    let types = view.entity.join_keys.iter().map(|key| key.key_type).enumerate();
    let found = Found {
        keys: types.map(key).collect(),
        present: row.get("present"),
        event: time("event"),
        created: time("created"),
        features: (0..view.fields().len())
            .map(|i| row.get(format!("f{i}").as_str()))
            .collect(),
    };
    assert!(found.present || found.features.iter().all(Option::is_none), "{found:?}");
    assert!(!found.present || found.event.is_some(), "{found:?}");
    found
}
