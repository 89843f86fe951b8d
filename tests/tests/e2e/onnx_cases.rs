//! ONNX's own test cases for its operators and models: each is served, asked over HTTP, and answers as ONNX says.

use end_to_end::{predictors, python};
use serde_json::Value;

use crate::tensors::{Wire, float, infer};

/// Far fewer than there are, but enough that a filter gone wrong is seen: of all, and of those asked in one way.
const LEAST_CASES: usize = 1_000;
const LEAST_OF_WIRE: usize = 300;
const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-5;

const DEFINITIONS: &str = r#"
format = 1
project = "onnx"

[[entity]]
name = "thing"
join_keys = [{ name = "thing", type = "string" }]
"#;

#[tokio::test]
async fn onnx_s_own_cases_are_answered_over_http_as_onnx_says() {
    let (folder, features) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(features.path().join("onnx.toml"), DEFINITIONS).unwrap();
    let cases = python::onnx_cases(folder.path());
    assert!(cases.len() >= LEAST_CASES, "only {} cases", cases.len());

    let app = predictors::load(features.path(), &folder.path().join("models")).unwrap();
    let refused = app.models();
    let refused = refused.refused().map(|refused| refused.to_string());
    let mut wrong: Vec<String> = refused.collect();
    let (mut as_json, mut as_bytes) = (0, 0);
    let router = app.router();
    for (i, case) in cases.iter().enumerate() {
        let name = case["name"].as_str().unwrap();
        for set in case["sets"].as_array().unwrap() {
            let (inputs, outputs) = (list(&set["inputs"]), list(&set["outputs"]));
            // JSON has no NaN and no infinity.
            let is_finite = inputs.iter().chain(outputs).all(is_finite);
            let wire = if is_finite && i % 2 == 0 {
                Wire::Json
            } else {
                Wire::Bytes
            };
            match wire {
                Wire::Json => as_json += 1,
                Wire::Bytes => as_bytes += 1,
            }
            let outcome = match infer(&router, name, inputs, wire).await {
                Ok(answer) => compare(&answer, outputs),
                Err(said) => Err(said),
            };
            wrong.extend(outcome.err().map(|why| format!("{name} ({wire:?}): {why}")));
        }
    }
    println!("{as_json} asked as JSON, {as_bytes} as bytes");
    assert!(as_json.min(as_bytes) >= LEAST_OF_WIRE);
    assert!(
        wrong.is_empty(),
        "{} of {} cases went wrong:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn is_finite(tensor: &Value) -> bool {
    let is_float = tensor["datatype"].as_str().unwrap().starts_with("FP");
    !is_float || list(&tensor["data"]).iter().all(Value::is_number)
}

fn compare(answer: &[Value], stored: &[Value]) -> Result<(), String> {
    if answer.len() != stored.len() {
        return Err(format!("{} outputs, where {} are stored", answer.len(), stored.len()));
    }
    for (got, wanted) in answer.iter().zip(stored) {
        let name = &wanted["name"];
        for part in ["name", "datatype", "shape"] {
            if got[part] != wanted[part] {
                return Err(format!("output {name} has {part} {}, not {}", got[part], wanted[part]));
            }
        }
        let (data, stored) = (list(&got["data"]), list(&wanted["data"]));
        if data.len() != stored.len() {
            return Err(format!(
                "output {name} has {} elements, not {}",
                data.len(),
                stored.len()
            ));
        }
        let is_float = wanted["datatype"].as_str().unwrap().starts_with("FP");
        let is_alike = |(got, wanted): (&Value, &Value)| if is_float { close(got, wanted) } else { got == wanted };
        if let Some(i) = data.iter().zip(stored).position(|pair| !is_alike(pair)) {
            return Err(format!("output {name} has {} at {i}, not {}", data[i], stored[i]));
        }
    }
    Ok(())
}

fn close(got: &Value, wanted: &Value) -> bool {
    if got.is_null() {
        return false;
    }
    let (got, wanted) = (float(got), float(wanted));
    let is_close = (got - wanted).abs() <= ATOL + RTOL * wanted.abs();
    got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan()) || (wanted.is_finite() && is_close)
}
