//! Feast's endpoints, on real stores.

mod materializing; // runs that are asked for
mod mistakes; // what is refused, and how
mod outages; // Redis or Postgres away
mod pushing; // rows and values that are sent
mod reading; // what is answered

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, request};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Mode;
use crate::http::router;
use crate::live::Live;
use crate::runs::Runs;
use crate::testing::Ground;

/// Flights: an aggregate view that a service joins twice, a row view by two keys, and a row view with a ttl.
const TABLES: &str = "
    CREATE TABLE arrivals (carrier text, dest text, event timestamptz, created timestamptz, delay float8);
    CREATE INDEX ON arrivals (dest, event);
    CREATE INDEX ON arrivals (event);
    CREATE TABLE planes (tail text, event timestamptz, seats int8, single float4, note text, raw bytea, seen timestamptz,
        parts int8[]);
    INSERT INTO arrivals VALUES
        ('UA', 'JFK', '2013-11-05 11:40+00', '2013-11-05 11:41+00', 30),
        ('UA', 'LGA', '2013-11-05 11:50+00', '2013-11-05 11:51+00', 10),
        ('AA', 'JFK', '2013-11-05 05:00+00', '2013-11-05 05:01+00', NULL);
    INSERT INTO planes VALUES
        ('N1', '2013-11-05 11:00:00.5+00', 9007199254740993, 0.1, 'new', '\\x686920', '2013-11-04 00:00:01.9+00', '{1,2}'),
        ('N2', '2013-11-05 11:00+00', NULL, 'infinity', NULL, NULL, NULL, '{}'),
        ('N3', '2013-11-01 11:00+00', 7, 'NaN', 'old', NULL, NULL, NULL);";

const TOML: &str = r#"
[[entity]]
name = "place"
join_keys = [{ name = "airport", type = "string" }]
[[entity]]
name = "route"
join_keys = [{ name = "carrier", type = "string" }, { name = "dest", type = "string" }]
[[entity]]
name = "plane"
join_keys = [{ name = "tail", type = "string" }]

[[source]]
name = "arrivals"
table = "arrivals"
event_timestamp = "event"
created_timestamp = "created"
push_to = "arrivals"
[[source]]
name = "planes"
table = "planes"
event_timestamp = "event"
push_to = "planes"

[[feature_view]]
name = "airport_ops"
entity = "place"
source = "arrivals"
columns = { airport = "dest" }
ttl = "1d"
aggregate = [
  { name = "arrivals", function = "count", windows = ["1h"] },
  { name = "delay", function = "mean", column = "delay", windows = ["1h"] },
]
[[feature_view]]
name = "route_last"
entity = "route"
source = "arrivals"
features = [{ name = "delay", type = "float64" }]
[[feature_view]]
name = "plane"
entity = "plane"
source = "planes"
ttl = "1d"
features = [
  { name = "seats", type = "int64" }, { name = "single", type = "float32" }, { name = "note", type = "string" },
  { name = "raw", type = "bytes" }, { name = "seen", type = "timestamp" }, { name = "parts", type = "int64_list" },
]

[[derived]]
name = "per_km"
type = "float64"
expression = "origin_ops.delay_1h / distance"

[[feature_service]]
name = "flight"
request = [{ name = "distance", type = "float64" }, { name = "gate", type = "int64" }]
joins = [
  { view = "airport_ops", as = "origin_ops", keys = { airport = "origin" } },
  { view = "airport_ops", as = "dest_ops", keys = { airport = "dest" } },
]
features = [
  "derived:per_km", "request:distance", "request:gate", "dest_ops:arrivals_1h", "origin_ops:arrivals_1h",
  "route_last:delay", { feature = "plane:seats", default = 150 },
]
[[feature_service]]
name = "planes"
features = ["plane:seats"]
"#;

struct Server {
    ground: Ground,
    router: Router,
}

impl Server {
    /// As of noon, with nothing materialized.
    async fn empty() -> Self {
        let ground = Ground::new(TABLES, TOML).await;
        let router = routes(&ground);
        Self { ground, router }
    }

    /// As of noon, with every view materialized.
    async fn new() -> Self {
        let server = Self::empty().await;
        for view in ["airport_ops", "route_last", "plane"] {
            server.ground.run(view, Mode::Full, "12:00").await;
        }
        server
    }

    /// The same after something about its stores has changed.
    fn reopen(&mut self) {
        self.ground.reopen();
        self.router = routes(&self.ground);
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (u16, Json) {
        let (status, _, body) = self.ask(Request::post(path), body).await;
        (status, body)
    }

    async fn ask(&self, request: request::Builder, body: impl Into<Body>) -> (u16, HeaderMap, Json) {
        ask(self.router.clone(), request, body).await
    }
}

fn routes(ground: &Ground) -> Router {
    let runs = Runs::new(2, CancellationToken::new());
    router(&Live::new(Arc::clone(&ground.app)), &Arc::default(), &Arc::new(runs))
}

async fn ask(router: Router, request: request::Builder, body: impl Into<Body>) -> (u16, HeaderMap, Json) {
    let request = request.body(body.into()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 24).await.unwrap();
    let json = if body.is_empty() {
        Json::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    (parts.status.as_u16(), parts.headers, json)
}
