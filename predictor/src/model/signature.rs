//! What a model takes and gives, checked against the service that feeds it.

use feature_defs::codec::{Field, Schema};
use feature_defs::definitions::{Input, Service};
use feature_defs::value::ValueType;

use super::config::{InputsSetting, OutputSetting, VersionFile};
use super::element::Element;
use super::tensor::Data;

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
    /// The answer's outputs, by name, as stored in caches.
    pub outputs: Schema,
    /// Where each of them stands in the model's answer.
    pub places: Vec<Place>,
}

/// How inputs become tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One `[n, width]` tensor of this name.
    Matrix {
        /// Its name.
        tensor: String,
        /// Its element type.
        element: Element,
        /// How many inputs there are.
        width: usize,
    },
    /// One tensor per input, in the service's order.
    Each(Vec<EachTensor>),
}

/// The tensor of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EachTensor {
    /// Its name: the input's.
    pub name: String,
    /// Its element type.
    pub element: Element,
    /// What of it one row has.
    pub row: RowShape,
}

/// What one row has of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowShape {
    /// `[n]`
    Single,
    /// `[n, 1]`
    Column,
    /// `[n, k]`: a list.
    List([usize; 1]),
}

impl RowShape {
    /// The dimensions of a row.
    pub const fn shape(&self) -> &[usize] {
        match self {
            Self::Single => &[],
            Self::Column => &[1],
            Self::List(k) => k,
        }
    }

    /// The length of the list, if it is one.
    pub const fn list(self) -> Option<usize> {
        match self {
            Self::List([k]) => Some(k),
            Self::Single | Self::Column => None,
        }
    }
}

impl Layout {
    /// The names of its tensors.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Matrix { tensor, .. } => vec![tensor.clone()],
            Self::Each(tensors) => tensors.iter().map(|each| each.name.clone()).collect(),
        }
    }
}

impl Signature {
    /// What an input of the service goes into: elements of this type, as many if it is a list.
    pub fn cell(&self, input: usize) -> (Element, Option<usize>) {
        match &self.layout {
            Layout::Matrix { element, .. } => (*element, None),
            Layout::Each(tensors) => (tensors[input].element, tensors[input].row.list()),
        }
    }
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
    let layout = match &settings.inputs {
        None => {
            problems.push(format!(
                "version.toml says feature_service = \"{}\", but not how its inputs become tensors: `inputs` is missing",
                service.name
            ));
            None
        }
        Some(InputsSetting::Each) => check_each(service, inputs, &mut problems),
        Some(InputsSetting::Matrix { tensor, double }) => {
            let element = if *double { Element::Float64 } else { Element::Float32 };
            check_matrix(service, tensor, element, inputs, &mut problems)
        }
    };
    let (fields, places) = check_outputs(settings, outputs, &mut problems);
    let Some(layout) = layout.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    let signature = Signature {
        layout,
        outputs: Schema::new(fields),
        places,
    };
    for (i, input) in service.inputs.iter().enumerate() {
        check_input(input, signature.cell(i), &mut problems);
    }
    if problems.is_empty() {
        Ok(signature)
    } else {
        Err(problems)
    }
}

fn check_matrix(
    service: &Service,
    tensor: &str,
    element: Element,
    declared: &[Declared],
    problems: &mut Vec<String>,
) -> Option<Layout> {
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
    (problems.len() == before).then(|| Layout::Matrix {
        tensor: tensor.to_owned(),
        element,
        width,
    })
}

