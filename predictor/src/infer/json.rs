//! Calls and answers as JSON, with tensors in it or as bytes after it.

use std::time::Duration;

use axum::body::Bytes;
use half::f16;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use crate::model::element::Element;
use crate::model::raw;
use crate::model::tensor::{Data, elements_of};
use crate::predict::answer::as_map;
use crate::predict::{Freshness, PredictError, Problem};

use super::request::{InferAnswer, InferRequest, NamedTensor, RequestedOutput, all_of};

/// A call as it came, with which outputs it wants as bytes.
#[derive(Debug)]
pub struct Call {
    /// The call.
    pub request: InferRequest,
    /// Whether outputs are wanted as bytes that do not say it themselves.
    pub binary_output: bool,
}

/// A body, with the length of its JSON if bytes follow it.
#[derive(Debug)]
pub struct Encoded {
    /// JSON, and bytes after it.
    pub body: Vec<u8>,
    /// How long the JSON is, if bytes follow.
    pub json_length: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Body {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Json>,
    inputs: Vec<Input>,
    outputs: Option<Vec<Output>>,
}

#[derive(Debug, Deserialize)]
struct Input {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Json>,
    data: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Json>,
}

/// Reads a body whose first `json_length` bytes are JSON; all of it, if that is not said.
///
/// # Errors
/// [`PredictError::InvalidJson`] or [`PredictError::InvalidRequest`] with everything that is wrong.
pub fn read(body: &Bytes, json_length: Option<usize>) -> Result<Call, PredictError> {
    let length = json_length.unwrap_or(body.len());
    let Some((head, mut rest)) = body.split_at_checked(length) else {
        let problem = format!(
            "Inference-Header-Content-Length is {length}, but the body has {} bytes",
            body.len()
        );
        return Err(Problem::of_request(&problem).into());
    };
    // A list would be taken for the fields of one.
    if head.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::of_request("the body is not a JSON object: send {\"inputs\": [{…}]}").into());
    }
    let read: Body = serde_json::from_slice(head).map_err(|e| {
        if e.is_data() {
            // It is JSON, of another shape.
            return PredictError::from(Problem::of_request(&e.to_string()));
        }
        PredictError::InvalidJson(e.to_string())
    })?;
    let inputs = all_of(read.inputs.iter().map(|input| tensor(input, &mut rest)))?;
    if !rest.is_empty() {
        let problem = format!("{} bytes follow the last tensor", rest.len());
        return Err(Problem::of_request(&problem).into());
    }
    let outputs = read.outputs.unwrap_or_default().into_iter().map(|output| {
        let binary = flag(&output.parameters, "binary_data")?;
        Ok(RequestedOutput {
            name: output.name,
            binary,
        })
    });
    let timeout = match read.parameters.get("timeout") {
        None => None,
        Some(timeout) => {
            let micros = timeout.as_u64();
            let wrong = || Problem::named("timeout", "not a number of microseconds".to_owned());
            // None of the caller's own, as clients mean by 0.
            Some(Duration::from_micros(micros.ok_or_else(wrong)?)).filter(|timeout| !timeout.is_zero())
        }
    };
    Ok(Call {
        request: InferRequest {
            id: read.id,
            inputs,
            outputs: all_of(outputs)?,
            timeout,
            freshness: Freshness::Any,
        },
        binary_output: flag(&read.parameters, "binary_data_output")?.unwrap_or(false),
    })
}

