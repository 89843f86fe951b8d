//! Redis away or hung: an answer in JSON, soon. Postgres away: nothing that a read would notice.

use std::time::{Duration, Instant};

use axum::http::Request;
use serde_json::json;
use tokio::net::TcpListener;

use super::Server;

fn read() -> String {
    json!({"entities": {"tail": ["N1"]}, "features": ["plane:note"]}).to_string()
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn without_redis_a_read_is_refused_for_now() {
    let mut server = Server::new().await;
    let url = format!("redis://127.0.0.1:{}", free_port().await);
    server.ground.settings.redis = url.parse().unwrap();
    server.reopen();
    let (status, headers, answer) = server.ask(Request::post("/get-online-features"), read()).await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (503, Some("features_unavailable")),
        "{answer}"
    );
    assert_eq!(headers["retry-after"], "1");
    let (status, _, answer) = server.ask(Request::get("/health"), "").await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (503, Some("features_unavailable")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_hung_redis_costs_no_more_than_the_deadline() {
    let mut server = Server::new().await;
    // It takes connections, and never says a word.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", hung.local_addr().unwrap());
    server.ground.settings.redis = url.parse().unwrap();
    server.reopen();
    let started = Instant::now();
    let (status, answer) = server.post("/get-online-features", read()).await;
    assert!(matches!(status, 503 | 504), "{answer}");
    assert!(answer["error"].is_string(), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn without_postgres_reads_go_on() {
    let mut server = Server::new().await;
    let url = format!("postgres://nobody@127.0.0.1:{}/none", free_port().await);
    server.ground.settings.database = url.parse().unwrap();
    server.reopen();
    let (status, answer) = server.post("/get-online-features", read()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["results"][1]["values"], json!(["new"]));
    let (status, _, answer) = server.ask(Request::get("/health"), "").await;
    assert_eq!((status, answer), (200, serde_json::Value::Null));
}
