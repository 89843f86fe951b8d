//! Rows of inputs, the tensors they make, and the rows of outputs that come back.

use std::sync::Arc;

use feature_defs::assemble::Assembled;
use feature_defs::value::Value;
use ort::session::SessionOutputs;
use ort::value::{DynValue, Tensor};

use super::signature::{Element, Layout, Place, Signature};

/// One element of a tensor.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant holds what the Element of its name says")]
pub enum Cell {
    Float32(f32),
    Float64(f64),
    Int64(i64),
    Int32(i32),
    Bool(bool),
    String(String),
}

/// Why a value cannot go into a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// A null where the tensor has none.
    #[error("null, which a {} tensor cannot hold", .0.name())]
    Null(Element),
    /// Too large.
    #[error("too large for a {} tensor", .0.name())]
    Range(Element),
    /// Of another type, which loading should have refused.
    #[error("of a type that a {} tensor cannot hold", .0.name())]
    Type(Element),
}

impl Cell {
    /// `value` as an element. Null is NaN, and every NaN the same.
    ///
    /// # Errors
    /// [`CellError`] if it does not fit.
    pub fn new(element: Element, value: Option<&Value>) -> Result<Self, CellError> {
        let Some(value) = value else {
            return match element {
                Element::Float32 => Ok(Self::Float32(f32::NAN)),
                Element::Float64 => Ok(Self::Float64(f64::NAN)),
                other => Err(CellError::Null(other)),
            };
        };
        match (element, value) {
            (Element::Float32, Value::Float32(x)) => Ok(Self::Float32(if x.is_nan() { f32::NAN } else { *x })),
            (Element::Float32, value) => single(value.as_f64().ok_or(CellError::Type(element))?),
            (Element::Float64, value) => {
                let x = value.as_f64().ok_or(CellError::Type(element))?;
                Ok(Self::Float64(if x.is_nan() { f64::NAN } else { x }))
            }
            (Element::Int64, Value::Int64(i)) => Ok(Self::Int64(*i)),
            (Element::Int64, Value::Bool(b)) => Ok(Self::Int64(i64::from(*b))),
            (Element::Int32, Value::Int64(i)) => i32::try_from(*i)
                .map(Self::Int32)
                .map_err(|_| CellError::Range(element)),
            (Element::Int32, Value::Bool(b)) => Ok(Self::Int32(i32::from(*b))),
            (Element::Bool, Value::Bool(b)) => Ok(Self::Bool(*b)),
            (Element::String, Value::String(s)) => Ok(Self::String(s.clone())),
            (element, _) => Err(CellError::Type(element)),
        }
    }

    /// Some value of `element` to warm up with.
    fn neutral(element: Element) -> Self {
        match element {
            Element::Float32 => Self::Float32(0.0),
            Element::Float64 => Self::Float64(0.0),
            Element::Int64 => Self::Int64(0),
            Element::Int32 => Self::Int32(0),
            Element::Bool => Self::Bool(false),
            Element::String => Self::String(String::new()),
        }
    }
}

fn single(x: f64) -> Result<Cell, CellError> {
    if x.is_nan() {
        return Ok(Cell::Float32(f32::NAN));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to single is what a float32 tensor means"
    )]
    let narrow = x as f32;
    if narrow.is_finite() || x.is_infinite() {
        Ok(Cell::Float32(narrow))
    } else {
        Err(CellError::Range(Element::Float32))
    }
}

/// The inputs of one row, an element each, in the service's order.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRow(pub Vec<Cell>);

impl InputRow {
    /// The row that these inputs make.
    ///
    /// # Errors
    /// The index of the first input that does not fit, and why.
    pub fn new(signature: &Signature, inputs: &[Assembled]) -> Result<Self, (usize, CellError)> {
        let cell = |(i, (&element, input)): (usize, (&Element, &Assembled))| {
            Cell::new(element, input.value.as_ref()).map_err(|e| (i, e))
        };
        signature
            .elements
            .iter()
            .zip(inputs)
            .enumerate()
            .map(cell)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// A row to warm up with: the service's defaults, or zeros.
    pub fn neutral(signature: &Signature, defaults: &[Option<Value>]) -> Self {
        let cell = |(&element, default): (&Element, &Option<Value>)| match default {
            Some(default) => Cell::new(element, Some(default)).unwrap_or_else(|_| Cell::neutral(element)),
            None => Cell::neutral(element),
        };
        Self(signature.elements.iter().zip(defaults).map(cell).collect())
    }
}

/// The outputs of one row, one a field of the signature's output schema. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs(pub Arc<[Value]>);

impl Outputs {
    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        let heap = |v: &Value| if let Value::String(s) = v { s.len() } else { 0 };
        self.0.iter().map(|v| size_of::<Value>() + heap(v)).sum()
    }
}

