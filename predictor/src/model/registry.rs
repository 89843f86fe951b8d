//! What is served: every model of the repository, serving or refused with the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feature_defs::definitions::Service;
use feature_defs::value::{Value, ValueType};

use super::config::FallbackSettings;
use super::load::{Loaded, Loader};
use super::repository::Folders;
use super::tensor::Outputs;
use super::{Carried, Fallback, Model, ModelName, Served, Version, repository};
use crate::app::LoadError;

/// Every model of the repository.
#[derive(Debug)]
pub struct Models {
    by_name: BTreeMap<ModelName, (Option<Version>, State)>,
    /// Folders that look like a model, but have a name that none can have.
    strays: Vec<Refused>,
}

/// Whether a model serves.
#[derive(Debug, Clone)]
pub enum State {
    /// It does.
    Serving(Arc<Served>),
    /// It does not fit its settings or service; the reasons.
    Refused(Vec<String>),
}

/// A model that was refused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The model's name, or that of a folder which is no model's.
    pub name: String,
    /// Everything that is wrong with it.
    pub reasons: Vec<String>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "model `{}` is refused:", self.name)?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  - {reason}"))
    }
}

impl Models {
    /// Loads the models of the repository: all of them, or `only` one and its fallback.
    ///
    /// # Errors
    /// [`LoadError`] if the repository cannot be read, is empty, or lacks the `only` model.
    pub fn load(loader: &Loader<'_>, only: Option<&ModelName>) -> Result<Self, LoadError> {
        let folders = match only {
            Some(name) if !repository::holds(&loader.dir, name) => {
                return Err(LoadError::NoSuchModel {
                    name: name.clone(),
                    dir: loader.dir.clone(),
                    known: repository::folders(&loader.dir).map_err(LoadError::Failed)?.models,
                });
            }
            Some(name) => Folders {
                models: vec![name.clone()],
                strays: Vec::new(),
            },
            None => repository::folders(&loader.dir).map_err(LoadError::Failed)?,
        };
        let mut wanted: BTreeSet<ModelName> = folders.models.into_iter().collect();
        if wanted.is_empty() && folders.strays.is_empty() {
            return Err(LoadError::Failed(format!(
                "the model repository {} holds no model: a model is a folder with a model.toml",
                loader.dir.display()
            )));
        }
        let mut loaded: BTreeMap<ModelName, Loaded> = BTreeMap::new();
        while let Some(name) = wanted.pop_first() {
            let one = loader.load(&name);
            let fallback = one.fallback.as_ref().and_then(|f| f.model.clone());
            loaded.insert(name, one);
            wanted.extend(fallback.filter(|f| !loaded.contains_key(f) && repository::holds(&loader.dir, f)));
        }
        let states = loaded
            .iter()
            .map(|(name, one)| (name.clone(), (one.version.clone(), state(one, &loaded))));
        let stray = |(name, reason)| Refused {
            name,
            reasons: vec![reason],
        };
        Ok(Self {
            by_name: states.collect(),
            strays: folders.strays.into_iter().map(stray).collect(),
        })
    }

    /// The state of this model.
    pub fn get(&self, name: &str) -> Option<(Option<&Version>, &State)> {
        let name: ModelName = name.parse().ok()?;
        self.by_name
            .get(&name)
            .map(|(version, state)| (version.as_ref(), state))
    }

    /// All models, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelName, Option<&Version>, &State)> {
        self.by_name
            .iter()
            .map(|(name, (version, state))| (name, version.as_ref(), state))
    }

    /// The models that serve.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_name.values().filter_map(|(_, state)| match state {
            State::Serving(served) => Some(served),
            State::Refused(_) => None,
        })
    }

    /// The models that don't, and folders that cannot be a model.
    pub fn refused(&self) -> impl Iterator<Item = Refused> {
        let models = self.by_name.iter().filter_map(|(name, (_, state))| match state {
            State::Serving(_) => None,
            State::Refused(reasons) => Some(Refused {
                name: name.to_string(),
                reasons: reasons.clone(),
            }),
        });
        models.chain(self.strays.iter().cloned())
    }
}

