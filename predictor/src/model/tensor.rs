//! Tensors, and their way into ONNX Runtime and back.

use std::ops::Range;

use feature_defs::value::Value;
use half::f16;
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType as OrtType};

use super::element::{CellError, Element, double, half, single, text, whole};

/// Elements of one type.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant holds what the Element of its name says")]
pub enum Data {
    Float16(Vec<f16>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Bool(Vec<bool>),
    String(Vec<String>),
}

/// The same with the elements of every variant.
macro_rules! of_any {
    ($data:expr, $items:ident => $then:expr) => {
        match $data {
            Data::Float16($items) => $then,
            Data::Float32($items) => $then,
            Data::Float64($items) => $then,
            Data::Int8($items) => $then,
            Data::Int16($items) => $then,
            Data::Int32($items) => $then,
            Data::Int64($items) => $then,
            Data::Uint8($items) => $then,
            Data::Uint16($items) => $then,
            Data::Uint32($items) => $then,
            Data::Uint64($items) => $then,
            Data::Bool($items) => $then,
            Data::String($items) => $then,
        }
    };
}

/// The same for every variant of two of one type; the last arm is for two of different ones.
macro_rules! of_pair {
    ($one:expr, $other:expr, ($a:ident, $b:ident) => $then:expr, else $otherwise:expr) => {
        match ($one, $other) {
            (Data::Float16($a), Data::Float16($b)) => $then,
            (Data::Float32($a), Data::Float32($b)) => $then,
            (Data::Float64($a), Data::Float64($b)) => $then,
            (Data::Int8($a), Data::Int8($b)) => $then,
            (Data::Int16($a), Data::Int16($b)) => $then,
            (Data::Int32($a), Data::Int32($b)) => $then,
            (Data::Int64($a), Data::Int64($b)) => $then,
            (Data::Uint8($a), Data::Uint8($b)) => $then,
            (Data::Uint16($a), Data::Uint16($b)) => $then,
            (Data::Uint32($a), Data::Uint32($b)) => $then,
            (Data::Uint64($a), Data::Uint64($b)) => $then,
            (Data::Bool($a), Data::Bool($b)) => $then,
            (Data::String($a), Data::String($b)) => $then,
            _ => $otherwise,
        }
    };
}

impl Data {
    /// None of `element`.
    pub fn empty(element: Element) -> Self {
        Self::filled(element, 0)
    }

    /// So many zeros, falses or empty texts.
    pub fn filled(element: Element, count: usize) -> Self {
        match element {
            Element::Float16 => Self::Float16(vec![f16::ZERO; count]),
            Element::Float32 => Self::Float32(vec![0.0; count]),
            Element::Float64 => Self::Float64(vec![0.0; count]),
            Element::Int8 => Self::Int8(vec![0; count]),
            Element::Int16 => Self::Int16(vec![0; count]),
            Element::Int32 => Self::Int32(vec![0; count]),
            Element::Int64 => Self::Int64(vec![0; count]),
            Element::Uint8 => Self::Uint8(vec![0; count]),
            Element::Uint16 => Self::Uint16(vec![0; count]),
            Element::Uint32 => Self::Uint32(vec![0; count]),
            Element::Uint64 => Self::Uint64(vec![0; count]),
            Element::Bool => Self::Bool(vec![false; count]),
            Element::String => Self::String(vec![String::new(); count]),
        }
    }

