//! Markers never move back, and only full runs create one.

use std::sync::Arc;

use feature_defs::serving::Status;
use online_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::support::{
    aggregate_view, carrier, counter_view, eventually, marker, read_one, shared_url, store, store_at,
};

#[tokio::test]
async fn full_runs_create_markers_and_never_move_them_back() {
    let (store, view) = (store(), aggregate_view());
    let writer = store.writer();
    assert_eq!(writer.marker(&view.name).await.unwrap(), None);
    // As of …, as of the last full run …: does it land?
    let far = 1_500_000_000_000_000;
    for (as_of, full_as_of, lands) in [
        (-2_000_001, -2_000_001, true),
        (-2_000_002, -2_000_002, false),
        (-1_999_999, -2_000_001, true),
        (-1, -1, true),
        (-2, -2, false),
        (999_999, 999_999, true),
        (1_000_000, 1_000_000, true),
        (999_999, 999_999, false),
        (far, far, true),
        (far, far, true),
        (far - 1, far - 1, false),
        (far + 1, far - 1, false),
        (far + 1, far, true),
    ] {
        let before = writer.marker(&view.name).await.unwrap();
        let new = marker(&format!("run{as_of}"), as_of, full_as_of);
        assert_eq!(
            writer.create_marker(&view.name, &new).await.unwrap(),
            lands,
            "{as_of} {full_as_of}"
        );
        assert_eq!(
            writer.marker(&view.name).await.unwrap(),
            if lands { Some(new) } else { before }
        );
    }
}

#[tokio::test]
async fn incremental_runs_advance_the_marker_of_the_run_they_followed() {
    let (store, view) = (store(), aggregate_view());
    let writer = store.writer();
    let advance = async |previous: &str, new: &_| writer.advance_marker(&view.name, previous, new).await.unwrap();

    assert!(!advance("r1", &marker("r2", 20, 10)).await, "there is no marker");
    assert_eq!(writer.marker(&view.name).await.unwrap(), None);

    assert!(writer.create_marker(&view.name, &marker("r1", 10, 10)).await.unwrap());
    assert!(!advance("r0", &marker("r2", 20, 10)).await, "it is another run's");
    assert!(!advance("r1", &marker("r2", 9, 10)).await, "its as-of is later");
    assert!(
        !advance("r1", &marker("r2", 20, 9)).await,
        "its full run's as-of is later"
    );
    assert_eq!(writer.marker(&view.name).await.unwrap(), Some(marker("r1", 10, 10)));

    let r2 = marker("r2", 20, 10);
    assert!(advance("r1", &r2).await);
    assert!(advance("r1", &r2).await, "the same again, as after a lost answer");
    assert_eq!(writer.marker(&view.name).await.unwrap(), Some(r2));
    assert!(!advance("r1", &marker("r3", 30, 10)).await, "r1 was followed already");
}

#[tokio::test]
async fn of_racing_runs_one_advances_the_marker() {
    let (store, view) = (store(), aggregate_view());
    store
        .writer()
        .create_marker(&view.name, &marker("r0", 0, 0))
        .await
        .unwrap();
    let attempts = (1..=50).map(|i| {
        let (writer, view) = (store.writer(), view.clone());
        tokio::spawn(async move {
            writer
                .advance_marker(&view.name, "r0", &marker(&format!("r{i}"), i, 0))
                .await
                .unwrap()
        })
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(
        outcomes
            .into_iter()
            .filter(|outcome| *outcome.as_ref().unwrap())
            .count(),
        1
    );
}

#[tokio::test]
async fn readers_follow_the_marker_within_about_a_second() {
    let (store, view) = (store(), aggregate_view());
    let (reader, writer) = (Arc::new(store.reader(vec![view.clone()])), store.writer());
    let stop = CancellationToken::new();
    let task = tokio::spawn(reader.clone().keep_fresh(stop.clone()));
    for i in 1..=2 {
        let new = marker(&format!("r{i}"), i, i);
        assert!(writer.create_marker(&view.name, &new).await.unwrap());
        eventually("the reader knows the new marker", async || {
            reader.marker(&view.name).as_ref() == Some(&new)
        })
        .await;
    }
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_marker_that_cannot_be_read_is_an_error_to_writers_and_none_to_readers() {
    let (view, rows) = (aggregate_view(), counter_view());
    let (store, raw) = store_at(&shared_url());
    let (reader, writer) = (store.reader(vec![view.clone(), rows.clone()]), store.writer());
    raw.run::<()>(&[b"HSET", b"@aggregates:@marker", b"json", b"{}"]).await;
    let error = writer.marker(&view.name).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::BadMarker { key, .. } if key.ends_with(":aggregates:@marker")),
        "{error}"
    );
    raw.run::<()>(&[b"SET", b"@rows:@marker", b"x"]).await;
    reader.refresh().await.unwrap();
    assert_eq!((reader.marker(&view.name), reader.marker(&rows.name)), (None, None));
    assert_eq!(
        read_one(&reader, &rows, &carrier("UA"), 0).await.status,
        Status::NotFound
    );

    // A full run replaces what is damaged.
    let good = marker("r", 1, 1);
    assert!(writer.create_marker(&view.name, &good).await.unwrap());
    reader.refresh().await.unwrap();
    assert_eq!(reader.marker(&view.name), Some(good));
}
