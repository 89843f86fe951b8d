//! What a model is asked to do: which tensors go in, and which of its answer is taken out; and what goes in and comes out,
//! in units that do not depend on each other.

use std::ops::Range;
use std::sync::Arc;

use feature_defs::assemble::Assembled;
use feature_defs::value::Value;
use ort::session::{NoSelectedOutputs, RunOptions, Session, SessionInputValue, SessionOutputs};

use super::element::CellError;
use super::signature::{Layout, Place, Signature};
use super::tensor::{Data, Tensor};
use crate::predict::cache_key::KeyMaker;

/// One way to use a model.
#[derive(Debug)]
pub struct Program {
    /// The names of the tensors that go in.
    pub inputs: Vec<String>,
    /// Whether the first dimension of every tensor is the row, and rows do not depend on each other: then runs may be of
    /// rows of many requests, or of a part of one. Otherwise a request is one run.
    pub by_row: bool,
    /// What is taken out.
    pub wanted: Wanted,
    /// Makes the keys of its predictions.
    pub keys: KeyMaker,
}

/// What is taken out of a model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A value a row from each of these places.
    Values(Vec<Place>),
    /// The tensors of these names.
    Tensors(Vec<String>),
}

/// What goes in: a tensor for each of a program's inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    tensors: Vec<Tensor>,
    units: Units,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    Whole,
    Rows(usize),
}

impl Inputs {
    /// Tensors that are one unit.
    pub fn whole(tensors: Vec<Tensor>) -> Self {
        Self {
            tensors,
            units: Units::Whole,
        }
    }

    /// Tensors of so many rows.
    pub fn rows(tensors: Vec<Tensor>, rows: usize) -> Self {
        debug_assert!(tensors.iter().all(|tensor| tensor.rows() == Some(rows)));
        Self {
            tensors,
            units: Units::Rows(rows),
        }
    }

    /// No rows of inputs of `signature` yet.
    pub fn none(signature: &Signature) -> Self {
        let tensors = match &signature.layout {
            Layout::Matrix { element, width, .. } => vec![Tensor::no_rows(*element, &[*width])],
            Layout::Each(tensors) => tensors
                .iter()
                .map(|each| Tensor::no_rows(each.element, each.row.shape()))
                .collect(),
        };
        Self::rows(tensors, 0)
    }

    /// Adds the row that these inputs of a feature service make.
    ///
    /// # Errors
    /// The index of the first input that does not fit, and why; nothing is added.
    pub fn push(&mut self, signature: &Signature, inputs: &[Assembled]) -> Result<(), (usize, CellError)> {
        let values = inputs.iter().map(|input| input.value.as_ref());
        self.push_values(signature, values)
    }

    /// The same of values.
    ///
    /// # Errors
    /// The same.
    pub fn push_values<'v>(
        &mut self,
        signature: &Signature,
        values: impl Iterator<Item = Option<&'v Value>>,
    ) -> Result<(), (usize, CellError)> {
        let rows = self.units();
        let mut outcome = Ok(());
        for (i, value) in values.enumerate() {
            let pushed = match &signature.layout {
                Layout::Matrix { .. } => self.tensors[0].push(value, None),
                Layout::Each(tensors) => self.tensors[i].push(value, tensors[i].row.list()),
            };
            if let Err(why) = pushed {
                outcome = Err((i, why));
                break;
            }
        }
        let rows = rows + usize::from(outcome.is_ok());
        self.tensors.iter_mut().for_each(|tensor| tensor.set_rows(rows));
        self.units = Units::Rows(rows);
        outcome
    }

    /// How many units there are.
    pub fn units(&self) -> usize {
        match self.units {
            Units::Whole => 1,
            Units::Rows(rows) => rows,
        }
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.tensors.iter().map(Tensor::bytes).sum()
    }

    /// The tensors.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Which elements of one of its tensors are of a unit, and in which shape.
    pub fn unit_of<'t>(&self, tensor: &'t Tensor, unit: usize) -> (Range<usize>, &'t [usize]) {
        match self.units {
            Units::Whole => (0..tensor.data().len(), tensor.shape()),
            Units::Rows(_) => (tensor.row_range(unit), tensor.row_shape()),
        }
    }

    /// These units, in this order.
    pub fn select(&self, units: impl Iterator<Item = usize> + Clone) -> Self {
        match self.units {
            Units::Whole => self.clone(),
            Units::Rows(_) => {
                let tensors = self.tensors.iter().map(|tensor| tensor.select(units.clone()));
                Self::rows(tensors.collect(), units.count())
            }
        }
    }

    /// Parts of at most `max` units.
    pub fn split(self, max: usize) -> Vec<Self> {
        let (max, units) = (max.max(1), self.units());
        if units <= max {
            return vec![self];
        }
        let starts = (0..units).step_by(max);
        starts
            .map(|start| self.select(start..(start + max).min(units)))
            .collect()
    }

    /// Whether rows of both can be of one run.
    pub fn fits(&self, other: &Self) -> bool {
        let of_rows = |inputs: &Self| matches!(inputs.units, Units::Rows(_));
        let same =
            |(one, other): (&Tensor, &Tensor)| one.row_shape() == other.row_shape() && one.element() == other.element();
        of_rows(self) && of_rows(other) && self.tensors.iter().zip(&other.tensors).all(same)
    }

    /// Adds the rows of another one that fits.
    pub fn append(&mut self, other: &Self) {
        let pairs = self.tensors.iter_mut().zip(&other.tensors);
        pairs.for_each(|(tensor, more)| tensor.append(more));
        self.units = Units::Rows(self.units() + other.units());
    }
}

