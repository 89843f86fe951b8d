//! The program from the shell.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY};

pub(crate) fn predictor(bench: &Bench) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_predictor"));
    command.envs(bench.environment()).env_remove("LARDER_LOG");
    command
}

fn bench() -> Bench {
    let model = format!("{PATIENT}fallback = {{ model = \"base\" }}\n");
    Bench::new()
        .model("base", "request_only", PATIENT, REQUEST_ONLY)
        .model("m", "linear", &model, &LINEAR.replace("\"full\"", "\"defaults\""))
        .model("broken", "picky", PATIENT, LINEAR)
}

pub(crate) fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn check_prints_the_signature_or_the_reasons() {
    let bench = bench();
    let good = predictor(&bench)
        .arg("check")
        .arg(bench.models().join("m"))
        .output()
        .unwrap();
    let (code, out, err) = told(&good);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out, @r"
    model m version 1 fits feature service defaults
    request:
      carrier string (join key)
      minute int64
    inputs:
      minute int64 -> float32 tensor
      ops__late_rate float64 -> float32 tensor, default 0.5
      busy float64 -> float32 tensor, default 7.0
    outputs:
      y float32
    fallback: model base version 1
    ");
    let bad = predictor(&bench)
        .arg("check")
        .arg(bench.models().join("broken"))
        .output()
        .unwrap();
    let (code, out, err) = told(&bad);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    insta::assert_snapshot!(err, @r"
    model `broken` is refused:
      - version.toml feeds one tensor `features`, but the model takes `x` (float32 [-1, 1])
      - output `y` is tensor `scores`, but the model gives `y` (float32 [-1, 1])
    error: model `broken` cannot be served
    ");
}

#[tokio::test]
async fn predict_explains_one_prediction() {
    let bench = bench();
    let good = predictor(&bench)
        .args(["predict", "m", "carrier=nobody", "minute="])
        .output()
        .unwrap();
    let (code, out, err) = told(&good);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out, @r"
    model m version 1
      y = 704.0
    cache: miss
    views:
      ops: NOT_FOUND
    inputs:
      minute = null (request, NULL_VALUE)
      ops__late_rate = 0.5 (stored, NOT_FOUND, default)
      busy = 7.0 (derived, NULL_VALUE, default)
    read by derived features:
      ops__arrivals = null (stored, NOT_FOUND)
    ");
    let bad = predictor(&bench).args(["predict", "m", "carier=UA"]).output().unwrap();
    let (code, out, err) = told(&bad);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    insta::assert_snapshot!(err, @r"
    error: 3 problems:
      - `carier`: unknown field; did you mean `carrier`?
      - `carrier`: missing join key: send null if there is none
      - `minute`: missing request feature: send null if its value is not known
    ");
}

#[tokio::test]
async fn wrong_usage_is_told_and_exits_with_2() {
    let bench = bench();
    for (arguments, mention) in [
        (&["predict"][..], "<MODEL>"),
        (&["predict", "m", "foo"], "`foo` is not KEY=VALUE"),
        (&["predict", "m", "minute=soon"], "`minute`: "),
        (&["predict", "m", "minute=1", "minute=2"], "`minute` is given twice"),
        (&["predict", "nosuch"], "it has base, broken, m"),
    ] {
        let (code, out, err) = told(&predictor(&bench).args(arguments).output().unwrap());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(
            err.starts_with("error: ") && err.contains(mention),
            "{arguments:?}: {err}"
        );
    }
}

#[tokio::test]
async fn the_environment_can_ask_for_json() {
    let bench = bench();
    for (set, json) in [("1", true), ("true", true), ("0", false), ("", false)] {
        let output = predictor(&bench)
            .args(["predict", "base", "minute=4"])
            .env("LARDER_JSON", set)
            .output()
            .unwrap();
        let (code, out, err) = told(&output);
        assert_eq!(code, Some(0), "LARDER_JSON={set}: {err}");
        assert_eq!(out.starts_with('{'), json, "LARDER_JSON={set}: {out}");
    }
}

#[tokio::test]
async fn a_wrong_url_is_told_without_its_password() {
    let bench = bench();
    let bad = predictor(&bench)
        .args([
            "predict",
            "base",
            "minute=4",
            "--cache-redis-url",
            "redis://me:s3cret@host:port",
        ])
        .output()
        .unwrap();
    let (code, out, err) = told(&bad);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("LARDER_CACHE_REDIS_URL") && err.contains("not a Redis URL"),
        "{err}"
    );
    assert!(!err.contains("s3cret"), "{err}");
}

/// A running `predictor serve`.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Server {
    fn start(bench: &Bench) -> Self {
        let mut process = predictor(bench)
            .args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            if let Some((_, address)) = line.trim_end().split_once("listening at http://") {
                break address.to_owned();
            }
        };
        Self { process, log, address }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Calls until the answer holds this text.
    fn until(&self, (method, path, body): (&str, &str, &str), mention: &str) {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.call(method, path, body);
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            if answer.contains(mention) {
                return;
            }
            assert!(Instant::now() < give_up, "no `{mention}` in {answer}");
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Stops it with SIGTERM.
    fn stop(mut self) {
        self.signal("-TERM");
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0), "{rest}");
    }
}

