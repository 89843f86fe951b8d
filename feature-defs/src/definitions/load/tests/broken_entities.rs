//! Broken headers, entities and sources, and what is said of them.

use super::{Case, check};

#[test]
fn headers_entities_and_sources_say_what_is_wrong() {
    check(CASES);
}

const CASES: &[Case] = &[
    Case {
        replace: "format = 1\nproject = \"flights\"\n",
        by: "",
        said: &[
            r#"0:0+0 no file says `format` and `project` | let one file begin with `format = 1` and `project = "…"`"#,
        ],
    },
    Case {
        replace: "format = 1",
        by: "format = 2",
        said: &["1:10+1 `format` is 2, which this program does not know | write `format = 1`"],
    },
    Case {
        replace: "format = 1\n",
        by: "",
        said: &["1:11+9 `format` is missing beside this | one file says both"],
    },
    Case {
        replace: r#"project = "flights""#,
        by: r#"projekt = "flights""#,
        said: &[
            "1:10+1 `project` is missing beside this | one file says both",
            "2:1+7 unknown key `projekt` in the file | did you mean `project`?",
        ],
    },
    Case {
        replace: r#"project = "flights""#,
        by: r#"project = "my flights""#,
        said: &[
            "2:11+12 `my flights` is not a name: use a letter, then letters, digits and single underscores (two together separate a view from its feature)",
        ],
    },
    Case {
        replace: "name = \"airport\"\njoin_keys",
        by: "name = \"carrier\"\njoin_keys",
        said: &[
            "9:8+9 entity `carrier` is there twice | it was first at flights.toml:5:8",
            "42:10+9 unknown entity `airport` | valid: `carrier`, `aircraft`",
        ],
    },
    Case {
        replace: r#"[{ name = "tailnum", type = "string" }]"#,
        by: "[]",
        said: &["14:13+2 an entity needs at least one join key"],
    },
    Case {
        replace: r#"[{ name = "tailnum", type = "string" }]"#,
        by: r#"[{ name = "tailnum", type = "float64" }]"#,
        said: &["14:41+9 a join key is `string` or `int64`, not `float64`"],
    },
    Case {
        replace: r#"[{ name = "tailnum", type = "string" }]"#,
        by: r#""tailnum""#,
        said: &[r#"14:13+9 `join_keys` must be an array, not the string `"tailnum"`"#],
    },
    Case {
        replace: r#"[{ name = "tailnum", type = "string" }]"#,
        by: r#"[{ name = "tailnum", type = "string" }, { name = "tailnum", type = "int64" }]"#,
        said: &["14:62+9 join key `tailnum` is there twice | it was first at flights.toml:14:23"],
    },
    Case {
        replace: "[[entity]]\nname = \"carrier\"\n",
        by: "[[entity]]\n",
        said: &[
            "4:1+10 `name` is missing in [[entity]]",
            "30:10+9 unknown entity `carrier` | valid: `airport`, `aircraft`",
        ],
    },
    Case {
        replace: r#"table = "public.planes""#,
        by: r#"table = "public planes""#,
        said: &[
            r#"24:9+15 `public planes` is not the name of a table | write `table` or `schema.table`; for anything else, a query in a file: `sql = "file.sql"`"#,
        ],
    },
    Case {
        replace: "table = \"public.planes\"\n",
        by: "",
        said: &["22:1+10 `table` or `sql` is missing in [[source]]"],
    },
    Case {
        replace: r#"table = "public.planes""#,
        by: "table = \"planes\"\nsql = \"arrivals.sql\"",
        said: &["25:7+14 a source has `table` or `sql`, not both"],
    },
    Case {
        replace: r#"sql = "arrivals.sql""#,
        by: r#"sql = "arivals.sql""#,
        said: &[
            "18:7+13 `arivals.sql` cannot be read: No such file or directory (os error 2) | did you mean `arrivals.sql`?",
        ],
    },
    Case {
        replace: r#"sql = "arrivals.sql""#,
        by: r#"sql = "../arrivals.sql""#,
        said: &[
            "18:7+17 `../arrivals.sql` lies outside the definitions' directory | put it beside the definitions, and write its path from there",
        ],
    },
    Case {
        replace: r#"sql = "arrivals.sql""#,
        by: r#"sql = "/etc/hostname""#,
        said: &[
            "18:7+15 `/etc/hostname` lies outside the definitions' directory | put it beside the definitions, and write its path from there",
        ],
    },
    Case {
        replace: r#"sql = "arrivals.sql""#,
        by: r#"sql = "empty.sql""#,
        said: &["18:7+11 `empty.sql` holds no query"],
    },
    Case {
        replace: r#"event_timestamp = "registered_at""#,
        by: "event_timestamp = \"registered_at\"\noverlap = \"5m\"",
        said: &["26:11+4 `overlap` needs `created_timestamp` | without it, say `lateness`"],
    },
    Case {
        replace: r#"created_timestamp = "ingested_at""#,
        by: "created_timestamp = \"ingested_at\"\nlateness = \"5m\"",
        said: &[
            "21:12+4 `lateness` is for sources without `created_timestamp` | late rows are found by it; say `overlap`",
        ],
    },
    Case {
        replace: r#"created_timestamp = "ingested_at""#,
        by: "created_timestamp = \"ingested_at\"\nkey = []\ndeletd = \"gone\"",
        said: &[
            "21:7+2 `key` is empty: name the columns that say which event a row is a version of | or leave it out: then each row is an event of its own",
            "22:1+6 unknown key `deletd` in [[source]] | did you mean `deleted`?",
        ],
    },
    Case {
        replace: r#"created_timestamp = "ingested_at""#,
        by: "key = [\"flight_id\"]\ndeleted = \"\"",
        said: &[
            "20:7+13 `key` needs `created_timestamp` | the newest created of an event's versions is the one that counts",
            "21:11+2 \"\" is not the name of a column",
        ],
    },
    Case {
        replace: r#"created_timestamp = "ingested_at""#,
        by: "created_timestamp = \"ingested_at\"\nkey = [\"flight_id\", 7, \"flight_id\"]",
        said: &[
            "21:21+1 `key` must be a string, not the integer `7`",
            "21:24+11 column `flight_id` is there twice | it was first at flights.toml:21:8",
        ],
    },
    Case {
        replace: r#"created_timestamp = "ingested_at""#,
        by: r#"created_timestamp = """#,
        said: &[r#"20:21+2 "" is not the name of a column"#],
    },
    Case {
        replace: r#"[{ name = "tailnum", type = "string" }]"#,
        by: r#"[{ name = "carrier", type = "int64" }]"#,
        said: &[
            "72:15+16 view `aircraft` needs `carrier` of type `int64`, another view as `string` | give one of them another name in the request, by `keys` of `joins`",
        ],
    },
    Case {
        replace: "name = \"carrier\"\njoin",
        by: "name = \"carrier\njoin",
        said: &[r#"5:16+1 not TOML: invalid basic string, expected `"`"#],
    },
    Case {
        replace: "name = \"arrivals\"\nsql",
        by: "name = \"planes\"\nsql",
        said: &[
            "23:8+8 source `planes` is there twice | it was first at flights.toml:17:8",
            "32:10+10 unknown source `arrivals` | the only one is `planes`",
            "43:10+10 unknown source `arrivals` | the only one is `planes`",
        ],
    },
    Case {
        replace: "[[source]]\nname = \"arrivals\"",
        by: "[source]\nname = \"arrivals\"",
        said: &["22:3+6 not TOML: duplicate key"],
    },
];