/// The only input of a model, as nothing but its bytes: one row, with the one open dimension that is left as long as they
/// are.
///
/// # Errors
/// [`PredictError::InvalidRequest`]
pub fn read_raw(
    body: &Bytes,
    inputs: &[crate::model::signature::Declared],
    by_row: bool,
) -> Result<Call, PredictError> {
    let [declared] = inputs else {
        let problem = "nothing but bytes can be sent to models of one input only: send Inference-Header-Content-Length, \
                       and JSON that says which tensor is which";
        return Err(Problem::of_request(problem).into());
    };
    let name = &declared.name;
    let problem = |problem: String| Problem::named(name, problem);
    let element = declared
        .element
        .ok_or_else(|| problem("is not spoken here".to_owned()))?;
    let data = raw::decode(element, body).map_err(|e| problem(e.to_string()))?;
    let mut shape: Vec<i64> = declared.shape.clone();
    if let (true, Some(rows)) = (by_row, shape.first_mut()) {
        *rows = 1;
    }
    let open: Vec<usize> = (0..shape.len()).filter(|i| shape[*i] < 0).collect();
    match open.as_slice() {
        [] => {}
        [open] => {
            let others: i64 = shape.iter().filter(|d| **d >= 0).product();
            let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
            shape[*open] = length.checked_div(others).unwrap_or_default();
        }
        _ => return Err(problem("has several open dimensions: send its shape, as JSON".to_owned()).into()),
    }
    let tensor = NamedTensor::read(name, element.datatype(), &shape, |_| Ok(data))?;
    Ok(Call {
        request: InferRequest {
            inputs: vec![tensor],
            ..InferRequest::default()
        },
        binary_output: true,
    })
}

fn flag(parameters: &Map<String, Json>, name: &str) -> Result<Option<bool>, Problem> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Json::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Problem::named(name, "neither true nor false".to_owned())),
    }
}

/// A tensor, whose bytes are taken off `rest` if it has no data itself.
fn tensor(input: &Input, rest: &mut &[u8]) -> Result<NamedTensor, Problem> {
    let problem = |problem: &str| Problem::named(&input.name, problem.to_owned());
    let bytes = match input.parameters.get("binary_data_size") {
        None => None,
        Some(size) => {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
            let size = size.ok_or_else(|| problem("binary_data_size is not a number of bytes"))?;
            let (bytes, after) = rest
                .split_at_checked(size)
                .ok_or_else(|| problem("binary_data_size is more than there are bytes after the JSON"))?;
            *rest = after;
            Some(bytes)
        }
    };
    let count = || {
        let shape: Option<Vec<usize>> = input.shape.iter().map(|d| usize::try_from(*d).ok()).collect();
        shape.and_then(|shape| elements_of(&shape)).unwrap_or_default()
    };
    NamedTensor::read(&input.name, &input.datatype, &input.shape, |element| {
        match (&input.data, bytes) {
            (Some(_), Some(_)) => Err("both data and binary_data_size".to_owned()),
            (None, None) => Err("neither data nor binary_data_size".to_owned()),
            (None, Some(bytes)) => raw::decode(element, bytes).map_err(|e| e.to_string()),
            (Some(data), None) => {
                // What is said of its size is not trusted: it may be anything.
                let mut elements = Read::new(element, count().min(1 << 20));
                elements.add(data)?;
                Ok(elements.0)
            }
        }
    })
}

struct Read(Data);

impl Read {
    fn new(element: Element, capacity: usize) -> Self {
        let mut data = Data::empty(element);
        if let Data::Float32(items) = &mut data {
            items.reserve(capacity);
        }
        Self(data)
    }

