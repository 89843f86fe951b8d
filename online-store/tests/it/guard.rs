//! Who may overwrite whom.

use feature_defs::codec::Body;
use feature_defs::serving::Status;
use feature_defs::value::{Value, ValueType};
use online_store::{Guard, StoreError, Written};

use crate::support::{
    Server, Times, aggregate_view, blob, carrier, counter, counter_view, create, marker, number, read_one, row_view,
    shared_url, store, store_at,
};

const BY_EVENT: Guard = Guard::EventThenCreated { complete_as_of: None };
const OLD: i64 = 1;
const NEW: i64 = 2;

#[tokio::test]
async fn an_older_value_never_overwrites_a_newer_one() {
    const FAR: i64 = 1 << 40;
    let by_event = |event| Times {
        event,
        created: None,
        as_of: 0,
    };
    let by_created = |created| Times {
        event: 7,
        created,
        as_of: 0,
    };
    let by_as_of = |as_of| Times {
        event: as_of,
        created: None,
        as_of,
    };
    let cases = [
        ("newer event", BY_EVENT, by_event(5), by_event(6), NEW),
        ("same event", BY_EVENT, by_event(5), by_event(5), NEW),
        ("older event", BY_EVENT, by_event(5), by_event(4), OLD),
        ("before 1970, newer", BY_EVENT, by_event(-5), by_event(-4), NEW),
        ("before 1970, older", BY_EVENT, by_event(-5), by_event(-6), OLD),
        ("over 1970, newer", BY_EVENT, by_event(-1), by_event(0), NEW),
        ("over 1970, older", BY_EVENT, by_event(0), by_event(-1), OLD),
        (
            "high half decides, newer",
            BY_EVENT,
            by_event(FAR - 1),
            by_event(FAR),
            NEW,
        ),
        (
            "high half decides, older",
            BY_EVENT,
            by_event(FAR),
            by_event(FAR - 1),
            OLD,
        ),
        (
            "ends of time, newer",
            BY_EVENT,
            by_event(i64::MIN),
            by_event(i64::MAX),
            NEW,
        ),
        (
            "ends of time, older",
            BY_EVENT,
            by_event(i64::MAX),
            by_event(i64::MIN),
            OLD,
        ),
        (
            "created breaks the tie, newer",
            BY_EVENT,
            by_created(Some(1)),
            by_created(Some(2)),
            NEW,
        ),
        (
            "created breaks the tie, same",
            BY_EVENT,
            by_created(Some(2)),
            by_created(Some(2)),
            NEW,
        ),
        (
            "created breaks the tie, older",
            BY_EVENT,
            by_created(Some(2)),
            by_created(Some(1)),
            OLD,
        ),
        (
            "as-of breaks the tie of both, newer",
            BY_EVENT,
            Times {
                as_of: 5,
                ..by_created(Some(2))
            },
            Times {
                as_of: 6,
                ..by_created(Some(2))
            },
            NEW,
        ),
        (
            "as-of breaks the tie of both, older",
            BY_EVENT,
            Times {
                as_of: 5,
                ..by_created(Some(2))
            },
            Times {
                as_of: 4,
                ..by_created(Some(2))
            },
            OLD,
        ),
        (
            "created before 1970, older",
            BY_EVENT,
            by_created(Some(0)),
            by_created(Some(-1)),
            OLD,
        ),
        (
            "any created is newer than none",
            BY_EVENT,
            by_created(None),
            by_created(Some(i64::MIN)),
            NEW,
        ),
        (
            "none is older than any created",
            BY_EVENT,
            by_created(Some(i64::MIN)),
            by_created(None),
            OLD,
        ),
        (
            "event comes before created",
            BY_EVENT,
            Times {
                event: 8,
                created: Some(1),
                as_of: 0,
            },
            Times {
                event: 7,
                created: Some(9),
                as_of: 9,
            },
            OLD,
        ),
        ("newer as-of", Guard::AsOf, by_as_of(5), by_as_of(6), NEW),
        ("same as-of", Guard::AsOf, by_as_of(5), by_as_of(5), NEW),
        ("older as-of", Guard::AsOf, by_as_of(5), by_as_of(4), OLD),
        ("as-of over 1970, older", Guard::AsOf, by_as_of(0), by_as_of(-1), OLD),
        (
            "as-of alone counts",
            Guard::AsOf,
            Times {
                event: 9,
                created: Some(9),
                as_of: 5,
            },
            Times {
                event: 1,
                created: None,
                as_of: 6,
            },
            NEW,
        ),
    ];
    let (store, view) = (store(), counter_view());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    for (i, (what, guard, stored, new, expected)) in cases.into_iter().enumerate() {
        let entity = carrier(&format!("{i}"));
        let first = [(entity.clone(), counter(&view, stored, OLD))];
        let second = [(entity.clone(), counter(&view, new, NEW))];
        let bytes = second[0].1.len() as u64;
        assert_eq!(
            writer.write(&view.name, guard, &first).await.unwrap(),
            Written {
                written: 1,
                older: 0,
                bytes
            }
        );
        let outcome = writer.write(&view.name, guard, &second).await.unwrap();
        let landed = if expected == NEW { (1, 0, bytes) } else { (0, 1, 0) };
        assert_eq!((outcome.written, outcome.older, outcome.bytes), landed, "{what}");
        assert_eq!(
            number(&read_one(&reader, &view, &entity, 0).await),
            Some(expected),
            "{what}"
        );

        // The same two in one batch come to the same.
        let entity = carrier(&format!("{i}b"));
        let batch = [first[0].1.clone(), second[0].1.clone()].map(|blob| (entity.clone(), blob));
        let outcome = writer.write(&view.name, guard, &batch).await.unwrap();
        assert_eq!(
            outcome,
            Written {
                written: 1,
                older: 1,
                bytes
            },
            "{what}, in one batch"
        );
        assert_eq!(
            number(&read_one(&reader, &view, &entity, 0).await),
            Some(expected),
            "{what}, in one batch"
        );
    }
}

