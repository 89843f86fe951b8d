//! From tensors to tensors, within the model's deadline.

use std::sync::Arc;

use crate::app::App;
use crate::model::Model;
use crate::model::batcher::Thread;
use crate::model::program::Inputs;
use crate::model::signature::Declared;
use crate::model::tensor::Tensor;
use crate::predict::answer::CacheState;
use crate::predict::budget::Budget;
use crate::predict::cache::{self, Asking, Predicted};
use crate::predict::stages::Stages;
use crate::predict::{Explain, How, PredictError, Problem, Problems, Route, find, not_run};
use crate::serving::Serving;

use super::entity_rows;
use super::request::{InferAnswer, InferRequest, NamedTensor, Parameters};

impl App {
    /// Answers a call of tensors.
    ///
    /// # Errors
    /// [`PredictError`]
    pub async fn infer(
        &self,
        (name, version): (&str, Option<&str>),
        request: InferRequest,
    ) -> Result<InferAnswer, PredictError> {
        let serving = self.serving();
        let route = find(&serving.models, name, version)?;
        let deadline = route.model().operated.deadline;
        let how = How {
            explain: Explain::No,
            freshness: request.freshness,
            budget: Budget::start(request.timeout.map_or(deadline, |timeout| timeout.min(deadline))),
            thread: Thread::Any,
            is_counted: true,
        };
        self.within(route, how.budget, self.answer_tensors((&serving, route), request, how))
            .await
    }

