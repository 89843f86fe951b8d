//! Runs that replace: a source that was wrong is taken back, and what comes later counts again.

use feature_defs::serving::Status;

use super::midway::ask;
use crate::Mode::{Full, Incremental, Replace};
use crate::RunRequest;
use crate::materialize::RunError;
use crate::store::Kind;
use crate::testing::{Ground, at, content};

/// Carriers of which two have wrong rows online that the source has no more: one with a later event, one altogether.
async fn mended() -> Ground {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:00", "11:00", "10").await;
    ground.arrival("UA", "11:50", "11:50", "666").await;
    ground.arrival("AA", "11:40", "11:40", "666").await;
    ground.arrival("DL", "11:10", "11:10", "5").await;
    ground.run("newest", Full, "12:00").await;
    ground.sql("DELETE FROM arrivals WHERE delay = 666").await;
    for mode in [Full, Incremental] {
        ground.run("newest", mode, "12:05").await;
        let wrong = ground.values("newest", "UA", "12:05").await;
        assert_eq!(wrong.as_deref(), Some("666.0"), "what is newer online stays");
    }
    ground
}

#[tokio::test]
async fn what_the_source_no_longer_has_is_taken_back() {
    let ground = mended().await;
    let run = ground.run("newest", Replace, "12:10").await;
    assert_eq!(
        (run.kind, run.forced_full, run.counts.written),
        (Kind::Replace, None, 2)
    );
    for (carrier, expected) in [("UA", Some("10.0")), ("AA", None), ("DL", Some("5.0"))] {
        assert_eq!(ground.values("newest", carrier, "12:10").await.as_deref(), expected);
    }
    let left: Vec<String> = content(&ground, "newest").await.into_keys().collect();
    assert_eq!(left, ["carrier=DL", "carrier=UA"], "its memory is given back");
    let freshness = ground.app.status().await.unwrap().remove(1).freshness;
    assert_eq!((freshness.entities, freshness.watermark), (Some(2), Some(at("12:10"))));
    let next = ground.run("newest", Incremental, "12:20").await;
    assert_eq!((next.forced_full, next.counts.read), (None, 0));
    assert_eq!(
        ground.values("newest", "DL", "12:20").await.as_deref(),
        Some("5.0"),
        "it is current still"
    );
}

#[tokio::test]
async fn readers_miss_it_at_once_and_an_older_row_of_it_counts_again() {
    let mut ground = mended().await;
    let wrong = content(&ground, "newest").await.remove("carrier=AA").unwrap();
    ground.run("newest", Replace, "12:10").await;
    // As if the sweep had not come to it yet.
    let key = format!("larder:{}:newest:{{carrier=AA}}", ground.app.definitions().project);
    let client = redis::Client::open(crate::testing::redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = redis::AsyncCommands::set(&mut connection, &key, wrong).await.unwrap();
    assert_eq!(ground.read("newest", "AA", "12:10").await.status, Status::NotFound);
    ground.arrival("AA", "11:20", "12:15", "7").await;
    let run = ground.run("newest", Incremental, "12:20").await;
    assert_eq!((run.forced_full, run.counts.written), (None, 1));
    let row = ground.read("newest", "AA", "12:20").await;
    assert_eq!((row.status, row.event), (Status::Present, Some(at("11:20"))));
    assert_eq!(ground.values("newest", "AA", "12:20").await.as_deref(), Some("7.0"));
}

#[tokio::test]
async fn a_full_run_after_a_loss_replaces_too() {
    let ground = mended().await;
    ground.lose_marker("newest").await;
    let run = ground.run("newest", Incremental, "12:10").await;
    assert!(run.forced_full.unwrap().contains("lost"));
    for (carrier, expected) in [("UA", Some("10.0")), ("AA", None), ("DL", Some("5.0"))] {
        assert_eq!(ground.values("newest", carrier, "12:10").await.as_deref(), expected);
    }
    // A full run that is not complete keeps that in mind.
    ground.run("newest", Full, "12:20").await;
    assert_eq!(ground.values("newest", "AA", "12:20").await, None);
}

#[tokio::test]
async fn it_is_as_of_now_only() {
    let ground = mended().await;
    let runs = ground.app.store().runs(None, 9).await.unwrap().len();
    let request = RunRequest {
        as_of: Some(at("12:10")),
        ..RunRequest::new(Replace)
    };
    let refused = ask(&ground, "newest", request, "12:10").await.unwrap_err();
    assert!(matches!(refused, RunError::ReplaceAsOf { .. }), "{refused}");
    assert_eq!(ground.app.store().runs(None, 9).await.unwrap().len(), runs);
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("666.0"));
}

#[tokio::test]
async fn what_was_forgotten_comes_back_as_it_is_and_not_as_it_was() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "2").await;
    ground.run("newest", Full, "12:00").await;
    let keys = [("carrier".to_owned(), "UA".to_owned())];
    let forgotten = ground.app.forget(&keys).await.unwrap();
    let had: Vec<String> = forgotten
        .views
        .iter()
        .map(|f| format!("{} {}", f.view, f.had_value))
        .collect();
    assert_eq!(had, ["ops false", "newest true"]);
    assert_eq!(ground.values("newest", "UA", "12:00").await, None);
    // A late row, older than the one that is still at the source.
    ground.arrival("UA", "11:00", "12:05", "1").await;
    ground.run("newest", crate::Mode::Incremental, "12:10").await;
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("2.0"));
    let unknown = ground
        .app
        .forget(&[("carier".to_owned(), "UA".to_owned())])
        .await
        .unwrap_err()
        .to_string();
    assert!(unknown.contains("there are: carrier=…"), "{unknown}");
}
