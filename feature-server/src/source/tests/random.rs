//! Random histories: full runs give what a plain model gives, and incremental ones, shards, resumed queries and
//! verification give what full ones do.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::shard::Shard;

const CARRIERS: [&str; 5] = ["UA", "AA", r"O'Hare\", "ü,(\"", ""];
const TIMES: [&str; 6] = ["09:00", "10:00", "10:03", "11:30", "12:00", "15:30"];

/// Small numbers without end, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        // Constants of Knuth's MMIX.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }

    fn time(&mut self) -> String {
        // Few moments, so that many tie.
        format!("{:02}:{:02}", 6 + self.below(10), self.below(4) * 15)
    }

    /// A row written before this time of the day.
    fn row(&mut self, before: &str) -> String {
        let or_null = |dice: &mut Self, word: String| {
            if dice.below(25) == 0 {
                "NULL".to_owned()
            } else {
                format!("'{word}'")
            }
        };
        let created = at(before).minus(format!("{}s", self.below(4) * 60).parse().unwrap());
        let event = match self.below(30) {
            0 => "'infinity'".to_owned(),
            _ => {
                let time = self.time();
                or_null(self, at(&time).to_string())
            }
        };
        let flight = format!("F{}", self.below(14));
        let tail = (7 + self.of(&[0, 1, 100])).to_string();
        let leg = (1 + self.below(2)).to_string();
        let carrier = self.of(&CARRIERS).replace('\'', "''");
        format!(
            "({}, {}, {}, {}, {event}, '{created}', {}, {})",
            or_null(self, flight),
            or_null(self, leg),
            or_null(self, tail),
            or_null(self, carrier),
            self.of(&["NULL", "true", "false", "false"]),
            self.of(&["NULL", "1", "2", "30"]),
        )
    }
}

/// A row of the source as the model sees it.
#[derive(Debug, Clone)]
struct Event {
    key: Option<(String, i16)>,
    tail: Option<i64>,
    carrier: Option<String>,
    event: Option<Timestamp>,
    created: Option<Timestamp>,
    gone: bool,
    delay: Option<i64>,
    text: String,
}

async fn source_rows(ground: &mut Ground) -> Vec<Event> {
    let rows = sqlx::query(
        "SELECT flight, leg, tail::int8, carrier::text, CASE WHEN isfinite(event) THEN event END AS event, created, gone IS TRUE AS gone,
         delay::int8, events::text AS text FROM events",
    )
    .fetch_all(&mut ground.source)
    .await
    .unwrap();
    let event = |row: &sqlx::postgres::PgRow| Event {
        key: row.get::<Option<String>, _>("flight").zip(row.get("leg")),
        tail: row.get("tail"),
        carrier: row.get("carrier"),
        event: row.get::<Option<DateTime<Utc>>, _>("event").map(Timestamp::from),
        created: row.get::<Option<DateTime<Utc>>, _>("created").map(Timestamp::from),
        gone: row.get("gone"),
        delay: row.get("delay"),
        text: row.get("text"),
    };
    rows.iter().map(event).collect()
}

/// The values of a view as of a moment, by the words of the contract.
fn model(view: &View, events: &[Event], as_of: Timestamp) -> Vec<Found> {
    let keyed = !view.source.key.is_empty();
    let mut rows: Vec<&Event> = events.iter().collect();
    if keyed {
        let mut newest: BTreeMap<_, &Event> = BTreeMap::new();
        // An infinite event time sorts last in the database, and here first: no infinite one shares its created time.
        let rank = |event: &Event| {
            (
                event.created,
                event.text.contains("infinity"),
                event.event,
                event.text.clone(),
            )
        };
        for event in rows.into_iter().filter(|event| event.key.is_some()) {
            let current = newest.entry(event.key.clone()).or_insert(event);
            if rank(event) > rank(current) {
                *current = event;
            }
        }
        rows = newest.into_values().collect();
    }
    if view.is_recomputed_whole() {
        rows.retain(|row| !row.gone);
    }
    let mut entities: BTreeMap<Vec<KeyValue>, Vec<(Timestamp, &Event)>> = BTreeMap::new();
    for row in rows {
        let tail = row.tail.map(KeyValue::Int64);
        let carrier = row.carrier.clone().map(KeyValue::String);
        let keys: Option<Vec<KeyValue>> = match view.key_columns.len() {
            1 => [carrier].into_iter().collect(),
            _ => [tail, carrier].into_iter().collect(),
        };
        if let (Some(keys), Some(event)) = (keys, row.event.filter(|&event| event <= as_of)) {
            entities.entry(keys).or_default().push((event, row));
        }
    }
    entities
        .into_iter()
        .filter_map(|(keys, rows)| value(view, keys, rows, as_of))
        .collect()
}

