//! Rows, statuses and damage.

use std::sync::Arc;

use feature_defs::codec::{Body, Schema};
use feature_defs::definitions::View;
use feature_defs::serving::{Status, StoredRow};
use feature_defs::value::{Value, ValueType};
use online_store::{Lookup, StoreError};

use crate::support::{
    SECOND, Times, aggregate_view, at, blob, carrier, counter, counter_view, create, marker, number, put, read_one,
    shared_url, store, store_at,
};

const SEC: i64 = 1_000_000;

#[tokio::test]
async fn rows_come_in_the_order_asked_with_their_statuses() {
    let (rows, aggregates) = (counter_view(), aggregate_view());
    let store = store();
    let (reader, writer) = (store.reader(vec![rows.clone(), aggregates.clone()]), store.writer());
    writer.put_schema(&rows).await.unwrap();
    writer.put_schema(&aggregates).await.unwrap();
    put(&writer, &rows, "UA", counter(&rows, Times::all(95 * SEC), 1)).await;
    put(&writer, &rows, "AA", counter(&rows, Times::all(90 * SEC), 2)).await;
    put(
        &writer,
        &aggregates,
        "UA",
        counter(&aggregates, Times::all(50 * SEC), 3),
    )
    .await;
    put(
        &writer,
        &aggregates,
        "AA",
        counter(&aggregates, Times::all(39 * SEC), 4),
    )
    .await;
    assert!(create(&writer, &aggregates, &marker("r", 96 * SEC, 40 * SEC)).await);

    let (ua, aa, unknown) = (carrier("UA"), carrier("AA"), carrier("??"));
    let lookup = |view, key| Lookup { view, key };
    let lookups = [
        lookup(&*aggregates, Some(&ua)),
        lookup(&*rows, Some(&unknown)),
        lookup(&*rows, Some(&ua)),
        lookup(&*rows, None),
        lookup(&*rows, Some(&aa)),
        lookup(&*aggregates, Some(&aa)),
        lookup(&*rows, Some(&ua)),
    ];
    let found = reader.read(&lookups, at(100 * SEC), 5 * SECOND).await.unwrap();
    let row = |status, event, n| StoredRow {
        status,
        event: Some(at(event)),
        values: vec![Some(Value::Int64(n))],
        lacking: Vec::new(),
    };
    let expected = [
        row(Status::Present, 96 * SEC, 3), // as old as the marker, for nothing changed since
        StoredRow::not_found(),            // no such entity
        row(Status::Present, 95 * SEC, 1), //
        StoredRow::not_found(),            // a null join key
        row(Status::OutsideMaxAge, 90 * SEC, 2), // age = ttl
        StoredRow::not_found(),            // not rewritten by the last full run
        row(Status::Present, 95 * SEC, 1), // asked for twice
    ];
    assert_eq!(found, expected);
    assert_eq!(reader.read(&[], at(0), SECOND).await.unwrap(), []);
    assert_eq!(reader.marker(&rows.name), None);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_unavailable_and_its_neighbours_are_not() {
    let view = counter_view();
    let (store, raw) = store_at(&shared_url());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    put(&writer, &view, "good", counter(&view, Times::all(1), 1)).await;
    let good = counter(&view, Times::all(1), 1);
    let mut newer = good.clone();
    newer[0] = 2;
    let foreign_layout = View {
        schema: Schema::new(Vec::new()),
        ..View::clone(&view)
    };
    let damaged: [(&str, &[u8]); 4] = [
        ("short", b"junk"),
        ("torn", &good[..good.len() - 1]),
        ("newer", &newer),
        (
            "layout",
            &blob(&foreign_layout, Times::all(1), &Body::Values(Vec::new())),
        ),
    ];
    let mut names = vec!["good", "list", "good"];
    raw.run::<()>(&[b"RPUSH", b"@rows:{carrier=list}", b"x"]).await;
    for (name, bytes) in damaged {
        raw.run::<()>(&[b"SET", format!("@rows:{{carrier={name}}}").as_bytes(), bytes])
            .await;
        names.insert(1, name);
    }
    let keys: Vec<_> = names.iter().map(|name| carrier(name)).collect();
    let lookups: Vec<_> = keys
        .iter()
        .map(|key| Lookup {
            view: &view,
            key: Some(key),
        })
        .collect();
    for _ in 0..2 {
        let rows = reader.read(&lookups, at(1), 5 * SECOND).await.unwrap();
        for (name, row) in names.iter().zip(rows) {
            let expected = if *name == "good" { Some(1) } else { None };
            assert_eq!(number(&row), expected, "{name}");
            let status = match *name {
                "good" => Status::Present,
                // Of another type: the next run's value replaces it.
                "list" => Status::NotFound,
                _ => Status::Unavailable,
            };
            assert_eq!(row.status, status, "{name}");
        }
    }

    // A layout that was missing is found after the next refresh; a tombstone needs none.
    writer.put_schema(&foreign_layout).await.unwrap();
    reader.refresh().await.unwrap();
    let row = read_one(&reader, &view, &carrier("layout"), 1).await;
    assert_eq!((row.status, row.values), (Status::Present, vec![None]));
    let unknown = View {
        schema: Schema::new(crate::support::fields(&[("z", ValueType::Bool)])),
        ..View::clone(&view)
    };
    put(&writer, &view, "gone", blob(&unknown, Times::all(1), &Body::Tombstone)).await;
    assert_eq!(
        read_one(&reader, &view, &carrier("gone"), 1).await.status,
        Status::NotFound
    );
}

#[tokio::test]
async fn damaged_schemas_of_one_view_hold_up_no_other() {
    let (store, raw) = store_at(&shared_url());
    let (good, damaged) = (counter_view(), aggregate_view());
    let name = damaged.name.as_str();
    let writer = store.writer();
    writer.put_schema(&good).await.unwrap();
    put(&writer, &good, "UA", counter(&good, Times::all(1), 1)).await;
    let key = format!("@{name}:@schemas");
    for damage in [
        &[&b"SET"[..], key.as_bytes(), b"x"][..],
        &[b"HSET", key.as_bytes(), b"1", b"\xff"],
        &[b"HSET", key.as_bytes(), b"2", b"{}"],
    ] {
        raw.run::<()>(&[b"DEL", key.as_bytes()]).await;
        raw.run::<()>(damage).await;
        let reader = store.reader(vec![good.clone(), damaged.clone()]);
        reader.refresh().await.unwrap();
        assert_eq!(number(&read_one(&reader, &good, &carrier("UA"), 1).await), Some(1));
    }
}

#[tokio::test]
async fn a_view_as_the_reader_does_not_know_it_is_an_error() {
    let store = store();
    let known = counter_view();
    let reader = store.reader(vec![known.clone()]);
    let changed = Arc::new(View {
        ttl: None,
        ..View::clone(&known)
    });
    for view in [aggregate_view(), changed] {
        let ua = carrier("UA");
        let error = reader
            .read(
                &[Lookup {
                    view: &view,
                    key: Some(&ua),
                }],
                at(0),
                SECOND,
            )
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::NotRead { .. }), "{error}");
    }
    // Equal definitions are the same view, wherever they were loaded.
    assert_eq!(
        read_one(&reader, &counter_view(), &carrier("UA"), 0).await.status,
        Status::NotFound
    );
}
