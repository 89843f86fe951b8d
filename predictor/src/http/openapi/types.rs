//! Features and elements as schemas and examples.

use feature_defs::value::ValueType;
use serde_json::{Value as JsonValue, json};

use crate::model::element::Element;

/// The schema of a value of a feature, which may be null. One that goes into elements of a tensor has their bounds, and if
/// they are a list, its length.
pub(super) fn value(value_type: ValueType, cell: Option<(Element, Option<usize>)>) -> JsonValue {
    let length = cell.and_then(|(_, length)| length);
    let list = |items: JsonValue| {
        let mut list = json!({ "type": ["array", "null"], "items": items });
        if let Some(length) = length {
            list["minItems"] = length.into();
            list["maxItems"] = length.into();
        }
        list
    };
    let whole = |kind: JsonValue| {
        let mut whole = json!({ "type": kind, "format": "int64" });
        bound(&mut whole, cell.map(|(element, _)| element));
        whole
    };
    match value_type {
        ValueType::Bool => json!({ "type": ["boolean", "null"] }),
        ValueType::Int64 => whole(json!(["integer", "null"])),
        ValueType::Float32 => json!({ "type": ["number", "null"], "format": "float" }),
        ValueType::Float64 => json!({ "type": ["number", "null"], "format": "double" }),
        ValueType::String => json!({ "type": ["string", "null"] }),
        ValueType::Bytes => {
            json!({ "type": ["string", "null"], "contentEncoding": "base16", "pattern": "^([0-9A-Fa-f]{2})*$" })
        }
        ValueType::Timestamp => json!({ "type": ["string", "null"], "format": "date-time" }),
        ValueType::Float32List => list(json!({ "type": "number", "format": "float" })),
        ValueType::Int64List => list(whole(json!("integer"))),
        ValueType::StringList => list(json!({ "type": "string" })),
    }
}

/// A value of a feature, of so many items if it is a list.
pub(super) fn example(value_type: ValueType, length: Option<usize>) -> JsonValue {
    let length = length.unwrap_or(2);
    match value_type {
        ValueType::Bool => json!(true),
        ValueType::Int64 => json!(1),
        ValueType::Float32 | ValueType::Float64 => json!(0.5),
        ValueType::String => json!("text"),
        ValueType::Bytes => json!("00ff"),
        ValueType::Timestamp => json!("2026-01-31T12:00:00Z"),
        ValueType::Float32List => json!(vec![0.5; length]),
        ValueType::Int64List => json!(vec![1; length]),
        ValueType::StringList => json!(vec!["text"; length]),
    }
}

/// The schema of one element of a tensor. A null is NaN.
pub(super) fn element(element: Element) -> JsonValue {
    match element {
        Element::Float16 => json!({ "type": ["number", "null"] }),
        Element::Float32 => json!({ "type": ["number", "null"], "format": "float" }),
        Element::Float64 => json!({ "type": ["number", "null"], "format": "double" }),
        Element::Bool => json!({ "type": "boolean" }),
        Element::String => json!({ "type": "string" }),
        Element::Int64 => json!({ "type": "integer", "format": "int64" }),
        _ => {
            let mut whole = json!({ "type": "integer" });
            bound(&mut whole, Some(element));
            whole
        }
    }
}

/// The element that is nothing.
pub(super) fn zero(element: Element) -> JsonValue {
    match element {
        Element::Float16 | Element::Float32 | Element::Float64 => json!(0.0),
        Element::Bool => json!(false),
        Element::String => json!(""),
        _ => json!(0),
    }
}

/// Bounds a whole number by what an element of a whole number holds.
fn bound(whole: &mut JsonValue, element: Option<Element>) {
    let (least, most) = match element {
        Some(Element::Int8) => (json!(i8::MIN), json!(i8::MAX)),
        Some(Element::Int16) => (json!(i16::MIN), json!(i16::MAX)),
        Some(Element::Int32) => (json!(i32::MIN), json!(i32::MAX)),
        Some(Element::Uint8) => (json!(0), json!(u8::MAX)),
        Some(Element::Uint16) => (json!(0), json!(u16::MAX)),
        Some(Element::Uint32) => (json!(0), json!(u32::MAX)),
        Some(Element::Uint64) => (json!(0), json!(u64::MAX)),
        _ => return,
    };
    whole["minimum"] = least;
    whole["maximum"] = most;
}

#[cfg(test)]
mod tests {
    use feature_defs::value::Value;

    use super::*;

    #[test]
    fn every_example_is_of_its_type_and_its_schema() {
        for value_type in ValueType::ALL {
            let cell = Some((Element::Int8, Some(3)));
            let schema = value(value_type, cell);
            let of = jsonschema::validator_for(&schema).unwrap();
            let example = example(value_type, Some(3));
            assert!(
                of.is_valid(&example) && of.is_valid(&JsonValue::Null),
                "{example} {schema}"
            );
            assert!(Value::from_json(value_type, &example).unwrap().is_some(), "{example}");
        }
        let list = value(ValueType::Int64List, Some((Element::Uint8, Some(2))));
        let of = jsonschema::validator_for(&list).unwrap();
        for (given, is_valid) in [
            (json!([0, 255]), true),
            (json!([0]), false),
            (json!([0, 256]), false),
            (json!([0, null]), false),
        ] {
            assert_eq!(of.is_valid(&given), is_valid, "{given}");
        }
    }
}
