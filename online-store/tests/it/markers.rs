//! Markers never move back, and only full runs create one.

use std::sync::Arc;

use feature_defs::serving::Status;
use online_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Server, advance, aggregate_view, carrier, counter_view, create, eventually, marker, read_one, shared_url, store,
    store_at,
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
        assert_eq!(create(&writer, &view, &new).await, lands, "{as_of} {full_as_of}");
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
    let advance = async |previous: &str, new: &_| advance(&writer, &view, previous, new).await;

    assert!(!advance("r1", &marker("r2", 20, 10)).await, "there is no marker");
    assert_eq!(writer.marker(&view.name).await.unwrap(), None);

    assert!(create(&writer, &view, &marker("r1", 10, 10)).await);
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
    assert!(create(&store.writer(), &view, &marker("r0", 0, 0)).await);
    let attempts = (1..=50).map(|i| {
        let (writer, view) = (store.writer(), view.clone());
        tokio::spawn(async move {
            let new = marker(&format!("r{i}"), i, 0);
            let begun = writer.begin_run(&view.name, &new.run).await.unwrap();
            // A run that another one has begun after is told so, or that another marker stands.
            writer
                .advance_marker(&view.name, "r0", &new, &begun)
                .await
                .unwrap_or(false)
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
        assert!(create(&writer, &view, &new).await);
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
    assert!(create(&writer, &view, &good).await);
    reader.refresh().await.unwrap();
    assert_eq!(reader.marker(&view.name), Some(good));
}

#[tokio::test]
async fn a_run_whose_writes_may_be_lost_gets_no_marker() {
    let mut server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (view, writer) = (aggregate_view(), store.writer());
    assert!(create(&writer, &view, &marker("r1", 1, 1)).await);

    // Flushed meanwhile.
    let begun = writer.begin_run(&view.name, "r2").await.unwrap();
    raw.run::<()>(&[b"FLUSHALL"]).await;
    let error = writer
        .create_marker(&view.name, &marker("r2", 2, 2), &begun)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::DataLost { .. }), "{error}");
    assert_eq!(writer.marker(&view.name).await.unwrap(), None);

    // Restarted meanwhile from data that has the note of who writes, but perhaps not the newest writes.
    assert!(create(&writer, &view, &marker("r3", 3, 3)).await);
    let begun = writer.begin_run(&view.name, "r4").await.unwrap();
    server.kill();
    server.restart();
    let kept = marker("r3", 3, 3);
    assert!(create(&writer, &view, &kept).await);
    writer.begin_run(&view.name, "r4").await.unwrap();
    let error = writer
        .advance_marker(&view.name, "r3", &marker("r4", 4, 3), &begun)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::DataLost { .. }), "{error}");
    assert_eq!(writer.marker(&view.name).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn a_half_damaged_marker_is_replaced_too() {
    let view = aggregate_view();
    let (store, raw) = store_at(&shared_url());
    raw.run::<()>(&[b"HSET", b"@aggregates:@marker", b"run", b"r0", b"as_of_s", b"x"])
        .await;
    assert!(create(&store.writer(), &view, &marker("r1", 1, 1)).await);
}

#[tokio::test]
async fn a_run_goes_on_only_where_it_began() {
    let mut server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (view, other) = (aggregate_view(), counter_view());
    let writer = store.writer();
    assert_eq!(
        writer.resume_run(&view.name, "r1", "").await.unwrap(),
        None,
        "nothing began"
    );

    let begun = writer.begin_run(&view.name, "r1").await.unwrap();
    let process = begun.server().to_owned();
    let resume = async |run: &str, process: &str| writer.resume_run(&view.name, run, process).await.unwrap();
    assert_eq!(resume("r1", &process).await, Some(begun.clone()), "by another shard");
    assert_eq!(
        resume("r1", &process).await,
        Some(begun.clone()),
        "as often as they like"
    );
    assert_eq!(resume("r2", &process).await, None, "another run");
    assert_eq!(
        resume("r1", &process[..process.len() - 1]).await,
        None,
        "another process"
    );
    assert_eq!(resume("r1", "").await, None, "no process");
    assert_eq!(writer.resume_run(&other.name, "r1", &process).await.unwrap(), None);

    // The marker is set with what was resumed, and then there is nothing to go on with.
    let resumed = resume("r1", &process).await.unwrap();
    let m1 = marker("r1", 1, 1);
    assert!(writer.create_marker(&view.name, &m1, &resumed).await.unwrap());
    assert_eq!(resume("r1", &process).await, None, "it is done");

    // Another run has begun since.
    writer.begin_run(&view.name, "r2").await.unwrap();
    writer.begin_run(&view.name, "r3").await.unwrap();
    assert_eq!(resume("r2", &process).await, None, "r3 has begun");
    assert!(resume("r3", &process).await.is_some());

    // Flushed between resuming and the end.
    let resumed = resume("r3", &process).await.unwrap();
    raw.run::<()>(&[b"FLUSHALL"]).await;
    assert_eq!(resume("r3", &process).await, None, "flushed");
    let error = writer
        .create_marker(&view.name, &marker("r3", 3, 3), &resumed)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::DataLost { .. }), "{error}");

    // Restarted from data that has the note, but perhaps not the newest writes.
    writer.begin_run(&view.name, "r4").await.unwrap();
    assert!(resume("r4", &process).await.is_some());
    server.restart();
    writer.begin_run(&view.name, "r4").await.unwrap();
    assert_eq!(resume("r4", &process).await, None, "restarted");

    // What is no hash holds no note.
    raw.run::<()>(&[b"SET", b"@aggregates:@marker", b"x"]).await;
    let error = writer.resume_run(&view.name, "r4", &process).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}