fn state(one: &Loaded, all: &BTreeMap<ModelName, Loaded>) -> State {
    let model = match &one.outcome {
        Ok(model) => Arc::clone(model),
        Err(reasons) => return State::Refused(reasons.clone()),
    };
    match one
        .fallback
        .as_ref()
        .map(|settings| link(&model, settings, all))
        .transpose()
    {
        Ok(fallback) => State::Serving(Arc::new(Served { model, fallback })),
        Err(reasons) => State::Refused(reasons),
    }
}

fn link(
    model: &Model,
    settings: &FallbackSettings,
    all: &BTreeMap<ModelName, Loaded>,
) -> Result<Fallback, Vec<String>> {
    match settings {
        FallbackSettings {
            model: Some(name),
            output: None,
        } => match all.get(name).map(|l| &l.outcome) {
            Some(Ok(fallback)) => link_model(model, fallback),
            Some(Err(_)) => Err(vec![format!("its fallback, model `{name}`, is refused")]),
            None => Err(vec![format!("its fallback, model `{name}`, is not in the repository")]),
        },
        FallbackSettings {
            model: None,
            output: Some(output),
        } => {
            let mut problems = Vec::new();
            for name in output
                .keys()
                .filter(|n| model.signature.outputs.fields().iter().all(|f| f.name != **n))
            {
                problems.push(format!(
                    "the fallback in model.toml gives `{name}`, which is not an output of the model"
                ));
            }
            let mut values = Vec::new();
            for field in model.signature.outputs.fields() {
                match output.get(&field.name).map(|value| constant(value, field.value_type)) {
                    Some(Some(value)) => values.push(value),
                    Some(None) => problems.push(format!("the fallback's `{}` is not {}", field.name, field.value_type)),
                    None => problems.push(format!("the fallback in model.toml does not give `{}`", field.name)),
                }
            }
            if problems.is_empty() {
                Ok(Fallback::Output(Outputs(values.into())))
            } else {
                Err(problems)
            }
        }
        _ => Err(vec![
            "fallback in model.toml is either { model = \"…\" } or { output = { … } }, exactly one of them".to_owned(),
        ]),
    }
}

fn link_model(model: &Model, fallback: &Arc<Model>) -> Result<Fallback, Vec<String>> {
    let mut problems = Vec::new();
    if model.name == fallback.name {
        problems.push("a model cannot be its own fallback".to_owned());
    }
    if !fallback.service.joins.is_empty() {
        problems.push(format!(
            "its fallback, model `{}`, reads stored features itself (service `{}`), and so could not answer without \
             the store",
            fallback.name, fallback.service.name
        ));
    }
    let mut request = Vec::new();
    for field in &fallback.service.request {
        match carried(&model.service, field.name.as_str(), field.value_type) {
            Some(place) => request.push(place),
            None => problems.push(format!(
                "its fallback, model `{}`, needs `{}` ({}), which a request for this model does not carry",
                fallback.name, field.name, field.value_type
            )),
        }
    }
    let mut outputs = Vec::new();
    for field in model.signature.outputs.fields() {
        let fits = |t: ValueType| t == field.value_type || t.is_number() && field.value_type.is_number();
        match fallback
            .signature
            .outputs
            .fields()
            .iter()
            .position(|f| f.name == field.name && fits(f.value_type))
        {
            Some(index) => outputs.push(index),
            None => problems.push(format!(
                "its fallback, model `{}`, has no output `{}` ({})",
                fallback.name, field.name, field.value_type
            )),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Fallback::Model {
        model: Arc::clone(fallback),
        request,
        outputs,
    })
}

fn carried(service: &Service, name: &str, value_type: ValueType) -> Option<Carried> {
    let request = service
        .request
        .iter()
        .position(|f| f.name.as_str() == name && f.value_type == value_type);
    let key = || {
        service
            .keys
            .iter()
            .position(|k| k.name.as_str() == name && k.key_type.value_type() == value_type)
    };
    request.map(Carried::Request).or_else(|| key().map(Carried::Key))
}

fn constant(value: &toml::Value, expected: ValueType) -> Option<Value> {
    let json = serde_json::to_value(value).ok()?;
    Value::from_json(expected, &json).ok().flatten()
}