    /// Their type.
    pub const fn element(&self) -> Element {
        match self {
            Self::Float16(_) => Element::Float16,
            Self::Float32(_) => Element::Float32,
            Self::Float64(_) => Element::Float64,
            Self::Int8(_) => Element::Int8,
            Self::Int16(_) => Element::Int16,
            Self::Int32(_) => Element::Int32,
            Self::Int64(_) => Element::Int64,
            Self::Uint8(_) => Element::Uint8,
            Self::Uint16(_) => Element::Uint16,
            Self::Uint32(_) => Element::Uint32,
            Self::Uint64(_) => Element::Uint64,
            Self::Bool(_) => Element::Bool,
            Self::String(_) => Element::String,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        of_any!(self, items => items.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::String(texts) => texts.iter().map(|t| size_of::<String>() + t.len()).sum(),
            other => other.len() * other.element().size().unwrap_or_default(),
        }
    }

    /// Adds what a feature's value is in a tensor: one element, or `list` many of a list. A null is NaN, and every NaN is
    /// the same.
    ///
    /// # Errors
    /// [`CellError`] if it does not fit; some of a list may have been added.
    pub fn push(&mut self, value: Option<&Value>, list: Option<usize>) -> Result<(), CellError> {
        let element = self.element();
        let Some(value) = value else {
            let count = list.unwrap_or(1);
            match self {
                Self::Float16(items) => items.extend(std::iter::repeat_n(f16::NAN, count)),
                Self::Float32(items) => items.extend(std::iter::repeat_n(f32::NAN, count)),
                Self::Float64(items) => items.extend(std::iter::repeat_n(f64::NAN, count)),
                _ => return Err(CellError::Null(element)),
            }
            return Ok(());
        };
        match (list, value) {
            (None, value) => self.push_one(value),
            (Some(wanted), Value::Float32List(list)) => {
                same_length(list.len(), wanted)?;
                list.iter().try_for_each(|x| self.push_one(&Value::Float32(*x)))
            }
            (Some(wanted), Value::Int64List(list)) => {
                same_length(list.len(), wanted)?;
                list.iter().try_for_each(|i| self.push_one(&Value::Int64(*i)))
            }
            (Some(wanted), Value::StringList(list)) => {
                same_length(list.len(), wanted)?;
                list.iter().try_for_each(|s| self.push_one(&Value::String(s.clone())))
            }
            (Some(_), _) => Err(CellError::Type(element)),
        }
    }

    fn push_one(&mut self, value: &Value) -> Result<(), CellError> {
        let element = self.element();
        match self {
            Self::Float16(items) => items.push(half(double(element, value)?)?),
            Self::Float32(items) => items.push(match value {
                Value::Float32(x) if !x.is_nan() => *x,
                value => single(double(element, value)?)?,
            }),
            Self::Float64(items) => items.push(double(element, value)?),
            Self::Int8(items) => items.push(whole(element, value)?),
            Self::Int16(items) => items.push(whole(element, value)?),
            Self::Int32(items) => items.push(whole(element, value)?),
            Self::Int64(items) => items.push(whole(element, value)?),
            Self::Uint8(items) => items.push(whole(element, value)?),
            Self::Uint16(items) => items.push(whole(element, value)?),
            Self::Uint32(items) => items.push(whole(element, value)?),
            Self::Uint64(items) => items.push(whole(element, value)?),
            Self::Bool(items) => match value {
                Value::Bool(b) => items.push(*b),
                _ => return Err(CellError::Type(element)),
            },
            Self::String(items) => items.push(text(value)?),
        }
        Ok(())
    }

    /// The first `count` of them.
    pub fn truncate(&mut self, count: usize) {
        of_any!(self, items => items.truncate(count));
    }

    /// Those of `range`, which is within.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let mut part = Self::empty(self.element());
        part.extend(self, range);
        part
    }

    /// Adds those of `range` of another of the same type.
    fn extend(&mut self, other: &Self, range: Range<usize>) {
        of_pair!(self, other, (items, more) => items.extend_from_slice(&more[range]), else {
            debug_assert!(false, "of one type: tensors of a place in a program are");
        });
    }

