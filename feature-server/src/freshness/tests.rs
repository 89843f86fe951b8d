//! Promises of freshness: each way to break one shows as itself.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use service::telemetry;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Broken, Cause, Promise, ViewStatus, tell_promises};
use crate::http::router;
use crate::live::Live;
use crate::materialize::{Mode, RunRequest};
use crate::runs::Runs;
use crate::testing::{Ground, at};
use crate::{Progress, RunError};

const TABLE: &str = "CREATE TABLE orders (customer int8, amount float8, ordered_at timestamptz)";

fn toml(schedule: &str) -> String {
    format!(
        r#"
        [[entity]]
        name = "customer"
        join_keys = [{{ name = "customer", type = "int64" }}]
        [[source]]
        name = "orders"
        table = "orders"
        event_timestamp = "ordered_at"
        [[feature_view]]
        name = "spending"
        entity = "customer"
        source = "orders"
        fresh_for = "10m"
        {schedule}
        features = [{{ name = "amount", type = "float64" }}]
        "#
    )
}

/// An order of 11:55, and a run as of 12:00.
async fn ground(schedule: &str) -> Ground {
    let mut ground = Ground::new(TABLE, &toml(schedule)).await;
    ground.order("11:55").await;
    ground.run("spending", Mode::Full, "12:00").await;
    ground
}

impl Ground {
    async fn order(&mut self, time: &str) {
        self.sql(&format!("INSERT INTO orders VALUES (7, 20, '2013-11-05 {time}:00+00')"))
            .await;
    }

    async fn spending(&self, time: &str) -> ViewStatus {
        self.clock.set(at(time));
        self.app.status().await.unwrap().remove(0)
    }

    async fn broken(&self, time: &str) -> Option<Broken> {
        self.spending(time).await.promise.unwrap().broken
    }
}

#[track_caller]
fn is(broken: Option<Broken>, cause: Cause, why: &str) {
    let broken = broken.unwrap();
    assert_eq!(broken.cause, cause, "{}", broken.why);
    assert!(broken.why.contains(why), "{}", broken.why);
}

