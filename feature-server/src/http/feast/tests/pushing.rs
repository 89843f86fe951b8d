//! Rows pushed online, to the source's table, or both; and values written online.

use serde_json::{Value as Json, json};

use super::Server;
use crate::Mode;

/// A plane's row as pandas and the SDK send it: without a zone, timestamps of features in seconds, integers as floats.
fn plane(tail: &str, event: &str, seats: &Json) -> Json {
    json!({
        "tail": [tail], "event_timestamp": [event], "created": [null], "seats": [seats], "single": [0.5], "note": ["sent"],
        "raw": ["aGkg"], "seen": [1_383_523_201], "parts": [[3]],
    })
}

impl Server {
    async fn rows_in(&mut self, table: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(sql)
            .fetch_one(&mut self.ground.source)
            .await
            .unwrap()
    }

    /// What a read says of a plane, feature by feature.
    async fn plane(&self, tail: &str) -> Json {
        let features = ["seats", "single", "note", "raw", "seen", "parts"].map(|name| format!("plane:{name}"));
        let body = json!({"entities": {"tail": [tail]}, "features": features});
        let (status, answer) = self.post("/get-online-features", body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let results = answer["results"].as_array().unwrap();
        results
            .iter()
            .skip(1)
            .map(|result| result["values"][0].clone())
            .collect()
    }
}

#[tokio::test]
async fn what_is_written_online_is_read_and_nothing_is_appended() {
    let mut server = Server::new().await;
    let before = server.rows_in("planes").await;
    let mut df = plane("N1", "2013-11-05T11:30:00.25", &json!(99.0));
    // Feast ignores what a view does not have.
    df["colour"] = json!(["red"]);
    let body =
        json!({"feature_view_name": "plane", "df": df, "allow_registry_cache": false, "transform_on_write": true});
    assert_eq!(
        server.post("/write-to-online-store", body.to_string()).await,
        (200, Json::Null)
    );
    let written = json!([99, 0.5, "sent", "aGkg", 1_383_523_201, [3]]);
    assert_eq!(server.plane("N1").await, written);

    // An older value replaces nothing, and is no error.
    let older = json!({"feature_view_name": "plane", "df": plane("N1", "2013-11-05T11:29:00", &json!(1))});
    assert_eq!(
        server.post("/write-to-online-store", older.to_string()).await,
        (200, Json::Null)
    );
    assert_eq!(server.plane("N1").await, written);

    let body = json!({"push_source_name": "planes", "df": plane("N7", "2013-11-05 11:30:00+00:00", &Json::Null)});
    let (status, answer) = server.post("/push", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["to"], &answer["appended"]), (&json!("online"), &json!(0)));
    assert_eq!(answer["views"], json!([{"view": "plane", "written": 1, "older": 0}]));
    assert_eq!(server.plane("N7").await[0], Json::Null);
    assert_eq!(server.plane("N7").await[2], "sent");
    assert_eq!(server.rows_in("planes").await, before);
}

#[tokio::test]
async fn what_is_pushed_offline_waits_for_a_run_and_what_is_pushed_to_both_is_there_at_once() {
    let server = Server::new().await;
    let push = |to: &str, tail: &str| {
        let mut df = plane(tail, "2013-11-05T11:30:00", &json!(99.0));
        // The table has no such column, and the source no such timestamp.
        df.as_object_mut().unwrap().remove("created");
        json!({"push_source_name": "planes", "df": df, "to": to}).to_string()
    };
    let (status, answer) = server.post("/push", push("offline", "N5")).await;
    assert_eq!(
        (status, &answer["appended"], &answer["views"]),
        (200, &json!(1), &json!([])),
        "{answer}"
    );
    assert_eq!(server.plane("N5").await[0], Json::Null);
    let (status, answer) = server.post("/push", push("online_and_offline", "N6")).await;
    assert_eq!((status, &answer["appended"]), (200, &json!(1)), "{answer}");
    let written = json!([99, 0.5, "sent", "aGkg", 1_383_523_201, [3]]);
    assert_eq!(server.plane("N6").await, written);
    server.ground.run("plane", Mode::Full, "12:01").await;
    assert_eq!(server.plane("N5").await, written);
    assert_eq!(server.plane("N6").await, written);
}

#[tokio::test]
async fn rows_of_events_move_aggregates_and_online_alone_they_cannot() {
    let mut server = Server::new().await;
    let df = |carrier: &str| {
        json!({
            "carrier": [carrier, carrier], "dest": ["JFK", "JFK"], "delay": [50.0, 60.0],
            "event": ["2013-11-05T11:58:00", "2013-11-05T12:30:00"],
            "created": ["2013-11-05T11:58:01", "2013-11-05T11:58:01"],
        })
    };
    let body = json!({"push_source_name": "arrivals", "df": df("DL"), "to": "online_and_offline"});
    let (status, answer) = server.post("/push", body.to_string()).await;
    assert_eq!((status, &answer["appended"]), (200, &json!(2)), "{answer}");
    assert_eq!(answer["future"], json!([1]));
    let read = json!({
        "entities": {"airport": ["JFK"], "carrier": ["DL"], "dest": ["JFK"]},
        "features": ["airport_ops:delay_1h", "route_last:delay"],
    });
    let (_, answer) = server.post("/get-online-features", read.to_string()).await;
    assert_eq!(
        (&answer["results"][3]["values"], &answer["results"][4]["values"]),
        (&json!([40.0]), &json!([50.0]))
    );

    let df = json!({"carrier": ["AA"], "dest": ["JFK"], "delay": [1], "event_timestamp": ["2013-11-05T11:59:00"]});
    let body = json!({"push_source_name": "arrivals", "df": df});
    let (status, answer) = server.post("/push", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["views"],
        json!([{"view": "route_last", "written": 1, "older": 0}])
    );
    let body = json!({"push_source_name": "airport_ops", "df": df});
    let (status, answer) = server.post("/push", body.to_string()).await;
    assert_eq!(status, 422);
    assert!(
        answer["error"].as_str().unwrap().contains("\"online_and_offline\""),
        "{answer}"
    );
    assert_eq!(server.rows_in("arrivals").await, 5);
}