    /// The bytes that stand for those of `range` in a key: of equal length for equal counts, but for texts, which bring
    /// theirs. Every NaN is the same, and 0 is not -0.
    pub fn key_bytes(&self, range: Range<usize>, out: &mut Vec<u8>) {
        macro_rules! plain {
            ($items:expr) => {
                $items[range]
                    .iter()
                    .for_each(|x| out.extend_from_slice(&x.to_le_bytes()))
            };
        }
        macro_rules! floats {
            ($items:expr, $nan:expr) => {
                $items[range].iter().for_each(|x| {
                    let x = if x.is_nan() { $nan } else { *x };
                    out.extend_from_slice(&x.to_bits().to_le_bytes());
                })
            };
        }
        match self {
            Self::Float16(items) => floats!(items, f16::NAN),
            Self::Float32(items) => floats!(items, f32::NAN),
            Self::Float64(items) => floats!(items, f64::NAN),
            Self::Int8(items) => plain!(items),
            Self::Int16(items) => plain!(items),
            Self::Int32(items) => plain!(items),
            Self::Int64(items) => plain!(items),
            Self::Uint8(items) => plain!(items),
            Self::Uint16(items) => plain!(items),
            Self::Uint32(items) => plain!(items),
            Self::Uint64(items) => plain!(items),
            Self::Bool(items) => items[range].iter().for_each(|b| out.push(u8::from(*b))),
            Self::String(items) => items[range].iter().for_each(|s| {
                out.extend_from_slice(&(s.len() as u64).to_le_bytes());
                out.extend_from_slice(s.as_bytes());
            }),
        }
    }
}

fn same_length(got: usize, wanted: usize) -> Result<(), CellError> {
    if got == wanted {
        Ok(())
    } else {
        Err(CellError::Length { got, wanted })
    }
}

/// Elements in a shape, the last dimension's next to each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// A shape that does not hold as many elements as there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape:?} is of {}, but there are {got}", .wanted.map_or("too many elements".to_owned(), |n| format!("{n} element(s)")))]
pub struct ShapeMismatch {
    shape: Vec<usize>,
    wanted: Option<usize>,
    got: usize,
}

impl Tensor {
    /// These elements in this shape.
    ///
    /// # Errors
    /// [`ShapeMismatch`]
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self, ShapeMismatch> {
        let wanted = elements_of(&shape);
        if wanted == Some(data.len()) {
            return Ok(Self { shape, data });
        }
        Err(ShapeMismatch {
            wanted,
            got: data.len(),
            shape,
        })
    }

    /// No rows of this shape each.
    pub(super) fn no_rows(element: Element, row: &[usize]) -> Self {
        Self {
            shape: [0].iter().chain(row).copied().collect(),
            data: Data::empty(element),
        }
    }

    /// Zeros, falses or empty texts.
    pub fn filled(element: Element, shape: Vec<usize>) -> Self {
        let count = elements_of(&shape).unwrap_or_default();
        Self {
            data: Data::filled(element, count),
            shape,
        }
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Their type.
    pub fn element(&self) -> Element {
        self.data.element()
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.data.bytes() + size_of_val(self.shape.as_slice())
    }

    /// Its first dimension, if it has any.
    pub fn rows(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// The dimensions of a row.
    pub fn row_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// The place of row `row` among the elements.
    pub(super) fn row_range(&self, row: usize) -> Range<usize> {
        let width: usize = self.row_shape().iter().product();
        row * width..(row + 1) * width
    }

    /// Row `row` without its first dimension.
    pub(super) fn row(&self, row: usize) -> Self {
        Self {
            shape: self.row_shape().to_vec(),
            data: self.data.slice(self.row_range(row)),
        }
    }

    /// These rows, in this order.
    pub(crate) fn select(&self, rows: impl Iterator<Item = usize>) -> Self {
        let mut chosen = Self::no_rows(self.element(), self.row_shape());
        for row in rows {
            chosen.data.extend(&self.data, self.row_range(row));
            chosen.shape[0] += 1;
        }
        chosen
    }

    /// Adds the rows of another one whose rows have the same shape and type.
    pub(super) fn append(&mut self, other: &Self) {
        self.data.extend(&other.data, 0..other.data.len());
        if let (Some(rows), Some(more)) = (self.shape.first_mut(), other.rows()) {
            *rows += more;
        }
    }

    /// Adds one to a tensor of rows.
    ///
    /// # Errors
    /// [`CellError`]: `undo` it.
    pub(super) fn push(&mut self, value: Option<&Value>, list: Option<usize>) -> Result<(), CellError> {
        self.data.push(value, list)
    }

    /// Makes it have `rows` rows, of as many elements as have been pushed, or fewer.
    pub(super) fn set_rows(&mut self, rows: usize) {
        let width: usize = self.row_shape().iter().product();
        self.data.truncate(rows * width);
        if let Some(first) = self.shape.first_mut() {
            *first = rows;
        }
    }

    /// Stacks rows of one shape and type, without a first dimension of their own.
    pub fn stack<'t>(rows: impl Iterator<Item = &'t Self>) -> Option<Self> {
        let mut stacked: Option<Self> = None;
        for row in rows {
            let stack = stacked.get_or_insert_with(|| Self::no_rows(row.element(), &row.shape));
            if stack.row_shape() != row.shape || stack.element() != row.element() {
                return None;
            }
            stack.data.extend(&row.data, 0..row.data.len());
            stack.shape[0] += 1;
        }
        stacked
    }

    /// As the runtime takes it. Texts are copied.
    pub(super) fn to_ort(&self) -> ort::Result<SessionInputValue<'_>> {
        macro_rules! view {
            ($items:expr) => {
                TensorRef::from_array_view((self.shape.as_slice(), $items.as_slice()))?.into()
            };
        }
        Ok(match &self.data {
            Data::Float16(items) => view!(items),
            Data::Float32(items) => view!(items),
            Data::Float64(items) => view!(items),
            Data::Int8(items) => view!(items),
            Data::Int16(items) => view!(items),
            Data::Int32(items) => view!(items),
            Data::Int64(items) => view!(items),
            Data::Uint8(items) => view!(items),
            Data::Uint16(items) => view!(items),
            Data::Uint32(items) => view!(items),
            Data::Uint64(items) => view!(items),
            Data::Bool(items) => view!(items),
            Data::String(items) => OrtTensor::from_string_array((self.shape.as_slice(), items.as_slice()))?.into(),
        })
    }

