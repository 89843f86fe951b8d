//! What pruning removes, whom it leaves alone, and what remains of one that is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use feature_defs::name::ViewName;
use feature_defs::serving::Status;
use tokio::sync::Notify;

use super::PruneError;
use crate::Mode::{Full, Incremental};
use crate::materialize::{Backfill, RunOutcome};
use crate::shard::Shard;
use crate::testing::{CREATED, Ground, arrivals_toml, at};
use crate::{App, Progress, RunRequest};

/// More than a step of the removal.
const MANY: u64 = 20_000;

fn newest() -> ViewName {
    "newest".parse().unwrap()
}

/// The definitions without the view `newest`.
fn without() -> String {
    let toml = arrivals_toml(CREATED);
    let (from, to) = (
        toml.find("[[feature_view]]\nname = \"newest\"").unwrap(),
        toml.find("[[feature_service]]").unwrap(),
    );
    format!("{}{}", &toml[..from], &toml[to..]).replace("{ feature = \"newest:delay\", default = -1.0 },", "")
}

/// Carriers `c1` … with a row each, and both views computed as of noon.
async fn many() -> Ground {
    let mut ground = Ground::arrivals().await;
    ground
        .sql(&format!(
            "INSERT INTO arrivals
             SELECT 'c' || i, '2013-11-05 11:30+00', '2013-11-05 11:30+00', i FROM generate_series(1, {MANY}) AS i"
        ))
        .await;
    ground.app.apply(None).await.unwrap();
    for view in ["newest", "ops"] {
        ground.run(view, Full, "12:00").await;
    }
    ground
}

async fn retire(ground: &mut Ground) {
    ground.redefine(&without());
    ground.app.apply(None).await.unwrap();
}

async fn prune(app: &App) -> Result<u64, PruneError> {
    app.prune(&newest(), &Progress::hidden()).await.map(|done| done.values)
}

#[tokio::test]
async fn a_retired_view_goes_and_the_others_stay() {
    let mut ground = many().await;
    let before = Arc::clone(&ground.app);
    let other = Ground::arrivals().await;
    ground.app.store().pause(&newest()).await.unwrap();
    retire(&mut ground).await;
    assert_eq!(ground.app.retired().await.unwrap(), [newest()]);
    assert_eq!(prune(&ground.app).await.unwrap(), MANY);
    assert_eq!(ground.app.retired().await.unwrap(), [] as [ViewName; 0]);
    assert_eq!(ground.app.store().paused_since(&newest()).await.unwrap(), None);
    assert!(ground.app.store().view(&newest()).await.unwrap().is_none());
    assert_eq!(ground.app.writer().marker(&newest()).await.unwrap(), None);
    assert_eq!(prune(&ground.app).await.unwrap(), 0, "again");
    for carrier in ["c1", "c9999"] {
        assert!(ground.values("ops", carrier, "12:00").await.is_some());
    }
    let run = ground.run("ops", Incremental, "12:10").await;
    assert_eq!(run.forced_full, None, "the other view is as it was");
    assert!(other.app.store().view(&newest()).await.unwrap().is_none());

    // It comes back: nothing of before is there, and its first run writes everything.
    before.apply(None).await.unwrap();
    ground.redefine(&arrivals_toml(CREATED));
    assert_eq!(ground.read("newest", "c1", "12:20").await.status, Status::NotFound);
    let run = ground.run("newest", Incremental, "12:20").await;
    assert_eq!((run.counts.written, run.forced_full.is_some()), (MANY, true));
}

#[tokio::test]
async fn what_is_not_retired_is_refused() {
    let mut ground = Ground::arrivals().await;
    ground.run("newest", Full, "12:00").await;
    let refused = ground.app.retired().await.unwrap_err();
    assert!(matches!(refused, PruneError::NothingApplied), "{refused}");
    let had = Arc::clone(&ground.app);
    retire(&mut ground).await;
    let refused = prune(&had).await.unwrap_err();
    assert!(matches!(refused, PruneError::InHand), "{refused}");
    // Brought back between the question and the removal.
    had.apply(None).await.unwrap();
    let refused = prune(&ground.app).await.unwrap_err();
    assert!(matches!(refused, PruneError::Applied), "{refused}");
    assert!(ground.app.store().view(&newest()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_a_run_still_writes_is_busy_and_goes_later() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    let gated = "CREATE VIEW gated AS
        SELECT carrier, event, created, delay FROM arrivals, (SELECT pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42)) AS gate";
    ground.sql(gated).await;
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"gated\""));
    ground.app.apply(None).await.unwrap();
    ground.sql("SELECT pg_advisory_lock(42)").await;
    let app = Arc::clone(&ground.app);
    let run = tokio::spawn(async move {
        app.materialize("newest", &RunRequest::new(Full), &Progress::hidden())
            .await
    });
    while ground.app.store().runs(Some("newest"), 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    retire(&mut ground).await;
    assert_eq!(ground.app.retired().await.unwrap(), [newest()]);
    let busy = prune(&ground.app).await.unwrap_err();
    assert!(matches!(busy, PruneError::Busy(_)), "{busy}");
    ground.sql("SELECT pg_advisory_unlock(42)").await;
    run.await.unwrap().unwrap();
    assert_eq!(prune(&ground.app).await.unwrap(), 1);
}

