//! Values as Feast's clients read and write them. Where JSON has no word of its own, Feast has another one than we:
//! timestamps are whole seconds since 1970, bytes base 64, NaN and infinities strings; times without a zone are UTC.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType, WrongType};
use serde_json::{Value as Json, json};

/// What Feast's SDK sends for a timestamp that is null: numpy's and pandas's "not a time".
const NOT_A_TIME: i64 = i64::MIN;
const NOT_A_TIME_TEXT: &str = "NaT";

/// So much is shown of what a client sent.
const SHOWN: usize = 60;

/// What JSON has no number for.
const NOT_FINITE: [(&str, f64); 3] = [
    ("NaN", f64::NAN),
    ("Infinity", f64::INFINITY),
    ("-Infinity", f64::NEG_INFINITY),
];

/// A value as Feast's clients read it. Floats are the shortest decimals that read back as what is stored, as everywhere
/// here; a whole one has its `.0`, by which Feast's SDK tells it from an integer.
pub(super) fn to_feast(value: &Value) -> Json {
    match value {
        Value::Float32(x) if !x.is_finite() => not_finite(f64::from(*x)),
        Value::Float64(x) if !x.is_finite() => not_finite(*x),
        Value::Float32List(items) => items.iter().map(|x| to_feast(&Value::Float32(*x))).collect(),
        Value::Bytes(bytes) => json!(BASE64.encode(bytes)),
        Value::Timestamp(at) => json!(at.as_micros().div_euclid(1_000_000)),
        other => other.to_json(),
    }
}

fn not_finite(x: f64) -> Json {
    let found = NOT_FINITE.iter().find(|(_, known)| known.total_cmp(&x).is_eq());
    json!(found.map_or("NaN", |(name, _)| name))
}

/// Reads a value that a Feast client has written.
///
/// # Errors
/// [`WrongType`] with the offending JSON.
pub(super) fn from_feast(expected: ValueType, json: &Json) -> Result<Option<Value>, WrongType> {
    let wrong = || WrongType {
        expected,
        got: json.to_string().chars().take(SHOWN).collect(),
    };
    match (expected, json) {
        (ValueType::Bytes, Json::String(text)) => {
            let bytes = BASE64.decode(text).map_err(|_| wrong())?;
            Ok(Some(Value::Bytes(bytes)))
        }
        (ValueType::Timestamp, Json::String(text)) if text == NOT_A_TIME_TEXT => Ok(None),
        (ValueType::Timestamp, Json::String(text)) => {
            let at = timestamp(text).ok_or_else(wrong)?;
            Ok(Some(Value::Timestamp(at)))
        }
        (ValueType::Timestamp, Json::Number(number)) => match number.as_i64().ok_or_else(wrong)? {
            NOT_A_TIME => Ok(None),
            seconds => {
                let micros = seconds.checked_mul(1_000_000).ok_or_else(wrong)?;
                Ok(Some(Value::Timestamp(Timestamp::from_micros(micros))))
            }
        },
        (ValueType::Float32 | ValueType::Float64, Json::String(text)) => {
            let x = NOT_FINITE.iter().find(|(name, _)| name == text).ok_or_else(wrong)?.1;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is not finite is so in every float type"
            )]
            let value = match expected {
                ValueType::Float32 => Value::Float32(x as f32),
                _ => Value::Float64(x),
            };
            Ok(Some(value))
        }
        // An integer column with a null in it is one of floats in pandas.
        (ValueType::Int64, Json::Number(number)) => Value::from_json(expected, &whole(number).unwrap_or(json.clone())),
        _ => Value::from_json(expected, json),
    }
}

/// The same value as we write it in JSON, and read it back. What is not finite stays in Feast's words, which pushing knows.
///
/// # Errors
/// As for [`from_feast`].
pub(super) fn ours(expected: ValueType, json: &Json) -> Result<Json, WrongType> {
    let value = from_feast(expected, json)?;
    match (&value, json) {
        (Some(Value::Float32(_) | Value::Float64(_)), Json::String(_)) => Ok(json.clone()),
        (value, _) => Ok(value.as_ref().map_or(Json::Null, Value::to_json)),
    }
}

/// The integer that a float is, if it is one beyond doubt.
fn whole(number: &serde_json::Number) -> Option<Json> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let x = number.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < EXACT)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and less than 2^53")]
    number.is_f64().then(|| json!(x as i64))
}

/// Reads a time as Python writes it: without a zone it is UTC, and may be a day alone.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let day = || format!("{text}T00:00:00Z").parse();
    Timestamp::from_text_in_utc(text).or_else(|_| day()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_feast_does() {
        for (value, expected) in [
            (Value::Float32(0.1), "0.1"),
            (Value::Float64(2.0), "2.0"),
            (Value::Float64(f64::NAN), "\"NaN\""),
            (Value::Float32(f32::NEG_INFINITY), "\"-Infinity\""),
            (Value::Float64(f64::INFINITY), "\"Infinity\""),
            (Value::Float32List(vec![1.0, f32::NAN]), "[1.0,\"NaN\"]"),
            (Value::Int64(9_007_199_254_740_993), "9007199254740993"),
            (Value::Bytes(b"hi?".to_vec()), "\"aGk/\""),
            (Value::Timestamp(Timestamp::from_micros(1_999_999)), "1"),
            (Value::Timestamp(Timestamp::from_micros(-1)), "-1"),
            (Value::Bool(true), "true"),
            (Value::StringList(vec![]), "[]"),
        ] {
            assert_eq!(to_feast(&value).to_string(), expected, "{value:?}");
        }
    }

    #[test]
    fn values_are_read_as_feast_writes_them() {
        let second = Value::Timestamp(Timestamp::from_micros(1_000_000));
        for (expected, json, value) in [
            (ValueType::Int64, json!(7.0), Some(Value::Int64(7))),
            (ValueType::Int64, json!(-7), Some(Value::Int64(-7))),
            (ValueType::Bytes, json!("aGk/"), Some(Value::Bytes(b"hi?".to_vec()))),
            (ValueType::Timestamp, json!(1), Some(second.clone())),
            (ValueType::Timestamp, json!(i64::MIN), None),
            (ValueType::Timestamp, json!("NaT"), None),
            (ValueType::Timestamp, json!("1970-01-01T00:00:01"), Some(second.clone())),
            (ValueType::Timestamp, json!("1970-01-01 01:00:01+01:00"), Some(second)),
            (
                ValueType::Timestamp,
                json!("1970-01-01"),
                Some(Value::Timestamp(Timestamp::from_micros(0))),
            ),
            (ValueType::Float64, json!(7), Some(Value::Float64(7.0))),
            (ValueType::Float64, json!("NaN"), Some(Value::Float64(f64::NAN))),
            (
                ValueType::Float32,
                json!("-Infinity"),
                Some(Value::Float32(f32::NEG_INFINITY)),
            ),
            (ValueType::String, Json::Null, None),
        ] {
            assert_eq!(from_feast(expected, &json), Ok(value), "{expected} {json}");
        }
        for (expected, json) in [
            (ValueType::Int64, json!(7.5)),
            (ValueType::Int64, json!(1e18)),
            (ValueType::Int64, json!("7")),
            (ValueType::Float64, json!("inf")),
            (ValueType::Bytes, json!("zz")),
            (ValueType::Timestamp, json!("yesterday")),
            (ValueType::Timestamp, json!(i64::MAX)),
            (ValueType::Timestamp, json!(1.5)),
        ] {
            assert!(from_feast(expected, &json).is_err(), "{expected} {json}");
        }
    }
}
