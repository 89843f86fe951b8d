//! What a read asks for: a feature service, or single features, which are looked at as a service made for the occasion. So
//! both are read and assembled the same way, which is that of predictions.

use std::collections::HashMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use feature_defs::definitions::{Definitions, Input, Join, JoinKey, Origin, Service, View};
use service::error::ApiError;
use service::nearest;

use super::body;

/// Characters shown of a name that a caller made up.
const NAME_CHARS: usize = 60;

/// What a read asks for.
#[derive(Debug)]
pub(super) struct Question {
    /// Where the features come from.
    pub(super) service: Arc<Service>,
    /// The features to answer, in order.
    pub(super) outputs: Vec<Output>,
}

/// One feature of an answer.
#[derive(Debug)]
pub(super) struct Output {
    /// Which of the service's inputs.
    pub(super) input: usize,
    /// What it is called in the answer.
    pub(super) name: String,
}

/// How features are called in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// By their own names.
    Bare,
    /// `view__feature`.
    Full,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum QuestionError {
    #[error("nothing is asked for: name a `feature_service`, or `features` as \"view:feature\"")]
    Nothing,
    #[error("there is no feature service `{name}`{hint}")]
    UnknownService { name: String, hint: String },
    #[error("`{0}` is not a feature: write \"view:feature\"")]
    NotAReference(String),
    #[error("`derived:{0}` cannot be asked for by itself, for it is computed in a service: name the `feature_service`")]
    Derived(String),
    #[error("there is no feature view `{name}`{hint}")]
    UnknownView { name: String, hint: String },
    #[error("feature view `{view}` has no feature `{name}`{hint}")]
    UnknownFeature { view: String, name: String, hint: String },
    #[error(
        "join key `{0}` is a text in one of these views and a number in another: ask for their features in two requests"
    )]
    KeyTypes(String),
    #[error("more than one feature would be called `{0}`: ask with \"full_feature_names\": true")]
    Collision(String),
    #[error("feature `{0}` is asked for twice")]
    Twice(String),
}

impl IntoResponse for QuestionError {
    fn into_response(self) -> Response {
        let message = self.to_string();
        match self {
            Self::UnknownService { .. } => ApiError::not_found("unknown_feature_service", message),
            Self::UnknownView { .. } => ApiError::not_found("unknown_view", message),
            Self::UnknownFeature { .. } => ApiError::not_found("unknown_feature", message),
            Self::Nothing
            | Self::NotAReference(_)
            | Self::Derived(_)
            | Self::KeyTypes(_)
            | Self::Collision(_)
            | Self::Twice(_) => body::invalid(message),
        }
        .into_response()
    }
}

impl Question {
    /// A declared service's inputs, but for those that the request itself carries.
    pub(super) fn of_service(definitions: &Definitions, name: &str, names: Names) -> Result<Self, QuestionError> {
        let service = definitions.service(name).ok_or_else(|| QuestionError::UnknownService {
            name: shortened(name),
            hint: nearest::hint(name, definitions.services.iter().map(|service| service.name.as_str())),
        })?;
        Self::of(Arc::clone(service), names)
    }

    /// Features of views, as `view:feature`.
    pub(super) fn of_features(
        definitions: &Definitions,
        features: &[String],
        names: Names,
    ) -> Result<Self, QuestionError> {
        let mut service = Service {
            name: "asked".parse().expect("it is a name"),
            request: Vec::new(),
            keys: Vec::new(),
            joins: Vec::new(),
            derived: Vec::new(),
            inputs: Vec::with_capacity(features.len()),
        };
        let mut joined: HashMap<&str, usize> = HashMap::new();
        for reference in features {
            let (view, feature) = find(definitions, reference)?;
            let join = match joined.get(view.name.as_str()) {
                Some(join) => *join,
                None => {
                    joined.insert(view.name.as_str(), service.joins.len());
                    let join = join(view, &mut service.keys)?;
                    service.joins.push(join);
                    service.joins.len() - 1
                }
            };
            let field = &view.fields()[feature];
            service.inputs.push(Input {
                name: format!("{}__{}", view.name, field.name),
                value_type: field.value_type,
                origin: Origin::Stored { join, feature },
                default: None,
            });
        }
        Self::of(Arc::new(service), names)
    }

    fn of(service: Arc<Service>, names: Names) -> Result<Self, QuestionError> {
        let called = |input: &Input| match (input.origin, names) {
            (Origin::Stored { join, feature }, Names::Bare) => {
                service.joins[join].view.fields()[feature].name.to_string()
            }
            _ => input.name.clone(),
        };
        let outputs: Vec<Output> = service
            .inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| !matches!(input.origin, Origin::Request { .. }))
            .map(|(at, input)| Output {
                input: at,
                name: called(input),
            })
            .collect();
        if outputs.is_empty() {
            return Err(QuestionError::Nothing);
        }
        let mut taken: HashMap<&str, Option<usize>> =
            service.keys.iter().map(|key| (key.name.as_str(), None)).collect();
        for output in &outputs {
            if let Some(other) = taken.insert(&output.name, Some(output.input)) {
                let input = &service.inputs[output.input];
                let same = other.is_some_and(|other| service.inputs[other].origin == input.origin);
                return Err(if same {
                    QuestionError::Twice(input.name.clone())
                } else {
                    QuestionError::Collision(output.name.clone())
                });
            }
        }
        Ok(Self { service, outputs })
    }
}

/// The view and the place of a feature in it.
fn find<'a>(definitions: &'a Definitions, reference: &str) -> Result<(&'a Arc<View>, usize), QuestionError> {
    let (view_name, name) = reference
        .split_once(':')
        .ok_or_else(|| QuestionError::NotAReference(shortened(reference)))?;
    if view_name == "derived" {
        return Err(QuestionError::Derived(shortened(name)));
    }
    let view = definitions
        .view(view_name)
        .ok_or_else(|| unknown_view(definitions, view_name))?;
    let fields = view.fields();
    let feature = fields.iter().position(|field| field.name.as_str() == name);
    let feature = feature.ok_or_else(|| QuestionError::UnknownFeature {
        view: view.name.to_string(),
        name: shortened(name),
        hint: nearest::hint(name, fields.iter().map(|field| field.name.as_str())),
    })?;
    Ok((view, feature))
}

/// There is no view of this name: but perhaps a service calls one so.
fn unknown_view(definitions: &Definitions, name: &str) -> QuestionError {
    let mut services = definitions.services.iter();
    let aliased = services.find(|service| service.joins.iter().any(|join| join.alias.as_str() == name));
    let hint = match aliased {
        Some(service) => format!(
            "; feature service `{}` calls one so, and is asked for as a whole",
            service.name
        ),
        None => nearest::hint(name, definitions.views.iter().map(|view| view.name.as_str())),
    };
    QuestionError::UnknownView {
        name: shortened(name),
        hint,
    }
}

/// The view joined by its entity's own join keys, which are added to `keys` if they are new.
fn join(view: &Arc<View>, keys: &mut Vec<JoinKey>) -> Result<Join, QuestionError> {
    let mut key_indexes = Vec::with_capacity(view.entity.join_keys.len());
    for key in &view.entity.join_keys {
        key_indexes.push(match keys.iter().position(|known| known.name == key.name) {
            Some(known) if keys[known].key_type != key.key_type => {
                return Err(QuestionError::KeyTypes(key.name.to_string()));
            }
            Some(known) => known,
            None => {
                keys.push(key.clone());
                keys.len() - 1
            }
        });
    }
    Ok(Join {
        alias: view.name.clone(),
        view: Arc::clone(view),
        key_indexes,
    })
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}
