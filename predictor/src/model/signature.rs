//! What a model takes and gives, checked against the service that feeds it.

use feature_defs::codec::{Field, Schema};
use feature_defs::definitions::{Input, Service};
use feature_defs::value::ValueType;

use super::config::{InputsSetting, VersionFile};

/// The element types of tensors that features can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "ONNX's own names")]
pub enum Element {
    Float32,
    Float64,
    Int64,
    Int32,
    Bool,
    String,
}

impl Element {
    /// Its name in messages and cache keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::Bool => "bool",
            Self::String => "string",
        }
    }

    /// Whether it has a NaN to stand for null.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64)
    }

    /// Whether every value of `value_type` means the same in it (but for the width of numbers).
    const fn takes(self, value_type: ValueType) -> bool {
        match value_type {
            ValueType::Bool => !matches!(self, Self::String),
            ValueType::Int64 => matches!(self, Self::Float32 | Self::Float64 | Self::Int64 | Self::Int32),
            ValueType::Float32 | ValueType::Float64 => self.is_float(),
            ValueType::String => matches!(self, Self::String),
            _ => false,
        }
    }

    /// The type of an output of this element.
    const fn value_type(self) -> ValueType {
        match self {
            Self::Float32 => ValueType::Float32,
            Self::Float64 => ValueType::Float64,
            Self::Int64 | Self::Int32 => ValueType::Int64,
            Self::Bool => ValueType::Bool,
            Self::String => ValueType::String,
        }
    }
}

/// An input or output as the model file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The tensor's name.
    pub name: String,
    /// Its element type, if it is a tensor of one that we speak.
    pub element: Option<Element>,
    /// Its type in words, for messages.
    pub type_text: String,
    /// Its declared dimensions, -1 where open.
    pub shape: Vec<i64>,
}

/// What a model takes and gives.
#[derive(Debug, Clone)]
pub struct Signature {
    /// How inputs become tensors.
    pub layout: Layout,
    /// The element type of each input of the service.
    pub elements: Vec<Element>,
    /// The answer's outputs, by name, as stored in caches.
    pub outputs: Schema,
    /// Where each of them stands in the model's answer.
    pub places: Vec<Place>,
}

/// How inputs become tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One `[n, f]` tensor of this name.
    Matrix(String),
    /// One tensor per input, in the service's order.
    Each(Vec<EachTensor>),
}

/// The tensor of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EachTensor {
    /// Its name: the input's.
    pub name: String,
    /// `[n, 1]` rather than `[n]`.
    pub column: bool,
}

/// Where an output stands in the model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The tensor.
    pub tensor: String,
    /// Its element type.
    pub element: Element,
    /// Its column, for `[n, k]`.
    pub column: Option<usize>,
}

/// Checks the model's declared tensors against its settings and service.
///
/// # Errors
/// Everything that does not fit, a sentence each.
pub fn check(
    settings: &VersionFile,
    service: &Service,
    inputs: &[Declared],
    outputs: &[Declared],
) -> Result<Signature, Vec<String>> {
    let mut problems = Vec::new();
    let fitted = match &settings.inputs {
        InputsSetting::Each => check_each(service, inputs, &mut problems),
        InputsSetting::Matrix { tensor, double } => {
            let element = if *double { Element::Float64 } else { Element::Float32 };
            check_matrix(service, tensor, element, inputs, &mut problems)
        }
    };
    let (fields, places) = check_outputs(settings, outputs, &mut problems);
    match fitted {
        Some((layout, elements)) if problems.is_empty() => {
            for (input, &element) in service.inputs.iter().zip(&elements) {
                check_input(input, element, &mut problems);
            }
            if problems.is_empty() {
                return Ok(Signature {
                    layout,
                    elements,
                    outputs: Schema::new(fields),
                    places,
                });
            }
            Err(problems)
        }
        _ => Err(problems),
    }
}