/// The named tensors of a batch of rows.
///
/// # Errors
/// If the runtime refuses them, such as a text that holds a NUL.
pub fn tensors<'s>(signature: &'s Signature, rows: &[&InputRow]) -> ort::Result<Vec<(&'s str, DynValue)>> {
    match &signature.layout {
        Layout::Matrix(name) => {
            let width = signature.elements.len();
            let cells = rows.iter().flat_map(|r| &r.0);
            let element = signature.elements.first().copied().unwrap_or(Element::Float32);
            Ok(vec![(name.as_str(), tensor(element, vec![rows.len(), width], cells)?)])
        }
        Layout::Each(each) => each
            .iter()
            .zip(&signature.elements)
            .enumerate()
            .map(|(i, (each, &element))| {
                let shape = if each.column {
                    vec![rows.len(), 1]
                } else {
                    vec![rows.len()]
                };
                Ok((
                    each.name.as_str(),
                    tensor(element, shape, rows.iter().map(|r| &r.0[i]))?,
                ))
            })
            .collect(),
    }
}

fn tensor<'c>(element: Element, shape: Vec<usize>, cells: impl Iterator<Item = &'c Cell>) -> ort::Result<DynValue> {
    macro_rules! gather {
        ($variant:ident) => {{
            let data: Vec<_> = cells
                .filter_map(|c| {
                    if let Cell::$variant(x) = c {
                        Some(x.clone())
                    } else {
                        None
                    }
                })
                .collect();
            Tensor::from_array((shape, data))?.into_dyn()
        }};
    }
    Ok(match element {
        Element::Float32 => gather!(Float32),
        Element::Float64 => gather!(Float64),
        Element::Int64 => gather!(Int64),
        Element::Int32 => gather!(Int32),
        Element::Bool => gather!(Bool),
        Element::String => {
            let texts: Vec<String> = cells
                .filter_map(|c| if let Cell::String(s) = c { Some(s.clone()) } else { None })
                .collect();
            Tensor::from_string_array((shape, texts.as_slice()))?.into_dyn()
        }
    })
}

/// The outputs of `rows` rows, by the shapes that really came: declared ones are not to be trusted.
///
/// # Errors
/// A sentence if the model gave something else than one value a row.
pub fn outputs(signature: &Signature, rows: usize, answer: &SessionOutputs<'_>) -> Result<Vec<Outputs>, String> {
    let mut columns = Vec::with_capacity(signature.places.len());
    for place in &signature.places {
        let tensor = answer
            .get(&place.tensor)
            .ok_or_else(|| format!("the model gave no tensor `{}`", place.tensor))?;
        columns.push(column(place, rows, tensor)?.into_iter());
    }
    let mut outputs = Vec::with_capacity(rows);
    for _ in 0..rows {
        outputs.push(Outputs(columns.iter_mut().filter_map(Iterator::next).collect()));
    }
    Ok(outputs)
}

fn column(place: &Place, rows: usize, tensor: &DynValue) -> Result<Vec<Value>, String> {
    macro_rules! numbers {
        ($type:ty, $make:expr) => {{
            let (shape, data) = tensor.try_extract_tensor::<$type>().map_err(|e| unlike(place, &e))?;
            pick(place, rows, shape, data)?.map($make).collect()
        }};
    }
    Ok(match place.element {
        Element::Float32 => numbers!(f32, |x| Value::Float32(*x)),
        Element::Float64 => numbers!(f64, |x| Value::Float64(*x)),
        Element::Int64 => numbers!(i64, |x| Value::Int64(*x)),
        Element::Int32 => numbers!(i32, |x| Value::Int64(i64::from(*x))),
        Element::Bool => numbers!(bool, |x| Value::Bool(*x)),
        Element::String => {
            let (shape, data) = tensor.try_extract_strings().map_err(|e| unlike(place, &e))?;
            pick(place, rows, shape, &data)?
                .map(|s| Value::String(s.clone()))
                .collect()
        }
    })
}

