//! Backfills: past rows land oldest first, also after an end in the middle, and say nothing of the view as a whole.

use std::sync::Arc;

use super::midway::{ENTITIES, End, ask, end_backfill_midway};
use crate::Mode::{Full, Incremental, Replace};
use crate::materialize::{Backfill, RunError, RunOutcome, RunSummary};
use crate::shard::Shard;
use crate::testing::{Ground, at, content};
use crate::{Progress, RunRequest};

fn range(start: &str, end: &str, every: &str) -> Backfill {
    Backfill {
        start: at(start),
        end: at(end),
        every: every.parse().unwrap(),
        all_steps: false,
        shard: Shard::WHOLE,
        resume: false,
    }
}

fn resume(backfill: Backfill) -> Backfill {
    Backfill {
        resume: true,
        ..backfill
    }
}

fn part(index: u32, of: u32, backfill: Backfill) -> Backfill {
    Backfill {
        shard: Shard::new(index, of).unwrap(),
        ..backfill
    }
}

async fn backfill(ground: &Ground, view: &str, asked: &Backfill) -> Result<Vec<RunSummary>, RunError> {
    ground.app.backfill(view, asked, &Progress::hidden()).await
}

#[tokio::test]
async fn a_row_view_gets_the_newest_row_of_the_range_and_stands_where_it_stood() {
    let mut ground = Ground::arrivals().await;
    for (carrier, time, delay) in [
        ("UA", "08:00", "1"), // at the start: not of the range
        ("UA", "09:30", "2"),
        ("UA", "10:00", "3"), // at the end of a step
        ("AA", "11:00", "4"), // at the end of the range
        ("AA", "11:01", "5"), // after it
        ("DL", "08:00", "6"),
    ] {
        ground.arrival(carrier, time, time, delay).await;
    }
    let runs = backfill(&ground, "newest", &range("08:00", "11:00", "1h"))
        .await
        .unwrap();
    assert_eq!((runs.len(), runs[0].counts.read, runs[0].counts.written), (1, 2, 2));
    for (carrier, expected) in [("UA", Some("3.0")), ("AA", Some("4.0")), ("DL", None)] {
        assert_eq!(ground.values("newest", carrier, "12:00").await.as_deref(), expected);
    }
    let marker = async |ground: &Ground| {
        ground
            .online()
            .writer()
            .marker(&"newest".parse().unwrap())
            .await
            .unwrap()
    };
    assert_eq!(marker(&ground).await, None);
    let freshness = ground.app.status().await.unwrap().remove(1).freshness;
    assert_eq!((freshness.watermark, freshness.as_of), (None, None));

    ground.run("newest", Full, "12:10").await;
    let before = (
        marker(&ground).await,
        ground.app.status().await.unwrap().remove(1).freshness,
    );
    ground.arrival("UA", "09:00", "12:20", "9").await; // older than what is online
    ground.clock.set(at("12:10"));
    let again = backfill(&ground, "newest", &range("08:00", "11:00", "90m"))
        .await
        .unwrap();
    assert_eq!((again[0].counts.written, again[0].counts.older), (1, 2), "{again:?}");
    assert_eq!(ground.values("newest", "AA", "12:20").await.as_deref(), Some("5.0"));
    assert_eq!(ground.values("newest", "UA", "12:20").await.as_deref(), Some("3.0"));
    let after = (
        marker(&ground).await,
        ground.app.status().await.unwrap().remove(1).freshness,
    );
    assert_eq!(before, after);
    let next = ground.run("newest", Incremental, "12:30").await;
    assert_eq!(next.forced_full, None);
}

