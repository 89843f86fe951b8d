//! Runs that somebody stops, and schedules that somebody stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::midway::{ENTITIES, End, ask, end_midway, until_outcome};
use crate::Mode::{Full, Incremental};
use crate::materialize::{RunError, RunOutcome};
use crate::serve::ServeOptions;
use crate::shard::Shard;
use crate::store::Cancelled;
use crate::testing::{CREATED, Ground, arrivals_toml};
use crate::{Progress, RunRequest};

/// What a user would call at once.
const SOON: Duration = Duration::from_secs(8);

/// Carriers in a source that takes longer to read than any test waits.
async fn endless() -> Ground {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground
        .sql("CREATE VIEW endless AS SELECT carrier, event, created, delay FROM arrivals, pg_sleep(600)")
        .await;
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"endless\""));
    ground
}

#[tokio::test]
async fn a_run_under_way_stops_at_once_and_is_not_gone_on_with() {
    for of in [1, 2] {
        let mut ground = endless().await;
        let app = Arc::clone(&ground.app);
        let request = RunRequest {
            shard: Shard::new(1, of).unwrap(),
            ..RunRequest::new(Full)
        };
        let run = tokio::spawn(async move { app.materialize("newest", &request, &Progress::hidden()).await });
        let running = until_outcome(&ground, "newest", "running").await;
        let asked = Instant::now();
        assert_eq!(ground.app.store().cancel(running.id).await.unwrap(), Cancelled::Asked);
        let stopped = run.await.unwrap().unwrap_err();
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        assert!(
            matches!(stopped, RunError::Cancelled(id) if id == running.id),
            "{stopped}"
        );
        let status = ground.app.status().await.unwrap().remove(1);
        assert_eq!(status.last_run.unwrap().outcome, "cancelled");
        let problem = status.problem.unwrap();
        assert!(
            problem.contains("cancelled") && problem.contains(&running.id.to_string()),
            "{problem}"
        );
        assert_eq!(ground.app.store().cancel(running.id).await.unwrap(), Cancelled::Over);

        ground.redefine(&arrivals_toml(CREATED));
        let again = RunRequest {
            resume: true,
            ..request
        };
        let again = ask(&ground, "newest", again, "12:10").await.unwrap();
        assert_ne!(again.run, running.id);
        let last = ground.app.store().runs(Some("newest"), 9).await.unwrap().pop().unwrap();
        assert_eq!((last.id, last.outcome.as_str()), (running.id, "cancelled"));
    }
}

#[tokio::test]
async fn a_run_that_died_or_waits_is_cancelled_at_once() {
    let mut ground = Ground::arrivals().await;
    ground
        .sql(&format!(
            "INSERT INTO arrivals SELECT 'c' || i, '2013-11-05 11:00+00', '2013-11-05 11:00+00', i
             FROM generate_series(1, {ENTITIES}) AS i"
        ))
        .await;
    let died = end_midway(&mut ground, ("newest", End::Crash), RunRequest::new(Full)).await;
    let shard = |index, resume| RunRequest {
        shard: Shard::new(index, 2).unwrap(),
        resume,
        ..RunRequest::new(Full)
    };
    assert_eq!(ground.app.store().cancel(died.id).await.unwrap(), Cancelled::Done);
    until_outcome(&ground, "newest", "cancelled").await;
    let resumed = RunRequest {
        resume: true,
        ..RunRequest::new(Full)
    };
    let run = ask(&ground, "newest", resumed, "12:10").await.unwrap();
    assert_ne!(run.run, died.id);
    assert_eq!((&run.outcome, run.counts.read), (&RunOutcome::Done, ENTITIES));

    let waits = ask(&ground, "newest", shard(1, false), "12:20").await.unwrap();
    assert_eq!(ground.app.store().cancel(waits.run).await.unwrap(), Cancelled::Done);
    for resume in [true, false] {
        let other = ask(&ground, "newest", shard(2, resume), "12:30").await.unwrap();
        assert_ne!(other.run, waits.run, "a cancelled run is not joined");
        assert_eq!(other.outcome, RunOutcome::ShardDone { waiting_for: vec![1] });
    }
}

#[tokio::test]
async fn a_run_that_is_over_or_unknown_is_not_cancelled() {
    let ground = Ground::arrivals().await;
    let run = ground.run("newest", Full, "12:00").await;
    assert_eq!(ground.app.store().cancel(run.run).await.unwrap(), Cancelled::Over);
    assert_eq!(ground.app.store().runs(None, 1).await.unwrap()[0].outcome, "done");
    assert_eq!(
        ground.app.store().cancel(Uuid::now_v7()).await.unwrap(),
        Cancelled::Unknown
    );
    // Another project's is none of ours.
    let other = Ground::arrivals().await;
    assert_eq!(other.app.store().cancel(run.run).await.unwrap(), Cancelled::Unknown);
    let next = ground.run("newest", Incremental, "12:10").await;
    assert_eq!(next.forced_full, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_view_is_run_by_no_schedule_until_it_goes_on() {
    let mut ground = Ground::arrivals().await;
    let toml = arrivals_toml(CREATED).replace("entity = \"carrier\"", "entity = \"carrier\"\nschedule = \"1s\"");
    ground.redefine(&toml);
    let view = "newest".parse().unwrap();
    assert!(ground.app.store().pause(&view).await.unwrap());
    assert!(!ground.app.store().pause(&view).await.unwrap(), "it is paused already");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn({
        let (app, stop) = (Arc::clone(&ground.app), stop.clone());
        async move { app.serve(listener, None, stop, ServeOptions::default()).await }
    });
    // The other view's schedule shows that the server is at work, several times over.
    let runs = async |view: &'static str| ground.app.store().runs(Some(view), 99).await.unwrap().len();
    while runs("ops").await < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(runs("newest").await, 0);
    let status = ground.app.status().await.unwrap().remove(1);
    assert!(status.paused_since.is_some() && status.next_run.is_none(), "{status:?}");
    // By command it runs still; then it is the pause that holds it up.
    ground.run("newest", Incremental, "12:00").await;
    ground.clock.set(crate::testing::at("13:00"));
    let status = ground.app.status().await.unwrap().remove(1);
    let problem = status.problem.unwrap();
    assert!(
        problem.contains("paused since") && problem.contains("unpause"),
        "{problem}"
    );
    assert!(ground.app.store().unpause(&view).await.unwrap());
    assert!(!ground.app.store().unpause(&view).await.unwrap(), "it goes on already");
    while runs("newest").await < 3 {
        tokio::task::yield_now().await;
    }
    let status = ground.app.status().await.unwrap().remove(1);
    assert_eq!(status.paused_since, None);
    stop.cancel();
    server.await.unwrap().unwrap();
}
