//! Pushes that race runs and each other: whoever has seen more stays.

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::Way;
use crate::{Mode, Progress, RunRequest};

/// Begins work that has read its source and is about to write, and holds it up there.
async fn stalled<F>(ground: &mut Ground, work: impl FnOnce(Arc<App>) -> F) -> (Way, JoinHandle<F::Output>)
where
    F: Future<Output: Send> + Send + 'static,
{
    let direct = ground.settings.redis.clone();
    let way = Way::open_before("EVALSHA", &redis_url()).await;
    ground.settings.redis = way.url.parse().unwrap();
    ground.reopen();
    let working = tokio::spawn(work(Arc::clone(&ground.app)));
    ground.settings.redis = direct;
    ground.reopen();
    way.reached().await;
    (way, working)
}

fn run_of(view: &'static str, mode: Mode) -> impl FnOnce(Arc<App>) -> BoxFuture<'static, ()> {
    move |app| {
        Box::pin(async move {
            let run = app.materialize(view, &RunRequest::new(mode), &Progress::hidden()).await;
            run.unwrap();
        })
    }
}

fn push_of(line: &'static str) -> impl FnOnce(Arc<App>) -> BoxFuture<'static, Pushed> {
    move |app| Box::pin(async move { app.push("events", &rows(&[line]), WHOLE).await.unwrap() })
}

#[tokio::test]
async fn of_two_pushes_of_an_entity_the_one_that_saw_more_stays() {
    for source in [PLAIN, KEYED, BARE] {
        let mut ground = events(source).await;
        ground.clock.set(at("12:00"));
        // All of one event time: of tied rows the smallest value counts, and both writers' values are of the same times.
        let (way, pushing) = stalled(&mut ground, push_of("F1 1 UA 11:30 11:30 5")).await;
        // The other one finds the first one's row in the table, and is as of later.
        let pushed = ground.push("12:01", &["F2 1 UA 11:30 11:30 1"]).await;
        assert_eq!(pushed.not_online, None);
        way.clear();
        let late = pushing.await.unwrap();
        assert_eq!(counts(&late), [("ops", 0, 1), ("newest", 0, 1)], "{source}");
        assert_eq!(
            ground.values("newest", "UA", "12:01").await.as_deref(),
            Some("1"),
            "{source}"
        );
        assert_eq!(
            ground.values("ops", "UA", "12:01").await.as_deref(),
            Some("2 2 6"),
            "{source}"
        );
    }
}

#[tokio::test]
async fn a_run_that_has_not_seen_a_pushed_row_does_not_take_it_back() {
    for source in [PLAIN, KEYED, BARE] {
        for mode in [Mode::Incremental, Mode::Full, Mode::Replace] {
            for view in VIEWS {
                let mut ground = events(source).await;
                ground.push("10:00", &["F1 1 UA 09:59 - 10"]).await;
                ground.run(view, Mode::Full, "10:00").await;
                ground.push("10:30", &["F2 1 UA 10:30 10:30 5"]).await;
                ground.clock.set(at("11:00"));
                let (way, running) = stalled(&mut ground, run_of(view, mode)).await;
                // A tie, in the row view, that the run would win if only the row's times counted.
                let pushed = ground
                    .push("11:01", &["F3 1 UA 10:30 10:30 1", "F4 1 AA 11:00 11:01 2"])
                    .await;
                assert_eq!((pushed.not_online, pushed.appended), (None, 2));
                way.clear();
                running.await.unwrap();
                let what = format!("{source} {mode:?} {view}");
                let (ua, aa) = if view == "ops" { ("2 3 16", "1 1 2") } else { ("1", "2") };
                assert_eq!(ground.values(view, "UA", "11:01").await.as_deref(), Some(ua), "{what}");
                assert_eq!(ground.values(view, "AA", "11:01").await.as_deref(), Some(aa), "{what}");
                ground.run(view, Mode::Incremental, "11:02").await;
                assert_eq!(ground.values(view, "UA", "11:02").await.as_deref(), Some(ua), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_first_run_under_way_leaves_what_is_pushed_meanwhile() {
    for source in [PLAIN, KEYED] {
        for view in VIEWS {
            let mut ground = events(source).await;
            ground.push("10:00", &["F1 1 UA 09:59 - 10"]).await;
            ground.clock.set(at("11:00"));
            let (way, running) = stalled(&mut ground, run_of(view, Mode::Full)).await;
            let pushed = ground.push("11:01", &["F3 1 UA 11:00 - 1", "F4 1 AA 11:00 - 2"]).await;
            assert_eq!(pushed.not_online, None);
            way.clear();
            running.await.unwrap();
            let values = if view == "ops" { ["1 2 11", "1 1 2"] } else { ["1", "2"] };
            for (carrier, value) in ["UA", "AA"].into_iter().zip(values) {
                let found = ground.values(view, carrier, "11:01").await;
                assert_eq!(found.as_deref(), Some(value), "{source} {view}");
            }
        }
    }
}

#[tokio::test]
async fn a_push_that_writes_late_does_not_undo_a_complete_run() {
    for source in [PLAIN, KEYED] {
        let mut ground = events(source).await;
        for view in VIEWS {
            ground.run(view, Mode::Full, "10:00").await;
        }
        ground.clock.set(at("11:00"));
        let (way, pushing) = stalled(&mut ground, push_of("F1 1 UA 10:30 10:31 7")).await;
        // As of later, they have seen the row: their values stay, and would be gone if the push's took their place.
        for view in VIEWS {
            ground.run(view, Mode::Replace, "11:01").await;
        }
        way.clear();
        let late = pushing.await.unwrap();
        // Where a row's times decide, what is as of before the run is written once more, as of later.
        let newest = if source == PLAIN {
            ("newest", 1, 0)
        } else {
            ("newest", 0, 1)
        };
        assert_eq!(counts(&late), [("ops", 0, 1), newest], "{source}");
        assert_eq!(
            ground.values("ops", "UA", "11:01").await.as_deref(),
            Some("1 1 7"),
            "{source}"
        );
        assert_eq!(
            ground.values("newest", "UA", "11:01").await.as_deref(),
            Some("7"),
            "{source}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pushes_at_a_time_lose_none() {
    let mut ground = events(PLAIN).await;
    let app = ground.by_the_database_clock();
    let pushes = (0..40).map(|i| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let event = app.now().await.unwrap();
            let row =
                object(json!({"flight": format!("F{i}"), "carrier": "UA", "event": event.to_string(), "delay": 1}));
            let pushed = app.push("events", &[row], WHOLE).await.unwrap();
            assert_eq!((pushed.appended, pushed.not_online), (1, None));
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap();
    }
    assert_eq!(ground.count().await, 40);
    let ops = online(&ground, "ops").await.remove("UA").unwrap().1;
    let Body::Values(values) = ops else { panic!("{ops:?}") };
    assert_eq!(crate::testing::text(&values), "40 40 40");
}

#[tokio::test]
async fn a_push_that_writes_after_a_run_which_counts_it_for_nothing_writes_again() {
    let mut ground = events(PLAIN).await;
    ground.push("10:00", &["F1 1 UA 09:59 - 10"]).await;
    ground.run("newest", Mode::Full, "10:00").await;
    ground.clock.set(at("11:00"));
    let (way, pushing) = stalled(&mut ground, push_of("F2 1 UA 10:30 10:30 5")).await;
    // The source was wrong: the row is gone, and what was online of it.
    ground.sql("DELETE FROM events WHERE flight = 'F2'").await;
    ground.run("newest", Mode::Replace, "11:01").await;
    ground.clock.set(at("11:02"));
    way.clear();
    assert_eq!(pushing.await.unwrap().not_online, None);
    assert_eq!(ground.values("newest", "UA", "11:02").await.as_deref(), Some("10"));
}
