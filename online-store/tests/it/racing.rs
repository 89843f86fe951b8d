//! Many writers race with versions of the same keys, in a locale that sorts text unlike bytes: the newest stands in the
//! end, and on the way no value ever goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use feature_defs::serving::StoredRow;
use online_store::{Guard, Lookup, OnlineReader};

use crate::support::{SECOND, Server, Times, at, carrier, counter, counter_view, german_locale, number, store_at};

const WRITERS: u64 = 8;
const KEYS: usize = 150;
const VERSIONS: i64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_never_leave_or_show_an_older_value() {
    let environment = [("LOCPATH", german_locale()), ("LC_ALL", "de_DE.UTF-8".into())];
    let server = Server::start_with(environment.map(|(name, value)| (name.to_owned(), value)).into());
    let (store, raw) = store_at(&server.url());
    let sorts_like_german: i64 = raw.run(&[b"EVAL", b"return ('a' < 'B') and 1 or 0", b"0"]).await;
    assert_eq!(
        sorts_like_german, 1,
        "the server is not in the German locale: this test would prove nothing"
    );

    let view = counter_view();
    store.writer().put_schema(&view).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let monitor = tokio::spawn(monitor(store.reader(vec![view.clone()]), done.clone()));
    let writers = (0..WRITERS).map(|seed| {
        let (writer, view) = (store.writer(), view.clone());
        tokio::spawn(async move {
            let mut random = Random(seed + 1);
            for version in random.shuffled(VERSIONS) {
                // Another order of keys in each batch, and sometimes a key twice, with an older and a newer version.
                let mut batch: Vec<_> = random
                    .shuffled(KEYS as i64)
                    .into_iter()
                    .map(|key| (carrier(&key.to_string()), counter(&view, times(version), version)))
                    .collect();
                let again = random.below(VERSIONS);
                batch.push((carrier("0"), counter(&view, times(again), again)));
                writer
                    .write(&view.name, Guard::EventThenCreated { complete_as_of: None }, &batch)
                    .await
                    .unwrap();
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let (looks, last) = monitor.await.unwrap();
    assert_eq!(last, vec![Some(VERSIONS - 1); KEYS], "the newest stands everywhere");
    assert!(looks > 20, "the monitor looked only {looks} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_writers_of_new_keys_the_newest_wins() {
    const BATCHES: usize = 40;
    let server = Server::start();
    let (store, _raw) = store_at(&server.url());
    let view = counter_view();
    store.writer().put_schema(&view).await.unwrap();
    let key = |batch: usize, i: usize| carrier(&format!("{batch}.{i}"));
    let guard = Guard::EventThenCreated { complete_as_of: None };
    let writers = (0..WRITERS.cast_signed()).map(|version| {
        let (writer, view) = (store.writer(), view.clone());
        tokio::spawn(async move {
            for batch in 0..BATCHES {
                let blob = counter(&view, Times::all(version), version);
                let batch: Vec<_> = (0..KEYS).map(|i| (key(batch, i), blob.clone())).collect();
                writer.write(&view.name, guard, &batch).await.unwrap();
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    let reader = store.reader(vec![view.clone()]);
    for batch in 0..BATCHES {
        let keys: Vec<_> = (0..KEYS).map(|i| key(batch, i)).collect();
        let lookups: Vec<_> = keys
            .iter()
            .map(|key| Lookup {
                view: &view,
                key: Some(key),
            })
            .collect();
        let rows = reader.read(&lookups, at(0), 10 * SECOND).await.unwrap();
        let newest = Some(WRITERS.cast_signed() - 1);
        assert!(rows.iter().all(|row| number(row) == newest), "batch {batch}");
    }
}

/// Later versions are later, by event or, for two of the same event, by created; around 1970, over many bit patterns.
fn times(version: i64) -> Times {
    let step = 0x0123_4567_89ab;
    Times {
        event: (version / 2 - VERSIONS / 4) * step,
        created: (version % 2 == 1).then_some(-step * (version % 7)),
        as_of: 0,
    }
}

/// Reads all keys again and again; panics if one went back. How often it looked, and what it saw last.
async fn monitor(reader: OnlineReader, done: Arc<AtomicBool>) -> (usize, Vec<Option<i64>>) {
    let view = counter_view();
    let keys: Vec<_> = (0..KEYS).map(|key| carrier(&key.to_string())).collect();
    let lookups: Vec<_> = keys
        .iter()
        .map(|key| Lookup {
            view: &view,
            key: Some(key),
        })
        .collect();
    let mut last = vec![None; KEYS];
    for looks in 1.. {
        let finished = done.load(Ordering::SeqCst);
        let rows: Vec<StoredRow> = reader.read(&lookups, at(0), 10 * SECOND).await.unwrap();
        for (key, row) in rows.iter().enumerate() {
            let seen = number(row);
            assert!(
                seen >= last[key],
                "key {key} went from version {:?} back to {seen:?}",
                last[key]
            );
            last[key] = seen;
        }
        if finished {
            return (looks, last);
        }
    }
    unreachable!("the loop has no end but by return")
}

/// A small generator (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.unsigned_abs()).cast_signed()
    }

    fn shuffled(&mut self, end: i64) -> Vec<i64> {
        let mut items: Vec<i64> = (0..end).collect();
        for i in (1..items.len()).rev() {
            let j = self.below(i as i64 + 1);
            items.swap(i, usize::try_from(j).unwrap());
        }
        items
    }
}