#[tokio::test]
async fn a_tombstone_holds_against_older_values_only() {
    let (store, view) = (store(), aggregate_view());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    assert!(create(&writer, &view, &marker("r1", 1, 1)).await);
    let entity = carrier("UA");
    let write = async |blob: Vec<u8>| {
        writer
            .write(&view.name, Guard::AsOf, &[(entity.clone(), blob)])
            .await
            .unwrap()
    };

    write(counter(&view, Times::all(2), 1)).await;
    assert_eq!(read_one(&reader, &view, &entity, 3).await.status, Status::Present);
    write(blob(&view, Times::all(3), &Body::Tombstone)).await;
    assert_eq!(read_one(&reader, &view, &entity, 3).await.status, Status::NotFound);
    assert_eq!(write(counter(&view, Times::all(2), 2)).await.older, 1);
    assert_eq!(read_one(&reader, &view, &entity, 3).await.status, Status::NotFound);
    assert_eq!(write(counter(&view, Times::all(4), 3)).await.written, 1);
    assert_eq!(number(&read_one(&reader, &view, &entity, 4).await), Some(3));
}

#[tokio::test]
async fn large_batches_of_wide_values_land_whole() {
    let view = row_view(&[("text", ValueType::String)]);
    let store = store();
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    let wide = |i: usize| "x".repeat(if i.is_multiple_of(50) { 100_000 } else { i % 2_000 });
    let batch: Vec<_> = (0..1_234)
        .map(|i| {
            (
                carrier(&i.to_string()),
                blob(&view, Times::all(1), &Body::Values(vec![Some(Value::String(wide(i)))])),
            )
        })
        .collect();
    let bytes = batch.iter().map(|(_, blob)| blob.len() as u64).sum();
    let outcome = writer.write(&view.name, BY_EVENT, &batch).await.unwrap();
    assert_eq!(
        outcome,
        Written {
            written: 1_234,
            older: 0,
            bytes
        }
    );
    for i in [0, 1, 50, 99, 100, 101, 1_233] {
        let row = read_one(&reader, &view, &carrier(&i.to_string()), 1).await;
        assert_eq!(row.values, [Some(Value::String(wide(i)))], "{i}");
    }
    let none = writer.write(&view.name, BY_EVENT, &[]).await.unwrap();
    assert_eq!(none, Written::default());
}

#[tokio::test]
async fn what_stands_already_is_counted_and_not_written_again() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (view, writer) = (counter_view(), store.writer());
    let batch = |time| -> Vec<_> {
        (0..250)
            .map(|i| (carrier(&i.to_string()), counter(&view, Times::all(time), i)))
            .collect()
    };
    let changes = async || -> u64 {
        let info: String = raw.run(&[b"INFO", b"persistence"]).await;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
        line.unwrap().parse().unwrap()
    };
    let mut newest = batch(2);
    let all = writer.write(&view.name, BY_EVENT, &newest).await.unwrap();
    assert_eq!(all.written, 250);
    let before = changes().await;

    // The first of these cannot know yet that all of it stands, the others can.
    for _ in 0..3 {
        assert_eq!(writer.write(&view.name, BY_EVENT, &newest).await.unwrap(), all);
    }
    let older = Written {
        older: 250,
        ..Written::default()
    };
    assert_eq!(writer.write(&view.name, BY_EVENT, &batch(1)).await.unwrap(), older);
    assert_eq!(changes().await, before);

    newest[7].1 = counter(&view, Times::all(3), 7);
    assert_eq!(writer.write(&view.name, BY_EVENT, &newest).await.unwrap(), all);
    assert_eq!(changes().await, before + 1);
}

#[tokio::test]
async fn bytes_of_a_newer_format_stay_and_are_named() {
    let view = counter_view();
    let (store, raw) = store_at(&shared_url());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    let mut foreign = counter(&view, Times::all(1), 1);
    foreign[0] = 2;
    raw.run::<()>(&[b"SET", b"@rows:{carrier=UA}", &foreign]).await;

    let batch: Vec<_> = ["AA", "UA", "ZZ"]
        .map(|name| (carrier(name), counter(&view, Times::all(9), 9)))
        .into();
    let error = writer.write(&view.name, BY_EVENT, &batch).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::UnknownFormat { key, version: 2 } if key.ends_with(":rows:{carrier=UA}")),
        "{error}"
    );
    assert_eq!(raw.run::<Vec<u8>>(&[b"GET", b"@rows:{carrier=UA}"]).await, foreign);
    for other in ["AA", "ZZ"] {
        assert_eq!(
            number(&read_one(&reader, &view, &carrier(other), 9).await),
            Some(9),
            "{other}"
        );
    }
}

#[tokio::test]
async fn bytes_too_short_to_be_a_value_are_overwritten_and_never_written() {
    let view = counter_view();
    let (store, raw) = store_at(&shared_url());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    let good = counter(&view, Times::all(1), 1);
    for stored in [&b""[..], b"\x02", b"junk", &good[..33]] {
        raw.run::<()>(&[b"SET", b"@rows:{carrier=UA}", stored]).await;
        let batch = [(carrier("UA"), good.clone())];
        assert_eq!(writer.write(&view.name, BY_EVENT, &batch).await.unwrap().written, 1);
        assert_eq!(number(&read_one(&reader, &view, &carrier("UA"), 1).await), Some(1));
    }
    let torn = [(carrier("UA"), good[..33].to_vec())];
    let error = writer.write(&view.name, BY_EVENT, &torn).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAValue { .. }), "{error}");
}