    /// What the runtime gave.
    ///
    /// # Errors
    /// A sentence if it is not a tensor of a type that we speak.
    pub(super) fn from_ort(value: &DynValue) -> Result<Self, String> {
        macro_rules! take {
            ($variant:ident, $type:ty) => {{
                let (shape, items) = value.try_extract_tensor::<$type>().map_err(|e| e.to_string())?;
                (dimensions(shape)?, Data::$variant(items.to_vec()))
            }};
        }
        let OrtType::Tensor { ty, .. } = value.dtype() else {
            return Err(format!("{} is no tensor", value.dtype()));
        };
        let element = of_ort(*ty).ok_or_else(|| format!("elements of type {ty} are not spoken here"))?;
        let (shape, data) = match element {
            Element::Float16 => take!(Float16, f16),
            Element::Float32 => take!(Float32, f32),
            Element::Float64 => take!(Float64, f64),
            Element::Int8 => take!(Int8, i8),
            Element::Int16 => take!(Int16, i16),
            Element::Int32 => take!(Int32, i32),
            Element::Int64 => take!(Int64, i64),
            Element::Uint8 => take!(Uint8, u8),
            Element::Uint16 => take!(Uint16, u16),
            Element::Uint32 => take!(Uint32, u32),
            Element::Uint64 => take!(Uint64, u64),
            Element::Bool => take!(Bool, bool),
            Element::String => {
                let (shape, texts) = value.try_extract_strings().map_err(|e| e.to_string())?;
                (dimensions(shape)?, Data::String(texts))
            }
        };
        Self::new(shape, data).map_err(|e| e.to_string())
    }
}

fn dimensions(shape: &[i64]) -> Result<Vec<usize>, String> {
    shape
        .iter()
        .map(|d| usize::try_from(*d))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("its shape is {shape:?}"))
}

/// How many elements a shape has; `None` if more than can be counted.
pub fn elements_of(shape: &[usize]) -> Option<usize> {
    // A zero makes it none, however large the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |count, d| count.checked_mul(*d))
}

