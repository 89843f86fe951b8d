//! Run histories: what readers find after rows have come late, tied, corrected, early, or with holes.

mod applied;
mod backfill;
mod columns;
mod control;
mod expectations;
mod midway;
mod redefined;
mod replace;
mod resume;
mod shards;
mod types;

use feature_defs::serving::Status;

use super::{Mode, RunError};
use crate::store::Kind;
use crate::testing::{CREATED, Ground, arrivals_toml, at};
use Mode::{Full, Incremental};

#[tokio::test]
async fn a_full_run_writes_the_newest_rows_and_windows() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:31", "10").await;
    ground.arrival("UA", "10:00", "10:01", "40").await;
    ground.arrival("UA", "08:59", "09:00", "99").await;
    ground.arrival("AA", "11:00", "11:00", "5").await; // exactly an hour before: outside (t − 1h, t]
    ground.arrival("DL", "08:00", "08:00", "7").await; // outside every window
    let run = ground.run("ops", Full, "12:00").await;
    assert_eq!((run.kind, run.counts.read, run.counts.written), (Kind::Full, 2, 2));
    assert_eq!(run.counts.newest_row, Some(at("11:30")));
    let ops = |carrier| ground.values("ops", carrier, "12:00");
    assert_eq!(
        ops("UA").await.as_deref(),
        Some("10.0 25.0 1 2 10.0 10.0 2013-11-05T11:30:00Z")
    );
    assert_eq!(
        ops("AA").await.as_deref(),
        Some("- 5.0 0 1 0.0 5.0 2013-11-05T11:00:00Z")
    );
    assert_eq!(ops("DL").await, None);
    let run = ground.run("newest", Full, "12:00").await;
    assert_eq!(run.counts.written, 3);
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("10.0"));
    assert_eq!(ground.read("newest", "DL", "13:59").await.status, Status::Present);
    assert_eq!(ground.read("newest", "DL", "14:00").await.status, Status::OutsideMaxAge);
}

#[tokio::test]
async fn late_rows_are_found_by_when_they_were_written() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    for view in ["ops", "newest"] {
        ground.run(view, Incremental, "12:00").await;
    }
    // Written after the run, about a time before it; one of an entity that had nothing, one older than what is online.
    ground.arrival("AA", "11:00", "12:05", "3").await;
    ground.arrival("UA", "11:20", "12:05", "30").await;
    for view in ["ops", "newest"] {
        let run = ground.run(view, Incremental, "12:10").await;
        assert_eq!((run.kind, run.forced_full), (Kind::Incremental, None), "{view}");
    }
    assert_eq!(ground.values("newest", "AA", "12:10").await.as_deref(), Some("3.0"));
    assert_eq!(
        ground.values("newest", "UA", "12:10").await.as_deref(),
        Some("10.0"),
        "an older row never wins"
    );
    let ua = ground.values("ops", "UA", "12:10").await;
    assert_eq!(ua.as_deref(), Some("20.0 20.0 2 2 40.0 10.0 2013-11-05T11:30:00Z"));
}

#[tokio::test]
async fn a_row_that_became_visible_after_it_was_stamped_is_found_within_the_overlap() {
    let mut ground = Ground::arrivals().await;
    ground.run("ops", Incremental, "12:00").await;
    ground.arrival("UA", "11:50", "11:56", "10").await; // stamped four minutes before the run, committed after it
    ground.arrival("AA", "11:50", "11:54", "10").await; // six minutes: the overlap is five
    ground.run("ops", Incremental, "12:01").await;
    assert!(ground.values("ops", "UA", "12:01").await.is_some());
    assert!(ground.values("ops", "AA", "12:01").await.is_none());
}

#[tokio::test]
async fn ties_and_corrections_have_one_winner_in_every_kind_of_run() {
    let mut ground = Ground::arrivals().await;
    // Same event, same created: the first by value. A correction has a newer created; null is older than any.
    ground.arrival("UA", "11:30", "11:30", "20").await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.arrival("AA", "11:30", "11:30", "1").await;
    ground.sql("INSERT INTO arrivals VALUES ('AA', '2013-11-05 11:30+00', NULL, 0), ('DL', '2013-11-05 11:30+00', 'infinity', 5), ('DL', '2013-11-05 11:30+00', '2013-11-05 11:30+00', 6)").await;
    ground.run("newest", Incremental, "12:00").await;
    assert_eq!(ground.values("newest", "UA", "12:30").await.as_deref(), Some("10.0"));
    assert_eq!(ground.values("newest", "AA", "12:30").await.as_deref(), Some("1.0"));
    assert_eq!(
        ground.values("newest", "DL", "12:30").await.as_deref(),
        Some("6.0"),
        "an infinite created timestamp is none"
    );
    ground.arrival("AA", "11:30", "12:05", "99").await;
    let run = ground.run("newest", Incremental, "12:10").await;
    assert_eq!((run.kind, run.counts.written), (Kind::Incremental, 1));
    assert_eq!(ground.values("newest", "AA", "12:30").await.as_deref(), Some("99.0"));
    ground.run("newest", Full, "12:20").await;
    assert_eq!(ground.values("newest", "UA", "12:30").await.as_deref(), Some("10.0"));
    assert_eq!(ground.values("newest", "AA", "12:30").await.as_deref(), Some("99.0"));
}

