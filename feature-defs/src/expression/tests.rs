//! What expressions mean, in tables: text, value or errors with their places.

use proptest::prelude::*;

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

#[track_caller]
fn check(text: &str, expected: ValueType, value: Option<Value>) {
    let expression = compile(text, expected).unwrap_or_else(|errors| panic!("{text}: {errors:#?}"));
    assert_eq!(expression.evaluate(value_of), value, "{text}");
}

#[track_caller]
fn int(text: &str, value: impl Into<Option<i64>>) {
    check(text, ValueType::Int64, value.into().map(Value::Int64));
}

#[track_caller]
fn float(text: &str, value: impl Into<Option<f64>>) {
    check(text, ValueType::Float64, value.into().map(Value::Float64));
}

#[track_caller]
fn bool(text: &str, value: impl Into<Option<bool>>) {
    check(text, ValueType::Bool, value.into().map(Value::Bool));
}

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
fn integers_stay_integers_and_promote_beside_floats() {
    int("1 + 2 * 3 - 4", 3);
    int("(1 + 2) * 3", 9);
    int("7 / 2", 3);
    int("-7 / 2", -3);
    int("-7 % 4", -3);
    int("0x10 + 5u", 21);
    int("-i", -7);
    int("-9223372036854775808", i64::MIN);
    float("7 / 2", 3.0);
    float("i / 2.0", 3.5);
    float("i / f", 2.8);
    float("double(i) / 2", 3.5);
    float("i", 7.0);
    float("g + 1", 1.5);
    float("-v.f", 1.0);
    float("5.5 % 2.0", 1.5);
    float(" v . f ", -1.0);
    check("i / 2.0", ValueType::Float32, Some(Value::Float32(3.5)));
    check("1", ValueType::Float32, Some(Value::Float32(1.0)));
    check("0.1", ValueType::Float32, Some(Value::Float32(0.1)));
    check("g", ValueType::Float32, Some(Value::Float32(0.5)));
}

#[test]
fn what_has_no_answer_is_null() {
    int("i / 0", None);
    int("i % 0", None);
    int("v.most + 1", None);
    int("v.least - 1", None);
    int("v.most * 2", None);
    int("-v.least", None);
    int("v.least / -1", None);
    int("abs(v.least)", None);
    int("int(1e30)", None);
    int("int(9223372036854775807.0)", None);
    int("int(-9223372036854775808.0)", i64::MIN);
    int("v.wrong", None);
    float("f / 0.0", None);
    float("0.0 / 0", None);
    float("exp(1000)", None);
    float("log1p(-1)", None);
    float("log1p(-2)", None);
    float("sqrt(-1)", None);
    float("1e308 * 10.0", None);
    float("v.nan", None);
    float("v.infinite", None);
    bool("has(v.nan)", false);
    bool("has(f / 0)", false);
    check("1e300", ValueType::Float32, None);
    check("v.t + 1e300", ValueType::Timestamp, None);
}

#[test]
fn null_goes_through_unless_handled() {
    int("v.i_null + 1", None);
    float("f * v.f_null", None);
    float("-v.f_null", None);
    bool("v.i_null == 1", None);
    bool("v.i_null == v.i_null", None);
    bool("v.s_null != \"UA\"", None);
    bool("!v.b_null", None);
    bool("v.s_null in [\"UA\"]", None);
    float("min(1.0, v.f_null)", None);
    int("hour(v.t_null, \"UTC\")", None);
    float("v.t - v.t_null", None);
    float("great_circle_km(0, v.f_null, 0, 0)", None);
    float("coalesce(v.f_null, i)", 7.0);
    float("coalesce(v.f_null, v.i_null)", None);
    int("coalesce(v.i_null, 1 / 0, 3, 4)", 3);
    float("coalesce(v.f_null, 0) + 1", 1.0);
    bool("has(v.i_null)", false);
    bool("has(i) && has(v.f)", true);
    bool("has(v.i_null + 1)", false);
    bool("has(null)", false);
    bool("has(v.bytes)", true);
    bool("has(v.list_null)", false);
    int("b ? 1 : 2", 1);
    int("!b ? 1 : 2", 2);
    int("v.b_null ? 1 : 2", None);
    int("b ? 1 : v.i_null", 1);
    int("b ? v.i_null : 1", None);
    int("b ? null : 1", None);
    float("has(v.f_null) ? v.f_null : i", 7.0);
}

#[test]
fn logic_is_three_valued() {
    let value = |text: &str| match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    for left in ["true", "false", "v.b_null"] {
        for right in ["true", "false", "v.b_null"] {
            let (a, b) = (value(left), value(right));
            let and = if a == Some(false) || b == Some(false) {
                Some(false)
            } else {
                a.and(b)
            };
            let or = if a == Some(true) || b == Some(true) {
                Some(true)
            } else {
                a.and(b)
            };
            bool(&format!("{left} && {right}"), and);
            bool(&format!("{left} || {right}"), or);
        }
    }
    bool("b && b && b && v.b_null && false", false);
}

#[test]
fn comparisons() {
    bool("i == 7 && i != 8 && i < 7.5 && f >= 2.5", true);
    bool("g == 0.5", true);
    bool("s == \"UA\" && s < 'UB'", true);
    bool("b != false", true);
    bool("v.t < request_time", true);
    bool("1 < 2 == true", true);
    bool("i in [1, 7]", true);
    bool("i in [1, 7.0]", true);
    bool("i in [-7]", false);
    bool("f in [2, 3]", false);
    bool("s in ['AA', \"UA\"]", true);
    bool("!(s in ['AA', 'DL'])", true);
    bool("b in [false]", false);
    // Without promotion these would be equal as floats.
    bool("v.most == v.most - 1", false);
}

