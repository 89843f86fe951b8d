//! Definitions that change under a running predictor.

mod racing; // again and again, under constant requests
mod refused; // what cannot be taken up, and what fits no more
mod versions; // models' versions, under constant requests

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::serving::Marker;
use predictor::App;
use predictor::model::Model;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, LINEAR, PATIENT, REQUEST_ONLY, Redis, free_port, nobody, now, predict};

/// A feature more, of which no stored row knows yet.
const ADDED: (&str, &str) = (
    "features = [{ name = \"late_rate\"",
    "features = [{ name = \"cancelled\", type = \"int64\" }, { name = \"late_rate\"",
);
/// Another default.
const DEFAULT: (&str, &str) = ("default = 0.5", "default = 0.75");

/// Models by the services `full` and `defaults`, and one without stored features.
fn bench() -> Bench {
    let defaults = LINEAR.replace("\"full\"", "\"defaults\"");
    Bench::new()
        .model("full", "linear", PATIENT, LINEAR)
        .model("defaults", "linear", PATIENT, &defaults)
        .model("base", "request_only", PATIENT, REQUEST_ONLY)
}

fn model(app: &App, name: &str) -> Arc<Model> {
    let models = app.models();
    Arc::clone(&models.get(name).unwrap().served.as_ref().unwrap().serving.model)
}

fn is_same(one: &Arc<Model>, other: &Arc<Model>) -> bool {
    Arc::ptr_eq(one, other)
}

async fn y(app: &App, model: &str, carrier: &str) -> (f64, String) {
    let answer = predict(app, model, json!([{ "carrier": carrier, "minute": 1 }])).await;
    (
        answer["predictions"][0]["y"].as_f64().unwrap(),
        answer["rows"][0]["cache"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_model_is_loaded_anew_only_if_what_feeds_it_has_changed() {
    let bench = bench();
    let app = bench.app();
    assert_eq!(y(&app, "defaults", "XX").await.1, "miss");
    let other_ttl = ("ttl = \"1h\"", "ttl = \"2h\"");
    let other_order = ("ops.arrivals * 2", "2 * ops.arrivals");
    for (changes, anew) in [
        (&[][..], [false, false, false]),
        (&[DEFAULT], [false, true, false]),
        (&[], [false, true, false]),
        (&[ADDED], [true, true, false]),
        (&[other_order], [true, true, false]),
        (&[other_ttl], [true, true, false]),
    ] {
        let models = ["full", "defaults", "base"];
        let before = models.map(|name| model(&app, name));
        bench.define(changes);
        app.reload().await.unwrap();
        let after = models.map(|name| model(&app, name));
        let told = [0, 1, 2].map(|i| !is_same(&before[i], &after[i]));
        assert_eq!(told, anew, "{changes:?}");
        let cache = if anew[1] { "miss" } else { "hit_memory" };
        assert_eq!(y(&app, "defaults", "XX").await.1, cache, "{changes:?}");
    }
}

#[tokio::test]
async fn what_nobody_uses_any_more_is_taken_down() {
    let bench = bench();
    let app = bench.app();
    let old = Arc::downgrade(&model(&app, "defaults"));
    bench.define(&[DEFAULT]);
    app.reload().await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    while old.strong_count() > 0 {
        assert!(Instant::now() < give_up, "its sessions and its cache are there still");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_of_old_inputs_is_never_served_for_new_ones() {
    let tier = format!("{PATIENT}cache = {{ tier = \"memory+redis\" }}\n");
    let defaults = LINEAR.replace("\"full\"", "\"defaults\"");
    let bench = Bench::new().model("m", "linear", &tier, &defaults);
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let app = bench.app();
    let twice = ("ops.arrivals * 2", "ops.arrivals * 4");
    let swapped = (
        "[\"request:minute\", { feature = \"ops:late_rate\", default = 0.5 }, ",
        "[{ feature = \"ops:late_rate\", default = 0.5 }, \"request:minute\", ",
    );
    for (changes, unknown, known) in [
        (&[][..], 1.0 + 5.0 + 700.0, 1.0 + 2.5 + 600.0),
        (&[DEFAULT], 1.0 + 7.5 + 700.0, 1.0 + 2.5 + 600.0),
        (&[twice], 1.0 + 5.0 + 700.0, 1.0 + 2.5 + 1200.0),
        (&[DEFAULT, twice], 1.0 + 7.5 + 700.0, 1.0 + 2.5 + 1200.0),
        (&[swapped], 0.5 + 10.0 + 700.0, 0.25 + 10.0 + 600.0),
        (&[], 1.0 + 5.0 + 700.0, 1.0 + 2.5 + 600.0),
    ] {
        bench.define(changes);
        app.reload().await.unwrap();
        for _ in 0..2 {
            assert_eq!(y(&app, "m", "XX").await.0, unknown, "{changes:?}");
            assert_eq!(y(&app, "m", "UA").await.0, known, "{changes:?}");
        }
        assert_eq!(y(&app, "m", "XX").await.1, "hit_memory");
    }
}

#[tokio::test]
async fn a_redis_that_is_away_holds_up_no_reload() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("redis://{}", silent.local_addr().unwrap()).parse().unwrap();
    for redis in [nobody(), hanging] {
        let bench = bench().features_at(redis);
        let app = bench.app();
        bench.define(&[DEFAULT]);
        let started = Instant::now();
        app.reload().await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert_eq!(
            predict(&app, "base", json!([{ "minute": 1 }])).await["predictions"][0]["y"],
            -1.0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_the_store_stays_fresh_after_a_reload() {
    let redis = Redis::start(free_port()).await;
    let bench = bench().features_at(redis.url());
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let app = bench.app();
    let stop = CancellationToken::new();
    let freshness = tokio::spawn({
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move { app.keep_fresh(stop).await }
    });
    for changes in [ADDED, DEFAULT] {
        bench.define(&[changes]);
        app.reload().await.unwrap();
        assert_eq!(y(&app, "full", "UA").await.0, 1.0 + 2.5 + 600.0);
    }
    // A run that does not find the entity any more: only its marker tells.
    let (writer, view) = (bench.store().writer(), "ops".parse().unwrap());
    let begun = writer.begin_run(&view, "r").await.unwrap();
    let later = now().plus(feature_defs::time::Span::from_secs(1));
    let marker = Marker {
        run: "r".to_owned(),
        as_of: later,
        digest: "d".to_owned(),
        full_as_of: later,
        complete_as_of: Some(later),
    };
    assert!(writer.create_marker(&view, &marker, &begun).await.unwrap());
    let give_up = Instant::now() + Duration::from_secs(20);
    while y(&app, "full", "UA").await.0 != 1.0 - 10.0 - 100.0 {
        assert!(Instant::now() < give_up, "the marker is not seen");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    freshness.await.unwrap();
}
