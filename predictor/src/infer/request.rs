//! A call and its answer, whatever brought it.

use std::time::Duration;

use crate::model::element::Element;
use crate::model::tensor::{Data, Tensor};
use crate::model::{ModelName, Version};
use crate::predict::Freshness;
use crate::predict::{PredictError, Problem, Problems};

/// A call, before it is checked against a model.
#[derive(Debug, Clone, Default)]
pub struct InferRequest {
    /// The caller's name for it; comes back.
    pub id: Option<String>,
    /// Tensors.
    pub inputs: Vec<NamedTensor>,
    /// The outputs that are wanted; all if none is named.
    pub outputs: Vec<RequestedOutput>,
    /// How long the caller waits, if that is shorter than the model's deadline.
    pub timeout: Option<Duration>,
    /// Whether what is kept may answer.
    pub freshness: Freshness,
}

/// A tensor with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// The name.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

/// An output that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it is wanted as bytes, over HTTP; as the request says for all, if not set.
    pub binary: Option<bool>,
}

/// What there is to say of an answer, by name.
pub(super) type Parameters = Vec<(&'static str, String)>;

/// An answer.
#[derive(Debug, Clone)]
pub struct InferAnswer {
    /// The model.
    pub model_name: ModelName,
    /// The version that answered.
    pub model_version: Version,
    /// The caller's name for the call.
    pub id: Option<String>,
    /// What else there is to say, by name.
    pub parameters: Parameters,
    /// Tensors.
    pub outputs: Vec<NamedTensor>,
}

/// What the dimensions other than 0 of a tensor without elements may multiply to.
const MOST_OF_NONE: usize = 1 << 20;
/// Most dimensions that a tensor may have.
const MOST_DIMENSIONS: usize = 32;

impl NamedTensor {
    /// The tensor that a caller describes.
    ///
    /// # Errors
    /// A [`Problem`] with the tensor's name.
    pub fn read(
        name: &str,
        datatype: &str,
        shape: &[i64],
        data: impl FnOnce(Element) -> Result<Data, String>,
    ) -> Result<Self, Problem> {
        let problem = |problem: String| Problem::named(name, problem);
        let element = Element::of_datatype(datatype).ok_or_else(|| {
            let known: Vec<&str> = Element::ALL.iter().map(|element| element.datatype()).collect();
            problem(format!("its datatype is none of {}", known.join(", ")))
        })?;
        if shape.len() > MOST_DIMENSIONS {
            return Err(problem(format!("more than {MOST_DIMENSIONS} dimensions")));
        }
        let shape: Vec<usize> = shape
            .iter()
            .map(|d| usize::try_from(*d))
            .collect::<Result<_, _>>()
            .map_err(|_| problem("a dimension that is negative".to_owned()))?;
        // What has elements is bounded by the bytes that they take; what has none could have any number of rows.
        let is_empty = shape.contains(&0);
        let mut others = shape.iter().filter(|d| **d > 0);
        let count = others.try_fold(1_usize, |count, d| count.checked_mul(*d));
        if is_empty && count.is_none_or(|count| count > MOST_OF_NONE) {
            return Err(problem("too large a shape for no elements".to_owned()));
        }
        let data = data(element).map_err(problem)?;
        let tensor = Tensor::new(shape, data).map_err(|e| problem(e.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            tensor,
        })
    }
}

/// All of them, or everything that is wrong.
///
/// # Errors
/// [`PredictError::InvalidRequest`]
pub(crate) fn all_of<T>(read: impl Iterator<Item = Result<T, Problem>>) -> Result<Vec<T>, PredictError> {
    let mut problems = Problems::default();
    let mut all = Vec::new();
    for one in read {
        match one {
            Ok(one) => all.push(one),
            Err(problem) => problems.add(|| problem),
        }
    }
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(PredictError::InvalidRequest(problems))
    }
}