fn check_each(service: &Service, declared: &[Declared], problems: &mut Vec<String>) -> Option<Layout> {
    let before = problems.len();
    let mut tensors = Vec::new();
    for input in &service.inputs {
        match declared.iter().find(|d| d.name == input.name) {
            None => problems.push(format!(
                "service `{}` feeds `{}`, but the model takes {}",
                service.name,
                input.name,
                names(declared)
            )),
            Some(tensor) => match each(input, tensor) {
                Ok(each) => tensors.push(each),
                Err(problem) => problems.push(problem),
            },
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
    (problems.len() == before).then_some(Layout::Each(tensors))
}

/// The tensor of one input, or why it is none.
fn each(input: &Input, tensor: &Declared) -> Result<EachTensor, String> {
    let name = &tensor.name;
    let element = tensor
        .element
        .ok_or_else(|| format!("tensor `{name}` is {}, which no feature can be", tensor.type_text))?;
    let row = match (is_list(input.value_type), tensor.shape.as_slice()) {
        (false, [-1]) => RowShape::Single,
        (false, [-1, 1 | -1]) => RowShape::Column,
        (true, [-1, -1]) => {
            return Err(format!(
                "tensor `{name}` takes lists of any length, but those of one batch must be of one: export the model with \
                 the length of `{name}` in its second dimension"
            ));
        }
        (true, [-1, k]) => RowShape::List([usize::try_from(*k).unwrap_or_default()]),
        (false, [rows] | [rows, 1]) | (true, [rows, _]) => return Err(fixed_rows(name, *rows)),
        (false, shape) => {
            return Err(format!(
                "tensor `{name}` has shape {shape:?}, where [n] or [n, 1] is needed"
            ));
        }
        (true, shape) => {
            return Err(format!(
                "tensor `{name}` has shape {shape:?}, where [n, k] is needed for a list"
            ));
        }
    };
    Ok(EachTensor {
        name: name.clone(),
        element,
        row,
    })
}

const fn is_list(value_type: ValueType) -> bool {
    matches!(
        value_type,
        ValueType::Float32List | ValueType::Int64List | ValueType::StringList
    )
}

fn check_input(input: &Input, (element, list): (Element, Option<usize>), problems: &mut Vec<String>) {
    let name = &input.name;
    if is_list(input.value_type) && list.is_none() {
        problems.push(format!(
            "input `{name}` is {}, which is no column of one tensor for all: feed the model by `inputs = \"each\"`",
            input.value_type
        ));
    } else if !element.takes(input.value_type) {
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
        && let Err(why) = Data::empty(element).push(Some(default), list)
    {
        problems.push(format!(
            "the default of input `{name}` does not fit into a {} tensor: it is {why}",
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
        if let (Some(_), Some(classes), [_, k]) = (&output.class, &settings.classes, tensor.shape.as_slice())
            && *k > 0
            && usize::try_from(*k) != Ok(classes.len())
        {
            problems.push(format!(
                "output `{name}`: version.toml says {} classes, but tensor `{}` has {k} columns",
                classes.len(),
                tensor.name
            ));
            continue;
        }
        let column = match column_of(output, settings.classes.as_deref()) {
            Ok(column) => column,
            Err(why) => {
                problems.push(format!("output `{name}`: {why}"));
                continue;
            }
        };
        fields.push(Field {
            name: name.clone(),
            value_type: element.value_type(),
        });
        places.push(Place {
            tensor: tensor.name.clone(),
            element,
            column,
        });
    }
    (fields, places)
}

/// The column that an output is of, by its number or by its class.
fn column_of(output: &OutputSetting, classes: Option<&[String]>) -> Result<Option<usize>, String> {
    match (&output.class, output.column, classes) {
        (None, column, _) => Ok(column),
        (Some(_), Some(_), _) => Err("it has a `column` and a `class`: one of them is enough".to_owned()),
        (Some(_), None, None) => {
            Err("it has a `class`, but version.toml does not say in which order the classes are (`classes`)".to_owned())
        }
        (Some(class), None, Some(classes)) => match classes.iter().position(|c| c == class) {
            Some(column) => Ok(Some(column)),
            None => Err(format!(
                "there is no class `{class}`{}",
                service::nearest::hint(class, classes.iter().map(String::as_str))
            )),
        },
    }
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