#[test]
fn times_and_texts() {
    float("request_time - v.t", 20_772_000.0);
    float("v.t - request_time", -20_772_000.0);
    let at = |text: &str| Some(Value::Timestamp(text.parse().unwrap()));
    check("v.t + 0.5", ValueType::Timestamp, at("2013-03-10T06:30:00.5Z"));
    check("60 + v.t", ValueType::Timestamp, at("2013-03-10T06:31:00Z"));
    check("v.t - 60", ValueType::Timestamp, at("2013-03-10T06:29:00Z"));
    check("s + '-' + s", ValueType::String, Some(Value::String("UA-UA".into())));
    check("s + v.s_null", ValueType::String, None);
    check(
        r#""Zürich" + ' \u00e9\n' + r'\n'"#,
        ValueType::String,
        Some(Value::String("Zürich é\n\\n".into())),
    );
    check("// départ\n s", ValueType::String, Some(Value::String("UA".into())));
}

#[test]
fn functions() {
    int("abs(-7)", 7);
    float("abs(v.f)", 1.0);
    int("min(3, 1, 2)", 1);
    float("max(3, f, 2)", 3.0);
    float("max(-1.5, v.f)", -1.0);
    float("log1p(0)", 0.0);
    float("exp(0)", 1.0);
    float("sqrt(i + 2)", 3.0);
    float("floor(-2.5)", -3.0);
    float("ceil(-2.5)", -2.0);
    float("round(2.5)", 3.0);
    float("round(-2.5)", -3.0);
    int("int(-2.9)", -2);
    int("int(i)", 7);
    int("int(round(2.5))", 3);
    // JFK to LAX, by another implementation of the formula on the same sphere.
    let text = "great_circle_km(40.6398, -73.7789, 33.9425, -118.4081)";
    let Some(Value::Float64(km)) = compile(text, ValueType::Float64).unwrap().evaluate(value_of) else {
        panic!("{text} is null")
    };
    assert!((3_970.0..3_980.0).contains(&km), "{km}");
    float("great_circle_km(0, 0, 0, 180)", std::f64::consts::PI * 6_371.008_8);
    float("great_circle_km(10, 20, 10, 20)", 0.0);
    float("great_circle_km(91, 0, 0, 0)", None);
}

#[test]
fn hours_and_weekdays_follow_the_zones_clocks() {
    let cases = [
        // The night clocks go forward: 1:59 is followed by 3:00.
        ("2013-03-10T06:59:59Z", 1, 6),
        ("2013-03-10T07:00:00Z", 3, 6),
        ("2013-03-10T04:59:59Z", 23, 5),
        ("2013-03-10T05:00:00Z", 0, 6),
        ("2013-03-11T03:59:59Z", 23, 6),
        ("2013-03-11T04:00:00Z", 0, 0),
        // The night they go back: the hour from 1 to 2 comes twice.
        ("2013-11-03T05:30:00Z", 1, 6),
        ("2013-11-03T06:30:00Z", 1, 6),
        ("2013-11-03T07:00:00Z", 2, 6),
        ("2013-11-04T04:59:59Z", 23, 6),
        ("2013-11-04T05:00:00Z", 0, 0),
    ];
    for (at, hour, weekday) in cases {
        for (function, expected) in [("hour", hour), ("weekday", weekday)] {
            let text = format!("{function}(request_time, \"America/New_York\")");
            let expression = compile(&text, ValueType::Int64).unwrap();
            let value = expression.evaluate(|_| Some(Value::Timestamp(at.parse().unwrap())));
            assert_eq!(value, Some(Value::Int64(expected)), "{function} {at}");
        }
    }
    int("hour(v.t, 'UTC')", 6);
    int("hour(v.t, 'Asia/Kolkata')", 12);
}

#[test]
fn variables_are_named_once_and_request_time_is_not_among_them() {
    let parsed = Parsed::parse("has(a.b) && x in [1] ? coalesce(y, a.b) : -(request_time - z.t)").unwrap();
    assert_eq!(parsed.variables(), ["a.b", "x", "y", "z.t"]);
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
            (
                "nope",
                "unknown function `nope`: there are abs, ceil, coalesce, double, exp, floor, great_circle_km, has, hour, int, log1p, max, min, round, sqrt, weekday",
            ),
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
        "'abc",
        &[(
            "'",
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
    int(&format!("1{}", "+1".repeat(60)), 61);
    int(&format!("{}1{}", "(".repeat(60), ")".repeat(60)), 1);
    let terms = vec!["i == 1"; 200].join("||");
    bool(&terms, false);
    errors_contain(&format!("a{}", ".a".repeat(2000)), "nothing else has fields");
    errors_contain(&format!("a{}", "[0]".repeat(1300)), "index");
    errors_contain(&format!("a{}", ".a()".repeat(1000)), "method");
    errors_contain(&"1".repeat(5000), "at most 4096");
    int(&format!("{}1", "-".repeat(4000)), 1);
}

#[track_caller]
fn errors_contain(text: &str, part: &str) {
    let errors = Parsed::parse(text).unwrap_err();
    assert!(errors[0].message.contains(part), "{errors:?}");
}

#[test]
fn expressions_are_shared_between_threads() {
    fn assert_shared<T: std::fmt::Debug + Clone + Send + Sync + 'static>() {}
    assert_shared::<Expression>();
    assert_shared::<Parsed>();
}

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
