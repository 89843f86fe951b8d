//! Why a request gets no answer, and whose fault it is.

use std::time::Duration;

use serde::Serialize;

use crate::meters::Fault;
use crate::model::ModelName;

use super::answer::RowError;

/// Problems shown to the caller; a thousand instances can have the same one.
const SHOWN: usize = 100;
/// Characters shown of a name that a caller made up.
const NAME_CHARS: usize = 60;

/// Why a request gets no answer at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PredictError {
    /// There is no such model.
    #[error("there is no model `{name}`{hint}")]
    UnknownModel {
        /// What the caller asked for.
        name: String,
        /// The nearest name.
        hint: String,
    },
    /// The model has other versions ready.
    #[error("model `{model}` has no version `{asked}` ready: it has {ready} (`load` in its model.toml says which)")]
    UnknownVersion {
        /// The model.
        model: ModelName,
        /// What the caller asked for.
        asked: String,
        /// What there is.
        ready: String,
    },
    /// The model was refused when it was loaded.
    #[error("model `{0}` could not be loaded: GET /v1/models/{0} says why")]
    NotLoaded(ModelName),
    /// The model was told not to serve.
    #[error("model `{0}` is unloaded: POST /v2/repository/models/{0}/load loads it")]
    Unloaded(ModelName),
    /// The model is not fed by a feature service.
    #[error("model `{0}` has no feature service, and takes tensors: POST /v2/models/{0}/infer")]
    NeedsTensors(ModelName),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    InvalidJson(String),
    /// The body is not a request for this model.
    #[error("{}", sentence(.0))]
    InvalidRequest(Problems),
    /// The store could not be read, and the model's policy is to refuse then.
    #[error("stored features could not be read in time, and the policy of model `{0}` is to refuse then; try again")]
    FeaturesUnavailable(ModelName),
    /// As many requests wait for the model as may.
    #[error("model `{0}` has as many requests as it can serve; try again shortly")]
    Overloaded(ModelName),
    /// The deadline passed.
    #[error("no answer within the deadline of model `{model}`, {deadline:?}")]
    DeadlineExceeded {
        /// The model.
        model: ModelName,
        /// Its deadline, or the caller's own if that is shorter.
        deadline: Duration,
    },
    /// The model failed, and there is no other row to answer.
    #[error("model `{model}` failed{}: {reason}", .row.map_or(String::new(), |row| format!(" on row {row}")))]
    ModelFailed {
        /// The model.
        model: ModelName,
        /// The row, from 0, if it is known.
        row: Option<usize>,
        /// What the runtime said.
        reason: String,
    },
    /// A row has no prediction, where the answer has no place for that.
    #[error("row {row}: {}", .error.message)]
    RowFailed {
        /// The row, from 0.
        row: usize,
        /// Why.
        error: RowError,
    },
    /// Our fault.
    #[error("{0}")]
    Internal(String),
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The instance, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<usize>,
    /// The field, or key of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is wrong.
    pub problem: String,
}

/// What is wrong with a request: the first problems in words, and how many there are. A hostile request has as many as
/// it has bytes, so that words are made only for those that are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    shown: Vec<Problem>,
    count: usize,
}

impl Problems {
    /// One more.
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> Problem) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(problem());
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them.
    pub fn shown(&self) -> &[Problem] {
        &self.shown
    }
}

/// At most 60 characters of a name that a caller made up, for an answer.
pub(crate) fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME_CHARS - 3).chain("...".chars()).collect(),
    }
}

impl Problem {
    /// Of a key of the request.
    pub(crate) fn named(name: &str, problem: String) -> Self {
        Self {
            instance: None,
            name: Some(shortened(name)),
            problem,
        }
    }

    /// Of a field of an instance.
    pub(super) fn of_field(instance: usize, name: &str, problem: String) -> Self {
        Self {
            instance: Some(instance),
            ..Self::named(name, problem)
        }
    }

    /// Of the request as a whole.
    pub(crate) fn of_request(problem: &str) -> Self {
        Self {
            instance: None,
            name: None,
            problem: problem.to_owned(),
        }
    }
}

impl From<Problem> for PredictError {
    fn from(problem: Problem) -> Self {
        let mut problems = Problems::default();
        problems.add(|| problem);
        Self::InvalidRequest(problems)
    }
}

impl PredictError {
    /// The model that it is about, if that is in the repository and is said.
    pub(crate) fn model(&self) -> Option<&ModelName> {
        match self {
            Self::UnknownVersion { model, .. }
            | Self::NotLoaded(model)
            | Self::Unloaded(model)
            | Self::NeedsTensors(model)
            | Self::FeaturesUnavailable(model)
            | Self::Overloaded(model)
            | Self::DeadlineExceeded { model, .. } => Some(model),
            Self::ModelFailed { model, .. } => Some(model),
            Self::UnknownModel { .. }
            | Self::InvalidJson(_)
            | Self::InvalidRequest(_)
            | Self::RowFailed { .. }
            | Self::Internal(_) => None,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownModel { .. }
            | Self::UnknownVersion { .. }
            | Self::NeedsTensors(_)
            | Self::InvalidJson(_)
            | Self::InvalidRequest(_) => Fault::Client,
            Self::ModelFailed { .. } => Fault::Model,
            Self::RowFailed { error, .. } if error.code == "model_failed" => Fault::Model,
            Self::RowFailed { .. } => Fault::Client,
            Self::NotLoaded(_)
            | Self::Unloaded(_)
            | Self::FeaturesUnavailable(_)
            | Self::Overloaded(_)
            | Self::DeadlineExceeded { .. }
            | Self::Internal(_) => Fault::Infrastructure,
        }
    }
}

fn sentence(problems: &Problems) -> String {
    let Some(first) = problems.shown.first() else {
        return "the request is wrong".to_owned();
    };
    let place = match (first.instance, &first.name) {
        (Some(i), Some(name)) => format!("instance {i}, `{name}`: "),
        (Some(i), None) => format!("instance {i}: "),
        (None, Some(name)) => format!("`{name}`: "),
        (None, None) => String::new(),
    };
    match problems.count {
        1 => format!("{place}{}", first.problem),
        n => format!("{n} problems, the first at {place}{}", first.problem),
    }
}
