//! The checked form of an expression, and its evaluation. Trees of numbers evaluate without allocating.

use std::borrow::Cow;
use std::cmp::Ordering;

use chrono_tz::Tz;

use crate::definitions::Origin;
use crate::time::Timestamp;
use crate::value::{Value, ValueType};

use super::functions::{LocalPart, MathFunction, great_circle_km};
use super::syntax::{Arithmetic, Comparison};

/// The types that expressions calculate with. Float is both float types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Time,
}

impl Kind {
    /// How expressions calculate with `value_type`, if they do.
    pub(super) const fn of(value_type: ValueType) -> Option<Self> {
        Some(match value_type {
            ValueType::Bool => Self::Bool,
            ValueType::Int64 => Self::Int,
            ValueType::Float32 | ValueType::Float64 => Self::Float,
            ValueType::String => Self::Text,
            ValueType::Timestamp => Self::Time,
            ValueType::Bytes | ValueType::Float32List | ValueType::Int64List | ValueType::StringList => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int64",
            Self::Float => "float64",
            Self::Text => "string",
            Self::Time => "timestamp",
        }
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }
}

/// What a node gives, when it is not null. Floats are finite.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Time(Timestamp),
}

/// A checked tree: the checker has put conversions where numbers promote, so that both sides of an operator have the
/// same type. Names of variants are those of the language.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Code {
    Null,
    Literal(Scalar<'static>),
    Variable(Origin, Kind),
    /// `has` of a variable that expressions can't calculate with
    HasOpaque(Origin),
    Has(Box<Code>),
    IntToFloat(Box<Code>),
    FloatToInt(Box<Code>),
    Not(Box<Code>),
    Negate(Box<Code>),
    Arithmetic(Arithmetic, Box<[Code; 2]>),
    Compare(Comparison, Box<[Code; 2]>),
    In(Box<Code>, Vec<Scalar<'static>>),
    And(Box<[Code; 2]>),
    Or(Box<[Code; 2]>),
    If(Box<[Code; 3]>),
    Coalesce(Vec<Code>),
    /// The argument that compares so with all others: `min` is Less, `max` is Greater.
    Extreme(Ordering, Vec<Code>),
    Abs(Box<Code>),
    Math(MathFunction, Box<Code>),
    Local(LocalPart, Tz, Box<Code>),
    GreatCircle(Box<[Code; 4]>),
}

impl Scalar<'_> {
    /// The float as a scalar; null if it is none or infinite.
    fn finite(x: f64) -> Option<Self> {
        x.is_finite().then_some(Self::Float(x))
    }

    /// As a value of the type the expression was checked for.
    pub(super) fn into_value(self, expected: ValueType) -> Option<Value> {
        match (self, expected) {
            (Self::Bool(b), ValueType::Bool) => Some(Value::Bool(b)),
            (Self::Int(i), ValueType::Int64) => Some(Value::Int64(i)),
            (Self::Float(x), ValueType::Float64) => Some(Value::Float64(x)),
            (Self::Float(x), ValueType::Float32) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "rounding is what a float32 result asks for"
                )]
                let narrow = x as f32;
                narrow.is_finite().then_some(Value::Float32(narrow))
            }
            (Self::Text(s), ValueType::String) => Some(Value::String(s.into_owned())),
            (Self::Time(t), ValueType::Timestamp) => Some(Value::Timestamp(t)),
            _ => None,
        }
    }

    fn truth(self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(b),
            _ => None,
        }
    }

    fn int(self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(i),
            _ => None,
        }
    }

    fn float(self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(x),
            _ => None,
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// What `code` gives, with `value_of` for its variables.
pub(super) fn evaluate<'a, F>(code: &'a Code, value_of: &F) -> Option<Scalar<'a>>
where
    F: Fn(Origin) -> Option<Value>,
{
    let eval = |code: &'a Code| evaluate(code, value_of);
    match code {
        Code::Null => None,
        Code::Literal(literal) => Some(borrow(literal)),
        Code::Variable(origin, kind) => read(value_of(*origin)?, *kind),
        Code::HasOpaque(origin) => Some(Scalar::Bool(value_of(*origin).is_some())),
        Code::Has(of) => Some(Scalar::Bool(eval(of).is_some())),
        Code::IntToFloat(of) => eval(of)?.int().map(|i| Scalar::Float(to_float(i))),
        Code::FloatToInt(of) => to_int(eval(of)?.float()?).map(Scalar::Int),
        Code::Not(of) => eval(of)?.truth().map(|b| Scalar::Bool(!b)),
        Code::Negate(of) => match eval(of)? {
            Scalar::Int(i) => i.checked_neg().map(Scalar::Int),
            Scalar::Float(x) => Some(Scalar::Float(-x)),
            _ => None,
        },
        Code::Arithmetic(operator, of) => arithmetic(*operator, eval(&of[0])?, eval(&of[1])?),
        Code::Compare(comparison, of) => eval(&of[0])?
            .compare(&eval(&of[1])?)
            .map(|o| Scalar::Bool(holds(*comparison, o))),
        Code::In(of, list) => {
            let item = eval(of)?;
            Some(Scalar::Bool(
                list.iter().any(|other| item.compare(other) == Some(Ordering::Equal)),
            ))
        }
        Code::And(of) => either(false, of, eval),
        Code::Or(of) => either(true, of, eval),
        Code::If(of) => {
            if eval(&of[0])?.truth()? {
                eval(&of[1])
            } else {
                eval(&of[2])
            }
        }
        Code::Coalesce(of) => of.iter().find_map(eval),
        Code::Extreme(wanted, of) => {
            let (first, rest) = of.split_first()?;
            rest.iter().try_fold(eval(first)?, |best, next| {
                let next = eval(next)?;
                Some(if next.compare(&best)? == *wanted { next } else { best })
            })
        }
        Code::Abs(of) => match eval(of)? {
            Scalar::Int(i) => i.checked_abs().map(Scalar::Int),
            Scalar::Float(x) => Some(Scalar::Float(x.abs())),
            _ => None,
        },
        Code::Math(function, of) => Scalar::finite(function.apply(eval(of)?.float()?)),
        Code::Local(part, zone, of) => match eval(of)? {
            Scalar::Time(at) => part.of(at, *zone).map(Scalar::Int),
            _ => None,
        },
        Code::GreatCircle(of) => {
            let mut degrees = [0.0; 4];
            for (degree, code) in degrees.iter_mut().zip(of.iter()) {
                *degree = eval(code)?.float()?;
            }
            great_circle_km(degrees).and_then(Scalar::finite)
        }
    }
}