fn unlike(place: &Place, error: &ort::Error) -> String {
    format!("tensor `{}` is not what the model declares: {error}", place.tensor)
}

/// The elements of one column, one a row.
fn pick<'d, T>(
    place: &Place,
    rows: usize,
    shape: &[i64],
    data: &'d [T],
) -> Result<impl Iterator<Item = &'d T>, String> {
    let dims: Vec<usize> = shape.iter().filter_map(|d| usize::try_from(*d).ok()).collect();
    let wrong = |needed: &str| {
        Err(format!(
            "tensor `{}` came with shape {shape:?} for {rows} row(s), where {needed} is needed",
            place.tensor
        ))
    };
    let (width, at) = match (dims.as_slice(), place.column) {
        ([n], None) if *n == rows => (1, 0),
        ([n, 1], None) if *n == rows => (1, 0),
        ([n, k], Some(column)) if *n == rows && column < *k => (*k, column),
        (_, None) => return wrong("[n] or [n, 1] (or a `column` in version.toml)"),
        (_, Some(column)) => return wrong(&format!("[n, k] with a column {column}")),
    };
    if data.len() != rows * width {
        return wrong("as many elements as that");
    }
    Ok(data.iter().skip(at).step_by(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_elements_or_say_why_not() {
        let float = |x: f64| Value::Float64(x);
        let cases = [
            (Element::Float32, Some(float(0.1)), Ok(Cell::Float32(0.1))),
            (
                Element::Float32,
                Some(float(1e300)),
                Err(CellError::Range(Element::Float32)),
            ),
            (Element::Float32, Some(Value::Int64(7)), Ok(Cell::Float32(7.0))),
            (Element::Float64, Some(Value::Bool(true)), Ok(Cell::Float64(1.0))),
            (
                Element::Int32,
                Some(Value::Int64(1 << 40)),
                Err(CellError::Range(Element::Int32)),
            ),
            (Element::Int64, None, Err(CellError::Null(Element::Int64))),
            (Element::Int64, Some(float(1.0)), Err(CellError::Type(Element::Int64))),
            (
                Element::String,
                Some(Value::String("a".into())),
                Ok(Cell::String("a".into())),
            ),
        ];
        for (element, value, expected) in cases {
            assert_eq!(Cell::new(element, value.as_ref()), expected, "{element:?} {value:?}");
        }
        let weird_nan = f64::from_bits(0x7ff8_0000_0000_0001);
        for value in [None, Some(float(weird_nan)), Some(Value::Float32(-f32::NAN))] {
            let Ok(Cell::Float32(x)) = Cell::new(Element::Float32, value.as_ref()) else {
                panic!()
            };
            assert_eq!(x.to_bits(), f32::NAN.to_bits());
        }
    }

    #[test]
    fn columns_are_picked_by_the_shape_that_came() {
        let place = |column| Place {
            tensor: "p".into(),
            element: Element::Float32,
            column,
        };
        let data = [1.0, 2.0, 3.0, 4.0];
        let picked = |column, rows, shape: &[i64]| {
            pick(&place(column), rows, shape, &data).map(|x| x.copied().collect::<Vec<f32>>())
        };
        assert_eq!(picked(Some(1), 2, &[2, 2]), Ok(vec![2.0, 4.0]));
        assert_eq!(picked(None, 4, &[4]), Ok(data.to_vec()));
        assert_eq!(picked(None, 4, &[4, 1]), Ok(data.to_vec()));
        for (column, rows, shape) in [
            (None, 2, vec![2, 2]),
            (Some(2), 2, vec![2, 2]),
            (None, 3, vec![1]),
            (Some(0), 4, vec![4]),
        ] {
            assert!(picked(column, rows, &shape).is_err(), "{column:?} {rows} {shape:?}");
        }
    }
}
