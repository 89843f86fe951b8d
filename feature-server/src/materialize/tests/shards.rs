//! Runs that several processes share: one moment, one marker, whatever the order in which they come and go.

use std::collections::HashSet;
use std::sync::Arc;

use super::midway::{End, ask, end_midway, until_outcome};
use crate::Mode::{Full, Incremental};
use crate::materialize::{RunError, RunOutcome};
use crate::shard::Shard;
use crate::testing::{CREATED, Ground, arrivals_toml, at, content};
use crate::{Mode, Progress, RunRequest};

const CARRIERS: u64 = 90;

fn part(index: u32, of: u32, mode: Mode) -> RunRequest {
    RunRequest {
        shard: Shard::new(index, of).unwrap(),
        ..RunRequest::new(mode)
    }
}

fn resume(request: RunRequest) -> RunRequest {
    RunRequest {
        resume: true,
        ..request
    }
}

async fn some(carriers: u64) -> Ground {
    let mut ground = Ground::arrivals().await;
    ground
        .sql(&format!(
            "INSERT INTO arrivals SELECT 'c' || i, '2013-11-05 11:00+00', '2013-11-05 11:00+00', i
             FROM generate_series(1, {carriers}) AS i"
        ))
        .await;
    ground
}

/// The run of the marker, if there is one.
async fn marker(ground: &Ground, view: &str) -> Option<String> {
    let view = view.parse().unwrap();
    let marker = ground.online().writer().marker(&view).await.unwrap();
    marker.map(|marker| marker.run)
}

#[tokio::test]
async fn shards_in_any_order_are_one_run() {
    for (view, order) in [("newest", [1, 2, 3]), ("ops", [3, 1, 2]), ("newest", [2, 3, 1])] {
        let (mut ground, undisturbed) = (some(CARRIERS).await, some(CARRIERS).await);
        undisturbed.run(view, Full, "12:00").await;
        let mut read = 0;
        for (i, shard) in order.into_iter().enumerate() {
            // Written after the run began, and so not of it: its moment is the first one's.
            let time = ["12:00", "12:10", "12:20"][i];
            let run = ask(&ground, view, part(shard, 3, Full), time).await.unwrap();
            assert_eq!(run.as_of, at("12:00"));
            read += run.counts.read;
            let status = ground.app.status().await.unwrap();
            let status = status.into_iter().find(|status| status.view.as_str() == view).unwrap();
            let (stands, waits) = (marker(&ground, view).await, order[i + 1..].len());
            if waits > 0 {
                let mut waiting_for = order[i + 1..].to_vec();
                waiting_for.sort_unstable();
                assert_eq!(run.outcome, RunOutcome::ShardDone { waiting_for });
                assert_eq!((stands, status.freshness.watermark), (None, None));
                let problem = status.problem.unwrap();
                assert!(
                    problem.contains(&format!("waits for {waits} of its 3 shards")),
                    "{problem}"
                );
                assert_eq!(status.last_run.unwrap().outcome, "waiting");
            } else {
                assert_eq!(run.outcome, RunOutcome::Done);
                assert_eq!(stands, Some(run.run.to_string()));
                assert_eq!((status.freshness.watermark, status.problem), (Some(at("12:00")), None));
                assert_eq!(status.freshness.entities, Some(CARRIERS.cast_signed()));
            }
        }
        assert_eq!(read, CARRIERS, "each entity is of one shard");
        assert!(content(&ground, view).await == content(&undisturbed, view).await);
        assert_eq!(ground.app.store().runs(None, 9).await.unwrap().len(), 1);
        // The next run, of others, builds on it.
        ground.arrival("c7", "12:30", "12:30", "1000").await;
        for shard in [1, 2] {
            let run = ask(&ground, view, part(shard, 2, Incremental), "12:40").await.unwrap();
            assert_eq!((run.forced_full, run.as_of), (None, at("12:40")));
        }
        let late = ground.values(view, "c7", "12:40").await.unwrap();
        assert!(late.contains("1000.0"), "{late}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_at_the_same_time_are_one_run_with_one_marker() {
    let ground = some(CARRIERS).await;
    let mut runs = HashSet::new();
    for minute in 0..40 {
        ground.clock.set(at(&format!("12:{minute:02}")));
        let shards: Vec<_> = (1..=3)
            .map(|shard| {
                let app = Arc::clone(&ground.app);
                tokio::spawn(async move {
                    let request = part(shard, 3, Full);
                    app.materialize("newest", &request, &Progress::hidden()).await
                })
            })
            .collect();
        let mut last = 0;
        for shard in shards {
            let run = shard.await.unwrap().unwrap();
            runs.insert(run.run);
            last += usize::from(run.outcome == RunOutcome::Done);
        }
        assert_eq!((last, runs.len()), (1, minute + 1));
        let newest = ground.app.store().runs(Some("newest"), 1).await.unwrap().remove(0);
        assert_eq!(newest.outcome, "done");
        assert_eq!(marker(&ground, "newest").await, Some(newest.id.to_string()));
        assert_eq!(newest.rows_read.unsigned_abs(), CARRIERS);
    }
}

/// A source whose rows come only after the test's transaction is over.
async fn held_up(ground: &mut Ground) {
    ground
        .sql(
            "CREATE TABLE gate ();
             CREATE FUNCTION pass() RETURNS bool LANGUAGE plpgsql VOLATILE AS
             $$ BEGIN LOCK gate IN ACCESS SHARE MODE; RETURN true; END $$;
             CREATE VIEW slow AS SELECT carrier, event, created, delay FROM arrivals, pass() AS passed WHERE passed",
        )
        .await;
    ground.sql("BEGIN; LOCK gate IN ACCESS EXCLUSIVE MODE").await;
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"slow\""));
}