#[tokio::test]
async fn rows_from_the_future_wait_for_their_time() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "12:05", "11:00", "10").await;
    ground.arrival("UA", "11:00", "11:00", "1").await;
    for view in ["ops", "newest"] {
        let run = ground.run(view, Incremental, "12:00").await;
        assert_eq!(run.counts.newest_row, Some(at("11:00")), "{view}");
    }
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("1.0"));
    for view in ["ops", "newest"] {
        ground.run(view, Incremental, "12:10").await;
    }
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("10.0"));
    let ops = ground.values("ops", "UA", "12:10").await;
    assert_eq!(ops.as_deref(), Some("10.0 5.5 1 2 10.0 10.0 2013-11-05T12:05:00Z"));
}

#[tokio::test]
async fn an_entity_whose_events_leave_its_windows_changes_and_then_is_gone() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.run("ops", Incremental, "12:00").await;
    // Nothing new: out of the one-hour window, then out of all.
    let run = ground.run("ops", Incremental, "12:30").await;
    assert_eq!(run.counts.written, 1);
    assert_eq!(
        ground.values("ops", "UA", "12:30").await.as_deref(),
        Some("- 10.0 0 1 0.0 10.0 2013-11-05T11:30:00Z")
    );
    let run = ground.run("ops", Incremental, "13:00").await;
    assert_eq!(run.counts.read, 0, "nothing moved in or out of a window");
    let row = ground.read("ops", "UA", "13:00").await;
    assert_eq!(
        row.event,
        Some(at("13:00")),
        "an entity that did not change is as fresh as the run"
    );
    let run = ground.run("ops", Incremental, "14:30").await;
    assert_eq!((run.counts.read, run.counts.newest_row), (1, None));
    assert_eq!(ground.values("ops", "UA", "14:30").await, None);
    // A full run does not see the entity; what it left is older than the run, and so no value.
    ground.arrival("UA", "14:40", "14:40", "1").await;
    ground.run("ops", Incremental, "14:45").await;
    assert!(ground.values("ops", "UA", "14:45").await.is_some());
    ground.run("ops", Full, "18:00").await;
    assert_eq!(ground.values("ops", "UA", "18:00").await, None);
}

#[tokio::test]
async fn without_created_timestamps_event_time_is_all_there_is() {
    let mut ground = Ground::arrivals_without_created().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.run("newest", Incremental, "12:00").await;
    ground.arrival("UA", "12:05", "12:05", "20").await;
    ground.arrival("UA", "12:05", "12:05", "15").await;
    ground.arrival("AA", "11:50", "12:05", "1").await; // late: only a full run finds it
    let run = ground.run("newest", Incremental, "12:10").await;
    assert_eq!((run.counts.read, run.counts.written), (1, 1));
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("15.0"));
    assert_eq!(ground.values("newest", "AA", "12:10").await, None);
    ground.run("newest", Full, "12:20").await;
    assert_eq!(ground.values("newest", "AA", "12:20").await.as_deref(), Some("1.0"));
    // With lateness, they are looked at again.
    let toml = arrivals_toml("lateness = \"30m\"");
    ground.redefine(&toml);
    ground.arrival("DL", "11:55", "12:25", "2").await;
    ground.arrival("WN", "11:45", "12:25", "2").await;
    ground.run("newest", Incremental, "12:30").await;
    assert_eq!(ground.values("newest", "DL", "12:30").await.as_deref(), Some("2.0"));
    assert_eq!(ground.values("newest", "WN", "12:30").await, None);
}

