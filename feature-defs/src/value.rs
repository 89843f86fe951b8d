//! Typed values, and their way in from and out to JSON and text. Null is `None` around a [`Value`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::time::Timestamp;

/// The type of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// true or false
    Bool,
    /// signed 64-bit integer
    Int64,
    /// IEEE 754 single
    Float32,
    /// IEEE 754 double
    Float64,
    /// UTF-8 text
    String,
    /// raw bytes; base 16 in JSON and text
    Bytes,
    /// a moment; RFC 3339 in JSON and text
    Timestamp,
    /// list of singles, without nulls
    Float32List,
    /// list of integers, without nulls
    Int64List,
    /// list of texts, without nulls
    StringList,
}

impl ValueType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Bool,
        Self::Int64,
        Self::Float32,
        Self::Float64,
        Self::String,
        Self::Bytes,
        Self::Timestamp,
        Self::Float32List,
        Self::Int64List,
        Self::StringList,
    ];

    /// Its name in definition files: `float32`, `int64_list`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Float32List => "float32_list",
            Self::Int64List => "int64_list",
            Self::StringList => "string_list",
        }
    }

    /// Whether expressions can calculate with it.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Int64 | Self::Float32 | Self::Float64)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ValueType {
    type Err = UnknownType;
    fn from_str(text: &str) -> Result<Self, UnknownType> {
        Self::ALL
            .into_iter()
            .find(|t| t.name() == text)
            .ok_or_else(|| UnknownType(text.to_owned()))
    }
}

/// A text that names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a type")]
pub struct UnknownType(pub String);

/// A float from where features are kept: of the two zeros there is one, for they tie where a source's rows are sorted, and which
/// of them came first must not show.
pub fn one_zero<T: Add<Output = T> + Default>(x: T) -> T {
    // The sum of -0 and 0 is 0.
    x + T::default()
}

/// A value that is there. Equality of floats is by bits, so that a value equals itself.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each variant holds what the ValueType of its name says")]
pub enum Value {
    Bool(bool),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    String(String),
    Bytes(Vec<u8>),
    Timestamp(Timestamp),
    Float32List(Vec<f32>),
    Int64List(Vec<i64>),
    StringList(Vec<String>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int64(a), Self::Int64(b)) => a == b,
            (Self::Float32(a), Self::Float32(b)) => a.to_bits() == b.to_bits(),
            (Self::Float64(a), Self::Float64(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Float32List(a), Self::Float32List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
            }
            (Self::Int64List(a), Self::Int64List(b)) => a == b,
            (Self::StringList(a), Self::StringList(b)) => a == b,
            _ => false,
        }
    }
}

/// A value where it lies: in a [`Value`], or in the bytes that it came in.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each variant holds what the ValueType of its name says")]
pub enum ValueRef<'a> {
    Bool(bool),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    String(&'a str),
    Bytes(&'a [u8]),
    Timestamp(Timestamp),
    /// A list of any type.
    List(Cow<'a, Value>),
}

impl ValueRef<'_> {
    /// Its type.
    #[inline]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Bool(_) => ValueType::Bool,
            Self::Int64(_) => ValueType::Int64,
            Self::Float32(_) => ValueType::Float32,
            Self::Float64(_) => ValueType::Float64,
            Self::String(_) => ValueType::String,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Timestamp(_) => ValueType::Timestamp,
            Self::List(list) => list.value_type(),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int64(i) => Self::Int64(*i),
            Value::Float32(x) => Self::Float32(*x),
            Value::Float64(x) => Self::Float64(*x),
            Value::String(s) => Self::String(s),
            Value::Bytes(b) => Self::Bytes(b),
            Value::Timestamp(t) => Self::Timestamp(*t),
            Value::Float32List(_) | Value::Int64List(_) | Value::StringList(_) => Self::List(Cow::Borrowed(value)),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Bool(b) => Self::Bool(b),
            ValueRef::Int64(i) => Self::Int64(i),
            ValueRef::Float32(x) => Self::Float32(x),
            ValueRef::Float64(x) => Self::Float64(x),
            ValueRef::String(s) => Self::String(s.to_owned()),
            ValueRef::Bytes(b) => Self::Bytes(b.to_vec()),
            ValueRef::Timestamp(t) => Self::Timestamp(t),
            ValueRef::List(list) => list.into_owned(),
        }
    }
}

