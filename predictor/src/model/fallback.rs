//! Who answers in the place of a model when the store cannot be read, and whether it can.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_defs::value::{Value, ValueType};

use super::config::FallbackSettings;
use super::counterpart::Counterpart;
use super::program::Outputs;
use super::{Fallback, Model, ModelName};

/// Every model of the repository, with what answers under its name.
pub(super) type Answering<'a> = BTreeMap<&'a ModelName, Answers<'a>>;

/// What answers under a model's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answers<'a> {
    /// This version.
    By(&'a Arc<Model>),
    /// Nothing: it is refused.
    Refused,
    /// Nothing: it was told not to.
    Unloaded,
}

/// Finds who answers in place of `model`.
///
/// # Errors
/// Everything that is wrong with its settings, a sentence each.
pub(super) fn link(
    model: &Model,
    settings: &FallbackSettings,
    answering: &Answering<'_>,
) -> Result<Fallback, Vec<String>> {
    match settings {
        FallbackSettings {
            model: Some(name),
            output: None,
        } => match answering.get(name) {
            Some(Answers::By(fallback)) => link_model(model, fallback).map(Fallback::Model),
            Some(Answers::Refused) => Err(vec![format!("its fallback, model `{name}`, is refused")]),
            Some(Answers::Unloaded) => Err(vec![format!(
                "its fallback, model `{name}`, is unloaded: POST /v2/repository/models/{name}/load loads it"
            )]),
            None => Err(vec![format!("its fallback, model `{name}`, is not in the repository")]),
        },
        FallbackSettings {
            model: None,
            output: Some(output),
        } => {
            let Some(featured) = &model.featured else {
                return Err(vec![
                    "model.toml has a fallback, which needs a feature service".to_owned(),
                ]);
            };
            let fields = featured.signature.outputs.fields();
            let mut problems = Vec::new();
            for name in output.keys().filter(|n| fields.iter().all(|f| f.name != **n)) {
                problems.push(format!(
                    "the fallback in model.toml gives `{name}`, which is not an output of the model"
                ));
            }
            let mut values = Vec::new();
            for field in fields {
                match output.get(&field.name).map(|value| constant(value, field.value_type)) {
                    Some(Some(value)) => values.push(value),
                    Some(None) => problems.push(format!("the fallback's `{}` is not {}", field.name, field.value_type)),
                    None => problems.push(format!("the fallback in model.toml does not give `{}`", field.name)),
                }
            }
            if problems.is_empty() {
                Ok(Fallback::Output(Outputs::Values(values.into())))
            } else {
                Err(problems)
            }
        }
        _ => Err(vec![
            "fallback in model.toml is either { model = \"…\" } or { output = { … } }, exactly one of them".to_owned(),
        ]),
    }
}

fn link_model(model: &Model, fallback: &Arc<Model>) -> Result<Counterpart, Vec<String>> {
    if model.name == fallback.name {
        return Err(vec!["a model cannot be its own fallback".to_owned()]);
    }
    let called = format!("its fallback, model `{}`,", fallback.name);
    if let Some(featured) = &fallback.featured
        && !featured.service.joins.is_empty()
    {
        return Err(vec![format!(
            "{called} reads stored features itself (service `{}`), and so could not answer without the store",
            featured.service.name
        )]);
    }
    Counterpart::link(model, fallback, &called)
}

fn constant(value: &toml::Value, expected: ValueType) -> Option<Value> {
    let json = serde_json::to_value(value).ok()?;
    Value::from_json(expected, &json).ok().flatten()
}