#[tokio::test]
async fn holes_and_odd_values_are_nulls_or_skipped() {
    let mut ground = Ground::arrivals().await;
    ground.sql("INSERT INTO arrivals VALUES
        (NULL, '2013-11-05 11:30+00', now(), 1), ('UA', NULL, now(), 1),
        ('UA', '2013-11-05 11:30+00', '2013-11-05 11:30+00', 'NaN'), ('UA', '2013-11-05 11:20+00', '2013-11-05 11:30+00', 3),
        ('AA', '-infinity', now(), 1), ('DL', 'infinity', now(), 1),
        ('B6', '1960-02-29 01:02:03.000004+00', now(), 6), ('', '2013-11-05 11:30+00', now(), NULL)").await;
    let run = ground.run("newest", Full, "12:00").await;
    assert_eq!(run.counts.read, 3);
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("-"));
    assert_eq!(ground.values("newest", "", "12:00").await.as_deref(), Some("-"));
    assert_eq!(ground.values("newest", "AA", "12:00").await, None);
    let old = ground.read("newest", "B6", "12:00").await;
    assert_eq!(
        (old.status, old.event.unwrap().to_string()),
        (Status::OutsideMaxAge, "1960-02-29T01:02:03.000004Z".into())
    );
    ground.run("ops", Full, "12:00").await;
    let ops = ground.values("ops", "UA", "12:00").await;
    assert_eq!(
        ops.as_deref(),
        Some("3.0 3.0 2 2 3.0 3.0 2013-11-05T11:30:00Z"),
        "NaN counts as null"
    );
}

#[tokio::test]
async fn what_cannot_be_trusted_forces_a_full_run() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    let forced = |run: &super::RunSummary| run.forced_full.clone().unwrap_or_default();
    let run = ground.run("ops", Incremental, "12:00").await;
    assert!(forced(&run).contains("first run"), "{run:?}");
    ground.lose_marker("ops").await;
    let run = ground.run("ops", Incremental, "12:01").await;
    assert!(forced(&run).contains("lost"), "{run:?}");
    // Redis comes back with an older state: the marker of an earlier run.
    let view = ground.app.view("ops").unwrap().clone();
    let writer = ground.online().writer();
    let earlier = writer.marker(&view.name).await.unwrap().unwrap();
    ground.run("ops", Incremental, "12:02").await;
    ground.lose_marker("ops").await;
    let begun = writer.begin_run(&view.name, &earlier.run).await.unwrap();
    assert!(writer.create_marker(&view.name, &earlier, &begun).await.unwrap());
    let run = ground.run("ops", Incremental, "12:03").await;
    assert!(forced(&run).contains("rolled back"), "{run:?}");
    // The definition changes.
    let toml = arrivals_toml(CREATED).replace(
        "[\"1h\", \"3h\"] },\n  { name = \"n\"",
        "[\"2h\", \"3h\"] },\n  { name = \"n\"",
    );
    let toml = toml.replace("ops:delay_1h", "ops:delay_2h");
    ground.redefine(&toml);
    let run = ground.run("ops", Incremental, "12:04").await;
    assert!(forced(&run).contains("definition"), "{run:?}");
    let run = ground.run("ops", Incremental, "12:05").await;
    assert_eq!(run.forced_full, None);
}

#[tokio::test]
async fn time_only_goes_forward() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.run("ops", Full, "12:00").await;
    for mode in [Full, Incremental] {
        let refused = ground.try_run("ops", mode, "11:59").await.unwrap_err();
        assert!(matches!(refused, RunError::Earlier { .. }), "{refused}");
        assert!(refused.to_string().contains("2013-11-05T12:00:00Z"), "{refused}");
    }
    let request = crate::RunRequest {
        as_of: Some(at("12:01")),
        ..crate::RunRequest::new(Full)
    };
    let future = ground
        .app
        .materialize("ops", &request, &crate::Progress::hidden())
        .await
        .unwrap_err();
    assert!(matches!(future, RunError::Future { .. }), "{future}");
    // A source that stands still does not hold the watermark back.
    ground.run("ops", Incremental, "12:40").await;
    let status = ground.app.status().await.unwrap();
    assert_eq!(status[0].freshness.watermark, Some(at("12:40")));
    assert_eq!(status[0].freshness.lag_ms, Some(0));
    assert_eq!(status[0].freshness.newest_row, Some(at("11:30")));
}

