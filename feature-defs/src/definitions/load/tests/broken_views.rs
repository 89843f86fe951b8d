//! Broken feature views, and what is said of them.

use super::{Case, check};

#[test]
fn views_say_what_is_wrong() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        replace: r#"entity = "carrier""#,
        by: r#"entity = "carier""#,
        said: &["31:10+8 unknown entity `carier` | did you mean `carrier`?"],
    },
    Case {
        replace: r#"source = "planes""#,
        by: r#"source = "plains""#,
        said: &["52:10+8 unknown source `plains` | did you mean `planes`?"],
    },
    Case {
        replace: r#"ttl = "1d""#,
        by: r#"ttl = "1 day""#,
        said: &["33:7+7 `1 day` is not a length of time: write a whole number and ms, s, m, h or d, such as 90s or 7d"],
    },
    Case {
        replace: r#"ttl = "1d""#,
        by: r#"ttl = "0s""#,
        said: &["33:7+4 a ttl of `0s` is no time at all: it must be above 0"],
    },
    Case {
        replace: r#"ttl = "1d""#,
        by: "ttl = 86400",
        said: &["33:7+5 `ttl` must be a string, not the integer `86400`"],
    },
    Case {
        replace: r#"schedule = "1m""#,
        by: r#"schedule = "100ms""#,
        said: &["34:12+7 a schedule of `100ms` is too fast: it must be at least 1s"],
    },
    Case {
        replace: r#"{ airport = "dest" }"#,
        by: r#"{ airprt = "dest" }"#,
        said: &["44:13+6 `airprt` is not a join key of entity `airport` | did you mean `airport`?"],
    },
    Case {
        replace: r#"function = "mean""#,
        by: r#"function = "avg""#,
        said: &[
            "36:36+5 unknown function `avg` | valid: `count`, `sum`, `mean`, `min`, `max`, `stddev`, `last`, `last_time`, `distinct_count`",
        ],
    },
    Case {
        replace: r#"function = "mean""#,
        by: r#"function = "meen""#,
        said: &["36:36+6 unknown function `meen` | did you mean `mean`?"],
    },
    Case {
        replace: r#", column = "late""#,
        by: "",
        said: &["36:3+72 `column` is missing: `mean` needs one | only `count` and `last_time` can do without"],
    },
    Case {
        replace: r#", windows = ["3h"]"#,
        by: "",
        said: &["37:3+41 `windows` is missing in aggregate"],
    },
    Case {
        replace: r#"windows = ["3h"]"#,
        by: "windows = []",
        said: &[r#"37:54+2 `windows` is empty: name at least one | for example ["24h"]"#],
    },
    Case {
        replace: r#"windows = ["3h"]"#,
        by: r#"windows = ["0h"]"#,
        said: &["37:55+4 a window of `0h` is no time at all: it must be above 0"],
    },
    Case {
        replace: r#"windows = ["3h", "24h", "7d"]"#,
        by: r#"windows = ["3h", "24h", "3h"]"#,
        said: &["36:85+4 feature `late_rate_3h` is there twice | it was first at flights.toml:36:72"],
    },
    Case {
        replace: r#"windows = ["3h"]"#,
        by: r#"windows = ["3h"], type = "float64""#,
        said: &["37:69+9 `count` can't be of type `float64` | the only one is `int64`"],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "int64", expect = {} }"#,
        said: &["53:97+2 `expect` expects nothing | say at least one of `min`, `max` and `null_share`"],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "int64", expect = { min = 2, max = 1, otherwize = "warn" } }"#,
        said: &[
            "53:114+1 `max` is below `min`: no value could be right",
            "53:117+9 unknown key `otherwize` in expect | did you mean `otherwise`?",
        ],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "int64", expect = { max = 1, min = 2 } }"#,
        said: &["53:105+1 `max` is below `min`: no value could be right"],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "string", expect = { null_share = 0.1, max = 1 } }"#,
        said: &[
            "53:124+1 a feature of type `string` has no smallest or largest value to expect | `null_share` is for all types",
        ],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "int64", expect = { null_share = 5 } }"#,
        said: &["53:112+1 `null_share` is a share: it must be from 0 to 1"],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "int64", expect = { min = "a", otherwise = "warm" } }"#,
        said: &["53:105+3 `min` must be a number, not the string `\"a\"`"],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "int64", expect = { min = 1.5, otherwise = "warm" } }"#,
        said: &["53:122+6 unknown `warm` | did you mean `warn`?"],
    },
    Case {
        replace: r#"{ name = "seats", type = "int64" }"#,
        by: r#"{ name = "seats", type = "float64", expect = { min = -inf } }"#,
        said: &["53:107+4 `min` must be a finite number, not the float `-inf`"],
    },
    Case {
        replace: r#"[{ name = "built_year", type = "int64" }, { name = "seats", type = "int64" }]"#,
        by: "[]",
        said: &["53:12+2 a view needs at least one feature"],
    },
    Case {
        replace: r#"name = "built_year", type = "int64""#,
        by: r#"name = "built_year", type = "int46""#,
        said: &["53:43+7 unknown type `int46` | did you mean `int64`?"],
    },
    Case {
        replace: r#"name = "built_year""#,
        by: r#"name = "seats""#,
        said: &["53:58+7 feature `seats` is there twice | it was first at flights.toml:53:22"],
    },
    Case {
        replace: r#"{ name = "built_year", type = "int64" }"#,
        by: r#"{ name = "built__year", type = "int64", colum = "x" }"#,
        said: &[
            "53:22+13 `built__year` is not a name: use a letter, then letters, digits and single underscores (two together separate a view from its feature)",
            "53:53+5 unknown key `colum` in features | did you mean `column`?",
        ],
    },
    Case {
        replace: "source = \"planes\"\nfeatures",
        by: "source = \"planes\"\naggregate = []\nfeatures",
        said: &["54:12+77 a view has `aggregate` or `features`, not both"],
    },
    Case {
        replace: "source = \"planes\"\nfeatures = [{ name = \"built_year\", type = \"int64\" }, { name = \"seats\", type = \"int64\" }]",
        by: r#"source = "planes""#,
        said: &["49:1+16 `aggregate` or `features` is missing in [[feature_view]]"],
    },
    Case {
        replace: "name = \"aircraft\"\nentity",
        by: "name = \"request\"\nentity",
        said: &[
            "50:8+9 no view may be called `request`: `request:x` means something else | choose another name",
            "72:15+16 unknown view `aircraft` | valid: `carrier_ops`, `airport_ops`, `request`, `origin_ops`, `dest_ops`",
        ],
    },
    Case {
        replace: r#"name = "late_rate", function"#,
        by: r#"name = "late_", function"#,
        said: &[
            "36:12+7 `late_` is not a name: use a letter, then letters, digits and single underscores (two together separate a view from its feature)",
        ],
    },
];
