//! Redis is killed, hangs, and comes back while predictions run over HTTP: every answer is in time, flagged when it is
//! degraded, refused where policy says so, and the service recovers by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use end_to_end::env::root;
use end_to_end::flights::{Stand, copy_tree, load_predictor};
use feature_defs::time::Timestamp;
use predictor::Explain;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_millis(500);
/// What an operating system with two busy processors may take to run a task.
const SCHEDULING_NOISE: Duration = Duration::from_millis(500);
const CLIENTS: usize = 4;

/// What one request came to.
#[derive(Debug)]
struct Outcome {
    model: &'static str,
    status: u16,
    took: Duration,
    degraded: Vec<String>,
    /// What was asked and answered, to compare with the fallback's own answer.
    asked: Value,
    probability: Option<f64>,
    retry_after: bool,
}

/// The flights' models with a deadline of half a second, and a copy that would rather refuse than fall back.
fn models(to: &Path) {
    copy_tree(&root().join("examples/flights/models"), to).unwrap();
    copy_tree(&to.join("flight_delay"), &to.join("strict")).unwrap();
    for model in ["flight_delay", "flight_delay_request_only", "strict"] {
        let path = to.join(model).join("model.toml");
        let mut settings: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        settings.insert("deadline".into(), format!("{}ms", DEADLINE.as_millis()).into());
        if model == "strict" {
            settings.remove("fallback");
            let path = to.join("strict/1/version.toml");
            let mut version: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
            version.insert("when_unavailable".into(), "reject".into());
            std::fs::write(path, toml::to_string(&version).unwrap()).unwrap();
        }
        std::fs::write(&path, toml::to_string(&settings).unwrap()).unwrap();
    }
}

async fn ask(client: &reqwest::Client, base: &str, model: &'static str, instance: &Value) -> Outcome {
    let started = Instant::now();
    let response = client
        .post(format!("{base}/v1/models/{model}:predict"))
        .json(&json!({ "instances": [instance] }))
        .send()
        .await
        .expect("the predictor always answers");
    let status = response.status().as_u16();
    let retry_after = response.headers().contains_key("retry-after");
    let body: Value = response.json().await.expect("every answer is JSON");
    let degraded = body["rows"][0]["degraded"].as_array().into_iter().flatten();
    Outcome {
        model,
        status,
        took: started.elapsed(),
        degraded: degraded
            .map(|reason| reason.as_str().unwrap_or_default().to_owned())
            .collect(),
        asked: instance.clone(),
        probability: body["predictions"][0]["late_probability"].as_f64(),
        retry_after,
    }
}

/// Asks all the time, distinct questions, until told to stop.
async fn keep_asking(
    base: String,
    offset: usize,
    stand: Arc<Stand>,
    stop: Arc<AtomicBool>,
    out: mpsc::Sender<Outcome>,
) {
    let client = reqwest::Client::new();
    let flights = &stand.replay.dataset().flights;
    let mut at = offset * 7_919;
    while !stop.load(Ordering::Relaxed) {
        let flight = &flights[at % flights.len()];
        at += 1;
        let model = if at.is_multiple_of(3) { "strict" } else { "flight_delay" };
        let outcome = ask(&client, &base, model, &Value::Object(flight.instance())).await;
        if out.send(outcome).await.is_err() {
            return;
        }
    }
}

/// Takes outcomes, checking what holds of all, until `enough` of them are as wanted.
async fn wait_for(
    outcomes: &mut mpsc::Receiver<Outcome>,
    enough: usize,
    wanted: impl Fn(&Outcome) -> bool,
) -> Vec<Outcome> {
    let give_up = Instant::now() + Duration::from_secs(120);
    let mut seen = Vec::new();
    while seen.len() < enough {
        let outcome = outcomes.recv().await.expect("clients go on");
        assert!(outcome.took <= DEADLINE + SCHEDULING_NOISE, "{outcome:?}");
        assert!(matches!(outcome.status, 200 | 503 | 504), "{outcome:?}");
        if outcome.status == 503 {
            assert!(outcome.model == "strict" && outcome.retry_after, "{outcome:?}");
        }
        if outcome.model == "strict" && outcome.status == 200 {
            assert!(outcome.degraded.is_empty(), "{outcome:?}");
        }
        if wanted(&outcome) {
            seen.push(outcome);
        }
        assert!(Instant::now() < give_up, "only {} outcomes were as wanted", seen.len());
    }
    seen
}

fn healthy(outcome: &Outcome) -> bool {
    outcome.status == 200 && outcome.degraded.is_empty()
}

fn fell_back(outcome: &Outcome) -> bool {
    outcome.status == 200 && outcome.degraded == ["store_unavailable", "fallback_model"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_on_in_time_and_flagged_while_redis_is_away() {
    let now: Timestamp = "2013-12-05T22:00:00Z".parse().unwrap();
    let stand = Arc::new(Stand::new(now).await.unwrap());
    stand.materialize(now).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    models(dir.path());
    let predictor = load_predictor(dir.path(), &stand.redis.url(), Arc::clone(&stand.clock) as _).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop_server = CancellationToken::new();
    let fresh = tokio::spawn({
        let (predictor, stop) = (Arc::clone(&predictor), stop_server.clone());
        async move { predictor.keep_fresh(stop).await }
    });
    let server = tokio::spawn(service::server::serve_on_threads(
        listener,
        predictor.router(),
        std::num::NonZero::new(2).unwrap(),
        stop_server.clone(),
        DEADLINE,
    ));

    let redis = &stand.redis;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut outcomes) = mpsc::channel(1);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|i| {
            tokio::spawn(keep_asking(
                base.clone(),
                i,
                Arc::clone(&stand),
                Arc::clone(&stop),
                sender.clone(),
            ))
        })
        .collect();
    drop(sender);

    wait_for(&mut outcomes, 30, healthy).await;
    redis.kill();
    let fallen = wait_for(&mut outcomes, 60, fell_back).await;
    wait_for(&mut outcomes, 20, |o| o.status == 503).await;
    redis.restart().unwrap();
    stand.materialize(now).await.unwrap();
    wait_for(&mut outcomes, 60, healthy).await;

    // A server that takes requests and does not answer is worse than one that is gone.
    redis.freeze();
    wait_for(&mut outcomes, 30, fell_back).await;
    redis.thaw();
    wait_for(&mut outcomes, 60, healthy).await;

    stop.store(true, Ordering::Relaxed);
    while outcomes.recv().await.is_some() {}
    for client in clients {
        client.await.unwrap();
    }
    for outcome in fallen {
        let mut instance = outcome.asked.clone();
        instance.as_object_mut().unwrap().retain(|name, _| {
            ["scheduled_minute", "weekday", "distance", "scheduled_duration"].contains(&name.as_str())
        });
        let fallback = stand
            .predict("flight_delay_request_only", vec![instance], Explain::No)
            .await
            .unwrap();
        assert_eq!(
            outcome.probability,
            fallback["predictions"][0]["late_probability"].as_f64()
        );
    }
    stop_server.cancel();
    server.await.unwrap().unwrap();
    fresh.await.unwrap();
}