fn value(view: &View, keys: Vec<KeyValue>, rows: Vec<(Timestamp, &Event)>, as_of: Timestamp) -> Option<Found> {
    if view.is_aggregate() {
        let within = |span: &str| {
            rows.iter()
                .filter(move |(event, _)| *event > as_of.minus(span.parse().unwrap()))
                .copied()
                .collect::<Vec<_>>()
        };
        let longest = within("3h");
        let event = longest.iter().map(|(event, _)| *event).max()?;
        let sum = longest.iter().filter_map(|(_, row)| row.delay).sum();
        let counts = [within("1h").len(), longest.len()].map(|count| Some(i64::try_from(count).unwrap()));
        let features = [counts[0], counts[1], Some(sum)].to_vec();
        return Some(Found {
            keys,
            present: true,
            event: Some(event),
            created: None,
            features,
        });
    }
    // Nulls of features sort last.
    let first = |(event, row): &(Timestamp, &Event)| {
        (
            *event,
            row.created,
            row.gone,
            std::cmp::Reverse(row.delay.unwrap_or(i64::MAX)),
        )
    };
    let (event, row) = rows.into_iter().max_by_key(first)?;
    Some(Found {
        keys,
        present: !row.gone,
        event: Some(event),
        created: row.created,
        features: vec![row.delay.filter(|_| !row.gone)],
    })
}

/// What is online after values were written over it.
fn write(view: &View, online: &mut BTreeMap<Vec<KeyValue>, Found>, found: Vec<Found>) {
    for new in found {
        let stays = online
            .get(&new.keys)
            .is_some_and(|old| !view.is_recomputed_whole() && (old.event, old.created) > (new.event, new.created));
        if !stays {
            online.insert(new.keys.clone(), new);
        }
    }
    if view.is_recomputed_whole() {
        online.retain(|_, value| value.present);
    }
}

const VIEWS: [&str; 8] = [
    "keyed_ops",
    "keyed_ops_pair",
    "keyed_newest",
    "keyed_newest_pair",
    "plain_ops",
    "plain_ops_pair",
    "plain_newest",
    "plain_newest_pair",
];

#[tokio::test]
async fn full_incremental_and_looked_up_values_are_the_same() {
    for seed in 0..4 {
        let mut ground = Ground::events().await;
        let mut dice = Dice(seed);
        let mut online: BTreeMap<&str, BTreeMap<Vec<KeyValue>, Found>> = BTreeMap::new();
        for (step, time) in TIMES.iter().enumerate() {
            let rows: Vec<String> = (0..25).map(|_| dice.row(time)).collect();
            ground
                .sql(&format!("INSERT INTO events VALUES {}", rows.join(", ")))
                .await;
            // Exact duplicates, and rows that are rewritten as deleted.
            ground
                .sql("INSERT INTO events SELECT * FROM events ORDER BY md5(events::text) LIMIT 2")
                .await;
            ground
                .sql(&format!(
                    "UPDATE events SET gone = true, created = '{}' WHERE delay = 30 AND leg = {step}",
                    at(time)
                ))
                .await;
            let events = source_rows(&mut ground).await;
            for name in VIEWS {
                let context = format!("seed {seed}, {name} as of {time}");
                let (view, _) = ground.view_and_columns(name).await;
                let all = ground.values_of(name, time, ALL, Part::ALL).await;
                assert_eq!(lines(&all), lines(&model(&view, &events, at(time))), "{context}");
                let online = online.entry(name).or_default();
                if step == 0 {
                    write(&view, online, all.clone());
                } else {
                    let since = Scope::Changed(after_run(TIMES[step - 1]));
                    let changed = ground.values_of(name, time, since, Part::ALL).await;
                    assert!(changed.iter().map(|found| &found.keys).is_sorted(), "{context}");
                    write(&view, online, changed.clone());
                    parts(&mut ground, name, time, since, &changed).await;
                }
                assert_eq!(online.values().cloned().collect::<Vec<_>>(), all, "{context}");
                parts(&mut ground, name, time, ALL, &all).await;
                looked_up(&mut ground, name, time, &all).await;
            }
        }
    }
}

