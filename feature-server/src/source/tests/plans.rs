//! What Postgres reads for an incremental run: what has changed and what hangs on it, never the whole table.

use super::*;

/// So many events, ten seconds apart, the last at noon of this day, of which some have a second version: of so few carriers
/// that the newest event of all is likely to be the one that is looked for.
async fn fill(ground: &mut Ground, events: u32, day: &str) {
    ground
        .sql(&format!(
            "INSERT INTO events SELECT 'F' || i, 1, i * 7919::int8 % 5000, 'C' || i % 3, time, time + interval '1 min', false, i % 60
             FROM generate_series(1, {events}) AS i, LATERAL (SELECT '{day} 12:00+00'::timestamptz - ({events} - i) * interval '10 s' AS time) AS t;
             INSERT INTO events SELECT flight, leg, tail, carrier, event, created + interval '1 hour', false, delay + 1 FROM events WHERE delay = 0"
        ))
        .await;
}

/// The lines of the plan of an incremental run five minutes after another.
async fn plan(ground: &mut Ground, view: &str) -> String {
    let (view, columns) = ground.view_and_columns(view).await;
    let wanted = Wanted {
        as_of: at("12:00"),
        scope: Scope::Changed(after_run("11:55")),
        part: Part::ALL,
        history: History::Short,
    };
    let query = format!("EXPLAIN (COSTS OFF) {}", values_query(&view, &columns, &wanted));
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_all(&mut ground.source)
        .await
        .unwrap();
    lines.join("\n")
}

const VIEWS: [&str; 8] = [
    "keyed_ops",
    "keyed_ops_pair",
    "keyed_newest",
    "keyed_newest_pair",
    "plain_ops",
    "plain_ops_pair",
    "plain_newest",
    "plain_newest_pair",
];

#[tokio::test]
async fn an_incremental_run_reads_by_the_indexes_that_are_asked_for() {
    let mut ground = Ground::events().await;
    fill(&mut ground, 200_000, "2013-11-05").await;
    ground.sql("ANALYZE events").await;
    assert_eq!(ground.app.check_database().await.unwrap().missing_indexes, [""; 0]);
    for view in VIEWS {
        let plan = plan(&mut ground, view).await;
        assert!(
            !plan.contains("Seq Scan") && !plan.contains("Hash Join") && !plan.contains("Anti Join"),
            "{view}:\n{plan}"
        );
    }
}

#[tokio::test]
async fn each_entity_is_looked_up_by_its_own_index_however_wrong_the_estimates_are() {
    let mut ground = Ground::events().await;
    // The estimates are of an older and smaller table: what has come since looks like nothing, and an index that has it all
    // in one place looks best.
    ground.sql("ALTER TABLE events SET (autovacuum_enabled = false)").await;
    fill(&mut ground, 20_000, "2013-10-30").await;
    ground.sql("ANALYZE events").await;
    fill(&mut ground, 60_000, "2013-11-05").await;
    for view in VIEWS.iter().filter(|view| !view.starts_with("plain_newest")) {
        let plan = plan(&mut ground, view).await;
        let (_, lookup) = plan
            .split_once("CTE Scan on changed")
            .expect("a lookup of each changed entity");
        let own = match view.ends_with("_pair") {
            true => "events_tail_carrier_event_idx",
            false => "events_carrier_event_idx",
        };
        let used: Vec<&str> = lookup
            .split_whitespace()
            .filter(|word| word.ends_with("_idx"))
            .collect();
        let allowed = [own, "events_flight_leg_idx"];
        let by_index = used[0] == own && used.iter().all(|index| allowed.contains(index));
        assert!(by_index && !lookup.contains("Seq Scan"), "{view}:\n{plan}");
    }
}

#[tokio::test]
async fn a_full_run_of_a_table_asks_how_many_rows_an_entity_has() {
    let mut ground = Ground::events().await;
    fill(&mut ground, 4_000, "2013-11-05").await;
    ground.sql("ANALYZE events").await;
    let mut found = Vec::new();
    for view in ["plain_newest", "plain_newest_pair", "keyed_newest"] {
        let (view, columns) = ground.view_and_columns(view).await;
        let history = history_of(&mut ground.source, &view).await.unwrap();
        let wanted = Wanted {
            as_of: at("12:00"),
            scope: Scope::All,
            part: Part::ALL,
            history,
        };
        let looks_twice = values_query(&view, &columns, &wanted).contains("max(");
        found.push((view.name.to_string(), history, looks_twice));
    }
    let expected = [
        // Three carriers, and about as many pairs of aircraft and carrier as there are events.
        ("plain_newest", History::Long, true),
        ("plain_newest_pair", History::Short, false),
        ("keyed_newest", History::Short, false),
    ];
    let expected = expected.map(|(view, history, twice)| (view.to_owned(), history, twice));
    assert_eq!(found, expected);
}
