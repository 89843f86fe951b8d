//! Redis slow, away, back again, without its scripts, or refusing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::serving::Status;
use online_store::{Guard, Lookup, OnlineStore, RedisUrl, StoreError};
use tokio_util::sync::CancellationToken;

use crate::support::{
    SECOND, Server, Times, at, carrier, counter, counter_view, create, eventually, marker, number, read_one, store_at,
};

#[tokio::test]
async fn a_slow_redis_costs_no_more_than_the_deadline() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let view = counter_view();
    let reader = store.reader(vec![view.clone()]);
    reader.refresh().await.unwrap();
    raw.run::<()>(&[b"CLIENT", b"PAUSE", b"2000", b"ALL"]).await;

    let within = Duration::from_millis(50);
    let paused = Instant::now();
    let key = carrier("UA");
    let lookups = [Lookup {
        view: &view,
        key: Some(&key),
    }];
    let reads = (0..20).map(|_| async {
        let started = Instant::now();
        let error = reader.read(&lookups, at(0), within).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Timeout { after, .. } if after == within),
            "{error}"
        );
        assert!(started.elapsed() >= within);
        assert!(started.elapsed() < within + SECOND, "{:?}", started.elapsed());
    });
    futures_util::future::join_all(reads).await;
    assert!(
        paused.elapsed() < Duration::from_millis(1_900),
        "the reads waited for Redis"
    );

    // The same connection goes on when Redis does.
    let row = reader.read(&lookups, at(0), 5 * SECOND).await.unwrap();
    assert_eq!(row[0].status, Status::NotFound);
}