/// A value that does not have the type asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got}")]
pub struct WrongType {
    /// The type asked for.
    pub expected: ValueType,
    /// What came instead, shortened for a message.
    pub got: String,
}

impl Value {
    /// The value's type.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Bool(_) => ValueType::Bool,
            Self::Int64(_) => ValueType::Int64,
            Self::Float32(_) => ValueType::Float32,
            Self::Float64(_) => ValueType::Float64,
            Self::String(_) => ValueType::String,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Timestamp(_) => ValueType::Timestamp,
            Self::Float32List(_) => ValueType::Float32List,
            Self::Int64List(_) => ValueType::Int64List,
            Self::StringList(_) => ValueType::StringList,
        }
    }

    /// Reads JSON strictly: no text for numbers, no fraction for an integer, no number too large for its type. A whole
    /// number is a float too. JSON null is `None`.
    ///
    /// # Errors
    /// [`WrongType`] with the offending JSON.
    pub fn from_json(expected: ValueType, json: &Json) -> Result<Option<Self>, WrongType> {
        if json.is_null() {
            return Ok(None);
        }
        let value = match (expected, json) {
            (ValueType::Bool, Json::Bool(b)) => Some(Self::Bool(*b)),
            (ValueType::Int64, Json::Number(n)) => n.as_i64().map(Self::Int64),
            (ValueType::Float32, Json::Number(n)) => n.as_f64().and_then(single).map(Self::Float32),
            (ValueType::Float64, Json::Number(n)) => n.as_f64().map(Self::Float64),
            (ValueType::String, Json::String(s)) => Some(Self::String(s.clone())),
            (ValueType::Bytes, Json::String(s)) => from_hex(s).map(Self::Bytes),
            (ValueType::Timestamp, Json::String(s)) => s.parse().ok().map(Self::Timestamp),
            (ValueType::Float32List, Json::Array(items)) => items
                .iter()
                .map(|i| i.as_f64().and_then(single))
                .collect::<Option<_>>()
                .map(Self::Float32List),
            (ValueType::Int64List, Json::Array(items)) => items
                .iter()
                .map(Json::as_i64)
                .collect::<Option<_>>()
                .map(Self::Int64List),
            (ValueType::StringList, Json::Array(items)) => items
                .iter()
                .map(|i| i.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self::StringList),
            _ => None,
        };
        value.map(Some).ok_or_else(|| WrongType {
            expected,
            got: shorten(&json.to_string()),
        })
    }

    /// As JSON. NaN and infinity, which JSON lacks, are null.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Bool(b) => json!(b),
            Self::Int64(i) => json!(i),
            Self::Float32(x) => single_json(*x),
            Self::Float64(x) => json!(x),
            Self::String(s) => json!(s),
            Self::Bytes(b) => json!(to_hex(b)),
            Self::Timestamp(t) => json!(t.to_string()),
            Self::Float32List(items) => items.iter().copied().map(single_json).collect(),
            Self::Int64List(items) => json!(items),
            Self::StringList(items) => json!(items),
        }
    }

    /// Reads the text of a CSV cell or a command line argument. Text in quotes-free form is taken as it is; lists are
    /// JSON arrays. The empty text is null, but for strings and bytes, whose empty value it is.
    ///
    /// # Errors
    /// [`WrongType`] with the offending text.
    pub fn from_text(expected: ValueType, text: &str) -> Result<Option<Self>, WrongType> {
        let wrong = || WrongType {
            expected,
            got: shorten(&format!("{text:?}")),
        };
        let value = match expected {
            ValueType::String => Some(Self::String(text.to_owned())),
            ValueType::Bytes => from_hex(text).map(Self::Bytes),
            _ if text.is_empty() => return Ok(None),
            ValueType::Bool => match text {
                "true" | "t" | "1" => Some(Self::Bool(true)),
                "false" | "f" | "0" => Some(Self::Bool(false)),
                _ => None,
            },
            ValueType::Int64 => text.parse().ok().map(Self::Int64),
            ValueType::Float32 => text.parse().ok().filter(|x: &f32| x.is_finite()).map(Self::Float32),
            ValueType::Float64 => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Self::Float64),
            ValueType::Timestamp => text.parse().ok().map(Self::Timestamp),
            ValueType::Float32List | ValueType::Int64List | ValueType::StringList => {
                let json = serde_json::from_str(text).map_err(|_| wrong())?;
                return Self::from_json(expected, &json);
            }
        };
        value.map(Some).ok_or_else(wrong)
    }

    /// As the text of a CSV cell: what [`Value::from_text`] reads back.
    pub fn to_text(&self) -> String {
        match self {
            Self::String(s) => s.clone(),
            other => match other.to_json() {
                Json::String(text) => text,
                json => json.to_string(),
            },
        }
    }

    /// The number in it, for calculating and for float tensors: booleans are 0 and 1, integers beyond 2^53 round.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            #[expect(clippy::cast_precision_loss, reason = "float tensors hold no more")]
            Self::Int64(i) => Some(*i as f64),
            Self::Float32(x) => Some(f64::from(*x)),
            Self::Float64(x) => Some(*x),
            _ => None,
        }
    }
}

