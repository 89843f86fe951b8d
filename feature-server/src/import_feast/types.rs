//! Feast's types and spans as the definitions have them.

use feature_defs::key::KeyType;
use feature_defs::time::Span;
use feature_defs::value::ValueType;

use super::values::{Known, Value, last};

/// What became of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// The same values.
    Same(ValueType),
    /// A type that holds less, or holds it differently; with what that is.
    Near(ValueType, &'static str),
}

impl Type {
    pub(super) const fn value_type(&self) -> ValueType {
        match self {
            Self::Same(value_type) | Self::Near(value_type, _) => *value_type,
        }
    }

    /// As the type of a join key, if it can be one.
    pub(super) const fn key_type(&self) -> Option<KeyType> {
        match self.value_type() {
            ValueType::Int64 => Some(KeyType::Int64),
            ValueType::String => Some(KeyType::String),
            _ => None,
        }
    }
}

/// A `dtype` or `value_type`: of `feast.types`, of `ValueType` or of `PrimitiveFeastType`.
///
/// # Errors
/// Why there is no such type here.
pub(super) fn of(known: &Known) -> Result<Type, String> {
    match &known.value {
        Value::Outside(path) => scalar(last(path)),
        Value::Object(object) if object.maker() == "Array" => {
            let of = object.argument_or("base_type", 0);
            let of = of.ok_or_else(|| "is an Array of nothing".to_owned())?;
            list(scalar_name(of)?)
        }
        Value::Object(object) => Err(format!("is of type {}, which has no counterpart", object.maker())),
        _ => Err(known.instead_of("a type of Feast")),
    }
}

fn scalar_name(known: &Known) -> Result<&str, String> {
    match &known.value {
        Value::Outside(path) => Ok(last(path)),
        _ => Err("is an Array of something other than a plain type".to_owned()),
    }
}

fn scalar(name: &str) -> Result<Type, String> {
    let folded: String = name.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    Ok(match folded.as_str() {
        "bool" => Type::Same(ValueType::Bool),
        "int32" | "int64" => Type::Same(ValueType::Int64),
        "float32" | "float" => Type::Same(ValueType::Float32),
        "float64" | "double" => Type::Same(ValueType::Float64),
        "string" => Type::Same(ValueType::String),
        "bytes" | "pdfbytes" | "imagebytes" => Type::Same(ValueType::Bytes),
        "unixtimestamp" => Type::Same(ValueType::Timestamp),
        "uuid" | "timeuuid" => Type::Same(ValueType::String),
        "decimal" => Type::Near(ValueType::Float64, "a decimal is rounded to a double"),
        listed if listed.ends_with("list") => return list(listed.trim_end_matches("list")),
        _ => return Err(format!("is of type {name}, which has no counterpart")),
    })
}

fn list(element: &str) -> Result<Type, String> {
    let folded: String = element.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    Ok(match folded.as_str() {
        "int32" | "int64" => Type::Same(ValueType::Int64List),
        "float32" | "float" => Type::Same(ValueType::Float32List),
        "float64" | "double" => Type::Near(
            ValueType::Float32List,
            "lists hold singles, so that doubles are rounded",
        ),
        "string" | "uuid" | "timeuuid" => Type::Same(ValueType::StringList),
        _ => return Err(format!("is a list of {element}, which has no counterpart")),
    })
}

/// A `ttl`: `timedelta(days=1)`, or the older `Duration(seconds=86400)`. Zero is for ever, as it is for Feast.
///
/// # Errors
/// Why it can't be known.
pub(super) fn span(known: &Known) -> Result<Option<Span>, String> {
    let Value::Object(object) = &known.value else {
        return Err(known.instead_of("a timedelta"));
    };
    if !matches!(object.maker(), "timedelta" | "Duration") {
        return Err(known.instead_of("a timedelta"));
    }
    let names = [
        "days",
        "seconds",
        "microseconds",
        "milliseconds",
        "minutes",
        "hours",
        "weeks",
    ];
    let positional = names.into_iter().zip(&object.positional);
    let named = object.keywords.iter().map(|(name, value)| (name.as_str(), value));
    let mut micros = 0.0;
    for (unit, value) in positional.chain(named) {
        let number = match value.value {
            #[expect(clippy::cast_precision_loss, reason = "a span that long is refused below")]
            Value::Int(int) => int as f64,
            Value::Float(float) => float,
            _ => return Err(value.instead_of("a number")),
        };
        micros += number
            * match unit {
                "weeks" => 7.0 * 86_400e6,
                "days" => 86_400e6,
                "hours" => 3_600e6,
                "minutes" => 60e6,
                "seconds" => 1e6,
                "milliseconds" => 1e3,
                "microseconds" => 1.0,
                other => return Err(format!("has an unknown part `{other}`")),
            };
    }
    if object.is_open {
        return Err("has arguments that are known only when the code runs".to_owned());
    }
    whole_millis(micros)
}

/// The span of so many microseconds; spans are written in whole milliseconds.
fn whole_millis(micros: f64) -> Result<Option<Span>, String> {
    /// A thousand years: more is a mistake, or means for ever.
    const LONGEST_MS: f64 = 365.25 * 1_000.0 * 86_400e3;
    let millis = (micros / 1e3).round();
    if millis < 0.0 {
        return Err("is negative".to_owned());
    }
    if millis > LONGEST_MS {
        return Err("is longer than a thousand years".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and below the longest")]
    let millis = millis as i64;
    Ok((millis > 0).then(|| Span::from_micros(millis * 1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_counterpart_or_a_reason() {
        for (feast, expected) in [
            ("Bool", "bool"),
            ("Int32", "int64"),
            ("INT64", "int64"),
            ("Float32", "float32"),
            ("FLOAT", "float32"),
            ("DOUBLE", "float64"),
            ("Float64", "float64"),
            ("String", "string"),
            ("UUID", "string"),
            ("Bytes", "bytes"),
            ("UNIX_TIMESTAMP", "timestamp"),
            ("UnixTimestamp", "timestamp"),
            ("INT32_LIST", "int64_list"),
            ("FLOAT_LIST", "float32_list"),
            ("DOUBLE_LIST", "float32_list"),
            ("STRING_LIST", "string_list"),
            ("Decimal", "float64"),
        ] {
            assert_eq!(scalar(feast).unwrap().value_type().name(), expected, "{feast}");
        }
        assert!(matches!(scalar("Decimal"), Ok(Type::Near(..))));
        assert!(matches!(list("Float64"), Ok(Type::Near(..))));
        for none in ["Json", "Map", "BOOL_LIST", "UNKNOWN", "Struct"] {
            assert!(scalar(none).is_err(), "{none}");
        }
    }

    #[test]
    fn spans_are_whole_milliseconds() {
        for (micros, expected) in [
            (0.0, Ok(None)),
            (86_400e6, Ok(Some("1d"))),
            (1.5 * 3_600e6, Ok(Some("90m"))),
            (1_500e3, Ok(Some("1500ms"))),
            (-1e6, Err(())),
            (1e30, Err(())),
        ] {
            let span = whole_millis(micros).map_err(|_| ());
            assert_eq!(
                span.map(|span| span.map(|s| s.to_string())),
                expected.map(|s| s.map(str::to_owned)),
                "{micros}"
            );
        }
    }
}
