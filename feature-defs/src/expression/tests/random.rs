//! No text and no value panics.

use proptest::prelude::*;

use super::*;

/// Texts of the language's words in any order.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "i",
        "f",
        "s",
        "b",
        "v.t",
        "v.nan",
        "v.i_null",
        "v.least",
        "v.bytes",
        "request_time",
        "1",
        "-2.5",
        "'é'",
        "null",
        "true",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "<",
        "&&",
        "||",
        "?",
        ":",
        "!",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "in",
        "abs(",
        "min(",
        "coalesce(",
        "has(",
        "hour(",
        "int(",
        "'UTC'",
        "=",
        "`",
        "\"",
        "r'",
        "b\"",
        "//",
        "\n",
        "\\u00",
    ]);
    prop::collection::vec(word, 0..25).prop_map(|words| words.join(" "))
}

/// Expressions whose syntax and most of whose types are right.
fn numbers() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "i",
        "f",
        "g",
        "v.least",
        "v.most",
        "v.nan",
        "v.infinite",
        "v.i_null",
        "0",
        "-1",
        "1e308",
        "(v.t - request_time)",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        let function = prop::sample::select(vec!["abs", "int", "double", "exp", "log1p", "sqrt", "round", "floor"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} < {b} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("coalesce(max({a}, {b}), min({b}, {a}))")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("hour(v.t + {a}, 'Asia/Kathmandu') - ({b})")),
        ]
    })
}

/// Places lie in the text, on character boundaries.
fn assert_places(text: &str, errors: &[ExpressionError]) {
    assert!(!errors.is_empty(), "{text:?}");
    for error in errors {
        assert!(
            text.get(error.offset..error.offset + error.len).is_some(),
            "{text:?}: {error:?}"
        );
        assert_ne!(
            error.message, "the expression cannot be parsed: simplify it",
            "{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), "[ -~é\n]{0,40}", words()]) {
        for expected in [ValueType::Bool, ValueType::Float64] {
            match compile(&text, expected) {
                Ok(expression) => drop(expression.evaluate(value_of)),
                Err(errors) => assert_places(&text, &errors),
            }
        }
    }

    #[test]
    fn no_value_panics_and_floats_are_finite(text in numbers(), micros: i64) {
        let expression = compile(&text, ValueType::Float64).unwrap();
        let value = expression.evaluate(|origin| match value_of(origin) {
            Some(Value::Timestamp(_)) => Some(Value::Timestamp(crate::time::Timestamp::from_micros(micros))),
            value => value,
        });
        prop_assert!(value.is_none_or(|v| v.as_f64().is_some_and(f64::is_finite)), "{}", text);
    }
}
