//! What good definitions load to.

use super::{FLIGHTS, directory, load, load_text};
use crate::definitions::{
    Definitions, Expectation, Function, Input, Join, Origin, Otherwise, Relation, Service, View, ViewKind,
};
use crate::key::KeyType;
use crate::time::Span;
use crate::value::{Value, ValueType};

fn loaded(text: &str) -> Definitions {
    load_text(text).1.unwrap_or_else(|problems| panic!("{problems}"))
}

fn flights_with(replace: &str, by: &str) -> Definitions {
    assert!(FLIGHTS.contains(replace), "not in the example: {replace}");
    loaded(&FLIGHTS.replacen(replace, by, 1))
}

fn fields(view: &View) -> Vec<String> {
    view.fields()
        .iter()
        .map(|field| format!("{}: {}", field.name, field.value_type))
        .collect()
}

#[test]
fn entities_and_sources_are_as_declared() {
    let flights = loaded(FLIGHTS);
    assert_eq!(flights.project.as_str(), "flights");
    let names: Vec<&str> = flights.entities.iter().map(|entity| entity.name.as_str()).collect();
    assert_eq!(names, ["carrier", "airport", "aircraft"]);
    assert_eq!(flights.entities[2].join_keys[0].name.as_str(), "tailnum");
    assert_eq!(flights.entities[2].join_keys[0].key_type, KeyType::String);

    let [arrivals, planes] = flights.sources.as_slice() else {
        panic!("two sources")
    };
    let Relation::Query { file, sql } = &arrivals.relation else {
        panic!("a query")
    };
    assert!(file.ends_with("arrivals.sql"));
    assert_eq!(sql, "SELECT * FROM arrivals");
    assert_eq!(arrivals.event_timestamp, "arrived_at");
    assert_eq!(arrivals.created_timestamp.as_deref(), Some("ingested_at"));
    assert_eq!(
        arrivals.look_back,
        Span::from_secs(300),
        "rows become visible after they are stamped"
    );
    assert_eq!(planes.relation, Relation::Table("public.planes".to_owned()));
    assert_eq!(
        (planes.created_timestamp.as_ref(), planes.look_back),
        (None, Span::ZERO)
    );
}

#[test]
fn look_back_is_overlap_or_lateness() {
    let overlap = flights_with("\"ingested_at\"", "\"ingested_at\"\noverlap = \"0s\"");
    assert_eq!(overlap.sources[0].look_back, Span::ZERO);
    let lateness = flights_with("\"registered_at\"", "\"registered_at\"\nlateness = \"2h\"");
    assert_eq!(lateness.sources[1].look_back, Span::from_secs(7200));
}

#[test]
fn views_have_a_feature_a_window_or_a_column() {
    let flights = loaded(FLIGHTS);
    let carrier = flights.view("carrier_ops").unwrap();
    assert_eq!(
        fields(carrier),
        [
            "late_rate_3h: float64",
            "late_rate_24h: float64",
            "late_rate_7d: float64",
            "arrivals_3h: int64"
        ]
    );
    let ViewKind::Aggregate(aggregates) = &carrier.kind else {
        panic!("an aggregate view")
    };
    assert_eq!(aggregates[1].function, Function::Mean);
    assert_eq!(aggregates[1].column.as_deref(), Some("late"));
    assert_eq!(aggregates[1].window, Span::from_secs(86_400));
    assert_eq!(aggregates[3].column, None);
    assert_eq!(carrier.ttl, Some(Span::from_secs(86_400)));
    assert_eq!(carrier.schedule, Some(Span::from_secs(60)));
    assert_eq!(carrier.owner.as_deref(), Some("ops-ml"));
    assert_eq!(carrier.key_columns, ["carrier"]);
    assert_eq!(flights.view("airport_ops").unwrap().key_columns, ["dest"]);

    let aircraft = flights.view("aircraft").unwrap();
    assert_eq!(
        aircraft.kind,
        ViewKind::Row {
            columns: vec!["built_year".to_owned(), "seats".to_owned()]
        }
    );
    assert_eq!((aircraft.ttl, aircraft.schedule), (None, None));
    let renamed = flights_with("name = \"seats\",", "name = \"seats\", column = \"n_seats\",");
    let ViewKind::Row { columns } = &renamed.view("aircraft").unwrap().kind else {
        panic!("a row view")
    };
    assert_eq!(columns, &["built_year", "n_seats"]);
}