#[tokio::test]
async fn serve_answers_and_stops_at_sigterm() {
    let bench = bench();
    let server = Server::start(&bench);
    let answer = server.call("POST", "/v1/models/base:predict", r#"{"instances":[{"minute":4}]}"#);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""predictions":[{"y":-4.0}]"#),
        "{answer}"
    );
    server.stop();
}

#[tokio::test]
async fn serve_takes_up_changed_definitions_and_looks_at_sighup() {
    let bench = bench();
    let server = Server::start(&bench);
    let body = r#"{"instances":[{"carrier":"nobody","minute":1}]}"#;
    let predicts = ("POST", "/v1/models/m:predict", body);
    let (ready, metrics) = (("GET", "/health/ready", ""), ("GET", "/metrics", ""));
    server.until(predicts, r#""predictions":[{"y":706.0}]"#);
    server.until(metrics, "larder_definitions_broken 0");
    bench.define(&[("default = 0.5", "default = 0.75")]);
    server.until(predicts, r#""predictions":[{"y":708.5}]"#);
    server.until(metrics, r#"larder_definitions_reloads_total{outcome="done"} 1"#);
    bench.define(&[("default = 0.5", "default = \"half\"")]);
    server.until(ready, "what was serving serves on");
    server.until(metrics, "larder_definitions_broken 1");
    server.until(predicts, r#""predictions":[{"y":708.5}]"#);
    bench.define(&[]);
    server.until(predicts, r#""predictions":[{"y":706.0}]"#);
    server.until(metrics, r#"larder_definitions_reloads_total{outcome="done"} 2"#);
    server.signal("-HUP");
    server.until(metrics, r#"larder_definitions_reloads_total{outcome="done"} 3"#);
    server.stop();
}

#[tokio::test]
async fn check_says_whether_a_lookup_in_redis_is_worth_it() {
    let model = format!("{PATIENT}cache = {{ tier = \"memory+redis\" }}\n");
    let bench = Bench::new()
        .model("cheap", "request_only", &model, REQUEST_ONLY)
        .model("dear", "slow", &model, NUMBER)
        .model("memory", "request_only", PATIENT, REQUEST_ONLY);
    let check = |model: &str, redis: Option<&str>| {
        let mut command = predictor(&bench);
        command
            .arg("check")
            .arg(bench.models().join(model))
            .env_remove("LARDER_REDIS_URL");
        let redis = redis.map(|url| ["--cache-redis-url", url]);
        let (code, out, err) = told(&command.args(redis.iter().flatten()).output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        out
    };
    let redis = crate::bench::required("LARDER_TEST_REDIS_URL");
    let out = check("cheap", Some(&redis));
    assert!(
        out.contains("cache: memory, then Redis\n  the model on one row: ") && out.contains("\n  a lookup in Redis: "),
        "{out}"
    );
    assert!(out.contains("\nwarning: to look a row up in Redis takes "), "{out}");
    let out = check("dear", Some(&redis));
    assert!(out.contains("a lookup in Redis: ") && !out.contains("warning"), "{out}");
    let out = check("cheap", None);
    assert!(
        out.contains("a lookup in Redis: not measured: with --cache-redis-url") && !out.contains("warning"),
        "{out}"
    );
    let nobody = format!("redis://127.0.0.1:{}", crate::bench::free_port());
    let out = check("cheap", Some(&nobody));
    assert!(
        out.contains("a lookup in Redis: not measured: ") && !out.contains("warning"),
        "{out}"
    );
    assert!(
        !check("memory", Some(&redis)).contains("cache"),
        "nothing to say of memory"
    );
}
