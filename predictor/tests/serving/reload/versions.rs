//! Versions that change again and again under constant requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use predictor::{App, Explain};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, ask};

const RELOADS: usize = 200;

/// `version.toml` of a model of one number that takes doubles.
const DOUBLE: &str = r#"
feature_service = "number"
inputs = { x = "float64" }
outputs = { y = { tensor = "y" } }
"#;

/// Asks for predictions until stopped, or so many; how long each took. Version 1 says -x, version 2 says x + 1.
async fn ask_on(app: Arc<App>, stop: CancellationToken, at_most: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.is_cancelled() && took.len() < at_most {
        let x = took.len() as f64;
        let started = Instant::now();
        let answer = ask(&app, "m", json!([{ "x": x }]), Explain::No).await.unwrap();
        took.push(started.elapsed());
        let expected = match answer["model_version"].as_str() {
            Some("1") => -x,
            Some("2") => x + 1.0,
            other => panic!("{other:?}: {answer}"),
        };
        assert_eq!(
            answer["predictions"][0]["y"], expected,
            "answered by the version it names"
        );
        assert_eq!(answer["rows"][0]["degraded"], json!([]));
        // Whoever reloads shares the threads.
        tokio::task::yield_now().await;
    }
    took
}

/// The time that 99 of 100 requests of all callers are within.
fn p99(took: Vec<Vec<Duration>>) -> Duration {
    let mut all: Vec<Duration> = took.into_iter().flatten().collect();
    all.sort();
    all[all.len() * 99 / 100]
}

struct Callers {
    stop: CancellationToken,
    asking: Vec<tokio::task::JoinHandle<Vec<Duration>>>,
}

impl Callers {
    fn start(app: &Arc<App>, at_most: usize) -> Self {
        let stop = CancellationToken::new();
        let one = |_| tokio::spawn(ask_on(Arc::clone(app), stop.clone(), at_most));
        Self {
            asking: (0..2).map(one).collect(),
            stop,
        }
    }

    async fn end(self) -> Vec<Vec<Duration>> {
        let mut took = Vec::new();
        for asked in self.asking {
            took.push(asked.await.unwrap());
        }
        took
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constant_requests_during_two_hundred_version_switches_are_all_answered() {
    let settings = |serve: usize| {
        format!("serve = \"{serve}\"\nload = \"all\"\ndeadline = \"20s\"\ncache = {{ tier = \"off\" }}\n")
    };
    let bench = Bench::new()
        .model("m", "request_only", &settings(1), DOUBLE)
        .version("m", "2", "plus_one", DOUBLE);
    let app = bench.app();
    let quiet = p99(Callers::start(&app, 5_000).end().await);
    let callers = Callers::start(&app, usize::MAX);
    for i in 0..RELOADS {
        match i % 4 {
            // The file of the version that serves, as it is released anew: loaded, warmed and switched to.
            0 => bench.write(
                "m/1/version.toml",
                format!("{DOUBLE}# {i}\nsha256 = \"{}\"\n", digest(&bench, 1)).as_bytes(),
            ),
            1 => bench.write("m/model.toml", settings(2).as_bytes()),
            // One that does not fit changes nothing.
            2 => bench.write("m/2/version.toml", b"outputs = 5"),
            _ => {
                bench.write("m/2/version.toml", DOUBLE.as_bytes());
                bench.write("m/1/version.toml", DOUBLE.as_bytes());
                bench.write("m/model.toml", settings(1).as_bytes());
            }
        }
        app.reload().await.unwrap();
        let answer = ask(&app, "m", json!([{ "x": 1 }]), Explain::No).await.unwrap();
        let expected = if matches!(i % 4, 1 | 2) { "2" } else { "1" };
        assert_eq!(answer["model_version"], expected, "reload {i}");
    }
    callers.stop.cancel();
    let took = callers.end().await;
    let asked: usize = took.iter().map(Vec::len).sum();
    assert!(asked > RELOADS, "{asked} requests");
    let during = p99(took);
    println!("{asked} requests during {RELOADS} reloads; p99 {during:?}, and {quiet:?} without");
}

/// The SHA-256 of a version's file, as `sha256sum` says it.
fn digest(bench: &Bench, version: usize) -> String {
    use sha2::{Digest, Sha256};
    let bytes = std::fs::read(bench.models().join(format!("m/{version}/model.onnx"))).unwrap();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