/// A double as a single, unless it is out of range.
fn single(x: f64) -> Option<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to single is what a float32 feature means"
    )]
    let narrow = x as f32;
    narrow.is_finite().then_some(narrow)
}

/// The shortest decimal that reads back as this single, rather than the digits of the double next to it.
fn single_json(x: f32) -> Json {
    x.to_string().parse::<f64>().map_or(Json::Null, |x| json!(x))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok())
        .collect()
}

/// At most 60 characters of what a user sent, for an error message.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(57).chain("...".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_strictly() {
        let bad = [
            (ValueType::Int64, json!("5")),
            (ValueType::Int64, json!(5.5)),
            (ValueType::Int64, json!(u64::MAX)),
            (ValueType::Float32, json!(1e39)),
            (ValueType::Float64, json!("NaN")),
            (ValueType::Bool, json!(1)),
            (ValueType::String, json!(1)),
            (ValueType::Timestamp, json!(1)),
            (ValueType::Bytes, json!("abc")),
            (ValueType::Int64List, json!([1, null])),
            (ValueType::Float64, json!({"a": 1})),
        ];
        for (expected, json) in bad {
            assert!(Value::from_json(expected, &json).is_err(), "{expected} {json}");
        }
        assert_eq!(
            Value::from_json(ValueType::Float64, &json!(5)),
            Ok(Some(Value::Float64(5.0)))
        );
        assert_eq!(Value::from_json(ValueType::Int64, &Json::Null), Ok(None));
    }

    #[test]
    fn json_and_text_read_back() {
        let values = [
            Value::Bool(true),
            Value::Int64(i64::MIN),
            Value::Float32(0.1),
            Value::Float64(0.1 + 0.2),
            Value::Float64(-0.0),
            Value::String("a, \"b\"".into()),
            Value::Bytes(vec![0, 255]),
            Value::Timestamp(Timestamp::from_micros(-1)),
            Value::Float32List(vec![0.1, -3.0]),
            Value::Int64List(vec![]),
            Value::StringList(vec!["ü".into(), String::new()]),
        ];
        for value in values {
            let expected = value.value_type();
            assert_eq!(Value::from_json(expected, &value.to_json()), Ok(Some(value.clone())));
            assert_eq!(Value::from_text(expected, &value.to_text()), Ok(Some(value)));
        }
        assert_eq!(Value::Float64(f64::NAN).to_json(), Json::Null);
        assert_eq!(Value::Float32(0.1).to_json().to_string(), "0.1");
    }
}
