//! The element types of tensors, and what values of features become in them.

use feature_defs::value::{Value, ValueType};

/// The element types of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "ONNX's own names")]
pub enum Element {
    Float16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Bool,
    String,
}

impl Element {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Bool,
        Self::String,
    ];

    /// Its name in files, messages and cache keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Bool => "bool",
            Self::String => "string",
        }
    }

    /// Its name in the Open Inference Protocol.
    pub const fn datatype(self) -> &'static str {
        match self {
            Self::Float16 => "FP16",
            Self::Float32 => "FP32",
            Self::Float64 => "FP64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Bool => "BOOL",
            Self::String => "BYTES",
        }
    }

    /// The type of this name in the Open Inference Protocol.
    pub fn of_datatype(datatype: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.datatype() == datatype)
    }

    /// The bytes of one element, but for texts, which have as many as they have.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => Some(1),
            Self::Float16 | Self::Int16 | Self::Uint16 => Some(2),
            Self::Float32 | Self::Int32 | Self::Uint32 => Some(4),
            Self::Float64 | Self::Int64 | Self::Uint64 => Some(8),
            Self::String => None,
        }
    }

    /// Whether it has a NaN to stand for null.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }

    const fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::String)
    }

    /// Whether every value of `value_type` means the same in it (but for the width of numbers). A category that is a whole
    /// number may be a text for the model.
    pub const fn takes(self, value_type: ValueType) -> bool {
        match value_type {
            ValueType::Bool => !matches!(self, Self::String),
            ValueType::Int64 => !matches!(self, Self::Bool),
            ValueType::Float32 | ValueType::Float64 | ValueType::Float32List => self.is_float(),
            ValueType::Int64List => self.is_float() || self.is_integer(),
            ValueType::String | ValueType::StringList => matches!(self, Self::String),
            ValueType::Bytes | ValueType::Timestamp => false,
        }
    }

    /// The type of an output of this element; none of those that no value has.
    pub const fn value_type(self) -> ValueType {
        match self {
            Self::Float16 | Self::Float32 => ValueType::Float32,
            // The largest unsigned ones are no whole number of ours.
            Self::Float64 | Self::Uint64 => ValueType::Float64,
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 | Self::Uint8 | Self::Uint16 | Self::Uint32 => {
                ValueType::Int64
            }
            Self::Bool => ValueType::Bool,
            Self::String => ValueType::String,
        }
    }
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
    /// A list of another length.
    #[error("a list of {got} item(s), where the model takes {wanted}")]
    Length {
        /// How many there are.
        got: usize,
        /// How many the model takes.
        wanted: usize,
    },
    /// A text with a NUL in it, which the runtime's texts end at.
    #[error("a text that holds a NUL")]
    Nul,
}

/// The single that `x` is; every NaN is the same one.
pub(super) fn single(x: f64) -> Result<f32, CellError> {
    if x.is_nan() {
        return Ok(f32::NAN);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to single is what a float32 tensor means"
    )]
    let narrow = x as f32;
    if narrow.is_finite() || x.is_infinite() {
        Ok(narrow)
    } else {
        Err(CellError::Range(Element::Float32))
    }
}

/// The half that `x` is.
pub(super) fn half(x: f64) -> Result<half::f16, CellError> {
    if x.is_nan() {
        return Ok(half::f16::NAN);
    }
    let narrow = half::f16::from_f64(x);
    if narrow.is_finite() || x.is_infinite() {
        Ok(narrow)
    } else {
        Err(CellError::Range(Element::Float16))
    }
}

/// The double that `value` is.
pub(super) fn double(element: Element, value: &Value) -> Result<f64, CellError> {
    let x = value.as_f64().ok_or(CellError::Type(element))?;
    Ok(if x.is_nan() { f64::NAN } else { x })
}

/// The whole number that `value` is.
pub(super) fn whole<T: TryFrom<i64>>(element: Element, value: &Value) -> Result<T, CellError> {
    let number = match value {
        Value::Int64(i) => *i,
        Value::Bool(b) => i64::from(*b),
        _ => return Err(CellError::Type(element)),
    };
    number.try_into().map_err(|_| CellError::Range(element))
}

/// The text that `value` is.
pub(super) fn text(value: &Value) -> Result<String, CellError> {
    match value {
        Value::String(s) if s.contains('\0') => Err(CellError::Nul),
        Value::String(s) => Ok(s.clone()),
        Value::Int64(i) => Ok(i.to_string()),
        _ => Err(CellError::Type(Element::String)),
    }
}