#[test]
fn aggregates_have_the_type_of_their_function() {
    let aggregate = r#"aggregate = [
  { name = "a", function = "count", column = "late", windows = ["1h"] },
  { name = "b", function = "sum", column = "late", windows = ["1h"] },
  { name = "c", function = "sum", column = "late", windows = ["1h"], type = "int64" },
  { name = "d", function = "min", column = "late", windows = ["1h"], type = "timestamp" },
  { name = "e", function = "max", column = "late", windows = ["1h"] },
  { name = "f", function = "stddev", column = "late", windows = ["1h"] },
  { name = "g", function = "last", column = "late", windows = ["1h"], type = "bool" },
  { name = "h", function = "last_time", windows = ["90m"] },
  { name = "i", function = "distinct_count", column = "late", windows = ["1h"], type = "int64" },
]"#;
    let airport = r#"aggregate = [{ name = "arrivals", function = "count", windows = ["1h"] }]"#;
    let more = format!(
        "{airport}\n\n[[feature_view]]\nname = \"all\"\nentity = \"carrier\"\nsource = \"arrivals\"\n{aggregate}"
    );
    let flights = flights_with(airport, &more);
    let expected = [
        "a_1h: int64",
        "b_1h: float64",
        "c_1h: int64",
        "d_1h: timestamp",
        "e_1h: float64",
        "f_1h: float64",
        "g_1h: bool",
        "h_90m: timestamp",
        "i_1h: int64",
    ];
    assert_eq!(fields(flights.view("all").unwrap()), expected);
}

fn joins(service: &Service) -> Vec<(String, String, Vec<&str>)> {
    let keys = |join: &Join| {
        join.key_indexes
            .iter()
            .map(|&i| service.keys[i].name.as_str())
            .collect()
    };
    service
        .joins
        .iter()
        .map(|join| (join.alias.to_string(), join.view.name.to_string(), keys(join)))
        .collect()
}

#[test]
fn a_service_is_linked_to_all_that_its_inputs_need() {
    let flights = loaded(FLIGHTS);
    let service = flights.service("flight_delay").unwrap();
    assert_eq!(
        joins(service),
        [
            ("carrier_ops".to_owned(), "carrier_ops".to_owned(), vec!["carrier"]),
            ("origin_ops".to_owned(), "airport_ops".to_owned(), vec!["origin"]),
            ("aircraft".to_owned(), "aircraft".to_owned(), vec!["tailnum"]),
        ],
        "in order of first use; a declared join that no feature needs is not read"
    );
    let derived: Vec<&str> = service
        .derived
        .iter()
        .map(|derived| derived.field.name.as_str())
        .collect();
    assert_eq!(derived, ["late_trend"]);
    let input = |name: &str, value_type, origin, default| Input {
        name: name.to_owned(),
        value_type,
        origin,
        default,
    };
    assert_eq!(
        service.inputs,
        [
            input("scheduled_minute", ValueType::Int64, Origin::Request { index: 0 }, None),
            input("distance", ValueType::Float64, Origin::Request { index: 1 }, None),
            input(
                "carrier_ops__late_rate_3h",
                ValueType::Float64,
                Origin::Stored { join: 0, feature: 0 },
                None
            ),
            input(
                "origin_ops__arrivals_1h",
                ValueType::Int64,
                Origin::Stored { join: 1, feature: 0 },
                None
            ),
            input(
                "aircraft__seats",
                ValueType::Int64,
                Origin::Stored { join: 2, feature: 1 },
                Some(Value::Int64(150))
            ),
            input("late_trend", ValueType::Float64, Origin::Derived { index: 0 }, None),
        ]
    );
    for input in &service.inputs {
        assert_eq!(service.type_of(input.origin), input.value_type, "{}", input.name);
    }
}

#[test]
fn derived_features_bring_what_they_need_in_order() {
    let derived = r#"
[[derived]]
name = "busy"
type = "float64"
expression = "relative + distance + dest_ops.arrivals_1h"

[[derived]]
name = "relative"
type = "float64"
expression = "late_trend * aircraft.seats"

"#;
    let text = FLIGHTS.replace("[[feature_service]]", &format!("{derived}[[feature_service]]"));
    let at = text.find("features = [\n  \"request").unwrap();
    let flights = loaded(&format!("{}features = [\"derived:busy\"]\n", &text[..at]));
    let service = flights.service("flight_delay").unwrap();
    let order: Vec<&str> = service
        .derived
        .iter()
        .map(|derived| derived.field.name.as_str())
        .collect();
    assert_eq!(order, ["late_trend", "relative", "busy"]);
    let aliases: Vec<&str> = service.joins.iter().map(|join| join.alias.as_str()).collect();
    assert_eq!(aliases, ["carrier_ops", "aircraft", "dest_ops"]);
    let keys: Vec<&str> = service.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(keys, ["carrier", "tailnum", "dest"]);
    assert_eq!(service.inputs.len(), 1);
}

