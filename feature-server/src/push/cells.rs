//! Cells of pushed rows: JSON that a column can hold, as Postgres reads it.

use feature_defs::time::{InvalidTimestamp, Timestamp};
use feature_defs::value::{Value, ValueType};
use serde_json::Value as Json;

use super::error::shortened;
use crate::source::{ColumnType, TableColumn};

/// How floats that are no numbers are spelled.
const NO_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// What is given for a column that features read as these types, as Postgres reads it. Null is null.
///
/// # Errors
/// What is expected.
pub(super) fn cell(column: &TableColumn, reads: &[ValueType], json: &Json) -> Result<Json, String> {
    if json.is_null() {
        return Ok(Json::Null);
    }
    let single = reads
        .iter()
        .any(|t| matches!(t, ValueType::Float32 | ValueType::Float32List));
    let item = column.type_name.trim_end_matches("[]");
    match column.kind {
        ColumnType::Bool => typed(ValueType::Bool, json),
        ColumnType::Int => integer(item, json),
        ColumnType::Float => float(item, single, json),
        ColumnType::Text | ColumnType::PaddedText | ColumnType::Uuid => text(json),
        ColumnType::Bytes => match (typed(ValueType::Bytes, json)?, json) {
            (_, Json::String(hex)) => Ok(Json::String(format!("\\x{hex}"))),
            (other, _) => Ok(other),
        },
        ColumnType::Timestamp => moment(json).map(|at| Json::String(at.to_string())),
        ColumnType::FloatList => list(reads, json, |json| float(item, single, json)),
        ColumnType::IntList => list(reads, json, |json| integer(item, json)),
        ColumnType::TextList => list(reads, json, text),
        // Only Postgres knows.
        ColumnType::LocalTimestamp | ColumnType::Ordered | ColumnType::Other => Ok(json.clone()),
    }
}

/// A moment: RFC 3339, or without a zone, which is UTC then.
///
/// # Errors
/// Anything else. A number has no unit that everybody agrees on.
pub(super) fn moment(json: &Json) -> Result<Timestamp, String> {
    match json {
        Json::String(text) => {
            Timestamp::from_text_in_utc(text).map_err(|_| InvalidTimestamp(shortened(text)).to_string())
        }
        Json::Number(number) => Err(format!(
            "{number} is no time: is it seconds, or milliseconds? Write RFC 3339, such as 2013-11-05T16:30:00Z"
        )),
        other => Err(expected(ValueType::Timestamp, other)),
    }
}

/// A feature's value as it is given. NaN is how floats spell "no value".
///
/// # Errors
/// What is expected.
pub(super) fn feature(value_type: ValueType, json: &Json) -> Result<Option<Value>, String> {
    let no_number = |text: &str| {
        NO_NUMBERS
            .contains(&text)
            .then(|| text.parse::<f64>().unwrap_or(f64::NAN))
    };
    match (value_type, json) {
        (ValueType::Timestamp, json) if !json.is_null() => moment(json).map(|at| Some(Value::Timestamp(at))),
        (ValueType::Float64, Json::String(text)) if let Some(x) = no_number(text) => {
            Ok((!x.is_nan()).then_some(Value::Float64(x)))
        }
        (ValueType::Float32, Json::String(text)) if let Some(x) = no_number(text) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "infinities and NaN are in every float type"
            )]
            let x = x as f32;
            Ok((!x.is_nan()).then_some(Value::Float32(x)))
        }
        _ => Value::from_json(value_type, json).map_err(|error| error.to_string()),
    }
}

fn typed(value_type: ValueType, json: &Json) -> Result<Json, String> {
    Value::from_json(value_type, json)
        .map(|_| json.clone())
        .map_err(|error| error.to_string())
}

fn expected(value_type: ValueType, json: &Json) -> String {
    match Value::from_json(value_type, json) {
        Err(error) => error.to_string(),
        Ok(_) => format!("expected {value_type}"),
    }
}

fn text(json: &Json) -> Result<Json, String> {
    match json {
        Json::String(text) if text.contains('\0') => {
            Err("a text with a zero character in it, which Postgres cannot hold".into())
        }
        _ => typed(ValueType::String, json),
    }
}

fn integer(type_name: &str, json: &Json) -> Result<Json, String> {
    let Some(number) = json.as_i64() else {
        return Err(expected(ValueType::Int64, json));
    };
    let fits = match type_name {
        "int2" => i16::try_from(number).is_ok(),
        "int4" => i32::try_from(number).is_ok(),
        _ => true,
    };
    match fits {
        true => Ok(json.clone()),
        false => Err(format!("{number} is out of the range of {type_name}")),
    }
}

/// `single`: whether features read it as a float32, which Postgres refuses to make of what is too large or small for one,
/// in every run of their views.
fn float(type_name: &str, single: bool, json: &Json) -> Result<Json, String> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) if NO_NUMBERS.contains(&text.as_str()) => return Ok(json.clone()),
        // A numeric has digits that no JSON reader keeps.
        Json::String(text) if type_name == "numeric" => text.parse().ok().filter(|x: &f64| x.is_finite()),
        _ => None,
    };
    let Some(number) = number else {
        return Err(expected(ValueType::Float64, json));
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whether it can be a single is the question"
    )]
    let narrow = number as f32;
    let fits = narrow.is_finite() && (narrow != 0.0 || number == 0.0);
    match fits || !(single || type_name == "float4") {
        true => Ok(json.clone()),
        false => Err(format!("{json} is out of the range of float32")),
    }
}

/// A list as features hold them, if they read it: without nulls, and of one dimension.
fn list(reads: &[ValueType], json: &Json, item: impl Fn(&Json) -> Result<Json, String>) -> Result<Json, String> {
    let Json::Array(items) = json else {
        return Err(format!("expected a list, got {}", kind(json)));
    };
    let items = items.iter().map(|json| match json {
        Json::Null if reads.is_empty() => Ok(Json::Null),
        Json::Null => Err("a list with a null in it, which a feature cannot hold".to_owned()),
        json => item(json),
    });
    items.collect::<Result<_, _>>().map(Json::Array)
}

const fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
