//! What Postgres reads: for an incremental run what has changed and what hangs on it, never the whole table; for a full run the
//! table once or twice.

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

/// Whether a full run looks for each entity's newest event time first.
async fn looks_first(ground: &mut Ground, view: &str) -> bool {
    let (view, columns) = ground.view_and_columns(view).await;
    let history = history_of(&mut ground.source, &view).await.unwrap();
    let wanted = Wanted {
        as_of: at("12:00"),
        scope: Scope::All(history),
        part: Part::ALL,
    };
    let first = values_query(&view, &columns, &wanted).contains("max(");
    assert_eq!(first, history == History::Long);
    first
}

#[tokio::test]
async fn the_planner_decides_whether_a_full_run_looks_for_the_newest_events_first() {
    let mut ground = Ground::events().await;
    ground.sql("ALTER TABLE events SET (autovacuum_enabled = false)").await;
    fill(&mut ground, 4_000, "2013-11-05").await;
    let ground = &mut ground;
    assert!(
        looks_first(ground, "plain_newest_pair").await,
        "nothing is known of the table"
    );
    assert!(
        !looks_first(ground, "keyed_newest").await,
        "versions are compared in any case"
    );
    ground.sql("ANALYZE events").await;
    assert!(looks_first(ground, "plain_newest").await, "three carriers");
    assert!(
        !looks_first(ground, "plain_newest_pair").await,
        "an aircraft has an event or two"
    );
}
