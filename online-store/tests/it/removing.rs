//! What is removed for good, and what is not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use feature_defs::codec::Body;
use feature_defs::definitions::View;
use online_store::{Guard, OnlineStore, OnlineWriter, StoreError};

use crate::support::{
    Raw, Server, Times, aggregate_view, at, blob, carrier, counter, counter_view, create, marker, number, read_one,
    shared_url, store_at,
};

/// Text that means something to a key, a pattern or a script.
const ODD: [&str; 12] = [
    "",
    "UA",
    "a:b",
    "{",
    "}",
    "*",
    "[a-z]",
    "?",
    "\\",
    "a,carrier=b",
    "日本 é",
    "@marker",
];

async fn put(writer: &OnlineWriter, view: &View, name: &str, as_of: i64) {
    let value = counter(view, Times::all(as_of), as_of);
    let batch = [(carrier(name), value)];
    writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
}

async fn exists(raw: &Raw, key: &str) -> bool {
    raw.run(&[b"EXISTS", key.as_bytes()]).await
}

fn renamed(view: &View, name: &str) -> View {
    View {
        name: name.parse().unwrap(),
        ..View::clone(view)
    }
}

#[tokio::test]
async fn a_sweep_removes_what_is_as_of_before_a_moment() {
    const HIGH: i64 = 1 << 40;
    let view = counter_view();
    for (before, as_of, removed) in [
        (5, 4, 1),
        (5, 5, 0),
        (5, 6, 0),
        (0, -1, 1),
        (-1, 0, 0),
        (HIGH, HIGH - 1, 1),
        (HIGH - 1, HIGH, 0),
        (HIGH, 1 << 20, 1),
        (1 << 20, HIGH, 0),
        (i64::MAX, i64::MIN, 1),
        (i64::MIN, i64::MIN, 0),
    ] {
        let (store, raw) = store_at(&shared_url());
        let writer = store.writer();
        put(&writer, &view, "UA", as_of).await;
        let swept = writer.sweep(&view.name, at(before)).await.unwrap();
        assert_eq!(swept, removed, "{as_of} before {before}");
        assert_eq!(
            exists(&raw, "@rows:{carrier=UA}").await,
            removed == 0,
            "{as_of} before {before}"
        );
    }
}

#[tokio::test]
async fn a_sweep_touches_nothing_else() {
    let view = counter_view();
    let (store, raw) = store_at(&shared_url());
    let writer = store.writer();
    let longer_project = format!("{}x", raw.project);
    let elsewhere = OnlineStore::open(&shared_url(), longer_project.parse().unwrap())
        .unwrap()
        .writer();
    for name in ODD {
        put(&writer, &view, name, 9).await;
        put(&writer, &renamed(&view, "rows_2"), name, 9).await;
        put(&writer, &renamed(&view, "row"), name, 9).await;
        put(&elsewhere, &view, name, 9).await;
    }
    let tombstone = [(carrier("gone"), blob(&view, Times::all(9), &Body::Tombstone))];
    writer.write(&view.name, Guard::AsOf, &tombstone).await.unwrap();
    put(&writer, &view, "new", 10).await;

    // What is no value of this view's, or none that is known to be old.
    writer.put_schema(&view).await.unwrap();
    assert!(create(&writer, &view, &marker("r", 10, 10)).await);
    let old = counter(&view, Times::all(9), 9);
    let mut newer_format = old.clone();
    newer_format[0] = 2;
    let others: [(&str, &[u8]); 7] = [
        ("@rows:{carrier=UA}:note", &old),
        ("@rows:{carrier=UA", &old),
        ("@rows:{a}{b}", &old),
        ("@rows:carrier=UA", &old),
        ("@rows:{carrier=newer}", &newer_format),
        ("@rows:{carrier=short}", &old[..33]),
        ("@rows:{carrier=empty}", b""),
    ];
    for (key, bytes) in others {
        raw.run::<()>(&[b"SET", key.as_bytes(), bytes]).await;
    }
    raw.run::<()>(&[b"RPUSH", b"@rows:{carrier=list}", &old]).await;
    let no_text = [&b"@rows:{"[..], b"\xff}"].concat();
    raw.run::<()>(&[b"SET", &no_text, &old]).await;

    let swept = writer.sweep(&view.name, at(10)).await.unwrap();
    assert_eq!(swept, ODD.len() as u64 + 1, "all old values and the tombstone");
    assert_eq!(writer.sweep(&view.name, at(10)).await.unwrap(), 0, "again");

    for (key, _) in others {
        assert!(exists(&raw, key).await, "{key}");
    }
    for key in [
        "@rows:@schemas",
        "@rows:@marker",
        "@rows:{carrier=list}",
        "@rows:{carrier=new}",
    ] {
        assert!(exists(&raw, key).await, "{key}");
    }
    assert!(raw.run::<bool>(&[b"EXISTS", &no_text]).await);
    for (writer, name) in [(&writer, "rows_2"), (&writer, "row"), (&elsewhere, "rows")] {
        let swept = writer.sweep(&name.parse().unwrap(), at(10)).await.unwrap();
        assert_eq!(swept, ODD.len() as u64, "{name}: all were there still");
    }
}

