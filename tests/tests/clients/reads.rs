//! Reads of a thousand entities: one request, the values and statuses that `get` shows, and words where something is wrong.

use serde_json::{Value as Json, json};

use crate::stand::{DRIVERS, Stand};

/// A value of `get` as Feast's SDK has it: timestamps are whole seconds.
fn as_feast(feature: &feature_server::FeatureValue) -> Json {
    match (&feature.value, feature.feature.as_str()) {
        (Json::String(text), "driver_stats__last") => {
            let at: feature_defs::time::Timestamp = text.parse().unwrap();
            json!(at.as_micros() / 1_000_000)
        }
        (value, _) => value.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_entities_are_read_as_get_has_them() {
    let mut stand = Stand::materialized().await;
    let ids = 1..=DRIVERS + 5;
    let rows: Vec<Json> = ids
        .clone()
        .map(|id| json!({"driver_id": id, "distance": id as f64 / 4.0}))
        .collect();
    let sent = |stand: &mut Stand| stand.call(&json!({"call": "requests_sent"})).as_u64().unwrap();
    let before = sent(&mut stand);
    for full in [false, true] {
        let said = stand.call(&json!({"call": "read", "service": "trip", "rows": rows, "full": full}));
        let mut statuses = std::collections::BTreeMap::<String, usize>::new();
        for (at, id) in ids.clone().enumerate() {
            let values = [
                ("driver_id".to_owned(), id.to_string()),
                ("distance".to_owned(), (id as f64 / 4.0).to_string()),
            ];
            for feature in stand.app.get("trip", &values).await.unwrap() {
                if feature.feature == "distance" {
                    continue;
                }
                let bare = feature
                    .feature
                    .split_once("__")
                    .map_or(&*feature.feature, |(_, name)| name);
                let name = if full { &*feature.feature } else { bare };
                assert_eq!(said["values"][name][at], as_feast(&feature), "{id} {feature:?}");
                let status = said["statuses"][name][at].as_str().unwrap();
                assert_eq!(status, feature.status.name(), "{id} {feature:?}");
                *statuses.entry(status.to_owned()).or_default() += 1;
            }
            assert_eq!(said["values"]["driver_id"][at], id);
        }
        assert!(said["values"]["distance"].is_null(), "request features are no answer");
        for status in ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"] {
            assert!(statuses[status] > 0, "{statuses:?}");
        }
    }
    // One request each, whatever the number of views and rows.
    assert_eq!(sent(&mut stand) - before, 2);

    let features = ["driver_stats:vec", "driver_rides:rides_1h", "driver_stats:trips"];
    let said =
        stand.call(&json!({"call": "read", "features": features, "rows": [{"driver_id": 3}, {"driver_id": null}]}));
    assert_eq!(
        said["values"],
        json!({"driver_id": [3, null], "vec": [[3.0, 1.5], null], "rides_1h": [1, null], "trips": [9_007_199_254_740_996_i64, null]})
    );
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_told_at_once_and_older_clients_read_too() {
    let mut stand = Stand::materialized().await;
    let driver = json!([{"driver_id": 1}]);
    let read = |features: &[&str], rows: &Json| json!({"call": "read", "features": features, "rows": rows});
    for (call, said) in [
        (read(&["driver_stats:trip"], &driver), "did you mean `trips`?"),
        (read(&["driver_stat:trips"], &driver), "did you mean `driver_stats`?"),
        (
            read(&["driver_stats:trips"], &json!([{"driver": "Ann"}])),
            "expected int64, got",
        ),
        (
            read(&["driver_stats:trips"], &json!([{"user": 1}])),
            "join key `driver_id` is missing",
        ),
        (
            json!({"call": "read", "service": "trip", "rows": driver}),
            "request feature `distance` is missing",
        ),
        // SDKs before 0.64 send the first join key only, and there is no reading a route by its carrier.
        (
            json!({"call": "online_read", "view": "route_delay", "features": ["delay"], "rows": [{"carrier": "UA", "dest": "JFK"}]}),
            "join key `dest` is missing",
        ),
    ] {
        stand.refused(&call, said);
    }
    let both = json!([{"carrier": "UA", "dest": "JFK"}]);
    let said = stand.call(&read(&["route_delay:delay"], &both));
    assert_eq!(said["values"]["delay"], json!([7.5]));

    let features = ["trips", "acc_rate", "last", "vec", "conv_rate"];
    let rows: Vec<Json> = [1, 7, 9_999].iter().map(|id| json!({"driver_id": id})).collect();
    let said = stand.call(&json!({"call": "online_read", "view": "driver_stats", "features": features, "rows": rows}));
    assert_eq!(said[0]["trips"], 9_007_199_254_740_994_i64);
    assert_eq!(said[0]["last"], "2026-01-01T00:00:01+00:00");
    assert_eq!(said[0]["vec"], json!([1.0, 0.5]));
    assert_eq!(said[1]["conv_rate"], Json::Null);
    assert_eq!(said[2]["trips"], Json::Null);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_invalid_for_the_sdk_and_a_redis_that_is_away_is_tried_again() {
    let mut stand = Stand::materialized().await;
    let mut redis = redis::Client::open(stand.redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let key = "larder:clients:driver_stats:{driver_id=1}";
    redis::cmd("SET")
        .arg(key)
        .arg("damaged")
        .query::<()>(&mut redis)
        .unwrap();
    let damaged = stand.driver(1, &["trips"]);
    assert_eq!(damaged, [(Json::Null, "INVALID".to_owned())]);
    assert_eq!(stand.driver(2, &["trips"])[0].1, "PRESENT");

    stand.redis.kill();
    let call = json!({"call": "read", "features": ["driver_stats:trips"], "rows": [{"driver_id": 2}]});
    let raised = tokio::task::block_in_place(|| stand.puppet.try_call(&call)).unwrap_err();
    // The SDK has tried four times, and then hides what the server says.
    assert_eq!(raised.class, "RetryError", "{raised:?}");
    assert!(raised.message.contains("503"), "{raised:?}");
    stand.stop().await;
}
