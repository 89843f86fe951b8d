//! Calls as they come: tensors as bytes, or as lists of their elements.

use std::collections::HashMap;
use std::mem::take;
use std::time::Duration;

use super::proto::infer_parameter::ParameterChoice;
use super::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::infer::{InferRequest, NamedTensor, RequestedOutput, all_of};
use crate::model::element::Element;
use crate::model::raw::{self, RawError};
use crate::model::tensor::Data;
use crate::predict::{Freshness, PredictError, Problem};

/// Reads a call.
///
/// # Errors
/// [`PredictError::InvalidRequest`] with everything that is wrong.
pub(super) fn request(call: ModelInferRequest) -> Result<InferRequest, PredictError> {
    if call.inputs.is_empty() {
        return Err(Problem::named("inputs", "empty: send at least one tensor".to_owned()).into());
    }
    let raw = call.raw_input_contents;
    if !raw.is_empty() && raw.len() != call.inputs.len() {
        let problem = format!("{} of them, where there are {} inputs", raw.len(), call.inputs.len());
        return Err(Problem::named("raw_input_contents", problem).into());
    }
    let inputs = call.inputs.into_iter().enumerate().map(|(i, input)| {
        NamedTensor::read(&input.name, &input.datatype, &input.shape, |element| {
            match (raw.get(i), input.contents) {
                (Some(_), Some(_)) => Err("both contents and raw_input_contents".to_owned()),
                (Some(bytes), None) => raw::decode(element, bytes).map_err(|e| e.to_string()),
                (None, contents) => elements(element, contents.unwrap_or_default()),
            }
        })
    });
    Ok(InferRequest {
        id: Some(call.id).filter(|id| !id.is_empty()),
        inputs: all_of(inputs)?,
        outputs: call
            .outputs
            .into_iter()
            .map(|output| RequestedOutput {
                name: output.name,
                binary: None,
            })
            .collect(),
        timeout: timeout(&call.parameters)?,
        freshness: Freshness::Any,
    })
}

/// Elements from the field that a datatype has.
fn elements(element: Element, mut contents: InferTensorContents) -> Result<Data, String> {
    macro_rules! whole {
        ($items:expr) => {
            take(&mut $items)
                .into_iter()
                .map(|i| {
                    i.try_into()
                        .map_err(|_| format!("{i} is no {}", element.datatype()))
                })
                .collect::<Result<_, _>>()?
        };
    }
    let data = match element {
        Element::Float16 => return Err("FP16 can be sent in raw_input_contents only".to_owned()),
        Element::Float32 => Data::Float32(take(&mut contents.fp32_contents)),
        Element::Float64 => Data::Float64(take(&mut contents.fp64_contents)),
        Element::Int8 => Data::Int8(whole!(contents.int_contents)),
        Element::Int16 => Data::Int16(whole!(contents.int_contents)),
        Element::Int32 => Data::Int32(take(&mut contents.int_contents)),
        Element::Int64 => Data::Int64(take(&mut contents.int64_contents)),
        Element::Uint8 => Data::Uint8(whole!(contents.uint_contents)),
        Element::Uint16 => Data::Uint16(whole!(contents.uint_contents)),
        Element::Uint32 => Data::Uint32(take(&mut contents.uint_contents)),
        Element::Uint64 => Data::Uint64(take(&mut contents.uint64_contents)),
        Element::Bool => Data::Bool(take(&mut contents.bool_contents)),
        Element::String => Data::String(texts(take(&mut contents.bytes_contents))?),
    };
    if contents == InferTensorContents::default() {
        Ok(data)
    } else {
        Err(format!("contents in a field that is not {}'s", element.datatype()))
    }
}

fn texts(items: Vec<Vec<u8>>) -> Result<Vec<String>, String> {
    let text = |(i, bytes)| {
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        text.ok_or_else(|| RawError::Text(i).to_string())
    };
    items.into_iter().enumerate().map(text).collect()
}

/// How long the caller waits: microseconds, in whichever type they come.
fn timeout(parameters: &HashMap<String, InferParameter>) -> Result<Option<Duration>, Problem> {
    let Some(timeout) = parameters.get("timeout") else {
        return Ok(None);
    };
    let micros = match &timeout.parameter_choice {
        Some(ParameterChoice::Int64Param(micros)) => u64::try_from(*micros).ok(),
        Some(ParameterChoice::Uint64Param(micros)) => Some(*micros),
        Some(ParameterChoice::StringParam(micros)) => micros.trim().parse().ok(),
        _ => None,
    };
    let wrong = || Problem::named("timeout", "not a number of microseconds".to_owned());
    micros
        // None of the caller's own, as clients mean by 0.
        .map(|micros| Some(Duration::from_micros(micros)).filter(|timeout| !timeout.is_zero()))
        .ok_or_else(wrong)
}
