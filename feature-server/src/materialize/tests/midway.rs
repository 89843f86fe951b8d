//! For tests: many entities, and runs that end in the middle.

use std::sync::Arc;

use crate::materialize::Backfill;
use crate::store::RunRecord;
use crate::testing::{Ground, Way, redis_url};
use crate::{App, Progress, RunError, RunRequest, RunSummary};

/// More than the batches that are on their way at a time, so that a run has a middle.
pub(super) const ENTITIES: u64 = 12_000;
/// What a run sends of these before it stalls: about a quarter of them.
const STALL_AFTER_BYTES: usize = 350_000;

/// How a run ends in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its process is gone, as after a crash.
    Crash,
    /// Redis is.
    RedisAway,
}

/// Begins a run whose Redis stops answering midway, and ends it once a checkpoint is recorded. Gives what is recorded of it
/// then.
pub(super) async fn end_midway(ground: &mut Ground, ending: (&str, End), request: RunRequest) -> RunRecord {
    let view = ending.0.to_owned();
    let run =
        move |app: Arc<App>| async move { app.materialize(&view, &request, &Progress::hidden()).await.map(|_| ()) };
    end(ground, ending, run).await
}

/// The same of a backfill.
pub(super) async fn end_backfill_midway(ground: &mut Ground, ending: (&str, End), backfill: Backfill) -> RunRecord {
    let view = ending.0.to_owned();
    let run = move |app: Arc<App>| async move { app.backfill(&view, &backfill, &Progress::hidden()).await.map(|_| ()) };
    end(ground, ending, run).await
}

async fn end<F>(ground: &mut Ground, (view, end): (&str, End), run: impl FnOnce(Arc<App>) -> F) -> RunRecord
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let direct = ground.settings.redis.clone();
    let written = |run: &RunRecord| (run.id, run.rows_written);
    let before = ground.app.store().runs(Some(view), 1).await.unwrap().pop();
    let before = before.as_ref().map(written);
    let way = Way::open_for(STALL_AFTER_BYTES, &redis_url()).await;
    ground.settings.redis = way.url.parse().unwrap();
    ground.reopen();
    let run = tokio::spawn(run(Arc::clone(&ground.app)));
    loop {
        assert!(!run.is_finished(), "it is to stall before its end");
        let newest = ground.app.store().runs(Some(view), 1).await.unwrap().pop();
        let moved = |run: &RunRecord| run.rows_written > 0 && Some(written(run)) != before;
        if newest.is_some_and(|run| run.outcome == "running" && moved(&run)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    match end {
        End::Crash => run.abort(),
        End::RedisAway => way.shut(),
    }
    let ended = run.await;
    assert!(!matches!(ended, Ok(Ok(_))), "{ended:?}");
    ground.settings.redis = direct;
    ground.reopen();
    let outcome = match end {
        End::Crash => "interrupted",
        End::RedisAway => "failed",
    };
    until_outcome(ground, view, outcome).await
}

/// Waits until the view's last run stands like this, and gives it.
pub(super) async fn until_outcome(ground: &Ground, view: &str, outcome: &str) -> RunRecord {
    loop {
        let newest = ground.app.store().runs(Some(view), 1).await.unwrap().pop();
        if let Some(run) = newest.filter(|run| run.outcome == outcome) {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

/// Runs a view as it is asked for, at a time of the day.
pub(super) async fn ask(ground: &Ground, view: &str, request: RunRequest, time: &str) -> Result<RunSummary, RunError> {
    ground.clock.set(crate::testing::at(time));
    ground.app.materialize(view, &request, &Progress::hidden()).await
}
