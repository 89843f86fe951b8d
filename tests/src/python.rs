//! Models in Python's ONNX Runtime: what the predictor is compared with.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::env::{required, root};

/// The late probability of each vector of `flight_delay`'s inputs; `None` is null.
///
/// # Panics
/// If Python fails.
pub fn late_probabilities(vectors: &[Vec<Option<f64>>]) -> Vec<f64> {
    let model = root().join("examples/flights/models/flight_delay/1/model.onnx");
    let input = serde_json::to_vec(vectors).expect("numbers are JSON");
    let output = run("probabilities.py", &[&model], input);
    let answers: Vec<f64> = serde_json::from_slice(&output).expect("a JSON list");
    assert_eq!(answers.len(), vectors.len());
    answers
}

/// What any model gives for these inputs, by name: `{"type", "shape", "data"}` each, as `families_answers.py` says. The
/// answer is `{"shape", "data"}` for each output.
///
/// # Panics
/// If Python fails.
pub fn answers(model: &Path, inputs: &Value) -> Value {
    let question = serde_json::json!({ "model": model, "inputs": inputs }).to_string();
    let output = run::<&str>("families_answers.py", &[], question.into_bytes());
    serde_json::from_slice(&output).expect("a JSON object")
}

/// ONNX's own test cases: a model repository `models` in `folder`, and the returned requests with their answers, as
/// `onnx_cases.py` says.
///
/// # Panics
/// If Python fails.
pub fn onnx_cases(folder: &Path) -> Vec<Value> {
    let data = Path::new(&required("LARDER_TEST_PYTHONPATH")).join("onnx/backend/test/data");
    let said = run("onnx_cases.py", &[data.as_path(), folder], Vec::new());
    print!("{}", String::from_utf8_lossy(&said));
    let cases = std::fs::read(folder.join("cases.json")).expect("the script writes cases.json");
    serde_json::from_slice(&cases).expect("a JSON list")
}

/// The standard output of a script in `tests/python`.
fn run<A: AsRef<OsStr>>(script: &str, args: &[A], input: Vec<u8>) -> Vec<u8> {
    let mut python = Command::new("python3")
        .arg(root().join("tests/python").join(script))
        .args(args)
        .env("PYTHONPATH", required("LARDER_TEST_PYTHONPATH"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut stdin = python.stdin.take().expect("stdin is piped");
    // A script that reads nothing may have ended by now.
    let writing = std::thread::spawn(move || {
        if input.is_empty() {
            Ok(())
        } else {
            stdin.write_all(&input)
        }
    });
    let output = python.wait_with_output().expect("python3 ends");
    writing
        .join()
        .expect("no panic while writing")
        .expect("python3 reads its input");
    assert!(output.status.success(), "{script} failed: {}", output.status);
    output.stdout
}
