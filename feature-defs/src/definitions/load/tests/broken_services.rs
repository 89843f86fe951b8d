//! Broken derived features and services, and what is said of them.

use super::{Case, check};

#[test]
fn derived_features_and_services_say_what_is_wrong() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        replace: "[[derived]]",
        by: "[[derivd]]",
        said: &["55:3+6 unknown key `derivd` in the file | did you mean `derived`?"],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: r#""carrier_op:late_rate_3h""#,
        said: &["70:3+25 unknown view `carrier_op` | did you mean `carrier_ops`?"],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: r#""carrier_ops:late_rate_2h""#,
        said: &["70:3+26 view `carrier_ops` has no feature `late_rate_2h` | did you mean `late_rate_3h`?"],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: r#""carrier_ops.late_rate_3h""#,
        said: &[
            "70:3+26 `carrier_ops.late_rate_3h` is not a reference: write `view:feature`, `request:name` or `derived:name` | did you mean `carrier_ops:late_rate_3h`?",
        ],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: r#""distance""#,
        said: &[
            "70:3+10 `distance` is not a reference: write `view:feature`, `request:name` or `derived:name` | did you mean `request:distance`?",
        ],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: "7",
        said: &[
            r#"70:3+1 `features` must be made of strings and tables, not the integer `7` | such as "view:feature""#,
        ],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: r#""airport_ops:arrivals_1h""#,
        said: &[
            "70:3+25 view `airport_ops` is joined in service `flight_delay` only as `origin_ops`, `dest_ops` | use that name",
        ],
    },
    Case {
        replace: r#""carrier_ops:late_rate_3h""#,
        by: r#""origin_ops:arrivals_1h""#,
        said: &["71:3+24 input `origin_ops__arrivals_1h` is there twice | it was first at flights.toml:70:3"],
    },
    Case {
        replace: r#""request:distance""#,
        by: r#""request:distanse""#,
        said: &["69:3+18 service `flight_delay` has no request feature `distanse` | did you mean `distance`?"],
    },
    Case {
        replace: r#""derived:late_trend""#,
        by: r#""derived:late_trnd""#,
        said: &["73:3+19 unknown derived feature `late_trnd` | did you mean `late_trend`?"],
    },
    Case {
        replace: "default = 150",
        by: "default = 150.5",
        said: &["72:43+5 the default `150.5` is not of the feature's type, `int64`"],
    },
    Case {
        replace: "default = 150",
        by: "defualt = 150",
        said: &["72:33+7 unknown key `defualt` in features | did you mean `default`?"],
    },
    Case {
        replace: "default = 150",
        by: "default = [1, 2]",
        said: &["72:43+6 the default `[1, 2]` is not of the feature's type, `int64`"],
    },
    Case {
        replace: r#"keys = { airport = "origin" }"#,
        by: r#"keys = { airpot = "origin" }"#,
        said: &["64:55+6 `airpot` is not a join key of view `airport_ops` | did you mean `airport`?"],
    },
    Case {
        replace: r#"as = "dest_ops""#,
        by: r#"as = "origin_ops""#,
        said: &["65:32+12 join `origin_ops` is there twice | it was first at flights.toml:64:32"],
    },
    Case {
        replace: r#"as = "dest_ops""#,
        by: r#"as = "aircraft""#,
        said: &["65:32+10 `aircraft` is the name of another view | choose an alias that is no view's name"],
    },
    Case {
        replace: r#"view = "airport_ops", as = "dest_ops""#,
        by: r#"view = "airport_opps", as = "dest_ops""#,
        said: &["65:12+14 unknown view `airport_opps` | did you mean `airport_ops`?"],
    },
    Case {
        replace: r#"keys = { airport = "origin" }"#,
        by: r#"keys = { airport = "distance" }"#,
        said: &[
            "64:3+76 view `origin_ops` needs `distance` of type `string`, `request` has it as `float64` | one field of the request serves both: they need one type",
        ],
    },
    Case {
        replace: r#"name = "distance", type = "float64""#,
        by: r#"name = "scheduled_minute", type = "float64""#,
        said: &["62:68+18 feature `scheduled_minute` is there twice | it was first at flights.toml:62:21"],
    },
    Case {
        replace: r#"name = "distance", type = "float64""#,
        by: r#"name = "late_trend", type = "float64""#,
        said: &[
            "69:3+18 service `flight_delay` has no request feature `distance` | valid: `scheduled_minute`, `late_trend`",
            "73:3+20 `late_trend` is a request and a derived feature in service `flight_delay` | rename one: both go by that name",
        ],
    },
    Case {
        replace: r#"name = "distance", type = "float64""#,
        by: r#"name = "request_time", type = "float64""#,
        said: &[
            "62:68+14 no feature may be called `request_time`: it is the moment of the prediction | choose another name",
        ],
    },
    Case {
        replace: "name = \"late_trend\"\n",
        by: "name = \"carrier\"\n",
        said: &["73:3+20 unknown derived feature `late_trend` | the only one is `carrier`"],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "carrier_ops.late_rate_2h - ",
        said: &["58:15+24 view `carrier_ops` has no feature `late_rate_2h` | did you mean `late_rate_3h`?"],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "carier_ops.late_rate_3h - ",
        said: &["58:15+23 unknown view `carier_ops` | did you mean `carrier_ops`?"],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "distanse - ",
        said: &[
            "58:15+8 service `flight_delay` has no request or derived feature `distanse` | did you mean `distance`?",
        ],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "tailnum - ",
        said: &[
            "58:15+7 service `flight_delay` has no request or derived feature `tailnum` | `tailnum` is a join key here: to calculate with it, declare it in `request` too",
        ],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "late_trend - ",
        said: &["58:14+40 a derived feature can't need itself: `late_trend` needs `late_trend`"],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "true - ",
        said: &["58:15+32 `-` does not take bool and float64: write `condition ? 1 : 0` for a bool"],
    },
    Case {
        replace: "carrier_ops.late_rate_3h - ",
        by: "(",
        said: &["58:40+1 the expression ends too early"],
    },
    Case {
        replace: "type = \"float64\"\nexpression",
        by: "type = \"string\"\nexpression",
        said: &["58:15+52 the expression gives float64, declared is string"],
    },
    Case {
        replace: r#"expression = "carrier_ops.late_rate_3h - carrier_ops.late_rate_24h""#,
        by: "expression = \"a + 1\"\n\n[[derived]]\nname = \"a\"\ntype = \"float64\"\nexpression = \"b + 1\"\n\n[[derived]]\nname = \"b\"\ntype = \"float64\"\nexpression = \"a + late_trend\"",
        said: &[
            "58:14+7 a derived feature can't need itself: `late_trend` needs `a` needs `b` needs `late_trend`",
            "63:14+7 a derived feature can't need itself: `a` needs `b` needs `a`",
        ],
    },
    Case {
        replace: "[[derived]]\n",
        by: "[[derived]]\nname = \"unused\"\ntype = \"float64\"\nexpression = 'aircraft.seets / anything'\n\n[[derived]]\n",
        said: &["58:15+14 view `aircraft` has no feature `seets` | did you mean `seats`?"],
    },
    Case {
        replace: "[[derived]]\n",
        by: "[[derived]]\nname = \"unused\"\ntype = \"float64\"\nexpression = '''\naircraft.seats\n + \"a\"'''\n\n[[derived]]\n",
        said: &["59:1+14 `+` does not take int64 and string"],
    },
    Case {
        replace: "features = [\n  \"request",
        by: "features = \"x\"\nfoo = [\n  \"request",
        said: &[
            r#"67:12+3 `features` must be an array, not the string `"x"`"#,
            "68:1+3 unknown key `foo` in [[feature_service]] | valid: `name`, `request`, `joins`, `features`",
        ],
    },
    Case {
        replace: r#"name = "distance", type = "float64" }"#,
        by: r#"name = "distance", type = "float64" }, { name = "carrier", type = "int64" }"#,
        said: &[
            "70:3+26 view `carrier_ops` needs `carrier` of type `string`, `request` has it as `int64` | one field of the request serves both: they need one type",
        ],
    },
    Case {
        replace: r#"name = "distance", type = "float64""#,
        by: r#"type = "float64""#,
        said: &["62:59+20 `name` is missing in request"],
    },
    Case {
        replace: "[[feature_service]]",
        by: "[[feature_service]]\nname = \"flight_delay\"\nfeatures = []\n\n[[feature_service]]",
        said: &[
            "62:12+2 a service needs at least one feature",
            "65:8+14 service `flight_delay` is there twice | it was first at flights.toml:61:8",
        ],
    },
    Case {
        replace: "default = 150",
        by: "default = nan",
        said: &["72:43+3 the default `nan` is not of the feature's type, `int64`"],
    },
    Case {
        replace: "\"derived:late_trend\",\n]",
        by: "\"derived:origin\",\n]\n[[derived]]\nname = \"origin\"\ntype = \"int64\"\nexpression = \"aircraft.seats + 1\"",
        said: &[
            "73:3+16 `origin` is a derived feature and a join key in service `flight_delay` | rename one: both go by that name in files and answers",
        ],
    },
];