#[tokio::test]
async fn one_that_is_killed_half_way_is_run_again_and_vouches_for_nothing_meanwhile() {
    for comes_back in [false, true] {
        let mut ground = many().await;
        let had = Arc::clone(&ground.app);
        retire(&mut ground).await;
        let (half_way, view) = (Notify::new(), newest());
        tokio::select! {
            biased;
            () = half_way.notified() => {}
            pruned = ground.app.prune_telling(&view, |_| half_way.notify_one()) => panic!("{pruned:?} was to be killed"),
        }
        assert_eq!(ground.app.writer().marker(&newest()).await.unwrap(), None);
        if !comes_back {
            assert_eq!(ground.app.retired().await.unwrap(), [newest()]);
            // Postgres notices some time later that the lock's connection is gone.
            let left = loop {
                match prune(&ground.app).await {
                    Err(PruneError::Busy(_)) => tokio::task::yield_now().await,
                    done => break done.unwrap(),
                }
            };
            assert!(left < MANY, "{left}");
            continue;
        }
        ground.sql("DELETE FROM arrivals WHERE length(carrier) = 6").await;
        had.apply(None).await.unwrap();
        ground.redefine(&arrivals_toml(CREATED));
        let run = loop {
            match ground.try_run("newest", Incremental, "12:20").await {
                Err(crate::RunError::Busy { .. }) => tokio::task::yield_now().await,
                done => break done.unwrap(),
            }
        };
        assert!(run.forced_full.is_some());
        assert_eq!(run.counts.written, 9_999);
        for gone in (10_000..=MANY).step_by(97) {
            let row = ground.read("newest", &format!("c{gone}"), "12:20").await;
            assert_eq!(row.status, Status::NotFound, "c{gone}: of before");
        }
        assert_eq!(ground.values("newest", "c42", "12:20").await.as_deref(), Some("42.0"));
    }
}

#[tokio::test]
async fn a_backfill_of_before_is_not_taken_for_done() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.app.apply(None).await.unwrap();
    let had = Arc::clone(&ground.app);
    let backfill = Backfill {
        start: at("10:00"),
        end: at("12:00"),
        every: "1h".parse().unwrap(),
        all_steps: false,
        shard: Shard::WHOLE,
        resume: true,
    };
    let again = async |app: &App| {
        app.backfill("newest", &backfill, &Progress::hidden())
            .await
            .unwrap()
            .remove(0)
    };
    assert_eq!(again(&had).await.outcome, RunOutcome::Done);
    let settled = RunOutcome::AlreadyDone { waiting_for: vec![] };
    assert_eq!(again(&had).await.outcome, settled);
    retire(&mut ground).await;
    assert_eq!(prune(&ground.app).await.unwrap(), 1);
    had.apply(None).await.unwrap();
    assert_eq!(again(&had).await.outcome, RunOutcome::Done);
    ground.redefine(&arrivals_toml(CREATED));
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("10.0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_answered_all_the_while() {
    let mut ground = many().await;
    retire(&mut ground).await;
    let done = AtomicBool::new(false);
    let pruned = async {
        let pruned = prune(&ground.app).await;
        done.store(true, Ordering::Release);
        pruned.unwrap()
    };
    let reads = async {
        let mut reads = 0;
        while !done.load(Ordering::Acquire) {
            let row = ground.read("ops", &format!("c{}", reads % MANY + 1), "12:00").await;
            assert_eq!(row.status, Status::Present);
            reads += 1;
        }
        reads
    };
    let (pruned, reads) = tokio::join!(pruned, reads);
    assert_eq!(pruned, MANY);
    // At least between any two of its steps.
    assert!(reads >= MANY / 1_000, "{reads}");
}