#[tokio::test]
async fn a_killed_redis_fails_calls_at_once_and_is_used_again_when_it_is_back() {
    let mut server = Server::start();
    let (store, _) = store_at(&server.url());
    let view = counter_view();
    let (reader, writer) = (Arc::new(store.reader(vec![view.clone()])), store.writer());
    let stop = CancellationToken::new();
    let task = tokio::spawn(reader.clone().keep_fresh(stop.clone()));
    let batch = [(carrier("UA"), counter(&view, Times::all(1), 1))];
    let m = marker("r", 1, 1);
    writer.put_schema(&view).await.unwrap();
    writer
        .write(&view.name, Guard::EventThenCreated { complete_as_of: None }, &batch)
        .await
        .unwrap();
    assert!(create(&writer, &view, &m).await);
    eventually("the reader knows the marker", async || {
        reader.marker(&view.name).is_some()
    })
    .await;
    assert_eq!(number(&read_one(&reader, &view, &carrier("UA"), 1).await), Some(1));

    server.kill();
    let key = carrier("UA");
    let lookups = [Lookup {
        view: &view,
        key: Some(&key),
    }];
    let began = Instant::now();
    for _ in 0..1_000 {
        let error = reader.read(&lookups, at(1), 5 * SECOND).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    }
    assert!(began.elapsed() < 3 * SECOND, "1,000 calls took {:?}", began.elapsed());
    assert!(matches!(
        writer.put_schema(&view).await,
        Err(StoreError::Unreachable { .. })
    ));
    assert_eq!(reader.marker(&view.name), Some(m), "the last known stays");

    // Long enough away for the pauses between attempts to have grown to their longest.
    eventually("an outage of four seconds", async || {
        assert!(store.ping(SECOND).await.is_err());
        began.elapsed() > 4 * SECOND
    })
    .await;
    server.restart();
    let back = Instant::now();
    eventually("the store answers", async || store.ping(SECOND).await.is_ok()).await;
    assert!(back.elapsed() < 3 * SECOND, "recovery took {:?}", back.elapsed());

    // The new server is empty: the marker goes, and values can be written again.
    eventually("the reader sees that the marker is lost", async || {
        reader.marker(&view.name).is_none()
    })
    .await;
    eventually("the writer is back", async || writer.put_schema(&view).await.is_ok()).await;
    writer
        .write(&view.name, Guard::EventThenCreated { complete_as_of: None }, &batch)
        .await
        .unwrap();
    assert_eq!(number(&read_one(&reader, &view, &carrier("UA"), 1).await), Some(1));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_restart_between_two_calls_goes_unnoticed() {
    let mut server = Server::start();
    let (store, _) = store_at(&server.url());
    store.ping(SECOND).await.unwrap();
    for _ in 0..3 {
        server.restart();
        store.ping(SECOND).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_opens_without_redis_and_connects_when_it_comes() {
    let mut server = Server::start();
    server.kill();
    let (store, _) = store_at(&server.url());
    let error = store.ping(SECOND).await.unwrap_err();
    assert_says(
        &error,
        "can't be reached",
        "start Redis there, or correct the Redis URL",
    );
    server.restart();
    eventually("the store answers", async || store.ping(SECOND).await.is_ok()).await;
}

#[tokio::test]
async fn nobody_home_costs_no_more_than_the_deadline() {
    // Listens, and never answers: its queue of connections accepts on the kernel's word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url: RedisUrl = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (store, _) = store_at(&url);
    let started = Instant::now();
    let error = store.ping(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    // Later calls learn why.
    eventually("the attempt to connect is given up", async || {
        matches!(
            store.ping(Duration::from_millis(50)).await,
            Err(StoreError::Unreachable { .. })
        )
    })
    .await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (view, writer) = (counter_view(), store.writer());
    let reader = store.reader(vec![view.clone()]);
    writer.put_schema(&view).await.unwrap();
    for i in 1..=3 {
        let batch: Vec<_> = (0..250)
            .map(|n| (carrier(&n.to_string()), counter(&view, Times::all(i), i)))
            .collect();
        assert_eq!(
            writer
                .write(&view.name, Guard::EventThenCreated { complete_as_of: None }, &batch)
                .await
                .unwrap()
                .written,
            250
        );
        assert!(create(&writer, &view, &marker("r", i, i)).await);
        assert_eq!(number(&read_one(&reader, &view, &carrier("249"), 1).await), Some(i));
        raw.run::<()>(&[b"SCRIPT", b"FLUSH"]).await;
    }
}

#[tokio::test]
async fn users_log_in_and_refusals_say_what_to_do_without_the_password() {
    let server = Server::start();
    let (_, raw) = store_at(&server.url());
    let grant = "ACL SETUSER ann on >s3cret/1 ~larder:* +@read +@connection";
    raw.run::<()>(&grant.split(' ').map(str::as_bytes).collect::<Vec<_>>())
        .await;
    let open =
        |user: &str| -> OnlineStore { store_at(&format!("redis://{user}@{}", server.address()).parse().unwrap()).0 };
    let store = open("ann:s3cret%2F1");
    store.ping(SECOND).await.unwrap();
    let error = store.writer().put_schema(&counter_view()).await.unwrap_err();
    assert_says(&error, "refused a command", "permission");
    let stranger = open("ann:s3cret");
    let error = stranger.ping(SECOND).await.unwrap_err();
    assert_says(
        &error,
        "redis://ann@127.0.0.1",
        "check the user and password in the Redis URL",
    );
    // An error at the greeting is not for good.
    raw.run::<()>(&[b"ACL", b"SETUSER", b"ann", b">s3cret"]).await;
    eventually("the login is tried again", async || stranger.ping(SECOND).await.is_ok()).await;
}

#[tokio::test]
async fn tls_is_spoken_and_its_absence_is_an_error() {
    let server = Server::start();
    let (store, _) = store_at(&format!("rediss://ann:s3cret@{}", server.address()).parse().unwrap());
    // A busy machine may take longer than an attempt to connect may.
    eventually("what speaks no TLS is told from what is away", async || {
        let error = store.ping(5 * SECOND).await.unwrap_err();
        assert_says(&error, "rediss://ann@127.0.0.1", "check");
        error.to_string().contains("whether TLS (rediss://) is right")
    })
    .await;
}

/// The message holds both texts, and no password.
fn assert_says(error: &StoreError, what: &str, hint: &str) {
    let message = error.to_string();
    assert!(message.contains(what) && message.contains(hint), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
}
