//! Every type and aggregate function, through Postgres and Redis and back.

use feature_defs::key::KeyValue;
use feature_defs::value::Value;

use crate::Mode::Full;
use crate::testing::Ground;

const EVERY_TYPE: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN percent AS numeric(5, 2);
    CREATE TABLE every (id int4, event timestamptz, created timestamptz, bo bool, i2 int2, f4 float4, f8 float8,
        nu percent, vc varchar(9), ch char(3), uu uuid, mo mood, by bytea, ts timestamptz, lf float8[], li int2[], ls varchar[]);
    INSERT INTO every VALUES
        (7, '2013-11-05 11:00+00', NULL, true, -3, 0.1, 0.1, 12.50, 'ü, \"q\"', 'ab', '00000000-0000-0000-0000-00000000000a', 'glad',
         '\\x00ff', '1969-12-31 23:59:59.999999+00', '{0.1,-2}', '{1,-2}', '{a,\"\"}'),
        (7, '2013-11-05 10:00+00', NULL, false, 5, 'NaN', '1e300', 'NaN', 'b', 'c', NULL, 'sad', NULL, 'infinity', '{}', '{}', '{}'),
        (8, '2013-11-05 10:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);";

const EVERY_TOML: &str = r#"
[[entity]]
name = "thing"
join_keys = [{ name = "id", type = "int64" }]

[[source]]
name = "every"
table = "every"
event_timestamp = "event"
created_timestamp = "created"

[[feature_view]]
name = "row"
entity = "thing"
source = "every"
features = [
  { name = "bo", type = "bool" }, { name = "i2", type = "int64" }, { name = "f4", type = "float32" },
  { name = "f8", type = "float64" }, { name = "nu", type = "float64" }, { name = "vc", type = "string" },
  { name = "ch", type = "string" }, { name = "uu", type = "string" }, { name = "mo", type = "string" },
  { name = "by", type = "bytes" }, { name = "ts", type = "timestamp" }, { name = "lf", type = "float32_list" },
  { name = "li", type = "int64_list" }, { name = "ls", type = "string_list" },
]

[[feature_view]]
name = "aggregates"
entity = "thing"
source = "every"
aggregate = [
  { name = "a", function = "sum", column = "bo", type = "int64", windows = ["1d"] },
  { name = "b", function = "mean", column = "bo", windows = ["1d"] },
  { name = "c", function = "sum", column = "i2", type = "int64", windows = ["1d"] },
  { name = "d", function = "stddev", column = "i2", windows = ["1d"] },
  { name = "e", function = "min", column = "f4", type = "float32", windows = ["1d"] },
  { name = "f", function = "max", column = "f8", type = "float64", windows = ["1d"] },
  { name = "g", function = "mean", column = "nu", windows = ["1d"] },
  { name = "h", function = "min", column = "vc", type = "string", windows = ["1d"] },
  { name = "i", function = "max", column = "mo", type = "string", windows = ["1d"] },
  { name = "j", function = "min", column = "ts", type = "timestamp", windows = ["1d"] },
  { name = "k", function = "last", column = "by", type = "bytes", windows = ["1d"] },
  { name = "l", function = "last", column = "bo", type = "bool", windows = ["1d"] },
  { name = "m", function = "distinct_count", column = "uu", windows = ["1d"] },
  { name = "n", function = "count", column = "ls", windows = ["1d"] },
  { name = "o", function = "last_time", column = "uu", windows = ["1d"] },
]
"#;

#[tokio::test]
async fn every_type_and_function_comes_through_postgres_as_it_is() {
    let ground = Ground::new(EVERY_TYPE, EVERY_TOML).await;
    let run = ground.run("row", Full, "12:00").await;
    assert_eq!(run.counts.written, 2);
    ground.run("aggregates", Full, "12:00").await;
    let read = async |view, id| {
        let row = ground.read_key(view, KeyValue::Int64(id), "12:00").await;
        row.values
            .iter()
            .map(|v| v.as_ref().map_or_else(|| "-".into(), Value::to_text))
            .collect::<Vec<String>>()
            .join(" | ")
    };
    insta::assert_snapshot!(read("row", 7).await, @r#"true | -3 | 0.1 | 0.1 | 12.5 | ü, "q" | ab | 00000000-0000-0000-0000-00000000000a | glad | 00ff | 1969-12-31T23:59:59.999999Z | [0.1,-2.0] | [1,-2] | ["a",""]"#);
    insta::assert_snapshot!(read("row", 8).await, @"- | - | - | - | - | - | - | - | - | - | - | - | - | -");
    insta::assert_snapshot!(read("aggregates", 7).await, @"1 | 0.5 | 2 | 5.656854249492381 | 0.1 | 1e+300 | 12.5 | b | sad | 1969-12-31T23:59:59.999999Z | 00ff | true | 1 | 2 | 2013-11-05T11:00:00Z");
    insta::assert_snapshot!(read("aggregates", 8).await, @"0 | - | 0 | - | - | - | - | - | - | - | - | - | 0 | 0 | -");
}

#[tokio::test]
async fn a_value_that_no_feature_can_hold_fails_the_run_and_names_the_entity() {
    let mut ground = Ground::new(EVERY_TYPE, EVERY_TOML).await;
    ground
        .sql("INSERT INTO every (id, event, ls) VALUES (9, '2013-11-05 11:00+00', '{a,NULL}')")
        .await;
    let failed = ground.try_run("row", Full, "12:00").await.unwrap_err().to_string();
    assert!(
        failed.contains("view row") && failed.contains("id=9") && failed.contains("list holds a null"),
        "{failed}"
    );
    ground.sql("ALTER TABLE every ALTER i2 TYPE int8; INSERT INTO every (id, event, i2) SELECT 9, '2013-11-05 11:00+00', 9e18 FROM generate_series(1, 2)").await;
    let failed = ground
        .try_run("aggregates", Full, "12:00")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        failed.contains("view aggregates") && failed.contains("bigint out of range"),
        "{failed}"
    );
}