#[tokio::test]
async fn mistakes_are_told_and_nothing_is_written() {
    let mut server = Server::new().await;
    let before = server.rows_in("planes").await;
    let good = plane("N1", "2013-11-05T11:30:00", &json!(99));
    let with = |name: &str, value: Json| {
        let mut df = good.clone();
        df[name] = value;
        df
    };
    let without = |name: &str| {
        let mut df = good.clone();
        df.as_object_mut().unwrap().remove(name);
        df
    };
    let push = |name: &str, df: &Json, to: &str| json!({"push_source_name": name, "df": df, "to": to});
    let write = |name: &str, df: &Json| json!({"feature_view_name": name, "df": df});
    for (path, body, status, code, said) in [
        (
            "/push",
            push("planess", &good, "online"),
            422,
            "unknown_push_source",
            "did you mean `planes`?",
        ),
        (
            "/push",
            push("planes", &good, "offlin"),
            422,
            "invalid_request",
            "expected one of `online`, `offline`",
        ),
        (
            "/push",
            json!({"push_source_name": "planes"}),
            422,
            "invalid_request",
            "missing field `df`",
        ),
        (
            "/push",
            push("planes", &with("seats", json!([1, 2])), "online"),
            422,
            "invalid_request",
            "`seats` has 2 values",
        ),
        (
            "/push",
            push("planes", &json!({}), "online"),
            422,
            "invalid_request",
            "`df` is empty",
        ),
        (
            "/push",
            push("planes", &without("note"), "online"),
            422,
            "invalid_request",
            "column `note` is missing",
        ),
        (
            "/push",
            push("planes", &with("seats", json!(["many"])), "offline"),
            422,
            "invalid_request",
            "row 0, `seats`",
        ),
        (
            "/push",
            push("planes", &with("raw", json!(["?"])), "online_and_offline"),
            422,
            "invalid_request",
            "expected bytes",
        ),
        (
            "/push",
            push("planes", &with("colour", json!(["red"])), "offline"),
            422,
            "invalid_rows",
            "colour",
        ),
        (
            "/write-to-online-store",
            write("plan", &good),
            404,
            "unknown_view",
            "did you mean `plane`?",
        ),
        (
            "/write-to-online-store",
            write("plane", &without("tail")),
            422,
            "invalid_request",
            "column `tail` is missing",
        ),
        (
            "/write-to-online-store",
            write("plane", &with("tail", json!([null]))),
            422,
            "invalid_rows",
            "tail",
        ),
        (
            "/write-to-online-store",
            write("plane", &with("event_timestamp", json!([5]))),
            422,
            "invalid_request",
            "`event_timestamp`: 5 is no time",
        ),
        (
            "/write-to-online-store",
            write("plane", &with("event_timestamp", json!(["2013-11-05T12:00:01"]))),
            422,
            "invalid_rows",
            "is in the future",
        ),
        (
            "/write-to-online-store",
            write("airport_ops", &good),
            422,
            "push_refused",
            "is not written to directly",
        ),
    ] {
        let (got, answer) = server.post(path, body.to_string()).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{body}: {answer}");
    }
    assert_eq!(server.rows_in("planes").await, before);
    assert_eq!(server.plane("N1").await[2], "new");
}

#[tokio::test]
async fn a_partial_push_takes_the_rows_that_are_right() {
    let mut server = Server::new().await;
    let before = server.rows_in("planes").await;
    let mut df = plane("N7", "2013-11-05T11:30:00", &json!(5));
    // The table has no such column.
    df.as_object_mut().unwrap().remove("created");
    for column in df.as_object_mut().unwrap().values_mut() {
        let values = column.as_array_mut().unwrap();
        values.push(values[0].clone());
    }
    df["tail"][1] = Json::Null;
    for (to, appended) in [("online", 0), ("online_and_offline", 1)] {
        let mut body = json!({"push_source_name": "planes", "df": df, "to": to});
        assert_eq!(server.post("/push", body.to_string()).await.0, 422, "{to}");
        body["partial"] = true.into();
        let (status, answer) = server.post("/push", body.to_string()).await;
        assert_eq!((status, &answer["appended"]), (200, &json!(appended)), "{to}: {answer}");
        assert_eq!(
            (answer["errors"].as_array().unwrap().len(), &answer["errors"][0]["row"]),
            (1, &json!(1)),
            "{answer}"
        );
        assert_eq!(server.plane("N7").await[0], 5, "{to}");
    }
    assert_eq!(server.rows_in("planes").await, before + 1);
}

#[tokio::test]
async fn a_push_goes_on_when_whoever_sent_it_is_gone() {
    let mut server = Server::new().await;
    server.ground.sql("BEGIN; LOCK planes IN SHARE MODE").await;
    let mut df = plane("N5", "2013-11-05T11:30:00", &json!(5));
    df.as_object_mut().unwrap().remove("created");
    let body = json!({"push_source_name": "planes", "df": df, "to": "online_and_offline"}).to_string();
    let router = server.router.clone();
    let asking = tokio::spawn(super::ask(router, axum::http::Request::post("/push"), body));
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'planes'::regclass";
    while sqlx::query_scalar::<_, i64>(waits)
        .fetch_one(&mut server.ground.source)
        .await
        .unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    server.ground.sql("COMMIT").await;
    while server.plane("N5").await[0] != 5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.rows_in("planes").await, 4);
}
