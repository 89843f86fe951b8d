//! The flights' model in Python's ONNX Runtime: what the predictor is compared with.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::env::{required, root};

/// The late probability of each vector of `flight_delay`'s inputs; `None` is null.
///
/// # Panics
/// If Python fails.
pub fn late_probabilities(vectors: &[Vec<Option<f64>>]) -> Vec<f64> {
    let mut python = Command::new("python3")
        .arg(root().join("tests/python/probabilities.py"))
        .arg(root().join("examples/flights/models/flight_delay/1/model.onnx"))
        .env("PYTHONPATH", required("LARDER_TEST_PYTHONPATH"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut stdin = python.stdin.take().expect("stdin is piped");
    let input = serde_json::to_vec(vectors).expect("numbers are JSON");
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = python.wait_with_output().expect("python3 ends");
    writing
        .join()
        .expect("no panic while writing")
        .expect("python3 reads its input");
    assert!(output.status.success(), "python3 failed: {}", output.status);
    let answers: Vec<f64> = serde_json::from_slice(&output.stdout).expect("a JSON list");
    assert_eq!(answers.len(), vectors.len());
    answers
}
