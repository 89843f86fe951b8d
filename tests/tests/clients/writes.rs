//! Values that the SDK writes online, and rows that clients push.

use serde_json::{Value as Json, json};

use crate::stand::Stand;

const FEATURES: [&str; 7] = ["conv_rate", "acc_rate", "trips", "tag", "ok", "last", "vec"];

/// Rows of these drivers, of a moment of today, by column.
fn frame(ids: &[i64], event: &str, tag: &str) -> Json {
    let column = |value: fn(i64) -> Json| ids.iter().map(|id| value(*id)).collect::<Json>();
    json!({
        "driver_id": column(|id| json!(id)), "conv_rate": column(|id| json!(id as f64 / 7.0)),
        "acc_rate": column(|id| json!(id as f64 / 8.0)), "trips": column(|id| json!(9_007_199_254_740_993 + id)),
        "tag": vec![tag; ids.len()], "ok": column(|id| json!(id % 2 == 1)),
        "last": column(|_| json!("2026-02-03T04:05:06")), "vec": column(|id| json!([id as f64, 0.25])),
        "event_timestamp": vec![event; ids.len()], "created": vec![Json::Null; ids.len()],
    })
}

/// What `frame` holds of a driver, as it is read.
fn written(id: i64, tag: &str) -> Vec<(Json, String)> {
    let values = [
        json!(id as f64 / 7.0),
        json!(id as f64 / 8.0),
        json!(9_007_199_254_740_993 + id),
        json!(tag),
        json!(id % 2 == 1),
        json!(1_770_091_506),
        json!([id as f64, 0.25]),
    ];
    values.into_iter().map(|value| (value, "PRESENT".to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_writes_online_and_pushes() {
    let mut stand = Stand::materialized().await;
    let event = stand.moment("1 minute").await;
    let ids: Vec<i64> = (1..=1_000).chain([5_001]).collect();
    stand.call(&json!({"call": "write", "view": "driver_stats", "df": frame(&ids, &event, "written")}));
    for id in [1, 7, 500, 1_000, 5_001] {
        assert_eq!(stand.driver(id, &FEATURES), written(id, "written"), "{id}");
    }
    // The SDK pushes online by writing to each view of the push source.
    let event = stand.moment("30 seconds").await;
    stand.call(&json!({"call": "push", "source": "stats", "df": frame(&[2], &event, "pushed"), "to": "ONLINE"}));
    assert_eq!(stand.driver(2, &FEATURES), written(2, "pushed"));
    // What is older than what stands there replaces nothing.
    let event = stand.moment("1 hour").await;
    stand.call(&json!({"call": "write", "view": "driver_stats", "df": frame(&[2], &event, "older")}));
    assert_eq!(stand.driver(2, &["tag"])[0].0, "pushed");

    let future = stand.moment("-1 hour").await;
    let call = json!({"call": "write", "view": "driver_stats", "df": frame(&[3], &future, "early")});
    stand.refused(&call, "is in the future");
    let call = json!({"call": "write", "view": "route_delay",
        "df": {"carrier": ["UA"], "dest": ["JFK"], "delay": [1.0], "event_timestamp": [event], "created": [null]}});
    stand.call(&call);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_push_to_both_is_served_and_in_the_source() {
    let mut stand = Stand::materialized().await;
    let ids: Vec<i64> = (1..=1_000).collect();
    let event = stand.moment("1 minute").await;
    let push = |to: &str, tag: &str| {
        let mut df = frame(&ids, &event, tag);
        // The table fills it in.
        df.as_object_mut().unwrap().remove("created");
        let body = json!({"push_source_name": "stats", "df": df, "to": to});
        json!({"call": "post", "path": "/push", "body": body})
    };
    let said = stand.call(&push("online_and_offline", "both"));
    assert_eq!(
        (&said["status"], &said["body"]["appended"]),
        (&json!(200), &json!(1_000)),
        "{said}"
    );
    for id in [1, 7, 11, 1_000] {
        assert_eq!(stand.driver(id, &FEATURES), written(id, "both"), "{id}");
    }
    let said = stand.call(&push("offline", "later"));
    assert_eq!(
        (&said["status"], &said["body"]["views"]),
        (&json!(200), &json!([])),
        "{said}"
    );
    assert_eq!(stand.driver(1, &["tag"])[0].0, "both");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM stats WHERE tag IN ('both', 'later')")
        .fetch_one(&stand.database.pool)
        .await
        .unwrap();
    assert_eq!(rows, 2_000);
    // The same rows by a run: what was appended later is of the same moment, and newer.
    let now = stand.moment("0").await;
    stand.call(&json!({"call": "incremental", "end": now, "views": ["driver_stats"]}));
    for id in [1, 7, 11, 1_000] {
        assert_eq!(stand.driver(id, &FEATURES), written(id, "later"), "{id}");
    }
    stand.stop().await;
}