#[tokio::test]
async fn two_runs_of_a_view_never_overlap() {
    let mut ground = Ground::arrivals().await;
    ground
        .sql("CREATE VIEW slow AS SELECT carrier, event, created, delay FROM arrivals, pg_sleep(1)")
        .await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"slow\""));
    let app = ground.app.clone();
    let first = tokio::spawn(async move {
        app.materialize("ops", &crate::RunRequest::new(Full), &crate::Progress::hidden())
            .await
    });
    let store = ground.app.store();
    while store.runs(Some("ops"), 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let running = store.runs(Some("ops"), 1).await.unwrap().remove(0);
    assert_eq!(running.outcome, "running");
    let refused = ground.try_run("ops", Full, "12:00").await.unwrap_err().to_string();
    assert!(
        refused.contains(&running.id.to_string())
            && refused.contains("SELECT pg_terminate_backend(")
            && refused.contains(&format!("process {}", std::process::id())),
        "{refused}"
    );
    first.await.unwrap().unwrap();
    ground.run("ops", Incremental, "12:01").await;
}

#[tokio::test]
async fn a_run_whose_process_died_is_told_apart_from_one_that_runs() {
    let mut ground = Ground::arrivals().await;
    ground
        .sql("CREATE VIEW slow AS SELECT carrier, event, created, delay FROM arrivals, pg_sleep(3)")
        .await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    let quick = arrivals_toml(CREATED);
    ground.redefine(&quick.replace("table = \"arrivals\"", "table = \"slow\""));
    let app = ground.app.clone();
    let run = tokio::spawn(async move {
        app.materialize("ops", &crate::RunRequest::new(Full), &crate::Progress::hidden())
            .await
    });
    while ground.app.store().runs(Some("ops"), 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    run.abort();
    let _aborted = run.await;
    ground.redefine(&quick);
    while ground.app.store().runs(Some("ops"), 1).await.unwrap()[0].outcome != "interrupted" {
        tokio::task::yield_now().await;
    }
    ground.run("ops", Incremental, "12:01").await;
    let runs = ground.app.store().runs(Some("ops"), 5).await.unwrap();
    let outcomes: Vec<&str> = runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done", "interrupted"]);
    assert!(runs[1].finished_at.is_some());
}

#[tokio::test]
async fn a_source_that_fails_changes_nothing_and_says_why() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.run("newest", Full, "12:00").await;
    ground.sql("CREATE VIEW broken AS SELECT carrier, event, created, 1 / (delay::int - 10)::float8 AS delay FROM arrivals").await;
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"broken\""));
    let failed = ground.try_run("newest", Full, "12:10").await.unwrap_err().to_string();
    assert!(
        failed.contains("view newest") && failed.contains("division by zero"),
        "{failed}"
    );
    let row = ground.read("newest", "UA", "12:10").await;
    assert_eq!((row.status, row.event), (Status::Present, Some(at("11:30"))));
    let status = ground.app.status().await.unwrap().remove(1);
    assert_eq!(status.freshness.watermark, Some(at("12:00")));
    assert!(status.problem.unwrap().contains("division by zero"));
}

#[tokio::test]
async fn a_run_that_cannot_even_begin_is_recorded_and_status_tells_of_it() {
    let mut ground = Ground::arrivals().await;
    ground.run("newest", Full, "12:00").await;
    ground.settings.source_database = Some("postgres://ann:s3cret@127.0.0.1:1/shop".parse().unwrap());
    ground.redefine(&arrivals_toml(CREATED));
    let failed = ground.try_run("newest", Incremental, "12:10").await.unwrap_err();
    let last = ground.app.store().runs(Some("newest"), 1).await.unwrap().remove(0);
    assert_eq!((last.outcome, last.error), ("failed".into(), Some(failed.to_string())));
    // Without the source's clock, the other database's tells how long ago that was.
    let definitions = ground.app.definitions().clone();
    let app = crate::App::open(&ground.settings, definitions, crate::Time::SourceDatabase).unwrap();
    let status = app.status().await.unwrap().remove(1);
    assert!(status.problem.unwrap().contains("127.0.0.1:1/shop"));
    assert!(status.freshness.lag_ms.unwrap() > 0);
    // A mistake of the caller is no failure of the view.
    ground.settings.source_database = None;
    ground.redefine(&arrivals_toml(CREATED));
    ground.try_run("newest", Full, "11:00").await.unwrap_err();
    assert_eq!(ground.app.store().runs(None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_two_zeros_are_one_value() {
    for zeros in [["0.0", "'-0.0'"], ["'-0.0'", "0.0"]] {
        let mut ground = Ground::arrivals().await;
        for zero in zeros {
            ground.arrival("UA", "11:30", "11:30", zero).await;
        }
        ground.run("newest", Full, "12:00").await;
        ground.run("ops", Full, "12:00").await;
        assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("0.0"));
        let values = ground.values("ops", "UA", "12:00").await.unwrap();
        assert!(!values.contains("-0.0"), "{values}");
    }
}