#[test]
fn views_share_a_request_key_and_a_request_feature_may_be_one() {
    let flights = flights_with(
        "name = \"distance\", type = \"float64\" }",
        "name = \"distance\", type = \"float64\" }, { name = \"carrier\", type = \"string\" }",
    );
    let service = flights.service("flight_delay").unwrap();
    assert_eq!(service.request[2].name.as_str(), "carrier");
    assert_eq!(service.keys[0].name.as_str(), "carrier");

    let flights = flights_with("keys = { airport = \"origin\" }", "keys = { airport = \"carrier\" }");
    let service = flights.service("flight_delay").unwrap();
    assert_eq!(service.keys.len(), 2);
    assert_eq!(service.joins[1].key_indexes, [0]);
}

#[test]
fn defaults_have_the_type_of_their_feature() {
    let with = |type_name: &str, default: &str| {
        let text = FLIGHTS
            .replace(
                "name = \"seats\", type = \"int64\"",
                &format!("name = \"seats\", type = \"{type_name}\""),
            )
            .replace("default = 150", &format!("default = {default}"));
        load_text(&text)
            .1
            .ok()
            .and_then(|flights| flights.service("flight_delay")?.inputs[4].default.clone())
    };
    let moment = "2013-11-05T16:30:00Z";
    let good = [
        ("bool", "true", Value::Bool(true)),
        ("int64", "0xff", Value::Int64(255)),
        ("int64", "-1_000", Value::Int64(-1000)),
        ("float64", "3", Value::Float64(3.0)),
        ("float32", "0.5", Value::Float32(0.5)),
        ("string", "\"\"", Value::String(String::new())),
        ("bytes", "\"00ff\"", Value::Bytes(vec![0, 255])),
        ("timestamp", moment, Value::Timestamp(moment.parse().unwrap())),
        (
            "timestamp",
            "\"2013-11-05T16:30:00Z\"",
            Value::Timestamp(moment.parse().unwrap()),
        ),
        ("float32_list", "[1, 2.5]", Value::Float32List(vec![1.0, 2.5])),
        ("int64_list", "[]", Value::Int64List(vec![])),
        ("string_list", "[\"a\"]", Value::StringList(vec!["a".to_owned()])),
    ];
    for (type_name, default, expected) in good {
        assert_eq!(with(type_name, default), Some(expected), "{type_name} {default}");
    }
    let bad = [
        ("bool", "1"),
        ("int64", "1.0"),
        ("int64", "9223372036854775808"),
        ("float64", "\"1\""),
        ("float64", "inf"),
        ("float32", "1e39"),
        ("string", "1"),
        ("timestamp", "2013-11-05T16:30:00"),
        ("int64_list", "[1, \"a\"]"),
        ("string_list", "{ a = 1 }"),
    ];
    for (type_name, default) in bad {
        assert_eq!(with(type_name, default), None, "{type_name} {default}");
    }
}

#[test]
fn declarations_may_be_spread_over_files_in_any_order() {
    let (header, rest) = FLIGHTS.split_at(FLIGHTS.find("[[source]]").unwrap());
    let dir = directory(&[
        ("z.toml", header),
        ("a.toml", rest),
        ("arrivals.sql", "SELECT 1 ; \n;\n"),
    ]);
    let flights = load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(flights.services.len(), 1);
    assert_eq!(flights.sources[0].relation_text(), "SELECT 1");
}

