//! All that is stored, with the markers that judge it.

use std::sync::Arc;

use feature_defs::codec::{Body, Header, Schema};
use feature_defs::definitions::View;
use feature_defs::serving::Status;
use feature_defs::value::{Value, ValueType};
use online_store::{Found, Guard, Lookup, OnlineReader, Stored};

use crate::support::{
    SECOND, Times, aggregate_view, at, blob, carrier, counter, counter_view, create, fields, marker, row_view,
    shared_url, store, store_at,
};

async fn read_stored(reader: &OnlineReader, view: &View, names: &[&str], now: i64) -> Vec<Found> {
    let keys: Vec<_> = names.iter().map(|name| carrier(name)).collect();
    let lookups: Vec<_> = keys.iter().map(|key| Lookup { view, key: Some(key) }).collect();
    let found = reader.read_stored(&lookups, at(now), 5 * SECOND).await.unwrap();
    // Whoever serves sees the same, once it knows the markers.
    reader.refresh().await.unwrap();
    let rows = reader.read(&lookups, at(now), 5 * SECOND).await.unwrap();
    for (found, row) in found.iter().zip(rows) {
        assert_eq!((found.status, found.event), (row.status, row.event));
        let values = if row.event.is_some() {
            found.stored.clone().unwrap().unwrap().values.unwrap()
        } else {
            Vec::new()
        };
        assert_eq!(row.values, values);
        let lacking = found.stored.iter().flatten().flat_map(|stored| &stored.lacking);
        assert_eq!(row.lacking, lacking.copied().collect::<Vec<_>>());
    }
    found
}

#[tokio::test]
async fn what_is_stored_is_told_whether_or_not_it_counts() {
    let (rows, aggregates) = (counter_view(), aggregate_view());
    let store = store();
    let (reader, writer) = (store.reader(vec![rows.clone(), aggregates.clone()]), store.writer());
    let m = marker("r", 30, 20);
    for view in [&rows, &aggregates] {
        writer.put_schema(view).await.unwrap();
        let times = |event, as_of| Times {
            event,
            created: Some(3),
            as_of,
        };
        let batch = [
            (carrier("stands"), counter(view, times(19, 20), 1)),
            (carrier("gone"), counter(view, times(19, 19), 2)),
            (carrier("deleted"), blob(view, times(19, 20), &Body::Tombstone)),
        ];
        writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
        assert!(create(&writer, view, &m).await);

        let found = read_stored(&reader, view, &["stands", "gone", "deleted", "never"], 31).await;
        let stored = |as_of, n: Option<i64>| {
            Some(Stored {
                header: Header {
                    event: at(19),
                    created: Some(at(3)),
                    as_of: at(as_of),
                },
                values: n.map(|n| vec![Some(Value::Int64(n))]),
                lacking: Vec::new(),
            })
        };
        let event = if view.is_aggregate() { 30 } else { 19 };
        let not_found = (Status::NotFound, None);
        for (found, (stored, (status, event))) in found.into_iter().zip([
            (stored(20, Some(1)), (Status::Present, Some(at(event)))),
            (stored(19, Some(2)), not_found),
            (stored(20, None), not_found),
            (None, not_found),
        ]) {
            let expected = Found {
                stored: Ok(stored),
                status,
                event,
                marker: Some(Arc::new(m.clone())),
            };
            assert_eq!(found, expected);
        }
    }
}

#[tokio::test]
async fn the_marker_is_the_one_that_stands_now_and_each_view_has_its_own() {
    let (rows, aggregates) = (counter_view(), aggregate_view());
    let store = store();
    let (reader, writer) = (store.reader(vec![rows.clone(), aggregates.clone()]), store.writer());
    let ua = carrier("UA");
    for view in [&rows, &aggregates] {
        let batch = [(ua.clone(), counter(view, Times::all(1), 1))];
        writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
    }
    reader.refresh().await.unwrap();
    let lookup = |view, key| Lookup { view, key };
    let lookups = [
        lookup(&*rows, Some(&ua)),
        lookup(&*aggregates, Some(&ua)),
        lookup(&*rows, None),
        lookup(&*aggregates, Some(&ua)),
    ];
    // Nobody refreshes this reader.
    for (of_rows, of_aggregates, statuses) in [
        (None, None, [Status::Present, Status::Present]),
        (None, Some(marker("a1", 1, 1)), [Status::Present, Status::Present]),
        (None, Some(marker("a2", 2, 2)), [Status::Present, Status::NotFound]),
        (
            Some(marker("r1", 2, 2)),
            Some(marker("a2", 2, 2)),
            [Status::NotFound, Status::NotFound],
        ),
    ] {
        for (view, marker) in [(&rows, &of_rows), (&aggregates, &of_aggregates)] {
            if let Some(marker) = marker {
                assert!(create(&writer, view, marker).await);
            }
        }
        let found = reader.read_stored(&lookups, at(2), 5 * SECOND).await.unwrap();
        let markers: Vec<_> = found.iter().map(|found| found.marker.as_deref().cloned()).collect();
        assert_eq!(
            markers,
            [of_rows.clone(), of_aggregates.clone(), of_rows, of_aggregates]
        );
        let found: Vec<_> = found.iter().map(|found| found.status).collect();
        assert_eq!(found, [statuses[0], statuses[1], Status::NotFound, statuses[1]]);
    }
    assert_eq!(reader.read_stored(&[], at(2), SECOND).await.unwrap(), []);
}

#[tokio::test]
async fn other_layouts_are_mapped_and_damage_is_named() {
    let (store, raw) = store_at(&shared_url());
    let writer = store.writer();
    let old = row_view(&[("n", ValueType::Int64), ("dropped", ValueType::Bool)]);
    let view = row_view(&[("added", ValueType::String), ("n", ValueType::Int64)]);
    let unknown = View {
        schema: Schema::new(fields(&[("z", ValueType::Bool)])),
        ..View::clone(&view)
    };
    writer.put_schema(&old).await.unwrap();
    let values = Body::Values(vec![Some(Value::Int64(7)), Some(Value::Bool(true))]);
    let batch = [
        (carrier("old"), blob(&old, Times::all(1), &values)),
        (
            carrier("layout"),
            blob(&unknown, Times::all(1), &Body::Values(vec![None])),
        ),
        (carrier("deleted"), blob(&unknown, Times::all(1), &Body::Tombstone)),
    ];
    writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
    raw.run::<()>(&[b"SET", b"@rows:{carrier=short}", b"junk"]).await;
    raw.run::<()>(&[b"RPUSH", b"@rows:{carrier=list}", b"x"]).await;

    let reader = store.reader(vec![view.clone()]);
    let found = read_stored(&reader, &view, &["old", "deleted", "short", "list", "layout"], 1).await;
    let stored = |i: usize| found[i].stored.clone().unwrap().unwrap();
    assert_eq!(stored(0).values, Some(vec![None, Some(Value::Int64(7))]));
    assert_eq!((stored(0).lacking, stored(1).lacking), (vec![0], Vec::new()));
    assert_eq!(stored(1).values, None);
    // What is of another type counts for nothing, and the next run's value replaces it.
    assert_eq!((found[3].stored.clone(), found[3].status), (Ok(None), Status::NotFound));
    for (i, problem) in [(2, "4 bytes"), (4, "schema")] {
        let error = found[i].stored.clone().unwrap_err();
        assert!(error.contains(problem), "{error}");
        assert_eq!(found[i].status, Status::Unavailable);
    }
}