fn check_matrix(
    service: &Service,
    tensor: &str,
    element: Element,
    declared: &[Declared],
    problems: &mut Vec<String>,
) -> Option<(Layout, Vec<Element>)> {
    let width = service.inputs.len();
    let before = problems.len();
    match declared {
        [only] if only.name == tensor => {
            if only.element != Some(element) {
                problems.push(format!(
                    "version.toml says tensor `{tensor}` is {}, but the model takes {}",
                    element.name(),
                    only.type_text
                ));
            }
            let fits = |dim: i64, wanted: usize| dim < 0 || usize::try_from(dim) == Ok(wanted);
            match only.shape.as_slice() {
                [-1, columns] if fits(*columns, width) => {}
                [-1, columns] => problems.push(format!(
                    "tensor `{tensor}` has {columns} columns, but service `{}` has {width} input(s)",
                    service.name
                )),
                [rows, _] => problems.push(fixed_rows(tensor, *rows)),
                shape => problems.push(format!(
                    "tensor `{tensor}` has shape {shape:?}, where [n, {width}] is needed"
                )),
            }
        }
        other => problems.push(format!(
            "version.toml feeds one tensor `{tensor}`, but the model takes {}",
            names(other)
        )),
    }
    (problems.len() == before).then(|| (Layout::Matrix(tensor.to_owned()), vec![element; width]))
}

fn check_each(service: &Service, declared: &[Declared], problems: &mut Vec<String>) -> Option<(Layout, Vec<Element>)> {
    let before = problems.len();
    let mut tensors = Vec::new();
    let mut elements = Vec::new();
    for input in &service.inputs {
        let Some(tensor) = declared.iter().find(|d| d.name == input.name) else {
            problems.push(format!(
                "service `{}` feeds `{}`, but the model takes {}",
                service.name,
                input.name,
                names(declared)
            ));
            continue;
        };
        match tensor.element {
            Some(element) => elements.push(element),
            None => problems.push(format!(
                "tensor `{}` is {}, which no feature can be",
                tensor.name, tensor.type_text
            )),
        }
        match tensor.shape.as_slice() {
            [-1] => tensors.push(EachTensor {
                name: tensor.name.clone(),
                column: false,
            }),
            [-1, 1 | -1] => tensors.push(EachTensor {
                name: tensor.name.clone(),
                column: true,
            }),
            [rows] | [rows, 1] => problems.push(fixed_rows(&tensor.name, *rows)),
            shape => problems.push(format!(
                "tensor `{}` has shape {shape:?}, where [n] or [n, 1] is needed",
                tensor.name
            )),
        }
    }
    for tensor in declared
        .iter()
        .filter(|d| service.inputs.iter().all(|i| i.name != d.name))
    {
        problems.push(format!(
            "the model takes `{}`, which service `{}` does not have",
            tensor.name, service.name
        ));
    }
    (problems.len() == before).then_some((Layout::Each(tensors), elements))
}

fn check_input(input: &Input, element: Element, problems: &mut Vec<String>) {
    let name = &input.name;
    if !element.takes(input.value_type) {
        problems.push(format!(
            "input `{name}` is {}, which a tensor of {} cannot hold: make a derived feature of it that the model can read",
            input.value_type,
            element.name()
        ));
    } else if !element.is_float() && input.default.is_none() {
        problems.push(format!(
            "input `{name}` goes into a tensor of {}, which has no null: give it a default in the feature service",
            element.name()
        ));
    } else if let Some(default) = &input.default
        && super::tensor::Cell::new(element, Some(default)).is_err()
    {
        problems.push(format!(
            "the default of input `{name}` does not fit into a {} tensor",
            element.name()
        ));
    }
}

fn check_outputs(
    settings: &VersionFile,
    declared: &[Declared],
    problems: &mut Vec<String>,
) -> (Vec<Field>, Vec<Place>) {
    if settings.outputs.is_empty() {
        problems.push("version.toml names no outputs".to_owned());
    }
    let mut fields = Vec::new();
    let mut places = Vec::new();
    for (name, output) in &settings.outputs {
        let Some(tensor) = declared.iter().find(|d| d.name == output.tensor) else {
            problems.push(format!(
                "output `{name}` is tensor `{}`, but the model gives {}",
                output.tensor,
                names(declared)
            ));
            continue;
        };
        let Some(element) = tensor.element else {
            problems.push(format!(
                "output `{name}` is tensor `{}` of type {}: export the model so that it is a plain tensor \
                 (for scikit-learn's classifiers, with zipmap off)",
                tensor.name, tensor.type_text
            ));
            continue;
        };
        fields.push(Field {
            name: name.clone(),
            value_type: element.value_type(),
        });
        places.push(Place {
            tensor: tensor.name.clone(),
            element,
            column: output.column,
        });
    }
    (fields, places)
}

fn fixed_rows(tensor: &str, rows: i64) -> String {
    format!("tensor `{tensor}` takes exactly {rows} row(s) at a time: export the model with an open first dimension")
}

fn names(declared: &[Declared]) -> String {
    let names: Vec<String> = declared
        .iter()
        .map(|d| format!("`{}` ({})", d.name, d.type_text))
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
