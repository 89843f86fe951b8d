//! Tests of expressions: their values, their errors, and random texts.

mod errors;
mod random;
mod values;

use super::*;

/// The variables of these tests: name, type, value.
fn variables() -> Vec<(&'static str, ValueType, Option<Value>)> {
    let time = |text: &str| Some(Value::Timestamp(text.parse().unwrap()));
    vec![
        ("i", ValueType::Int64, Some(Value::Int64(7))),
        ("f", ValueType::Float64, Some(Value::Float64(2.5))),
        ("g", ValueType::Float32, Some(Value::Float32(0.5))),
        ("s", ValueType::String, Some(Value::String("UA".into()))),
        ("b", ValueType::Bool, Some(Value::Bool(true))),
        ("v.f", ValueType::Float64, Some(Value::Float64(-1.0))),
        ("v.t", ValueType::Timestamp, time("2013-03-10T06:30:00Z")),
        ("v.i_null", ValueType::Int64, None),
        ("v.f_null", ValueType::Float64, None),
        ("v.s_null", ValueType::String, None),
        ("v.b_null", ValueType::Bool, None),
        ("v.t_null", ValueType::Timestamp, None),
        ("v.nan", ValueType::Float64, Some(Value::Float64(f64::NAN))),
        ("v.infinite", ValueType::Float32, Some(Value::Float32(f32::INFINITY))),
        ("v.least", ValueType::Int64, Some(Value::Int64(i64::MIN))),
        ("v.most", ValueType::Int64, Some(Value::Int64(i64::MAX))),
        ("v.bytes", ValueType::Bytes, Some(Value::Bytes(vec![1]))),
        ("v.list_null", ValueType::Int64List, None),
        ("v.wrong", ValueType::Int64, Some(Value::Bool(true))),
    ]
}

fn resolve(name: &str) -> Option<(Origin, ValueType)> {
    let (index, (_, value_type, _)) = variables().into_iter().enumerate().find(|(_, (n, _, _))| *n == name)?;
    Some((Origin::Request { index }, value_type))
}

fn value_of(origin: Origin) -> Option<Value> {
    match origin {
        Origin::Request { index } => variables().swap_remove(index).2,
        _ => Some(Value::Timestamp("2013-11-05T16:30:00Z".parse().unwrap())),
    }
}

fn compile(text: &str, expected: ValueType) -> Result<Expression, Vec<ExpressionError>> {
    Parsed::parse(text)?.check(&resolve, expected)
}

#[test]
fn variables_are_named_once_and_request_time_is_not_among_them() {
    let parsed = Parsed::parse("has(a.b) && x in [1] ? coalesce(y, a.b) : -(request_time - z.t)").unwrap();
    assert_eq!(parsed.variables(), ["a.b", "x", "y", "z.t"]);
}

#[test]
fn expressions_are_shared_between_threads() {
    fn assert_shared<T: std::fmt::Debug + Clone + Send + Sync + 'static>() {}
    assert_shared::<Expression>();
    assert_shared::<Parsed>();
}

#[test]
fn origins_are_what_it_reads() {
    let expression = compile("has(v.bytes) ? f + f : v.f - (request_time - v.t)", ValueType::Float64).unwrap();
    let expected: Vec<Origin> = ["v.bytes", "f", "v.f", "v.t"]
        .iter()
        .map(|name| resolve(name).unwrap().0)
        .collect();
    assert_eq!(expression.origins(), expected);
}
