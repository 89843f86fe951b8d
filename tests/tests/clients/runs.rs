//! Materializations that the SDK asks for.

use serde_json::{Value as Json, json};

use crate::stand::Stand;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_materializes() {
    let mut stand = Stand::new().await;
    assert_eq!(stand.driver(1, &["tag"])[0].1, "NOT_FOUND");
    let (start, end) = (stand.moment("7 days").await, stand.moment("0").await);
    stand.call(&json!({"call": "materialize", "start": start, "end": end}));
    assert_eq!(stand.driver(1, &["tag"]), [(json!("driver 1"), "PRESENT".to_owned())]);

    stand
        .sql("INSERT INTO stats (driver_id, event_timestamp, tag) VALUES (1, now(), 'new'), (2, now() - interval '2 hours', 'late')")
        .await;
    // What a client's clock says may be ahead of the database's.
    let ahead = stand.moment("-5 seconds").await;
    stand.call(&json!({"call": "incremental", "end": ahead, "views": ["driver_stats"]}));
    assert_eq!(stand.driver(1, &["tag"])[0].0, "new");
    assert_eq!(stand.driver(2, &["tag"])[0].0, "driver 2");

    stand
        .sql("INSERT INTO stats (driver_id, event_timestamp, tag) VALUES (1, now(), 'newer')")
        .await;
    let now = stand.moment("0").await;
    stand.call(&json!({"call": "incremental", "end": now, "views": ["driver_stats"], "run_async": true}));
    while stand.driver(1, &["tag"])[0].0 != "newer" {
        tokio::task::yield_now().await;
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_is_refused_in_words() {
    let mut stand = Stand::new().await;
    let (now, tomorrow) = (stand.moment("0").await, stand.moment("-1 day").await);
    let incremental = |end: &str, views: Json| json!({"call": "incremental", "end": end, "views": views});
    stand.refused(&incremental(&tomorrow, json!(null)), "is in the future");
    stand.refused(
        &incremental(&now, json!(["driver_stat"])),
        "did you mean `driver_stats`?",
    );
    stand.refused(
        &json!({"call": "materialize", "start": now, "end": now}),
        "such a range has no rows",
    );

    let mut held = stand.database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE stats IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    let run = json!({"call": "incremental", "end": now, "views": ["driver_stats"], "run_async": true});
    stand.call(&run);
    let conflict = "Remote materialization conflict (409): being materialized already: driver_stats";
    // The run that was accepted takes its lock in a moment; until then another one is accepted as well, and waits.
    loop {
        match tokio::task::block_in_place(|| stand.puppet.try_call(&run)) {
            Ok(_) => tokio::task::yield_now().await,
            Err(raised) => {
                assert!(raised.message.contains(conflict), "{raised:?}");
                break;
            }
        }
    }
    held.rollback().await.unwrap();
    stand.stop().await;
}
