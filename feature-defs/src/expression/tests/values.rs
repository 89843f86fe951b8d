//! What expressions give: text, declared type, value.

use super::*;

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the tables read better")]
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

#[test]
fn integers_stay_integers_and_promote_beside_floats() {
    int("1 + 2 * 3 - 4", 3);
    int("(1 + 2) * 3", 9);
    int("7 / 2", 3);
    int("-7 / 2", -3);
    int("-7 % 4", -3);
    int("0x10 + 5u", 21);
    int("-i", -7);
    int("i -1", 6);
    int("i-1 - -1", 7);
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
    // JFK to LAX; the expected length is by another formula (the angle between vectors) in another language.
    let text = "great_circle_km(40.6398, -73.7789, 33.9425, -118.4081)";
    let Some(Value::Float64(km)) = compile(text, ValueType::Float64).unwrap().evaluate(value_of) else {
        panic!("{text} is null")
    };
    assert!((km - 3_974.210_932_067_228).abs() < 1e-8, "{km}");
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