#[tokio::test]
async fn a_sweep_of_many_values_needs_no_memory_of_redis() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (view, writer) = (counter_view(), store.writer());
    let batch: Vec<_> = (0..5_000)
        .map(|i| (carrier(&i.to_string()), counter(&view, Times::all(i % 2), i)))
        .collect();
    writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
    raw.run::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    assert_eq!(writer.sweep(&view.name, at(1)).await.unwrap(), 2_500);
    assert_eq!(raw.run::<u64>(&[b"DBSIZE"]).await, 2_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_written_during_a_sweep_stays() {
    const ENTITIES: i64 = 300;
    const ROUNDS: i64 = 6;
    let server = Server::start();
    let (store, _) = store_at(&server.url());
    let view = counter_view();
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    let batch = |as_of: i64| -> Vec<_> {
        (0..ENTITIES)
            .map(|i| (carrier(&i.to_string()), counter(&view, Times::all(as_of), as_of)))
            .collect()
    };
    for round in 1..=ROUNDS {
        // All are old, and rewritten one by one while sweeps go over them.
        writer.write(&view.name, Guard::AsOf, &batch(2 * round)).await.unwrap();
        let before = at(2 * round + 1);
        let done = Arc::new(AtomicBool::new(false));
        let sweeps = (0..2).map(|_| {
            let (writer, name, done) = (store.writer(), view.name.clone(), done.clone());
            tokio::spawn(async move {
                let mut removed = 0;
                while !done.load(Ordering::SeqCst) {
                    removed += writer.sweep(&name, before).await.unwrap();
                }
                removed
            })
        });
        let sweeps: Vec<_> = sweeps.collect();
        for one in batch(2 * round + 1) {
            writer.write(&view.name, Guard::AsOf, &[one]).await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for sweep in sweeps {
            sweep.await.unwrap();
        }
        for i in 0..ENTITIES {
            let row = read_one(&reader, &view, &carrier(&i.to_string()), 0).await;
            assert_eq!(number(&row), Some(2 * round + 1), "entity {i} in round {round}");
        }
    }
}

#[tokio::test]
async fn an_entity_is_forgotten_and_no_other() {
    let (rows, aggregates) = (counter_view(), aggregate_view());
    let (store, raw) = store_at(&shared_url());
    let writer = store.writer();
    let views = [&rows.name, &aggregates.name];
    assert_eq!(
        writer.forget(&carrier("UA"), &views).await.unwrap(),
        [false, false],
        "nothing is stored"
    );
    assert_eq!(writer.forget(&carrier("UA"), &[]).await.unwrap(), [false; 0]);

    for name in ODD {
        put(&writer, &rows, name, 1).await;
        put(&writer, &aggregates, name, 1).await;
    }
    let count = async || {
        let mut count = 0;
        for name in ODD {
            for view in ["rows", "aggregates"] {
                count += usize::from(exists(&raw, &format!("@{view}:{{{}}}", carrier(name))).await);
            }
        }
        count
    };
    for (i, name) in ODD.into_iter().enumerate() {
        let entity = carrier(name);
        assert_eq!(count().await, 2 * (ODD.len() - i), "before {name}");
        assert_eq!(writer.forget(&entity, &[&rows.name]).await.unwrap(), [true], "{name}");
        assert_eq!(writer.forget(&entity, &views).await.unwrap(), [false, true], "{name}");
    }

    // Whatever stands there.
    raw.run::<()>(&[b"SET", b"@rows:{carrier=UA}", b"junk"]).await;
    raw.run::<()>(&[b"RPUSH", b"@aggregates:{carrier=UA}", b"x"]).await;
    assert_eq!(writer.forget(&carrier("UA"), &views).await.unwrap(), [true, true]);
    assert_eq!(count().await, 0);

    // An older value can come now: nothing guards what is forgotten.
    put(&writer, &rows, "UA", 0).await;
    assert!(exists(&raw, "@rows:{carrier=UA}").await);
}

#[tokio::test]
async fn a_view_is_removed_with_all_that_belongs_to_it() {
    let view = counter_view();
    let (store, raw) = store_at(&shared_url());
    let writer = store.writer();
    let longer_project = format!("{}x", raw.project);
    let elsewhere = OnlineStore::open(&shared_url(), longer_project.parse().unwrap())
        .unwrap()
        .writer();
    let others = [
        (&writer, renamed(&view, "rows_2")),
        (&writer, renamed(&view, "row")),
        (&elsewhere, View::clone(&view)),
    ];
    for (writer, view) in [(&writer, View::clone(&view))].iter().chain(&others) {
        for name in ODD {
            put(writer, view, name, 9).await;
        }
        writer.put_schema(view).await.unwrap();
        assert!(create(writer, view, &marker("r", 10, 10)).await);
    }
    // Whatever it is that stands where a value could.
    raw.run::<()>(&[b"RPUSH", b"@rows:{carrier=list}", b"x"]).await;
    raw.run::<()>(&[b"SET", b"@rows:{carrier=short}", b""]).await;
    let told = AtomicU64::new(0);
    let count = |gone| {
        told.fetch_add(gone, Ordering::Relaxed);
    };
    let name = &view.name;
    assert_eq!(writer.is_stored(std::slice::from_ref(name)).await.unwrap(), [true]);
    let removed = writer.remove_view(name, count).await.unwrap();
    assert_eq!(
        (removed, told.into_inner()),
        (ODD.len() as u64 + 2, ODD.len() as u64 + 2)
    );
    let left: Vec<String> = raw.run(&[b"KEYS", b"@rows:*"]).await;
    assert_eq!(left, [""; 0]);
    assert_eq!(writer.is_stored(std::slice::from_ref(name)).await.unwrap(), [false]);
    assert_eq!(writer.remove_view(name, |_| ()).await.unwrap(), 0, "again");
    for (writer, view) in &others {
        let removed = writer.remove_view(&view.name, |_| ()).await.unwrap();
        assert_eq!(removed, ODD.len() as u64, "{}: all were there still", view.name);
    }
}

#[tokio::test]
async fn a_run_that_begins_while_its_view_is_removed_loses_nothing() {
    let server = Server::start();
    let (store, _) = store_at(&server.url());
    let (view, writer) = (counter_view(), store.writer());
    let batch: Vec<_> = (0..5_000)
        .map(|i| (carrier(&i.to_string()), counter(&view, Times::all(1), i)))
        .collect();
    writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
    let half_way = tokio::sync::Notify::new();
    let removal = async {
        let name = view.name.clone();
        store.writer().remove_view(&name, |_| half_way.notify_one()).await
    };
    let run = async {
        half_way.notified().await;
        writer.begin_run(&view.name, "new").await.unwrap();
        put(&writer, &view, "new", 2).await;
        put(&writer, &view, "0", 2).await;
    };
    let (removed, ()) = tokio::join!(removal, run);
    assert!(matches!(removed, Err(StoreError::WrittenAgain { .. })), "{removed:?}");
    for name in ["new", "0"] {
        let reader = store.reader(vec![Arc::clone(&view)]);
        let row = read_one(&reader, &view, &carrier(name), 2).await;
        assert_eq!(row.event, Some(at(2)), "{name}");
    }
}

#[tokio::test]
async fn a_view_is_removed_from_a_redis_that_is_full() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (view, writer) = (counter_view(), store.writer());
    let batch: Vec<_> = (0..5_000)
        .map(|i| (carrier(&i.to_string()), counter(&view, Times::all(1), i)))
        .collect();
    writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
    raw.run::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    assert_eq!(writer.remove_view(&view.name, |_| ()).await.unwrap(), 5_000);
    assert_eq!(raw.run::<u64>(&[b"DBSIZE"]).await, 0);
}