/// What comes out of one unit. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Outputs {
    /// One a field of the signature's output schema.
    Values(Arc<[Value]>),
    /// One a name of the program's; of a row without its first dimension.
    Tensors(Arc<[Tensor]>),
}

impl Outputs {
    /// The values, if it is values.
    pub fn values(&self) -> &[Value] {
        match self {
            Self::Values(values) => values,
            Self::Tensors(_) => &[],
        }
    }

    /// The tensors, if it is tensors.
    pub fn tensors(&self) -> &[Tensor] {
        match self {
            Self::Values(_) => &[],
            Self::Tensors(tensors) => tensors,
        }
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        let heap = |v: &Value| if let Value::String(s) = v { s.len() } else { 0 };
        match self {
            Self::Values(values) => values.iter().map(|v| size_of::<Value>() + heap(v)).sum(),
            Self::Tensors(tensors) => tensors.iter().map(Tensor::bytes).sum(),
        }
    }
}

impl Program {
    /// Runs `inputs` as one batch.
    ///
    /// # Errors
    /// A sentence if the model fails, or gives something else than is wanted.
    pub fn run(
        &self,
        session: &mut Session,
        inputs: &Inputs,
        options: &RunOptions<NoSelectedOutputs>,
    ) -> Result<Vec<Outputs>, String> {
        let named: Vec<(&str, SessionInputValue<'_>)> = self
            .inputs
            .iter()
            .zip(&inputs.tensors)
            .map(|(name, tensor)| tensor.to_ort().map(|tensor| (name.as_str(), tensor)))
            .collect::<ort::Result<_>>()
            .map_err(|e| e.to_string())?;
        let answer = session.run_with_options(named, options).map_err(|e| e.to_string())?;
        match &self.wanted {
            Wanted::Values(places) => values(places, inputs.units(), &answer),
            Wanted::Tensors(names) => tensors(names, inputs, &answer),
        }
    }
}

/// The values of so many rows, by the shapes that really came: declared ones are not to be trusted.
fn values(places: &[Place], rows: usize, answer: &SessionOutputs<'_>) -> Result<Vec<Outputs>, String> {
    let mut columns = Vec::with_capacity(places.len());
    for place in places {
        let tensor = taken(&place.tensor, answer)?;
        columns.push((tensor, place));
    }
    let mut picked = Vec::with_capacity(places.len());
    for (tensor, place) in &columns {
        if tensor.element() != place.element {
            return Err(format!(
                "tensor `{}` came as {}, where the model declares {}",
                place.tensor,
                tensor.element().name(),
                place.element.name()
            ));
        }
        picked.push((tensor.data(), pick(place, rows, tensor)?));
    }
    let row = |row: usize| {
        let values = picked.iter().map(|(data, (width, at))| value(data, row * width + at));
        Outputs::Values(values.collect())
    };
    Ok((0..rows).map(row).collect())
}

fn tensors(names: &[String], inputs: &Inputs, answer: &SessionOutputs<'_>) -> Result<Vec<Outputs>, String> {
    let whole: Vec<Tensor> = names.iter().map(|name| taken(name, answer)).collect::<Result<_, _>>()?;
    let Units::Rows(rows) = inputs.units else {
        return Ok(vec![Outputs::Tensors(whole.into())]);
    };
    for (name, tensor) in names.iter().zip(&whole) {
        if tensor.rows() != Some(rows) {
            return Err(format!(
                "tensor `{name}` came with shape {:?} for {rows} row(s): a model whose tensors are not all [n, …] cannot \
                 be batched (`batch` in version.toml)",
                tensor.shape()
            ));
        }
    }
    let row = |row: usize| Outputs::Tensors(whole.iter().map(|tensor| tensor.row(row)).collect());
    Ok((0..rows).map(row).collect())
}

fn taken(name: &str, answer: &SessionOutputs<'_>) -> Result<Tensor, String> {
    let value = answer
        .get(name)
        .ok_or_else(|| format!("the model gave no tensor `{name}`"))?;
    Tensor::from_ort(value).map_err(|why| format!("tensor `{name}`: {why}"))
}

/// How wide a row is, and where in it the place's element stands.
fn pick(place: &Place, rows: usize, tensor: &Tensor) -> Result<(usize, usize), String> {
    let wrong = |needed: &str| {
        Err(format!(
            "tensor `{}` came with shape {:?} for {rows} row(s), where {needed} is needed",
            place.tensor,
            tensor.shape()
        ))
    };
    match (tensor.shape(), place.column) {
        ([n] | [n, 1], None) if *n == rows => Ok((1, 0)),
        ([n, k], Some(column)) if *n == rows && column < *k => Ok((*k, column)),
        (_, None) => wrong("[n] or [n, 1] (or a `column` in version.toml)"),
        (_, Some(column)) => wrong(&format!("[n, k] with a column {column}")),
    }
}

/// The element at `at` as a value.
fn value(data: &Data, at: usize) -> Value {
    match data {
        Data::Float16(items) => Value::Float32(items[at].to_f32()),
        Data::Float32(items) => Value::Float32(items[at]),
        Data::Float64(items) => Value::Float64(items[at]),
        Data::Int8(items) => Value::Int64(items[at].into()),
        Data::Int16(items) => Value::Int64(items[at].into()),
        Data::Int32(items) => Value::Int64(items[at].into()),
        Data::Int64(items) => Value::Int64(items[at]),
        Data::Uint8(items) => Value::Int64(items[at].into()),
        Data::Uint16(items) => Value::Int64(items[at].into()),
        Data::Uint32(items) => Value::Int64(items[at].into()),
        #[expect(clippy::cast_precision_loss, reason = "as the output's type, float64, says")]
        Data::Uint64(items) => Value::Float64(items[at] as f64),
        Data::Bool(items) => Value::Bool(items[at]),
        Data::String(items) => Value::String(items[at].clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::element::Element;

    #[test]
    fn columns_are_picked_by_the_shape_that_came() {
        let place = |column| Place {
            tensor: "p".into(),
            element: Element::Float32,
            column,
        };
        let data = [1.0, 2.0, 3.0, 4.0];
        let picked = |column, rows: usize, shape: &[usize]| {
            let tensor = Tensor::new(shape.to_vec(), Data::Float32(data[..shape.iter().product()].to_vec())).unwrap();
            pick(&place(column), rows, &tensor).map(|(width, at)| {
                let item = |row: usize| value(tensor.data(), row * width + at).as_f64().unwrap();
                (0..rows).map(item).collect::<Vec<f64>>()
            })
        };
        assert_eq!(picked(Some(1), 2, &[2, 2]), Ok(vec![2.0, 4.0]));
        assert_eq!(picked(None, 4, &[4]), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(picked(None, 4, &[4, 1]), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        for (column, rows, shape) in [
            (None, 2, vec![2, 2]),
            (Some(2), 2, vec![2, 2]),
            (None, 3, vec![1]),
            (Some(0), 4, vec![4]),
        ] {
            assert!(picked(column, rows, &shape).is_err(), "{column:?} {rows} {shape:?}");
        }
    }

    #[test]
    fn large_inputs_are_split_and_small_ones_put_together() {
        let rows = |values: &[i64]| {
            let tensor = Tensor::new(vec![values.len(), 1], Data::Int64(values.to_vec())).unwrap();
            Inputs::rows(vec![tensor], values.len())
        };
        let parts = rows(&[1, 2, 3, 4, 5]).split(2);
        assert_eq!(parts, [rows(&[1, 2]), rows(&[3, 4]), rows(&[5])]);
        let mut whole = parts[0].clone();
        parts[1..].iter().for_each(|part| whole.append(part));
        assert_eq!(whole, rows(&[1, 2, 3, 4, 5]));
        let wider = Tensor::new(vec![1, 2], Data::Int64(vec![1, 2])).unwrap();
        assert!(!whole.fits(&Inputs::rows(vec![wider.clone()], 1)));
        assert!(!whole.fits(&Inputs::whole(vec![wider.clone()])));
        assert_eq!(Inputs::whole(vec![wider]).split(1).len(), 1);
    }
}