    async fn answer_tensors(
        &self,
        (serving, route): (&Arc<Serving>, Route<'_>),
        request: InferRequest,
        how: How,
    ) -> Result<InferAnswer, PredictError> {
        let model = route.model();
        let mut stages = Stages::default();
        let (id, wanted) = (request.id, request.outputs);
        // There are models that take nothing, and give the same at every call.
        if request.inputs.is_empty() && !model.inputs.is_empty() {
            return Err(Problem::named("inputs", "empty: send at least one tensor".to_owned()).into());
        }
        let (outputs, parameters) = if takes_entity_rows(model, &request.inputs) {
            let instances = entity_rows::instances(route.featured()?, &request.inputs, self.max_instances())?;
            stages.validate = how.budget.elapsed();
            let answer = self
                .answer_rows((serving, route), (instances, None), how, stages)
                .await?;
            entity_rows::outputs(&answer)?
        } else {
            let inputs = inputs(model, request.inputs, self.max_instances())?;
            stages.validate = how.budget.elapsed();
            self.answer_inputs(model, inputs, (how, stages)).await?
        };
        Ok(InferAnswer {
            model_name: model.name.clone(),
            model_version: model.version.clone(),
            id,
            parameters,
            outputs: chosen(outputs, wanted.iter().map(|output| output.name.as_str()))?,
        })
    }

    async fn answer_inputs(
        &self,
        model: &Arc<Model>,
        inputs: Inputs,
        (how, mut stages): (How, Stages),
    ) -> Result<(Vec<NamedTensor>, Parameters), PredictError> {
        let now = self.clock().now();
        let asking = Asking {
            model,
            program: &model.tensors,
            now,
            budget: how.budget,
            freshness: how.freshness,
            thread: how.thread,
        };
        let predicted = cache::predict(&asking, inputs, &mut stages)
            .await
            .map_err(|error| not_run(error, model))?;
        for one in &predicted {
            let age = one.kept().map(|made| now.micros_since(made).max(0).unsigned_abs());
            model
                .meters
                .cached(one.cache, std::time::Duration::from_micros(age.unwrap_or_default()));
        }
        let cache = cache_of(predicted.iter().map(|one| one.cache));
        let outputs = stacked(model, &predicted)?;
        stages.total = how.budget.elapsed();
        model.meters.answered(&stages, predicted.len());
        Ok((outputs, vec![("cache", cache.to_owned())]))
    }
}

/// Whether these are join keys and request features, rather than the tensors of the model itself.
fn takes_entity_rows(model: &Model, inputs: &[NamedTensor]) -> bool {
    let is_tensor = |input: &NamedTensor| model.inputs.iter().any(|declared| declared.name == input.name);
    model.featured.is_some() && !inputs.iter().all(is_tensor)
}

/// The model's inputs in its order, checked against what it declares.
fn inputs(model: &Model, given: Vec<NamedTensor>, max_rows: usize) -> Result<Inputs, PredictError> {
    let mut problems = Problems::default();
    let mut places: Vec<Option<Tensor>> = vec![None; model.inputs.len()];
    for NamedTensor { name, tensor } in given {
        let Some(place) = model.inputs.iter().position(|declared| declared.name == name) else {
            let names = model.inputs.iter().map(|declared| declared.name.as_str());
            let hint = service::nearest::hint(&name, names);
            problems.add(|| Problem::named(&name, format!("no input of the model{hint}")));
            continue;
        };
        if let Some(problem) = unlike(&model.inputs[place], &tensor) {
            problems.add(|| Problem::named(&name, problem));
        }
        if places[place].replace(tensor).is_some() {
            problems.add(|| Problem::named(&name, "given twice".to_owned()));
        }
    }
    for (declared, place) in model.inputs.iter().zip(&places) {
        if place.is_none() {
            problems.add(|| Problem::named(&declared.name, format!("missing input ({})", declared.type_text)));
        }
    }
    let tensors: Vec<Tensor> = places.into_iter().flatten().collect();
    let rows = tensors.first().and_then(Tensor::rows).unwrap_or_default();
    if model.tensors.by_row && problems.is_empty() {
        for (declared, tensor) in model.inputs.iter().zip(&tensors) {
            if tensor.rows() != Some(rows) {
                problems.add(|| {
                    let shape = tensor.shape();
                    let problem = format!("shape {shape:?}, where the first input has {rows} row(s)");
                    Problem::named(&declared.name, problem)
                });
            }
        }
        check_rows(rows, max_rows, &mut problems);
    }
    if !problems.is_empty() {
        return Err(PredictError::InvalidRequest(problems));
    }
    Ok(if model.tensors.by_row {
        Inputs::rows(tensors, rows)
    } else {
        Inputs::whole(tensors)
    })
}

/// Whether there are rows, and not too many.
pub(super) fn check_rows(rows: usize, max: usize, problems: &mut Problems) {
    if rows == 0 {
        problems.add(|| Problem::of_request("no rows: send at least one"));
    }
    if rows > max {
        problems.add(|| {
            let problem = format!("{rows} rows, at most {max} are taken in one request (--max-instances)");
            Problem::of_request(&problem)
        });
    }
}

/// Why a tensor is not what the model declares.
fn unlike(declared: &Declared, tensor: &Tensor) -> Option<String> {
    if declared.element != Some(tensor.element()) {
        let wanted = declared
            .element
            .map_or("nothing spoken here", |element| element.datatype());
        return Some(format!(
            "{}, where the model takes {wanted}",
            tensor.element().datatype()
        ));
    }
    // The runtime tells no dimensions of a tensor of any shape.
    let is_told = !declared.shape.is_empty();
    let fits = |(wanted, got): (&i64, &usize)| *wanted < 0 || usize::try_from(*wanted) == Ok(*got);
    let shape = tensor.shape();
    let is_alike = declared.shape.len() == shape.len() && declared.shape.iter().zip(shape).all(fits);
    (is_told && !is_alike).then(|| format!("shape {shape:?}, where the model takes {:?}", declared.shape))
}

/// The outputs of all units together.
fn stacked(model: &Model, predicted: &[Predicted]) -> Result<Vec<NamedTensor>, PredictError> {
    let mut units = Vec::with_capacity(predicted.len());
    for (unit, one) in predicted.iter().enumerate() {
        match &one.outcome {
            Ok(outputs) => units.push(outputs.tensors()),
            Err(reason) => {
                return Err(PredictError::ModelFailed {
                    model: model.name.clone(),
                    row: model.tensors.by_row.then_some(unit),
                    reason: reason.clone(),
                });
            }
        }
    }
    let names = match &model.tensors.wanted {
        crate::model::program::Wanted::Tensors(names) => names.as_slice(),
        crate::model::program::Wanted::Values(_) => &[],
    };
    let mut outputs = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let tensor = if model.tensors.by_row {
            Tensor::stack(units.iter().map(|tensors| &tensors[i])).ok_or_else(|| PredictError::ModelFailed {
                model: model.name.clone(),
                row: None,
                reason: format!("rows of output `{name}` are of different shapes"),
            })?
        } else {
            units[0][i].clone()
        };
        outputs.push(NamedTensor {
            name: name.clone(),
            tensor,
        });
    }
    Ok(outputs)
}

/// The outputs of these names, in their order; all if none is named.
fn chosen<'n>(
    mut outputs: Vec<NamedTensor>,
    names: impl ExactSizeIterator<Item = &'n str>,
) -> Result<Vec<NamedTensor>, PredictError> {
    if names.len() == 0 {
        return Ok(outputs);
    }
    let mut problems = Problems::default();
    let mut chosen = Vec::with_capacity(names.len());
    for name in names {
        match outputs.iter().position(|output| output.name == name) {
            Some(place) => chosen.push(outputs.swap_remove(place)),
            None => problems.add(|| {
                let twice = chosen.iter().any(|output| output.name == name);
                let hint = service::nearest::hint(name, outputs.iter().map(|output| output.name.as_str()));
                let problem = if twice {
                    "wanted twice".to_owned()
                } else {
                    format!("no output of the model{hint}")
                };
                Problem::named(name, problem)
            }),
        }
    }
    if problems.is_empty() {
        Ok(chosen)
    } else {
        Err(PredictError::InvalidRequest(problems))
    }
}

/// Where all of it came from.
pub(super) fn cache_of(mut states: impl Iterator<Item = CacheState>) -> &'static str {
    let first = states.next().unwrap_or(CacheState::Off);
    if states.all(|state| state == first) {
        first.name()
    } else {
        "mixed"
    }
}