#[test]
fn a_digest_changes_with_meaning_and_not_with_prose() {
    let digest = |flights: &Definitions, view: &str| flights.view(view).unwrap().digest();
    let original = loaded(FLIGHTS);
    let prose = [
        ("How punctual the carrier has been", "Punctuality"),
        ("owner = \"ops-ml\"\n", ""),
        ("ttl = \"1d\"", "ttl = \"2d\""),
        ("schedule = \"1m\"", "schedule = \"5m\""),
        ("\"ingested_at\"", "\"ingested_at\"\noverlap = \"10m\""),
        (
            "name = \"late_trend\"\ntype = \"float64\"",
            "name = \"late_trend\"\ntype = \"float32\"",
        ),
    ];
    let order = [
        ("[\"3h\", \"24h\", \"7d\"]", "[\"7d\", \"3h\", \"24h\"]"),
        (
            "{ name = \"built_year\", type = \"int64\" }, { name = \"seats\", type = \"int64\" }",
            "{ name = \"seats\", type = \"int64\" }, { name = \"built_year\", type = \"int64\" }",
        ),
    ];
    for (replace, by) in order {
        let reordered = flights_with(replace, by);
        for view in ["carrier_ops", "aircraft"] {
            assert_eq!(digest(&reordered, view), digest(&original, view), "{by}");
        }
    }
    for (replace, by) in prose {
        assert_eq!(
            digest(&flights_with(replace, by), "carrier_ops"),
            digest(&original, "carrier_ops"),
            "{by}"
        );
    }
    let meaning = [
        ("sql = \"arrivals.sql\"", "table = \"arrivals\""),
        ("\"arrived_at\"", "\"landed_at\""),
        ("created_timestamp = \"ingested_at\"\n", ""),
        ("column = \"late\"", "column = \"very_late\""),
        ("name = \"late_rate\",", "name = \"share_late\","),
        ("function = \"mean\"", "function = \"max\""),
        ("\"7d\"]", "\"6d\"]"),
        (
            "{ name = \"carrier\", type = \"string\" }",
            "{ name = \"carrier\", type = \"int64\" }",
        ),
        (
            "source = \"arrivals\"\nttl",
            "source = \"arrivals\"\ncolumns = { carrier = \"airline\" }\nttl",
        ),
    ];
    for (replace, by) in meaning {
        let text = FLIGHTS.replacen(replace, by, 1);
        // Without its service, which a renamed feature would break.
        let changed = loaded(&text[..text.find("[[derived]]").unwrap()]);
        assert_ne!(
            digest(&changed, "carrier_ops"),
            digest(&original, "carrier_ops"),
            "{by}"
        );
    }
    let retyped = flights_with(
        "name = \"built_year\", type = \"int64\"",
        "name = \"built_year\", type = \"float64\"",
    );
    assert_ne!(digest(&retyped, "aircraft"), digest(&original, "aircraft"));
}

#[test]
fn keys_deletions_and_expectations_are_read() {
    let text = FLIGHTS.replacen(
        "created_timestamp = \"ingested_at\"",
        "created_timestamp = \"ingested_at\"\nkey = [\"flight_id\", \"leg\"]\ndeleted = \"gone\"",
        1,
    );
    let text = text.replacen(
        "windows = [\"3h\"",
        "expect = { min = 0, max = 1, null_share = 0.05, otherwise = \"warn\" }, windows = [\"3h\"",
        1,
    );
    let text = text.replacen(
        "name = \"seats\", type = \"int64\"",
        "name = \"seats\", type = \"int64\", expect = { min = 1.5 }",
        1,
    );
    let definitions = loaded(&text);
    let ops = definitions.view("carrier_ops").unwrap();
    assert_eq!(ops.source.key, ["flight_id", "leg"]);
    assert_eq!(ops.source.deleted.as_deref(), Some("gone"));
    let expected = |feature| Expectation {
        feature,
        min: Some(0.0),
        max: Some(1.0),
        null_share: Some(0.05),
        otherwise: Otherwise::Warn,
    };
    assert_eq!(
        ops.expectations,
        [expected(0), expected(1), expected(2)],
        "one a window"
    );
    let aircraft = definitions.view("aircraft").unwrap();
    assert_eq!(
        aircraft.expectations,
        [Expectation {
            feature: 1,
            min: Some(1.5),
            max: None,
            null_share: None,
            otherwise: Otherwise::Stop
        }]
    );
    // What is expected does not change what values mean; which events there are does.
    let plain = loaded(FLIGHTS);
    assert_eq!(aircraft.digest(), plain.view("aircraft").unwrap().digest());
    assert_ne!(ops.digest(), plain.view("carrier_ops").unwrap().digest());
}

#[test]
fn services_are_equal_while_all_that_makes_their_inputs_is() {
    let (dir, _) = load_text(FLIGHTS);
    let service = |text: &str| {
        std::fs::write(dir.path().join("flights.toml"), text).unwrap();
        let definitions = load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
        definitions.service("flight_delay").unwrap().clone()
    };
    let original = service(FLIGHTS);
    assert_eq!(service(FLIGHTS), original);
    for (from, to) in [
        ("default = 150", "default = 151"),
        (
            "carrier_ops.late_rate_3h - carrier_ops.late_rate_24h",
            "carrier_ops.late_rate_24h - carrier_ops.late_rate_3h",
        ),
        ("ttl = \"1d\"", "ttl = \"2d\""),
        ("{ name = \"built_year\", type = \"int64\" }, ", ""),
    ] {
        assert!(FLIGHTS.contains(from), "{from}");
        assert_ne!(service(&FLIGHTS.replace(from, to)), original, "{from}");
    }
}
