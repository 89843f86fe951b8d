//! What is wrong with expressions, and where.

use super::*;

const NO_FUNCTION: &str = "unknown function `nope`: there are abs, ceil, coalesce, double, exp, floor, great_circle_km, \
    has, hour, int, log1p, max, min, round, sqrt, weekday";

/// The errors of a text whose declared type is float64: the offending part and the message.
#[track_caller]
fn errors(text: &str, expected: &[(&str, &str)]) {
    let errors = compile(text, ValueType::Float64).expect_err(text);
    let found: Vec<_> = errors
        .iter()
        .map(|e| (&text[e.offset..e.offset + e.len], e.message.as_str()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn type_errors_say_where_and_all_at_once() {
    errors("i + s", &[("i + s", "`+` does not take int64 and string")]);
    errors(
        "i * b + 1",
        &[(
            "i * b",
            "`*` does not take int64 and bool: write `condition ? 1 : 0` for a bool",
        )],
    );
    errors(
        "min(unknown, abs(s)) + v.x / nope(v.y)",
        &[
            ("unknown", "unknown variable `unknown`"),
            ("s", "`abs` takes numbers, not string"),
            ("v.x", "unknown variable `v.x`"),
            ("nope", NO_FUNCTION),
            ("v.y", "unknown variable `v.y`"),
        ],
    );
    errors(
        "  i == 1 ",
        &[("i == 1", "the expression gives bool, declared is float64")],
    );
    errors("null", &[("null", "the expression is always null")]);
    errors("b ? 1 : s", &[("s", "`? :` mixes int64 and string")]);
    errors("coalesce(1, f, 'x')", &[("'x'", "`coalesce` mixes float64 and string")]);
    errors("i ? 1 : 2", &[("i", "`? :` takes bools, not int64")]);
    errors(
        "(i == null) ? 1 : 2",
        &[("i == null", "a comparison with null is always null: write `!has(i)`")],
    );
    errors(
        "null != v.f ? 1 : 2",
        &[("null != v.f", "a comparison with null is always null: write `has(v.f)`")],
    );
    errors("i + null", &[("i + null", "`+` with null is always null")]);
    errors("(i == s) ? 1 : 2", &[("i == s", "`==` does not take int64 and string")]);
    errors("(b < b) ? 1 : 2", &[("b < b", "`<` does not take bool and bool")]);
    errors(
        "(1 < 2 < 3) ? 1 : 2",
        &[("1 < 2 < 3", "`<` does not take bool and int64")],
    );
    errors("-s", &[("-s", "`-` takes a number, not string")]);
    errors("!i ? 1 : 2", &[("i", "`!` takes bools, not int64")]);
    errors(
        "v.t + v.t",
        &[("v.t + v.t", "`+` does not take timestamp and timestamp")],
    );
    errors("[1, 2]", &[("[1, 2]", "a list can only stand to the right of `in`")]);
    errors(
        "v.bytes",
        &[(
            "v.bytes",
            "`v.bytes` is bytes: expressions can't calculate with it, only ask `has(v.bytes)`",
        )],
    );
    errors(
        "(s in s) ? 1 : 2",
        &[(
            "s",
            "`in` takes a list of literals on its right, such as `[\"a\", \"b\"]`",
        )],
    );
    errors("(s in [1]) ? 1 : 2", &[("1", "`in` mixes string and int64")]);
    errors("(s in [s]) ? 1 : 2", &[("s", "the list of `in` takes literals only")]);
    errors("(s in []) ? 1 : 2", &[("[]", "nothing is in an empty list")]);
    let float_for_int = compile("f * 2", ValueType::Int64).unwrap_err();
    assert_eq!(
        float_for_int[0].message,
        "the expression gives float64, declared is int64: write `int(f * 2)`"
    );
    assert!(compile("i", ValueType::Bytes).is_err());
}

#[test]
fn calls_are_checked() {
    errors("abs(1, 2)", &[("abs(1, 2)", "`abs` takes 1 argument, not 2")]);
    errors(
        "1 + min( (1) )",
        &[("min( (1) )", "`min` takes 2 or more arguments, not 1")],
    );
    errors("hour(v.t)", &[("hour(v.t)", "`hour` takes 2 arguments, not 1")]);
    errors("has()", &[("has()", "`has` takes 1 argument, not 0")]);
    errors("log(2)", &[("log", "unknown function `log`: did you mean `log1p`?")]);
    errors(
        "colaesce(i, 1)",
        &[("colaesce", "unknown function `colaesce`: did you mean `coalesce`?")],
    );
    errors(
        "abs(b)",
        &[("b", "`abs` takes numbers, not bool: write `condition ? 1 : 0`")],
    );
    errors(
        "hour(v.t, \"America/NewYork\")",
        &[(
            "\"America/NewYork\"",
            "unknown time zone \"America/NewYork\": did you mean \"America/New_York\"?",
        )],
    );
    errors(
        "hour(v.t, 'new york')",
        &[(
            "'new york'",
            "unknown time zone \"new york\": did you mean \"America/New_York\"?",
        )],
    );
    errors(
        "hour(i, s)",
        &[
            ("i", "`hour` takes a timestamp first, not int64"),
            (
                "s",
                "`hour` takes the time zone as a literal second, such as \"America/New_York\"",
            ),
        ],
    );
}

#[test]
fn what_cel_has_and_expressions_have_not() {
    errors(
        "s.size()",
        &[(
            "size",
            "method calls are not supported in expressions: there is no `.size(…)`",
        )],
    );
    errors(
        "[1, 2].map(x, x + 1)",
        &[(
            "map",
            "method calls are not supported in expressions: there is no `.map(…)`",
        )],
    );
    errors(
        "{'a': 1}",
        &[("{'a': 1}", "a map `{…}` is not supported in expressions")],
    );
    errors(
        "Point{x: 1}",
        &[("{x: 1}", "a message `Name{…}` is not supported in expressions")],
    );
    errors("i[0]", &[("[", "an index `[…]` is not supported in expressions")]);
    errors("b'a'", &[("b'a'", "a bytes literal is not supported in expressions")]);
    errors(".i", &[("i", "a leading dot is not supported in expressions")]);
    errors(".abs(i)", &[(".abs", "a leading dot is not supported in expressions")]);
    errors(
        "a.b.c + i[0]",
        &[
            (
                ".c",
                "a variable is `view.feature` or a bare name: nothing else has fields",
            ),
            ("[", "an index `[…]` is not supported in expressions"),
        ],
    );
    errors(
        "18446744073709551615u",
        &[("18446744073709551615u", "the number does not fit into int64")],
    );
}

#[test]
fn syntax_errors_say_where() {
    errors("", &[("", "the expression is empty")]);
    errors("i +", &[("+", "the expression ends too early")]);
    errors("(i + 1", &[("1", "the expression ends too early")]);
    errors("i + * 2", &[("*", "`*` is not expected here")]);
    errors("i + 1)", &[(")", "`)` is not expected here")]);
    errors("s = 'é' ? 1 : 2", &[("=", "`=` is no operator here: write `==`")]);
    errors("i\n + 'é' + $", &[("$", "`$` is not expected here")]);
    errors("'é' 'ü'", &[("'ü'", "`'ü'` is not expected here")]);
    errors(
        "(i + ) * (2 - )",
        &[(")", "`)` is not expected here"), (")", "`)` is not expected here")],
    );
    errors("b and b", &[("and", "`and` is no operator here: write `&&`")]);
    errors(
        "package + 1",
        &[("package", "`package` is a reserved word: it can't be a bare name")],
    );
    errors(
        "9223372036854775808",
        &[("9223372036854775808", "`9223372036854775808` is an invalid int literal")],
    );
    errors(
        "i + 'abc + s",
        &[(
            "'abc + s",
            "a string begins here that does not end, or holds a `\\` that escapes nothing",
        )],
    );
}

#[test]
fn deep_and_long_texts_are_refused_and_do_not_overflow_the_stack() {
    let deep = |text: &str| {
        let errors = Parsed::parse(text).unwrap_err();
        assert!(
            errors[0].message.contains("more than 64 deep"),
            "{}: {errors:?}",
            &text[..20]
        );
    };
    deep(&format!("{}1{}", "(".repeat(2000), ")".repeat(2000)));
    deep(&"(".repeat(4000));
    deep(&"[".repeat(4000));
    deep(&format!("{}1{}", "abs(".repeat(800), ")".repeat(800)));
    deep(&format!("1{}", "+1".repeat(2000)));
    deep(&format!("1{}", "<1".repeat(2000)));
    deep(&format!("{}1", "b?1:".repeat(1000)));
    let fits = |text: &str, expected| assert!(compile(text, expected).is_ok(), "{text}");
    fits(&format!("1{}", "+1".repeat(60)), ValueType::Int64);
    fits(&format!("{}1{}", "(".repeat(60), ")".repeat(60)), ValueType::Int64);
    fits(&vec!["i == 1"; 200].join("||"), ValueType::Bool);
    errors_contain(&format!("a{}", ".a".repeat(2000)), "nothing else has fields");
    errors_contain(&format!("a{}", "[0]".repeat(1300)), "index");
    errors_contain(&format!("a{}", ".a()".repeat(1000)), "method");
    errors_contain(&"1".repeat(5000), "at most 4096");
    fits(&format!("{}1", "-".repeat(4000)), ValueType::Int64);
}

#[track_caller]
fn errors_contain(text: &str, part: &str) {
    let errors = Parsed::parse(text).unwrap_err();
    assert!(errors[0].message.contains(part), "{errors:?}");
}

#[test]
fn places_are_right_behind_comments() {
    errors("nope // éé\n (1) + 1", &[("nope", NO_FUNCTION)]);
    errors(
        "(abs // éé\n (i) == null) ? 1 : 2",
        &[(
            "abs // éé\n (i) == null",
            "a comparison with null is always null: write `!has(abs // éé\n (i))`",
        )],
    );
}