#[tokio::test]
async fn a_promise_is_kept_up_to_its_last_moment() {
    let ground = ground(r#"schedule = "1m""#).await;
    // The order's age is the promise's, to the moment.
    assert_eq!(ground.broken("12:05").await, None);
    is(
        ground.broken("12:06").await,
        Cause::SourceSilent,
        "newer than 2013-11-05T11:55:00Z",
    );
}

#[tokio::test]
async fn a_silent_source_is_not_a_pipeline_that_stands_still() {
    let mut ground = ground(r#"schedule = "1m""#).await;
    ground.run("spending", Mode::Incremental, "12:30").await;
    is(ground.broken("12:30").await, Cause::SourceSilent, "the source `orders`");
    // A row that has not been read yet changes nothing, until it is.
    ground.order("12:31").await;
    is(ground.broken("12:31").await, Cause::SourceSilent, "runs are in time");
    ground.run("spending", Mode::Incremental, "12:31").await;
    assert_eq!(ground.broken("12:31").await, None);
    is(ground.broken("12:50").await, Cause::NotRunning, "serve");
}

#[tokio::test]
async fn a_source_without_any_row_is_silent() {
    let ground = Ground::new(TABLE, &toml("")).await;
    ground.run("spending", Mode::Full, "12:00").await;
    is(ground.broken("12:01").await, Cause::SourceSilent, "no row at all");
}

#[tokio::test]
async fn what_never_ran_and_what_has_no_schedule_say_so() {
    let mut ground = Ground::new(TABLE, &toml("")).await;
    is(ground.broken("12:00").await, Cause::NeverRan, "materialize spending");
    ground.order("11:59").await;
    ground.run("spending", Mode::Full, "12:00").await;
    assert_eq!(ground.broken("12:08").await, None);
    is(ground.broken("12:11").await, Cause::NotScheduled, "no schedule");
}

#[tokio::test]
async fn a_paused_view_says_since_when() {
    let ground = ground(r#"schedule = "1m""#).await;
    let name = ground.app.view("spending").unwrap().name.clone();
    ground.app.store().pause(&name).await.unwrap();
    // Nothing is broken yet.
    assert_eq!(ground.broken("12:05").await, None);
    is(ground.broken("12:20").await, Cause::Paused, "unpause spending");
    ground.app.store().unpause(&name).await.unwrap();
    is(ground.broken("12:20").await, Cause::NotRunning, "2013-11-05T12:00:00Z");
}

#[tokio::test]
async fn a_failing_query_says_what_fails() {
    let mut ground = ground(r#"schedule = "1m""#).await;
    ground.sql("ALTER TABLE orders RENAME COLUMN amount TO total").await;
    let failed = ground.try_run("spending", Mode::Incremental, "12:05").await;
    assert!(matches!(failed, Err(RunError::Columns(_))), "{failed:?}");
    // Still in time; the failure shows as a problem.
    let status = ground.spending("12:05").await;
    assert_eq!(status.promise.unwrap().broken, None);
    assert!(status.problem.unwrap().contains("amount"));
    is(ground.broken("12:20").await, Cause::Failing, "amount");
    ground.sql("ALTER TABLE orders RENAME COLUMN total TO amount").await;
    ground.order("12:19").await;
    ground.run("spending", Mode::Incremental, "12:20").await;
    assert_eq!(ground.broken("12:20").await, None);
}

#[tokio::test]
async fn a_slow_run_shows_while_it_runs() {
    let mut ground = ground(r#"schedule = "1m""#).await;
    ground.sql("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await;
    let app = Arc::clone(&ground.app);
    let run = tokio::spawn(async move {
        app.materialize("spending", &RunRequest::new(Mode::Incremental), &Progress::hidden())
            .await
    });
    // It waits for the table before anything is recorded of it.
    loop {
        let broken = ground.broken("12:20").await.unwrap();
        if broken.cause == Cause::Slow {
            assert!(
                broken.why.contains("got no further than its beginning"),
                "{}",
                broken.why
            );
            break;
        }
        assert!(!run.is_finished(), "{:?}", run.await);
        tokio::task::yield_now().await;
    }
    ground.sql("ROLLBACK").await;
    run.await.unwrap().unwrap();
    assert!(
        ground
            .broken("12:20")
            .await
            .is_none_or(|broken| broken.cause != Cause::Slow)
    );
}

#[tokio::test]
async fn a_schedule_that_cannot_keep_the_promise_is_slow() {
    let mut ground = Ground::new(TABLE, &toml(r#"schedule = "1h""#)).await;
    ground.order("11:59").await;
    ground.run("spending", Mode::Full, "12:00").await;
    is(ground.broken("12:30").await, Cause::Slow, "every 1h");
}

#[tokio::test]
async fn metrics_tell_the_cause_and_no_other() {
    let handle = telemetry::metrics_handle();
    let ground = ground(r#"schedule = "1m""#).await;
    let tell = async |time: &str| {
        tell_promises(&[ground.spending(time).await]);
        handle.render()
    };
    let line =
        |cause: &str, value: u8| format!("larder_view_promise_broken{{view=\"spending\",cause=\"{cause}\"}} {value}\n");
    let text = tell("12:06").await;
    assert!(
        text.contains(&line("source_silent", 1)) && text.contains(&line("not_running", 0)),
        "{text}"
    );
    let text = tell("12:20").await;
    assert!(
        text.contains(&line("source_silent", 0)) && text.contains(&line("not_running", 1)),
        "{text}"
    );
    assert!(
        text.contains("larder_view_fresh_for_seconds{view=\"spending\"} 600\n"),
        "{text}"
    );
    let promise: Promise = ground.spending("12:20").await.promise.unwrap();
    assert_eq!(promise.in_short(), "BROKEN (10m): not_running");
}

#[tokio::test]
async fn a_view_over_http_says_the_same() {
    let ground = ground(r#"schedule = "1m""#).await;
    let live = Live::new(Arc::clone(&ground.app));
    let runs = Arc::new(Runs::new(1, CancellationToken::new()));
    let router = router(&live, &Arc::default(), &runs);
    for (time, cause) in [
        ("12:05", serde_json::Value::Null),
        ("12:06", "source_silent".into()),
        ("12:20", "not_running".into()),
    ] {
        ground.clock.set(at(time));
        let request = Request::get("/v1/views/spending").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let view: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(view["fresh_for"], "10m", "{view}");
        assert_eq!(view["promise"]["broken"]["cause"], cause, "{view}");
    }
}