#[tokio::test]
async fn a_whole_run_and_shards_keep_each_other_out() {
    let mut ground = some(CARRIERS).await;
    held_up(&mut ground).await;
    for (at_work, others) in [
        (
            part(2, 3, Full),
            vec![RunRequest::new(Full), part(1, 2, Full), part(2, 3, Full)],
        ),
        (
            RunRequest::new(Full),
            vec![part(1, 3, Full), RunRequest::new(Incremental)],
        ),
    ] {
        let app = Arc::clone(&ground.app);
        let run = tokio::spawn(async move { app.materialize("newest", &at_work, &Progress::hidden()).await });
        let running = until_outcome(&ground, "newest", "running").await;
        for other in others {
            let refused = ask(&ground, "newest", other, "12:00").await.unwrap_err();
            assert!(matches!(refused, RunError::Busy { .. }), "{refused}");
            assert!(refused.to_string().contains(&running.id.to_string()), "{refused}");
        }
        ground.sql("COMMIT").await;
        run.await.unwrap().unwrap();
        ground.sql("BEGIN; LOCK gate IN ACCESS EXCLUSIVE MODE").await;
    }
}

#[tokio::test]
async fn a_shard_that_failed_or_died_is_gone_on_with() {
    for end in [End::Crash, End::RedisAway] {
        let carriers = super::midway::ENTITIES * 2;
        let (mut ground, undisturbed) = (some(carriers).await, some(carriers).await);
        undisturbed.run("newest", Full, "12:00").await;
        let ended = end_midway(&mut ground, ("newest", end), part(2, 2, Full)).await;
        let left = ended.processes[0].clone();
        // Another one joins meanwhile, and does not end the run.
        let other = ask(&ground, "newest", part(1, 2, Full), "12:10").await.unwrap();
        assert_eq!((other.run, other.as_of), (ended.id, at("12:00")));
        assert_eq!(other.outcome, RunOutcome::ShardDone { waiting_for: vec![2] });
        assert_eq!(marker(&ground, "newest").await, None);
        let again = ask(&ground, "newest", resume(part(1, 2, Full)), "12:15").await.unwrap();
        assert_eq!(again.outcome, RunOutcome::AlreadyDone { waiting_for: vec![2] });
        let run = ask(&ground, "newest", resume(part(2, 2, Full)), "12:20").await.unwrap();
        assert_eq!((run.run, &run.outcome), (ended.id, &RunOutcome::Done));
        let its_own = carriers - other.counts.read;
        let read = run.counts.read - left.rows_read.unsigned_abs();
        assert_eq!(read, its_own - left.rows_written.unsigned_abs());
        assert_eq!(run.counts.written, its_own);
        assert!(content(&ground, "newest").await == content(&undisturbed, "newest").await);
        assert_eq!(marker(&ground, "newest").await, Some(ended.id.to_string()));
    }
}

#[tokio::test]
async fn a_new_run_supersedes_one_that_waits() {
    let ground = some(CARRIERS).await;
    let abandoned = ask(&ground, "newest", part(1, 2, Full), "12:00").await.unwrap();
    let new = ask(&ground, "newest", part(1, 2, Full), "12:10").await.unwrap();
    assert_ne!(new.run, abandoned.run);
    let joined = ask(&ground, "newest", part(2, 2, Full), "12:20").await.unwrap();
    assert_eq!((joined.run, joined.outcome), (new.run, RunOutcome::Done));
    let runs = ground.app.store().runs(Some("newest"), 9).await.unwrap();
    let outcomes: Vec<&str> = runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done", "interrupted"]);

    // Shards of another number, and a whole run, do not join either.
    let waits = ask(&ground, "newest", part(1, 2, Full), "12:30").await.unwrap();
    let other = ask(&ground, "newest", resume(part(2, 3, Full)), "12:31").await.unwrap();
    assert_ne!(other.run, waits.run);
    let whole = ask(&ground, "newest", resume(RunRequest::new(Full)), "12:32")
        .await
        .unwrap();
    assert_eq!((&whole.outcome, whole.counts.read), (&RunOutcome::Done, CARRIERS));
    assert_ne!(whole.run, other.run);
    // What they left unfinished is over: a shard that comes late begins anew.
    let late = ask(&ground, "newest", part(3, 3, Full), "12:40").await.unwrap();
    assert_eq!(
        late.outcome,
        RunOutcome::ShardDone {
            waiting_for: vec![1, 2]
        }
    );
    assert_eq!(late.as_of, at("12:40"));
}

#[tokio::test]
async fn a_run_whose_last_shard_died_before_the_marker_is_finished_by_any_other() {
    for shard in [1, 2] {
        let mut ground = some(CARRIERS).await;
        ask(&ground, "ops", part(1, 2, Full), "12:00").await.unwrap();
        ground
            .sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON larder.views EXECUTE FUNCTION refuse()",
            )
            .await;
        let died = ask(&ground, "ops", part(2, 2, Full), "12:05")
            .await
            .unwrap_err()
            .to_string();
        assert!(died.contains("not now"), "{died}");
        ground.sql("DROP TRIGGER refuse ON larder.views").await;
        let run = ask(&ground, "ops", resume(part(shard, 2, Full)), "12:10")
            .await
            .unwrap();
        assert_eq!(
            run.outcome,
            RunOutcome::AlreadyDone {
                waiting_for: Vec::new()
            }
        );
        let next = ground.run("ops", Incremental, "12:20").await;
        assert_eq!(next.forced_full, None);
    }
}
