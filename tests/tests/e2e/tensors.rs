//! Tensors over the Open Inference Protocol's HTTP, as JSON or as bytes. Written and read here anew, so that a mistake of
//! the predictor's own is none of the test's.
//!
//! A tensor is `{"name", "datatype", "shape", "data"}` with flat data, whose NaN and infinities are the texts `NaN`,
//! `Infinity` and `-Infinity`.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use half::f16;
use serde_json::{Value, json};
use tower::ServiceExt;

const JSON_LENGTH: &str = "inference-header-content-length";

/// How tensors go both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Json,
    Bytes,
}

/// The outputs that `model` gives for `inputs`, or what the server says instead.
pub(crate) async fn infer(router: &Router, model: &str, inputs: &[Value], wire: Wire) -> Result<Vec<Value>, String> {
    let mut request = Request::post(format!("/v2/models/{model}/infer"));
    let body = match wire {
        Wire::Json => json!({ "inputs": inputs }).to_string().into_bytes(),
        Wire::Bytes => {
            let mut raw = Vec::new();
            let described: Vec<Value> = inputs.iter().map(|input| detach(input, &mut raw)).collect();
            let head = json!({ "inputs": described, "parameters": { "binary_data_output": true } }).to_string();
            request = request.header(JSON_LENGTH, head.len());
            [head.as_bytes(), &raw].concat()
        }
    };
    let answer = router
        .clone()
        .oneshot(request.body(Body::from(body)).unwrap())
        .await
        .unwrap();
    let (head, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    if head.status != 200 {
        return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body)));
    }
    let length = head.headers.get(JSON_LENGTH);
    let length = length.map_or(body.len(), |length| length.to_str().unwrap().parse().unwrap());
    let (text, mut raw) = body.split_at(length);
    let mut answer: Value = serde_json::from_slice(text).unwrap();
    let Value::Array(mut outputs) = answer["outputs"].take() else {
        return Err(format!("no outputs in {answer}"));
    };
    if wire == Wire::Bytes {
        outputs.iter_mut().for_each(|output| attach(output, &mut raw));
    }
    Ok(outputs)
}

/// A tensor without its data, which is added to `raw`.
fn detach(tensor: &Value, raw: &mut Vec<u8>) -> Value {
    let before = raw.len();
    let datatype = tensor["datatype"].as_str().unwrap();
    for item in tensor["data"].as_array().unwrap() {
        match (datatype, item) {
            ("BYTES", text) => {
                let text = text.as_str().unwrap().as_bytes();
                raw.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
                raw.extend(text);
            }
            ("BOOL", truth) => raw.push(u8::from(truth.as_bool().unwrap())),
            ("FP64", number) => raw.extend(float(number).to_le_bytes()),
            ("FP16", number) => raw.extend(f16::from_f64(float(number)).to_le_bytes()),
            ("FP32", number) => raw.extend(single(number).to_le_bytes()),
            // The low bytes of a whole number are it in a narrower type.
            (whole, number) => raw.extend(&wide(number).to_le_bytes()[..size_of(whole)]),
        }
    }
    json!({
        "name": tensor["name"],
        "datatype": datatype,
        "shape": tensor["shape"],
        "parameters": { "binary_data_size": raw.len() - before },
    })
}

/// Gives a tensor its data, which is taken off `raw`.
fn attach(tensor: &mut Value, raw: &mut &[u8]) {
    let size = tensor["parameters"]["binary_data_size"].as_u64().unwrap();
    let (mut own, rest) = raw.split_at(usize::try_from(size).unwrap());
    *raw = rest;
    let datatype = tensor["datatype"].as_str().unwrap().to_owned();
    let mut data = Vec::new();
    while !own.is_empty() {
        let size = match datatype.as_str() {
            "BYTES" => {
                let (length, text) = own.split_first_chunk().unwrap();
                own = text;
                u32::from_le_bytes(*length) as usize
            }
            other => size_of(other),
        };
        let (item, rest) = own.split_at(size);
        own = rest;
        data.push(match datatype.as_str() {
            "BYTES" => json!(str::from_utf8(item).unwrap()),
            "BOOL" => json!(item[0] == 1),
            "FP64" => finite(f64::from_le_bytes(item.try_into().unwrap())),
            "FP16" => finite(f16::from_le_bytes(item.try_into().unwrap()).to_f64()),
            "FP32" => finite(f32::from_le_bytes(item.try_into().unwrap()).into()),
            whole => {
                let is_negative = whole.starts_with('I') && item[size - 1] >= 0x80;
                let mut wide = [if is_negative { 0xff } else { 0 }; 16];
                wide[..size].copy_from_slice(item);
                match i128::from_le_bytes(wide) {
                    below if below < 0 => json!(i64::try_from(below).unwrap()),
                    other => json!(u64::try_from(other).unwrap()),
                }
            }
        });
    }
    tensor["data"] = data.into();
}

/// The bytes of an element.
fn size_of(datatype: &str) -> usize {
    match datatype {
        "BOOL" | "INT8" | "UINT8" => 1,
        "INT16" | "UINT16" | "FP16" => 2,
        "INT32" | "UINT32" | "FP32" => 4,
        "INT64" | "UINT64" | "FP64" => 8,
        other => panic!("{other} is of no size that is known here"),
    }
}

fn wide(number: &Value) -> i128 {
    let signed = number.as_i64().map(i128::from);
    signed.or(number.as_u64().map(i128::from)).unwrap()
}

/// The number that stands in a tensor.
pub(crate) fn float(item: &Value) -> f64 {
    match item.as_str() {
        None => item.as_f64().unwrap_or_else(|| panic!("{item} is no number")),
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(other) => panic!("{other} is no number"),
    }
}

/// The same as a single.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what a single means")]
pub(crate) fn single(item: &Value) -> f32 {
    float(item) as f32
}

fn finite(x: f64) -> Value {
    match x {
        x if x.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        x => json!(x),
    }
}