/// The literal without copying its text.
fn borrow<'a>(literal: &'a Scalar<'static>) -> Scalar<'a> {
    match literal {
        Scalar::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        other => other.clone(),
    }
}

/// What a variable's value counts as.
fn read(value: Value, kind: Kind) -> Option<Scalar<'static>> {
    match (kind, value) {
        (Kind::Bool, Value::Bool(b)) => Some(Scalar::Bool(b)),
        (Kind::Int, Value::Int64(i)) => Some(Scalar::Int(i)),
        (Kind::Float, Value::Float32(x)) => Scalar::finite(f64::from(x)),
        (Kind::Float, Value::Float64(x)) => Scalar::finite(x),
        (Kind::Text, Value::String(s)) => Some(Scalar::Text(Cow::Owned(s))),
        (Kind::Time, Value::Timestamp(t)) => Some(Scalar::Time(t)),
        _ => None,
    }
}

/// Kleene's `&&` (`decides` is false) and `||` (true): the deciding value wins over null, null over the other.
fn either<'a>(decides: bool, of: &'a [Code; 2], eval: impl Fn(&'a Code) -> Option<Scalar<'a>>) -> Option<Scalar<'a>> {
    let decided = Some(Scalar::Bool(decides));
    let left = eval(&of[0]);
    if left == decided {
        return decided;
    }
    let right = eval(&of[1]);
    if right == decided { decided } else { left.and(right) }
}

fn arithmetic<'a>(operator: Arithmetic, left: Scalar<'a>, right: Scalar<'a>) -> Option<Scalar<'a>> {
    match (left, right) {
        (Scalar::Int(a), Scalar::Int(b)) => match operator {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Remainder => a.checked_rem(b),
        }
        .map(Scalar::Int),
        (Scalar::Float(a), Scalar::Float(b)) => Scalar::finite(match operator {
            Arithmetic::Add => a + b,
            Arithmetic::Subtract => a - b,
            Arithmetic::Multiply => a * b,
            Arithmetic::Divide => a / b,
            Arithmetic::Remainder => a % b,
        }),
        (Scalar::Text(a), Scalar::Text(b)) => Some(Scalar::Text(a + b)),
        (Scalar::Time(a), Scalar::Time(b)) => a
            .as_micros()
            .checked_sub(b.as_micros())
            .map(|micros| Scalar::Float(to_float(micros) / 1e6)),
        (Scalar::Time(at), Scalar::Float(seconds)) => {
            let micros = to_int((seconds * 1e6).round())?;
            let moved = match operator {
                Arithmetic::Subtract => at.as_micros().checked_sub(micros),
                _ => at.as_micros().checked_add(micros),
            };
            moved.map(|micros| Scalar::Time(Timestamp::from_micros(micros)))
        }
        _ => None,
    }
}

const fn holds(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

/// Integers beyond 2^53 round.
#[expect(
    clippy::cast_precision_loss,
    reason = "promotion to float64 is what the language says"
)]
pub(super) const fn to_float(i: i64) -> f64 {
    i as f64
}

/// The integer next to `x` towards zero; null outside int64.
fn to_int(x: f64) -> Option<i64> {
    // The ends of int64 as floats: -2^63 is one of its numbers, 2^63 is not.
    const END: f64 = 9_223_372_036_854_775_808.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in range, a fraction is dropped on purpose"
    )]
    (-END..END).contains(&x).then_some(x as i64)
}