#[tokio::test]
async fn mistakes_in_the_range_are_refused() {
    let ground = Ground::arrivals().await;
    for (asked, says) in [
        (range("11:00", "10:00", "1h"), "must end after it starts"),
        (range("10:00", "10:00", "1h"), "must end after it starts"),
        (range("10:00", "11:00", "0s"), "longer than 0"),
        (range("10:00", "11:00", "10ms"), "too many"),
        (range("10:00", "12:01", "1h"), "it is only 2013-11-05T12:00:00Z"),
    ] {
        for view in ["newest", "ops"] {
            let refused = backfill(&ground, view, &asked).await.unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
    assert!(ground.app.store().runs(None, 9).await.unwrap().is_empty());
}

/// Many carriers with an arrival in each of two hours.
async fn many() -> Ground {
    let mut ground = Ground::arrivals().await;
    ground
        .sql(&format!(
            "INSERT INTO arrivals
             SELECT 'c' || i, at, at, i + extract(hour FROM at AT TIME ZONE 'UTC')
             FROM generate_series(1, {ENTITIES}) AS i,
                  (VALUES ('2013-11-05 09:30+00'::timestamptz), ('2013-11-05 10:30+00')) AS moment (at)"
        ))
        .await;
    ground
}

#[tokio::test]
async fn one_that_ended_in_the_middle_goes_on_whatever_ran_meanwhile() {
    for meanwhile in [None, Some(Incremental), Some(Full), Some(Replace)] {
        let asked = range("09:00", "11:00", "1h");
        let mut ground = many().await;
        let ended = end_backfill_midway(&mut ground, ("newest", End::Crash), asked).await;
        if let Some(mode) = meanwhile {
            ask(&ground, "newest", RunRequest::new(mode), "12:10").await.unwrap();
        }
        ground.clock.set(at("12:20"));
        let run = backfill(&ground, "newest", &resume(asked)).await.unwrap().remove(0);
        // A first incremental run, and one that replaces, make all that is as of before it count for nothing.
        let goes_on = meanwhile.is_none();
        assert_eq!(run.run == ended.id, goes_on, "{meanwhile:?}");
        assert_eq!(run.outcome, RunOutcome::Done);
        let read = run.counts.read - if goes_on { ended.rows_read.unsigned_abs() } else { 0 };
        let before = if goes_on { ended.rows_written.unsigned_abs() } else { 0 };
        assert_eq!(read, 2 * ENTITIES - before);
        for carrier in ["c1", "c42", "c12000"] {
            let delay: f64 = carrier[1..].parse().unwrap();
            let expected = format!("{:?}", delay + 10.0);
            assert_eq!(
                ground.values("newest", carrier, "12:20").await,
                Some(expected),
                "{meanwhile:?}"
            );
        }
        let again = backfill(&ground, "newest", &resume(asked)).await.unwrap().remove(0);
        assert_eq!(
            again.outcome,
            RunOutcome::AlreadyDone {
                waiting_for: Vec::new()
            }
        );
        assert_eq!(content(&ground, "newest").await.len() as u64, ENTITIES);
    }
}

#[tokio::test]
async fn one_goes_on_after_a_scheduled_run() {
    let asked = range("09:00", "11:00", "1h");
    let mut ground = many().await;
    ground.run("newest", Full, "08:00").await;
    ground.clock.set(at("12:00"));
    let ended = end_backfill_midway(&mut ground, ("newest", End::RedisAway), asked).await;
    ground.arrival("c9", "11:30", "12:05", "900").await;
    let scheduled = RunRequest {
        resume: true,
        ..RunRequest::new(Incremental)
    };
    let between = ask(&ground, "newest", scheduled, "12:10").await.unwrap();
    assert_eq!((between.forced_full, between.as_of), (None, at("12:10")));
    let run = backfill(&ground, "newest", &resume(asked)).await.unwrap().remove(0);
    assert_eq!((run.run, run.as_of), (ended.id, at("12:00")));
    assert_eq!(ground.values("newest", "c9", "12:20").await.as_deref(), Some("900.0"));
    let next = ground.run("newest", Incremental, "12:30").await;
    assert_eq!(next.forced_full, None);
}

#[tokio::test]
async fn shards_of_one_find_each_other_after_a_scheduled_run() {
    let mut ground = Ground::arrivals().await;
    for carrier in 0..20 {
        ground.arrival(&format!("c{carrier}"), "09:30", "09:30", "1").await;
    }
    let asked = range("09:00", "11:00", "1h");
    let first = backfill(&ground, "newest", &part(1, 2, asked)).await.unwrap().remove(0);
    ground.run("newest", Incremental, "12:10").await;
    let other = backfill(&ground, "newest", &part(2, 2, asked)).await.unwrap().remove(0);
    // That run was the view's first, and makes values as of before it count for nothing: only then another one begins.
    assert_ne!(other.run, first.run);
    let second = backfill(&ground, "newest", &part(1, 2, asked)).await.unwrap().remove(0);
    assert_eq!((second.run, &second.outcome), (other.run, &RunOutcome::Done));
    let first = backfill(&ground, "newest", &part(1, 2, asked)).await.unwrap().remove(0);
    ground.run("newest", Incremental, "12:20").await;
    let other = backfill(&ground, "newest", &part(2, 2, asked)).await.unwrap().remove(0);
    assert_eq!((other.run, other.outcome), (first.run, RunOutcome::Done));
    assert_eq!(first.counts.read + other.counts.read, 20);
}

#[tokio::test]
async fn an_aggregate_view_is_computed_at_the_end_or_at_each_step() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "09:30", "09:30", "10").await;
    ground.arrival("UA", "10:30", "10:30", "20").await;
    let asked = range("08:30", "11:00", "1h");
    let runs = backfill(&ground, "ops", &asked).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.as_of).collect::<Vec<_>>(), [at("11:00")]);
    let end = ground.values("ops", "UA", "11:00").await;
    assert_eq!(end.as_deref(), Some("20.0 15.0 1 2 20.0 20.0 2013-11-05T10:30:00Z"));

    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "09:30", "09:30", "10").await;
    ground.arrival("UA", "10:30", "10:30", "20").await;
    let steps = Backfill {
        all_steps: true,
        ..asked
    };
    // It ends in the second step: the first is done.
    ground.run("ops", Full, "09:30").await;
    let failing = "ALTER TABLE arrivals RENAME TO elsewhere; CREATE VIEW arrivals AS SELECT carrier, event, created, 1 / (delay - delay) AS delay FROM elsewhere";
    ground.sql(failing).await;
    ground.try_run("ops", Full, "10:30").await.unwrap_err();
    ground
        .sql("DROP VIEW arrivals; ALTER TABLE elsewhere RENAME TO arrivals")
        .await;
    let rows = "UPDATE larder.run_shards SET rows_read = 1 WHERE outcome = 'failed'";
    ground.sql(rows).await;
    ground.clock.set(at("12:00"));
    let runs = backfill(&ground, "ops", &resume(steps)).await.unwrap();
    assert_eq!(
        runs.iter().map(|run| run.as_of).collect::<Vec<_>>(),
        ["10:30", "11:00"].map(at)
    );
    assert_eq!(ground.values("ops", "UA", "11:00").await, end);
    let again = backfill(&ground, "ops", &resume(steps)).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(matches!(again[0].outcome, RunOutcome::AlreadyDone { .. }));
    let earlier = backfill(&ground, "ops", &steps).await.unwrap_err();
    assert!(matches!(earlier, RunError::Earlier { .. }), "{earlier}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_do_every_step_together() {
    let mut ground = Ground::arrivals().await;
    for carrier in 0..40 {
        ground.arrival(&format!("c{carrier}"), "09:10", "09:10", "1").await;
    }
    let steps = Backfill {
        all_steps: true,
        ..range("09:00", "11:00", "20m")
    };
    let tasks = [1, 2].map(|shard| {
        let app = Arc::clone(&ground.app);
        tokio::spawn(async move { app.backfill("ops", &part(shard, 2, steps), &Progress::hidden()).await })
    });
    let mut done = 0;
    for task in tasks {
        let runs = task.await.unwrap().unwrap();
        assert_eq!(runs.len(), 6);
        done += runs.iter().filter(|run| run.outcome == RunOutcome::Done).count();
    }
    assert_eq!(done, 6, "each step has one last shard");
    let runs = ground.app.store().runs(Some("ops"), 9).await.unwrap();
    assert_eq!(
        runs.iter().map(|run| run.outcome.as_str()).collect::<Vec<_>>(),
        ["done"; 6]
    );
    let freshness = ground.app.status().await.unwrap().remove(0).freshness;
    assert_eq!(freshness.watermark, Some(at("11:00")));
}
