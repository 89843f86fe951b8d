//! Materializations that are asked for: as of when, what they cover, who waits for them.

use serde_json::{Value as Json, json};

use super::Server;
use crate::testing::at;

impl Server {
    /// A plane's seats, as read.
    async fn seats(&self, tail: &str) -> Json {
        let body = json!({"entities": {"tail": [tail]}, "features": ["plane:seats"]});
        let (status, answer) = self.post("/get-online-features", body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer["results"][1]["values"][0].clone()
    }

    /// As of when a view stands online.
    async fn as_of(&self, view: &str) -> String {
        let view = self.ground.app.view(view).unwrap();
        self.ground.app.marker(view).await.unwrap().unwrap().as_of.to_string()
    }

    async fn materialize(&self, path: &str, body: Json) -> (u16, Json) {
        self.post(path, body.to_string()).await
    }

    /// Until a run of the view is under way.
    async fn await_run(&self, view: &str) {
        let store = self.ground.app.store();
        while store.lock_holders(&store.view_lock(view)).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Until none is.
    async fn await_end(&self, view: &str) {
        let store = self.ground.app.store();
        while !store.lock_holders(&store.view_lock(view)).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

/// N1 is refitted at noon and a half.
const REFIT: &str = "INSERT INTO planes VALUES ('N1', '2013-11-05 12:30+00', 99)";

#[tokio::test]
async fn what_is_new_up_to_the_end_is_online_afterwards() {
    let mut server = Server::new().await;
    server.ground.sql(REFIT).await;
    server.ground.clock.set(at("13:00"));
    // Naive, as the SDK sends it: UTC. A moment ahead of the source's clock, which is now.
    for (end, as_of, seats) in [
        ("2013-11-05T12:15:00", "2013-11-05T12:15:00Z", 9_007_199_254_740_993_i64),
        ("2013-11-05T13:00:59.5", "2013-11-05T13:00:00Z", 99),
        // What was known then stands online already, and more.
        ("2013-11-05T12:20:00+00:00", "2013-11-05T13:00:00Z", 99),
    ] {
        let body = json!({"end_ts": end, "feature_views": ["plane"], "full_feature_names": false});
        let (status, answer) = server.materialize("/materialize-incremental", body).await;
        assert_eq!((status, &answer), (200, &Json::Null), "{end}");
        assert_eq!(server.as_of("plane").await, as_of);
        assert_eq!(server.seats("N1").await, seats, "{end}");
    }
}

#[tokio::test]
async fn what_a_range_left_online_vouches_for_nothing() {
    let server = Server::empty().await;
    let history =
        json!({"start_ts": "2013-01-01T00:00:00", "end_ts": "2013-11-01T00:00:00", "feature_views": ["plane"]});
    // The second time, the rows of the range are read again as of now.
    for _ in 0..2 {
        let (status, answer) = server.materialize("/materialize", history.clone()).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(server.as_of("plane").await, "2013-11-01T00:00:00Z");
    server.ground.clock.set(at("12:05"));
    let body = json!({"end_ts": "2013-11-05T11:59:00", "feature_views": ["plane"]});
    let (status, answer) = server.materialize("/materialize-incremental", body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.as_of("plane").await, "2013-11-05T12:05:00Z");
    assert_eq!(server.seats("N1").await, 9_007_199_254_740_993_i64);
}

#[tokio::test]
async fn a_view_that_never_ran_is_computed_whole_and_no_names_are_all_views() {
    let server = Server::empty().await;
    for (path, body) in [
        (
            "/materialize-incremental",
            json!({"end_ts": "2013-11-05T11:55:00Z", "feature_views": []}),
        ),
        (
            "/materialize",
            json!({"start_ts": "2013-11-05T11:50:00Z", "end_ts": "2013-11-05T12:00:00Z"}),
        ),
    ] {
        assert_eq!(server.materialize(path, body).await, (200, Json::Null));
    }
    for view in ["airport_ops", "route_last", "plane"] {
        assert_eq!(server.as_of(view).await, "2013-11-05T12:00:00Z");
    }
    assert_eq!(server.seats("N1").await, 9_007_199_254_740_993_i64);
}

#[tokio::test]
async fn a_range_is_read_again_whenever_its_rows_came_and_replaces_nothing_newer() {
    let mut server = Server::new().await;
    // Planes have no created timestamp: what comes behind the watermark is found by reading the range again.
    server
        .ground
        .sql("INSERT INTO planes VALUES ('N1', '2013-11-05 10:00+00', 1), ('N8', '2013-11-05 10:00+00', 8)")
        .await;
    let until = |end: &str| json!({"end_ts": end});
    assert_eq!(
        server
            .materialize("/materialize-incremental", until("2013-11-05T12:00:00"))
            .await
            .0,
        200
    );
    assert_eq!(server.seats("N8").await, Json::Null);
    let range = json!({"start_ts": "2013-11-05T09:00:00", "end_ts": "2013-11-05T10:00:00", "feature_views": null});
    assert_eq!(server.materialize("/materialize", range).await, (200, Json::Null));
    assert_eq!(server.seats("N8").await, 8);
    assert_eq!(server.seats("N1").await, 9_007_199_254_740_993_i64);
    assert_eq!(server.as_of("plane").await, "2013-11-05T12:00:00Z");

    let everything = json!({"disable_event_timestamp": true, "feature_views": ["plane"]});
    assert_eq!(server.materialize("/materialize", everything).await, (200, Json::Null));
    assert_eq!(server.seats("N8").await, 8);
}

#[tokio::test]
async fn mistakes_are_told_before_anything_runs() {
    let server = Server::empty().await;
    let range = |start: &str, end: &str| json!({"start_ts": start, "end_ts": end});
    for (path, body, status, said) in [
        (
            "/materialize",
            range("2013-11-05T11:00:00", "2013-11-05T12:01:01"),
            422,
            "in the future",
        ),
        (
            "/materialize",
            range("2013-11-05T12:00:00", "2013-11-05T12:00:00"),
            422,
            "is not before",
        ),
        (
            "/materialize",
            range("yesterday", "2013-11-05T12:00:00"),
            422,
            "`start_ts`, `yesterday`, is not a time",
        ),
        (
            "/materialize",
            json!({"start_ts": "2013-11-05T12:00:00"}),
            422,
            "`end_ts` is missing",
        ),
        ("/materialize-incremental", json!({}), 422, "missing field `end_ts`"),
        (
            "/materialize-incremental",
            json!({"end_ts": 5}),
            422,
            "expected a string",
        ),
        (
            "/materialize-incremental",
            json!({"end_ts": "2013-11-05", "feature_views": ["plane", "plan"]}),
            404,
            "did you mean `plane`?",
        ),
        (
            "/materialize-incremental",
            json!({"end_ts": "2013-11-05", "version": "v2"}),
            422,
            "leave `version` out",
        ),
        (
            "/materialize-incremental?async=perhaps",
            json!({"end_ts": "2013-11-05"}),
            422,
            "`async` is `perhaps`",
        ),
        (
            "/materialize-incremental?async=true",
            json!({"end_ts": "2113-11-05"}),
            422,
            "in the future",
        ),
    ] {
        let (got, answer) = server.materialize(path, body.clone()).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(got, status, "{path} {body}: {answer}");
        assert!(error.contains(said), "{path} {body}: {error}");
    }
    assert!(server.ground.app.store().runs(None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_view_is_refused_and_a_run_goes_on_without_whoever_asked() {
    let mut server = Server::new().await;
    server.ground.sql(REFIT).await;
    server.ground.clock.set(at("13:00"));
    server.ground.sql("BEGIN; LOCK planes IN ACCESS EXCLUSIVE MODE").await;
    let body = json!({"end_ts": "2013-11-05T13:00:00Z", "feature_views": ["route_last", "plane"]});
    let asking = {
        let (router, body) = (server.router.clone(), body.to_string());
        tokio::spawn(
            async move { super::ask(router, axum::http::Request::post("/materialize-incremental"), body).await },
        )
    };
    server.await_run("plane").await;
    for path in [
        "/materialize-incremental",
        "/materialize-incremental?async=true",
        "/materialize-incremental?force=true",
    ] {
        let (status, answer) = server.materialize(path, body.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (409, Some("busy")), "{answer}");
        assert_eq!(answer["feature_views"], json!(["plane"]));
        assert!(answer["error"].as_str().unwrap().contains("plane"), "{answer}");
    }
    // Whoever asked goes away, and reads go on.
    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(server.seats("N1").await, 9_007_199_254_740_993_i64);
    server.ground.sql("COMMIT").await;
    server.await_end("plane").await;
    assert_eq!(server.seats("N1").await, 99);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_background_it_is_accepted_and_then_done() {
    let mut server = Server::new().await;
    server.ground.sql(REFIT).await;
    server.ground.clock.set(at("13:00"));
    let body = json!({"end_ts": "2013-11-05T13:00:00Z", "feature_views": ["plane"]});
    let (status, answer) = server.materialize("/materialize-incremental?async=true", body).await;
    assert_eq!(
        (status, answer),
        (202, json!({"status": "accepted", "feature_views": ["plane"]}))
    );
    while server.as_of("plane").await != "2013-11-05T13:00:00Z" {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.seats("N1").await, 99);
}

#[tokio::test]
async fn a_run_that_fails_says_why() {
    let mut server = Server::new().await;
    server.ground.sql("ALTER TABLE planes DROP COLUMN seats").await;
    let body = json!({"end_ts": "2013-11-05T12:00:00Z", "feature_views": ["plane"]});
    let (status, answer) = server.materialize("/materialize-incremental", body).await;
    assert_eq!((status, answer["code"].as_str()), (422, Some("run_failed")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("seats"), "{answer}");
}