/// Shards are disjoint and together everything; a query that goes on after an entity gives the rest.
async fn parts(ground: &mut Ground, view: &str, time: &str, scope: Scope, whole: &[Found]) {
    let mut together = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let shard = shard.parse().unwrap();
        together.extend(ground.values_of(view, time, scope, Part { shard, after: &[] }).await);
    }
    together.sort_by(|one, other| one.keys.cmp(&other.keys));
    assert_eq!(together, whole, "{view} as of {time}");
    // Whatever backslashes mean to the session.
    ground.sql("SET standard_conforming_strings = off").await;
    for place in (0..whole.len()).step_by(3) {
        let part = Part {
            shard: Shard::WHOLE,
            after: &whole[place].keys,
        };
        let rest = ground.values_of(view, time, scope, part).await;
        assert_eq!(rest, whole[place + 1..], "{view} as of {time}");
    }
    ground.sql("RESET standard_conforming_strings").await;
}

/// Each entity by itself has the value that it has among all; an entity that is not there has none.
async fn looked_up(ground: &mut Ground, view: &str, time: &str, all: &[Found]) {
    let (view, columns) = ground.view_and_columns(view).await;
    let mut entities: BTreeSet<Vec<KeyValue>> = all.iter().map(|found| found.keys.clone()).collect();
    for carrier in CARRIERS {
        let carrier = KeyValue::String(carrier.to_owned());
        entities.insert(match view.key_columns.len() {
            1 => vec![carrier],
            _ => vec![KeyValue::Int64(107), carrier],
        });
    }
    let numbers: Vec<i64> = (0..).take(entities.len()).collect();
    let query = verification_query(&view, &columns);
    let mut query = sqlx::query(AssertSqlSafe(query))
        .bind(numbers)
        .bind(vec![at(time).to_chrono().unwrap(); entities.len()]);
    for place in 0..view.key_columns.len() {
        let column = entities.iter().map(|keys| &keys[place]);
        query = match view.entity.join_keys[place].key_type {
            KeyType::String => query.bind(
                column
                    .map(|key| match key {
                        KeyValue::String(text) => text.clone(),
                        other => panic!("{other:?}"),
                    })
                    .collect::<Vec<_>>(),
            ),
            KeyType::Int64 => query.bind(
                column
                    .map(|key| match key {
                        KeyValue::Int64(number) => *number,
                        other => panic!("{other:?}"),
                    })
                    .collect::<Vec<_>>(),
            ),
        };
    }
    let rows = query.fetch_all(&mut ground.source).await.unwrap();
    assert_eq!(rows.len(), entities.len());
    for (row, keys) in rows.iter().zip(entities) {
        let expected = all.iter().find(|found| found.keys == keys);
        let times = |name: &str| row.get::<Option<DateTime<Utc>>, _>(name).map(Timestamp::from);
        let found = Found {
            present: row.get("present"),
            event: times("event"),
            created: times("created"),
            features: (0..view.fields().len())
                .map(|i| row.get(format!("f{i}").as_str()))
                .collect(),
            keys: keys.clone(),
        };
        let mut expected = expected.cloned().unwrap_or_else(|| Found {
            present: false,
            event: None,
            created: None,
            features: vec![None; view.fields().len()],
            keys,
        });
        if view.is_aggregate() {
            expected.event = None;
        }
        assert_eq!(found, expected, "{} as of {time}", view.name);
    }
}
