//! What is wrong with rows is said before any of them is written, all of it.

use super::*;

/// A table with a column of each sort, and views that read them.
const SORTS: &str = "
    CREATE TYPE mood AS ENUM ('fine', 'bad');
    CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, who text, shop int8, event timestamptz, created timestamptz DEFAULT now(),
        flag bool, small int2, whole int4, big int8, single float4, double float8, exact numeric, name text, code char(3), day date, bytes bytea,
        at timestamptz, local timestamp, singles float4[], doubles float8[], numbers int4[], names text[], mood mood, more jsonb, tag uuid,
        twice int8 GENERATED ALWAYS AS (shop * 2) STORED);
    CREATE INDEX ON events (who, event);";

const VIEWS_OF_SORTS: &str = r#"
[[entity]]
name = "person"
join_keys = [{ name = "who", type = "string" }]
[[entity]]
name = "shop"
join_keys = [{ name = "shop", type = "int64" }]
[[source]]
name = "events"
table = "events"
push_to = "events"
event_timestamp = "event"
[[feature_view]]
name = "person"
entity = "person"
source = "events"
features = [
  { name = "flag", type = "bool" }, { name = "small", type = "int64" }, { name = "big", type = "int64" },
  { name = "single", type = "float32" }, { name = "narrow", type = "float32", column = "double" }, { name = "exact", type = "float64" },
  { name = "name", type = "string" }, { name = "bytes", type = "bytes" }, { name = "at", type = "timestamp" },
  { name = "doubles", type = "float32_list" }, { name = "numbers", type = "int64_list" }, { name = "names", type = "string_list" },
  { name = "mood", type = "string" }, { name = "tag", type = "string" },
]
[[feature_view]]
name = "shop"
entity = "shop"
source = "events"
features = [{ name = "code", type = "string" }]
"#;

async fn sorts() -> Ground {
    Ground::new(SORTS, VIEWS_OF_SORTS).await
}

fn row(more: Value) -> PushedRow {
    let mut row = object(json!({"who": "ann", "event": "2013-11-05T11:30:00Z"}));
    row.extend(object(more));
    row
}

#[tokio::test]
async fn every_problem_of_a_row_is_told_with_the_nearest_name() {
    let ground = sorts().await;
    for (more, told) in [
        (json!({"hwo": "ann"}), "events has no column `hwo`; did you mean `who`?"),
        (
            json!({"event": null}),
            "`event` is null: a row needs its event timestamp",
        ),
        (
            json!({"event": 1_383_669_000}),
            "`event`: 1383669000 is no time: is it seconds",
        ),
        (json!({"event": "2013-11-05"}), "`event`: `2013-11-05` is not a time"),
        (json!({"event": "infinity"}), "`event`: `infinity` is not a time"),
        (
            json!({"who": null}),
            "`who` is null: a row needs the join keys of view person",
        ),
        (json!({"who": 5}), "`who`: expected string, got 5"),
        (json!({"who": "a\0b"}), "`who`: a text with a zero character in it"),
        (json!({"shop": 1.5}), "`shop`: expected int64, got 1.5"),
        (json!({"id": 5}), "`id` is filled by the database: leave it out"),
        (json!({"twice": 5}), "`twice` is filled by the database: leave it out"),
        (json!({"flag": 1}), "`flag`: expected bool, got 1"),
        (json!({"flag": "true"}), "`flag`: expected bool"),
        (json!({"small": 40_000}), "`small`: 40000 is out of the range of int2"),
        (
            json!({"whole": -2_147_483_649_i64}),
            "`whole`: -2147483649 is out of the range of int4",
        ),
        (
            json!({"big": 9_223_372_036_854_775_808_u64}),
            "`big`: expected int64, got 9223372036854775808",
        ),
        (json!({"big": "5"}), "`big`: expected int64"),
        (json!({"big": 5.0}), "`big`: expected int64, got 5.0"),
        (
            json!({"single": 1e39}),
            "`single`: 1e+39 is out of the range of float32",
        ),
        (
            json!({"double": 1e39}),
            "`double`: 1e+39 is out of the range of float32",
        ),
        (
            json!({"double": 1e-50}),
            "`double`: 1e-50 is out of the range of float32",
        ),
        (json!({"double": "nan"}), "`double`: expected float64"),
        (json!({"double": "1.5"}), "`double`: expected float64"),
        (json!({"exact": "one"}), "`exact`: expected float64"),
        (json!({"name": 5}), "`name`: expected string, got 5"),
        (json!({"bytes": "0"}), "`bytes`: expected bytes"),
        (json!({"at": "noon"}), "`at`: `noon` is not a time"),
        (json!({"doubles": [1.0, null]}), "`doubles`: a list with a null in it"),
        (
            json!({"doubles": [1e39]}),
            "`doubles`: 1e+39 is out of the range of float32",
        ),
        (json!({"numbers": [[1], [2]]}), "`numbers`: expected int64"),
        (json!({"numbers": 1}), "`numbers`: expected a list, got a number"),
        (json!({"names": [1]}), "`names`: expected string, got 1"),
    ] {
        let refused = ground
            .app
            .push("events", &[row(more.clone())], WHOLE)
            .await
            .unwrap_err();
        let told_of_row = format!("row 0: {told}");
        assert!(refused.to_string().contains(&told_of_row), "{more}: {refused}");
        assert!(matches!(refused, PushError::Rows { count: 1, .. }));
    }
    let bad = row(json!({"hwo": 1, "small": 40_000, "flag": 1}));
    let refused = ground
        .app
        .push("events", &[row(json!({})), bad], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "1 row is wrong, and nothing was written:\n  row 1: events has no column `hwo`; did you mean `who`?; `small`: 40000 is out of the range of int2; `flag`: expected bool, got 1"
    );
    let many: Vec<PushedRow> = (0..50).map(|i| row(json!({"big": format!("{i}")}))).collect();
    let refused = ground.app.push("events", &many, WHOLE).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("50 rows are wrong") && refused.ends_with("and 30 more"),
        "{refused}"
    );
    let wide: Vec<(String, Value)> = (0..1_000).map(|i| (format!("column{i}"), json!(1))).collect();
    let refused = ground
        .app
        .push("events", &[wide.into_iter().collect()], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.len() < 1_000 && refused.ends_with("and 992 more"), "{refused}");
}

