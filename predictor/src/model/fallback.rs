//! Who answers in the place of a model when the store cannot be read, and whether it can.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_defs::definitions::Service;
use feature_defs::value::{Value, ValueType};

use super::config::FallbackSettings;
use super::tensor::Outputs;
use super::{Carried, Fallback, Model, ModelName};

/// Every model of the repository, with what answers under its name; `None` if nothing does.
pub(super) type Answering<'a> = BTreeMap<&'a ModelName, Option<&'a Arc<Model>>>;

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
            Some(Some(fallback)) => link_model(model, fallback),
            Some(None) => Err(vec![format!("its fallback, model `{name}`, is refused")]),
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
