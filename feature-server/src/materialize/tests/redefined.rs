//! Histories in which a view's definition changes under the same name: no value of another definition stays vouched for.

use feature_defs::serving::Status;

use crate::Mode::{Full, Incremental};
use crate::testing::{CREATED, Ground, arrivals_toml, at};

#[tokio::test]
async fn an_unfinished_run_of_another_definition_forces_a_full_run() {
    let mut ground = Ground::arrivals().await;
    let ours = arrivals_toml(CREATED);
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.run("newest", Incremental, "12:00").await;
    ground
        .sql("CREATE VIEW other AS SELECT carrier, event + interval '1 minute' AS event, created, delay + 1000 AS delay FROM arrivals, pg_sleep(1)")
        .await;
    ground.redefine(&ours.replace("table = \"arrivals\"", "table = \"other\""));
    ground.clock.set(at("12:05"));
    let app = ground.app.clone();
    let dies = tokio::spawn(async move {
        app.materialize("newest", Incremental, None, &crate::Progress::hidden())
            .await
    });
    while ground.app.store().runs(Some("newest"), 1).await.unwrap()[0].outcome != "running" {
        tokio::task::yield_now().await;
    }
    // Its lock goes while it reads: it has written its values by the time that it notices.
    ground
        .sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
        .await;
    let died = dies.await.unwrap().unwrap_err().to_string();
    assert!(died.contains("lock"), "{died}");

    ground.redefine(&ours);
    let earlier = ground
        .try_run("newest", Incremental, "12:04")
        .await
        .unwrap_err()
        .to_string();
    assert!(earlier.contains("as of 2013-11-05T12:05:00Z already"), "{earlier}");
    let run = ground.run("newest", Incremental, "12:10").await;
    assert!(run.forced_full.unwrap().contains("another definition"));
    let row = ground.read("newest", "UA", "12:10").await;
    assert_eq!(row.event, Some(at("11:30")));
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("10.0"));
    let run = ground.run("newest", Incremental, "12:11").await;
    assert_eq!(run.forced_full, None, "it is done once");
}

#[tokio::test]
async fn a_row_view_replaces_the_aggregate_view_of_its_name() {
    const HEAD: &str = "[[entity]]\nname = \"carrier\"\njoin_keys = [{ name = \"carrier\", type = \"string\" }]\n
[[source]]\nname = \"arrivals\"\ntable = \"arrivals\"\nevent_timestamp = \"event\"\n
[[feature_view]]\nname = \"delays\"\nentity = \"carrier\"\nsource = \"arrivals\"\n";
    const AGGREGATE: &str =
        "aggregate = [{ name = \"delay\", function = \"mean\", column = \"delay\", windows = [\"3h\"] }]\n";
    const ROW: &str = "features = [{ name = \"delay_3h\", column = \"delay\", type = \"float64\" }]\n";
    for mode in [Full, Incremental] {
        let mut ground = Ground::new(crate::testing::ARRIVALS, &format!("{HEAD}{AGGREGATE}")).await;
        ground.arrival("UA", "11:00", "11:00", "10").await;
        ground.arrival("UA", "11:30", "11:30", "20").await;
        ground.run("delays", Full, "12:00").await;
        assert_eq!(ground.values("delays", "UA", "12:00").await.as_deref(), Some("15.0"));
        ground.redefine(&format!("{HEAD}{ROW}"));
        let run = ground.run("delays", mode, "12:10").await;
        assert_eq!((run.counts.written, run.counts.older), (1, 0));
        let row = ground.read("delays", "UA", "12:10").await;
        assert_eq!((row.status, row.event), (Status::Present, Some(at("11:30"))));
        assert_eq!(ground.values("delays", "UA", "12:10").await.as_deref(), Some("20.0"));
    }
}

#[tokio::test]
async fn an_event_timestamp_may_move_to_an_earlier_column() {
    for mode in [Full, Incremental] {
        let mut ground = Ground::arrivals_without_created().await;
        ground.arrival("UA", "11:30", "10:00", "10").await;
        ground.arrival("UA", "11:00", "10:30", "20").await;
        ground.run("newest", Full, "12:00").await;
        assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("10.0"));
        ground.redefine(&arrivals_toml("").replace("event_timestamp = \"event\"", "event_timestamp = \"created\""));
        let run = ground.run("newest", mode, "12:10").await;
        assert_eq!((run.counts.written, run.counts.older), (1, 0));
        let row = ground.read("newest", "UA", "12:10").await;
        assert_eq!(row.event, Some(at("10:30")));
        assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("20.0"));
    }
}