#[tokio::test]
async fn every_sort_of_value_arrives_as_it_was_given() {
    let mut ground = sorts().await;
    let given = json!({
        "flag": true, "small": -32_768, "whole": 7, "big": i64::MAX, "single": 0.1, "double": -0.0, "exact": "12345678901234567890.5",
        "name": "O'Hare \\ \"x\" ü", "code": "a", "day": "2013-11-05", "bytes": "00ff", "at": "2013-11-05T12:30:00.000001+01:00",
        "local": "2013-11-05 11:00", "singles": [0.1, "NaN", null], "doubles": [1.5, "Infinity"], "numbers": [1, -1], "names": ["a", "b,\"c"],
        "mood": "fine", "more": {"a": [1, null, {"b": 2.5}]}, "tag": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "shop": 9,
    });
    let pushed = ground.app.push("events", &[row(given)], WHOLE).await.unwrap();
    assert_eq!(counts(&pushed), [("person", 1, 0), ("shop", 1, 0)], "{pushed:?}");
    assert_eq!(
        ground.values("person", "ann", "12:00").await.as_deref(),
        Some(
            "true -32768 9223372036854775807 0.1 0.0 1.2345678901234567e+19 O'Hare \\ \"x\" ü 00ff 2013-11-05T11:30:00.000001Z [1.5,null] [1,-1] [\"a\",\"b,\\\"c\"] fine a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
        )
    );
    let stored: String = sqlx::query_scalar(
        "SELECT concat_ws(' ', \"double\", exact, code || '.', day, local, singles, more, twice, created IS NOT NULL) FROM events",
    )
    .fetch_one(&mut ground.source)
    .await
    .unwrap();
    assert_eq!(
        stored,
        "-0 12345678901234567890.5 a. 2013-11-05 2013-11-05 11:00:00 {0.1,NaN,NULL} {\"a\": [1, null, {\"b\": 2.5}]} 18 t"
    );
    // NaN is how floats spell "no value".
    let none = row(json!({"event": "2013-11-05T11:31:00", "double": "NaN", "exact": "NaN", "single": "-Infinity"}));
    ground.app.push("events", &[none], WHOLE).await.unwrap();
    let values = ground.values("person", "ann", "12:00").await.unwrap();
    assert!(values.starts_with("- - - null - -"), "{values}");
}

#[tokio::test]
async fn a_row_needs_the_join_keys_of_one_view_or_of_the_one_it_is_for() {
    let ground = sorts().await;
    let of_a_shop = object(json!({"shop": 9, "code": "x", "event": "2013-11-05T11:30:00"}));
    let pushed = ground
        .app
        .push("events", std::slice::from_ref(&of_a_shop), WHOLE)
        .await
        .unwrap();
    assert_eq!(counts(&pushed), [("person", 0, 0), ("shop", 1, 0)]);
    let refused = ground
        .app
        .push("person", &[of_a_shop], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("`who` is missing: a row needs the join keys of view person"),
        "{refused}"
    );
    let of_nobody = object(json!({"event": "2013-11-05T11:30:00"}));
    let refused = ground
        .app
        .push("events", &[of_nobody], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is missing: a row needs the join keys"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_pushed_to_is_told() {
    let ground = sorts().await;
    let push = async |target: &str, rows: &[PushedRow]| ground.app.push(target, rows, WHOLE).await;
    let refused = push("perso", &[]).await.unwrap_err().to_string();
    assert_eq!(refused, "there is no view or source `perso`; did you mean `person`?");
    let many = vec![PushedRow::new(); 10_001];
    let refused = push("events", &many).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "10001 rows are too many for one push: send at most 10000 at a time"
    );
    assert_eq!(push("events", &[]).await.unwrap(), Pushed::default());
    let ground = Ground::arrivals().await;
    let refused = ground.app.push("ops", &[], WHOLE).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("source arrivals says no table that rows are pushed to"),
        "{refused}"
    );
    for (push_to, told) in [
        (
            "nothing",
            "source events: rows cannot be pushed to nothing: relation \"nothing\" does not exist",
        ),
        (
            "other",
            "source events, push_to other: it has no column `created`, which is the source's created_timestamp",
        ),
        (
            "other",
            "source events, push_to other: its column `event` is timestamp, and the source's event_timestamp is timestamptz",
        ),
    ] {
        let toml = definitions(PLAIN).replace("push_to = \"events\"", &format!("push_to = \"{push_to}\""));
        let tables = format!("{EVENTS} CREATE TABLE other (carrier text, event timestamp)");
        let ground = Ground::new(&tables, &toml).await;
        let refused = ground.app.push("events", &[], WHOLE).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
        let problems = ground.app.check_database().await.unwrap().problems;
        assert!(
            problems.iter().any(|problem| problem.to_string().starts_with(told)),
            "{problems:?}"
        );
    }
}