/// The runtime's element type, if we speak it.
pub(super) const fn of_ort(element: TensorElementType) -> Option<Element> {
    match element {
        TensorElementType::Float16 => Some(Element::Float16),
        TensorElementType::Float32 => Some(Element::Float32),
        TensorElementType::Float64 => Some(Element::Float64),
        TensorElementType::Int8 => Some(Element::Int8),
        TensorElementType::Int16 => Some(Element::Int16),
        TensorElementType::Int32 => Some(Element::Int32),
        TensorElementType::Int64 => Some(Element::Int64),
        TensorElementType::Uint8 => Some(Element::Uint8),
        TensorElementType::Uint16 => Some(Element::Uint16),
        TensorElementType::Uint32 => Some(Element::Uint32),
        TensorElementType::Uint64 => Some(Element::Uint64),
        TensorElementType::Bool => Some(Element::Bool),
        TensorElementType::String => Some(Element::String),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_elements_or_say_why_not() {
        let float = |x: f64| Value::Float64(x);
        let cases = [
            (Element::Float32, Some(float(0.1)), Ok(Data::Float32(vec![0.1]))),
            (
                Element::Float32,
                Some(float(1e300)),
                Err(CellError::Range(Element::Float32)),
            ),
            (Element::Float32, Some(Value::Int64(7)), Ok(Data::Float32(vec![7.0]))),
            (Element::Float64, Some(Value::Bool(true)), Ok(Data::Float64(vec![1.0]))),
            (
                Element::Float16,
                Some(float(70_000.0)),
                Err(CellError::Range(Element::Float16)),
            ),
            (
                Element::Int32,
                Some(Value::Int64(1 << 40)),
                Err(CellError::Range(Element::Int32)),
            ),
            (
                Element::Uint8,
                Some(Value::Int64(-1)),
                Err(CellError::Range(Element::Uint8)),
            ),
            (Element::Int64, None, Err(CellError::Null(Element::Int64))),
            (Element::Int64, Some(float(1.0)), Err(CellError::Type(Element::Int64))),
            (
                Element::String,
                Some(Value::String("a".into())),
                Ok(Data::String(vec!["a".into()])),
            ),
            // A category that is a number for us and a text for the model.
            (
                Element::String,
                Some(Value::Int64(-7)),
                Ok(Data::String(vec!["-7".into()])),
            ),
            (Element::String, Some(Value::String("a\0".into())), Err(CellError::Nul)),
        ];
        for (element, value, expected) in cases {
            let mut data = Data::empty(element);
            let outcome = data.push(value.as_ref(), None).map(|()| data);
            assert_eq!(outcome, expected, "{element:?} {value:?}");
        }
    }

    #[test]
    fn lists_have_the_length_that_the_model_takes() {
        let list = Value::Float32List(vec![1.0, 2.0]);
        let pushed = |element: Element, value: Option<&Value>, count| {
            let mut data = Data::empty(element);
            data.push(value, Some(count)).map(|()| data)
        };
        assert_eq!(
            pushed(Element::Float64, Some(&list), 2),
            Ok(Data::Float64(vec![1.0, 2.0]))
        );
        assert_eq!(
            pushed(Element::Float32, Some(&list), 3),
            Err(CellError::Length { got: 2, wanted: 3 })
        );
        assert_eq!(pushed(Element::Float32, None, 3).map(|d| d.len()), Ok(3));
        let number = Value::Int64(1);
        assert_eq!(
            pushed(Element::Int64, Some(&number), 1),
            Err(CellError::Type(Element::Int64))
        );
    }

    #[test]
    fn a_null_and_every_nan_is_one_input() {
        let odd = f64::from_bits(0x7ff8_0000_0000_0001);
        let key = |value: Option<Value>| {
            let mut data = Data::empty(Element::Float32);
            data.push(value.as_ref(), None).unwrap();
            let mut bytes = Vec::new();
            data.key_bytes(0..1, &mut bytes);
            bytes
        };
        let null = key(None);
        for nan in [Value::Float64(odd), Value::Float32(-f32::NAN)] {
            assert_eq!(key(Some(nan)), null);
        }
        assert_ne!(key(Some(Value::Float64(-0.0))), key(Some(Value::Float64(0.0))));
    }

    #[test]
    fn rows_are_chosen_appended_and_stacked() {
        let tensor = Tensor::new(vec![3, 2], Data::Int64(vec![1, 2, 3, 4, 5, 6])).unwrap();
        let mut chosen = tensor.select([2, 0].into_iter());
        assert_eq!(chosen, Tensor::new(vec![2, 2], Data::Int64(vec![5, 6, 1, 2])).unwrap());
        chosen.append(&tensor.select([1].into_iter()));
        assert_eq!(chosen.shape(), [3, 2]);
        let rows: Vec<Tensor> = (0..3).map(|i| tensor.row(i)).collect();
        assert_eq!(rows[1].shape(), [2]);
        assert_eq!(Tensor::stack(rows.iter()), Some(tensor));
        assert_eq!(Tensor::stack([&rows[0], &chosen].into_iter()), None);
    }

    #[test]
    fn a_shape_holds_what_it_says() {
        assert!(Tensor::new(vec![], Data::Bool(vec![true])).is_ok(), "a scalar");
        assert!(Tensor::new(vec![0, usize::MAX], Data::Int8(vec![])).is_ok());
        let message = |shape: Vec<usize>| Tensor::new(shape, Data::Int8(vec![1])).unwrap_err().to_string();
        assert_eq!(message(vec![2]), "shape [2] is of 2 element(s), but there are 1");
        assert_eq!(
            message(vec![usize::MAX, 2]),
            format!("shape [{}, 2] is of too many elements, but there are 1", usize::MAX)
        );
    }
}