    /// Adds elements, flat or nested.
    fn add(&mut self, json: &Json) -> Result<(), String> {
        if let Json::Array(items) = json {
            return items.iter().try_for_each(|item| self.add(item));
        }
        let datatype = self.0.element().datatype();
        let wrong = || {
            let shown: String = json.to_string().chars().take(40).collect();
            format!("{shown} is no {datatype}")
        };
        macro_rules! integer {
            ($items:expr, $as:ident) => {
                $items.push(json.$as().and_then(|i| i.try_into().ok()).ok_or_else(wrong)?)
            };
        }
        // A null is NaN, as it is the other way round.
        let float = || match json {
            Json::Null => Some(f64::NAN),
            other => other.as_f64(),
        };
        match &mut self.0 {
            Data::Float16(items) => {
                let x = float().ok_or_else(wrong)?;
                let narrow = f16::from_f64(x);
                if x.is_finite() && narrow.is_infinite() {
                    return Err(wrong());
                }
                items.push(narrow);
            }
            Data::Float32(items) => {
                let x = float().ok_or_else(wrong)?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "rounding is what FP32 means; too large is refused"
                )]
                let narrow = x as f32;
                if x.is_finite() && narrow.is_infinite() {
                    return Err(wrong());
                }
                items.push(narrow);
            }
            Data::Float64(items) => items.push(float().ok_or_else(wrong)?),
            Data::Int8(items) => integer!(items, as_i64),
            Data::Int16(items) => integer!(items, as_i64),
            Data::Int32(items) => integer!(items, as_i64),
            Data::Int64(items) => integer!(items, as_i64),
            Data::Uint8(items) => integer!(items, as_u64),
            Data::Uint16(items) => integer!(items, as_u64),
            Data::Uint32(items) => integer!(items, as_u64),
            Data::Uint64(items) => integer!(items, as_u64),
            Data::Bool(items) => items.push(json.as_bool().ok_or_else(wrong)?),
            Data::String(items) => {
                let text = json.as_str().filter(|text| !text.contains('\0'));
                items.push(text.ok_or_else(wrong)?.to_owned());
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(serialize_with = "as_map")]
    parameters: &'a [(&'static str, String)],
    outputs: Vec<OutputJson<'a>>,
}

#[derive(Serialize)]
struct OutputJson<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Elements<'a>>,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

/// Elements as JSON, in which NaN and infinity are null.
struct Elements<'a>(&'a Data);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Data::Float16(items) => serializer.collect_seq(items.iter().map(|x| x.to_f32())),
            Data::Float32(items) => serializer.collect_seq(items),
            Data::Float64(items) => serializer.collect_seq(items),
            Data::Int8(items) => serializer.collect_seq(items),
            Data::Int16(items) => serializer.collect_seq(items),
            Data::Int32(items) => serializer.collect_seq(items),
            Data::Int64(items) => serializer.collect_seq(items),
            Data::Uint8(items) => serializer.collect_seq(items),
            Data::Uint16(items) => serializer.collect_seq(items),
            Data::Uint32(items) => serializer.collect_seq(items),
            Data::Uint64(items) => serializer.collect_seq(items),
            Data::Bool(items) => serializer.collect_seq(items),
            Data::String(items) => serializer.collect_seq(items),
        }
    }
}

/// An answer as a body. `is_binary` says of an output whether it is wanted as bytes.
///
/// # Errors
/// There is no reason for any.
pub fn write(answer: &InferAnswer, is_binary: impl Fn(&str) -> bool) -> serde_json::Result<Encoded> {
    let mut bytes = Vec::new();
    let mut outputs = Vec::with_capacity(answer.outputs.len());
    for NamedTensor { name, tensor } in &answer.outputs {
        let size = is_binary(name).then(|| {
            let elements = raw::encode(tensor.data());
            bytes.extend_from_slice(&elements);
            Size {
                binary_data_size: elements.len(),
            }
        });
        outputs.push(OutputJson {
            name,
            datatype: tensor.element().datatype(),
            shape: tensor.shape(),
            data: size.is_none().then(|| Elements(tensor.data())),
            parameters: size,
        });
    }
    let is_any_binary = outputs.iter().any(|output| output.parameters.is_some());
    let mut body = serde_json::to_vec(&AnswerJson {
        model_name: answer.model_name.as_str(),
        model_version: answer.model_version.as_str(),
        id: answer.id.as_deref(),
        parameters: &answer.parameters,
        outputs,
    })?;
    let json_length = is_any_binary.then_some(body.len());
    body.extend_from_slice(&bytes);
    Ok(Encoded { body, json_length })
}
