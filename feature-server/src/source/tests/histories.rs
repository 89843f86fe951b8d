//! Named histories of events that are corrected, moved, taken away and brought back.

use super::*;
use crate::Mode;

#[tokio::test]
async fn a_corrected_event_counts_once_and_the_newest_version_wins() {
    let mut ground = Ground::events().await;
    ground.row("F1 1 7 UA 11:30 11:31 10").await;
    ground.row("F1 1 7 UA 11:30 11:50 20").await;
    ground.row("F1 1 7 UA 11:30 11:40 30").await;
    ground.row("F1 2 7 UA 11:20 11:31 1").await;
    assert_eq!(ground.all("keyed_ops", "12:00").await, "UA 11:30 2 2 21");
    assert_eq!(ground.all("plain_ops", "12:00").await, "UA 11:30 4 4 61");
    assert_eq!(ground.all("keyed_newest", "12:00").await, "UA 11:30 11:50 20");
    assert_eq!(ground.all("keyed_newest_pair", "12:00").await, "7 UA 11:30 11:50 20");
}

#[tokio::test]
async fn an_event_moves_to_another_entity_and_both_are_looked_at() {
    let mut ground = Ground::events().await;
    ground.row("F1 1 7 UA 08:30 08:31 10").await;
    ground.row("F2 1 7 UA 08:10 08:11 5").await;
    ground.row("F1 1 8 AA 08:30 12:02 11").await;
    assert_eq!(
        ground.all("keyed_newest", "12:05").await,
        "AA 08:30 12:02 11 | UA 08:10 08:11 5"
    );
    let changed = ground.changed("keyed_newest", "12:00", "12:05").await;
    assert_eq!(
        changed, "AA 08:30 12:02 11 | UA 08:10 08:11 5",
        "the older event is UA's newest again"
    );
    let changed = ground.changed("keyed_newest_pair", "12:00", "12:05").await;
    assert_eq!(changed, "7 UA 08:10 08:11 5 | 8 AA 08:30 12:02 11");
    // Of the aggregates both versions lie out of the window, and the entities are looked at all the same.
    assert_eq!(
        ground.changed("keyed_ops", "12:00", "12:05").await,
        "AA absent | UA absent"
    );
}

#[tokio::test]
async fn an_event_moves_to_another_time() {
    let mut ground = Ground::events().await;
    ground.row("F1 1 7 UA 11:30 11:31 10").await;
    ground.row("F2 1 7 UA 11:00 11:01 5").await;
    assert_eq!(ground.all("keyed_ops", "11:45").await, "UA 11:30 2 2 15");
    // out of every window
    ground.row("F1 1 7 UA 07:00 12:01 10").await;
    assert_eq!(ground.changed("keyed_ops", "12:00", "12:05").await, "UA 11:00 0 1 5");
    assert_eq!(
        ground.changed("keyed_newest", "12:00", "12:05").await,
        "UA 11:00 11:01 5"
    );
    // into the future: it has not happened any more, until it has
    ground.row("F1 1 7 UA 12:30 12:06 10").await;
    assert_eq!(
        ground.changed("keyed_newest", "12:05", "12:10").await,
        "UA 11:00 11:01 5"
    );
    assert_eq!(ground.changed("keyed_newest", "12:20", "12:29").await, "");
    assert_eq!(
        ground.changed("keyed_newest", "12:29", "12:30").await,
        "UA 12:30 12:06 10"
    );
    assert_eq!(ground.changed("keyed_ops", "12:29", "12:30").await, "UA 12:30 1 2 15");
    // out of time altogether
    ground.row("F1 1 7 UA - 12:31 10").await;
    assert_eq!(
        ground.changed("keyed_newest", "12:30", "12:40").await,
        "UA 11:00 11:01 5"
    );
    ground.row("F2 1 7 - 11:00 12:41 5").await;
    assert_eq!(ground.changed("keyed_newest", "12:40", "12:50").await, "UA absent");
    assert_eq!(ground.all("keyed_newest", "12:50").await, "");
    ground.sql("INSERT INTO events VALUES ('F2', 1, 7, 'UA', '2013-11-05 11:00+00', 'infinity', false, 99), ('F3', 1, 7, 'UA', 'infinity', NULL, false, 99)").await;
    assert_eq!(
        ground.all("keyed_newest", "12:50").await,
        "",
        "an infinite created timestamp is the oldest"
    );
}

#[tokio::test]
async fn a_deleted_event_uncovers_the_one_before_and_may_come_back() {
    let mut ground = Ground::events().await;
    ground.row("F1 1 7 UA 11:30 11:31 10").await;
    ground.row("F2 1 7 UA 08:00 08:01 5").await;
    ground.row("F1 1 7 UA 11:30 12:01 10 gone").await;
    assert_eq!(ground.all("keyed_newest", "12:05").await, "UA 08:00 08:01 5");
    assert_eq!(
        ground.changed("keyed_newest", "12:00", "12:05").await,
        "UA 08:00 08:01 5"
    );
    assert_eq!(ground.changed("keyed_ops", "12:00", "12:05").await, "UA absent");
    ground.row("F2 1 7 UA 08:00 12:06 5 gone").await;
    assert_eq!(ground.changed("keyed_newest", "12:05", "12:10").await, "UA absent");
    assert_eq!(ground.all("keyed_newest", "12:10").await, "");
    ground.row("F1 1 7 UA 11:30 12:11 12").await;
    assert_eq!(
        ground.changed("keyed_newest", "12:10", "12:15").await,
        "UA 11:30 12:11 12"
    );
    assert_eq!(ground.changed("keyed_ops", "12:10", "12:15").await, "UA 11:30 1 1 12");
}

#[tokio::test]
async fn ties_and_exact_duplicates_of_an_event_have_one_winner() {
    let mut ground = Ground::events().await;
    for _ in 0..2 {
        for row in [
            "F1 1 7 UA 11:30 11:31 10",
            "F1 1 7 UA 11:30 11:31 9",
            "F1 1 7 UA 11:20 11:31 99",
        ] {
            ground.row(row).await;
        }
    }
    // The later event time wins, then the row's text: 9 sorts after 10.
    assert_eq!(ground.all("keyed_ops", "12:00").await, "UA 11:30 1 1 9");
    assert_eq!(ground.all("keyed_newest", "12:00").await, "UA 11:30 11:31 9");
    // Without a created timestamp a version is older than any that has one.
    ground.row("F2 1 7 AA 11:40 - 1").await;
    ground.row("F2 1 7 AA 11:00 00:01 2").await;
    assert_eq!(
        ground.all("keyed_newest", "12:00").await,
        "AA 11:00 00:01 2 | UA 11:30 11:31 9"
    );
    // A row without a whole key is no version of anything.
    ground.row("F3 - 7 DL 11:00 11:01 5").await;
    ground.row("- 1 7 DL 11:00 11:01 5").await;
    assert_eq!(
        ground.all("keyed_ops_pair", "12:00").await,
        "7 AA 11:00 0 1 2 | 7 UA 11:30 1 1 9"
    );
    // It is not looked at either, though it was written when the run looks again.
    assert_eq!(ground.changed("keyed_newest", "11:02", "11:04").await, "UA absent");
}

#[tokio::test]
async fn without_a_key_a_deleted_newest_row_takes_the_value_away() {
    let mut ground = Ground::events().await;
    ground.row("- - 7 UA 11:00 11:01 10").await;
    ground.row("- - 7 UA 11:30 11:31 20 gone").await;
    ground.row("- - 7 UA 11:30 11:31 5").await;
    ground.row("- - 7 AA 11:40 11:41 3 gone").await;
    ground.row("- - 7 AA 11:41 11:42 4").await;
    assert_eq!(
        ground.all("plain_newest", "12:00").await,
        "AA 11:41 11:42 4 | UA absent 11:30 11:31"
    );
    assert_eq!(
        ground.all("plain_ops", "12:00").await,
        "AA 11:41 1 1 4 | UA 11:30 1 2 15"
    );
    // A row that is rewritten as deleted is found by when that was.
    ground
        .sql("UPDATE events SET gone = true, created = '2013-11-05 12:01+00' WHERE carrier = 'AA' AND NOT gone")
        .await;
    assert_eq!(
        ground.changed("plain_newest", "12:00", "12:05").await,
        "AA absent 11:41 12:01"
    );
    assert_eq!(ground.changed("plain_ops", "12:00", "12:05").await, "AA absent");
    assert_eq!(ground.all("plain_ops", "12:05").await, "UA 11:30 1 2 15");
}

#[tokio::test]
async fn online_a_deleted_value_stays_away_until_a_newer_row_comes() {
    let mut ground = Ground::events().await;
    let steps = [
        ("- - 7 UA 11:00 11:01 10", "12:00", Some("10")),
        ("- - 7 UA 11:30 12:01 20 gone", "12:05", None),
        ("- - 7 UA 11:20 12:06 5", "12:10", None),
        ("- - 7 UA 11:40 12:11 6", "12:15", Some("6")),
    ];
    for (row, time, expected) in steps {
        ground.row(row).await;
        ground.run("plain_newest", Mode::Incremental, time).await;
        assert_eq!(
            ground.values("plain_newest", "UA", time).await.as_deref(),
            expected,
            "{row}"
        );
    }
}

#[tokio::test]
async fn a_source_may_be_a_query_and_its_columns_go_by_any_name() {
    let mut ground = Ground::events().await;
    ground
        .sql(
            "CREATE VIEW seen AS SELECT flight AS src, leg, tail, carrier, event, created, gone, delay, '{}'::json AS more FROM events;
             CREATE INDEX ON events (leg)",
        )
        .await;
    let toml = definitions()
        .replace("table = \"events\"", "table = \"seen\"")
        .replace("[\"flight\", \"leg\"]", "[\"src\", \"leg\"]");
    ground.redefine(&toml);
    for row in [
        "F1 1 7 UA 11:30 11:31 10",
        "F1 1 7 UA 11:30 11:31 9",
        "F1 1 7 UA 11:30 11:31 9",
    ] {
        ground.row(row).await;
    }
    assert_eq!(ground.all("keyed_ops", "12:00").await, "UA 11:30 1 1 9");
    assert_eq!(
        ground.changed("keyed_newest", "11:30", "12:00").await,
        "UA 11:30 11:31 9"
    );
}

#[tokio::test]
async fn uuids_and_padded_text_are_found_by_their_spelling() {
    let mut ground = Ground::new(
        "CREATE TABLE users (id uuid, code char(4), event timestamptz, delay int8);
         INSERT INTO users VALUES ('00000000-0000-0000-0000-00000000000A', 'ab', '2013-11-05 11:00+00', 1)",
        r#"
[[entity]]
name = "user"
join_keys = [{ name = "id", type = "string" }, { name = "code", type = "string" }]
[[source]]
name = "users"
table = "users"
event_timestamp = "event"
[[feature_view]]
name = "newest"
entity = "user"
source = "users"
features = [{ name = "delay", type = "int64" }]
[[feature_view]]
name = "ops"
entity = "user"
source = "users"
aggregate = [{ name = "n", function = "count", windows = ["3h"] }]
"#,
    )
    .await;
    let keys = [
        ["00000000-0000-0000-0000-00000000000a", "ab"],
        ["00000000-0000-0000-0000-00000000000A", "ab"],
        ["00000000-0000-0000-0000-00000000000a", "ab  "],
        ["nobody", "ab"],
    ];
    for view in ["newest", "ops"] {
        let (view, columns) = ground.view_and_columns(view).await;
        let rows = sqlx::query(AssertSqlSafe(verification_query(&view, &columns)))
            .bind(vec![1_i64, 2, 3, 4])
            .bind(vec![at("12:00").to_chrono().unwrap(); 4])
            .bind(keys.map(|key| key[0]).to_vec())
            .bind(keys.map(|key| key[1]).to_vec())
            .fetch_all(&mut ground.source)
            .await
            .unwrap();
        let present: Vec<bool> = rows.iter().map(|row| row.get("present")).collect();
        assert_eq!(present, [true, false, false, false], "{}", view.name);
    }
    let changed = ground
        .values_of("ops", "12:00", Scope::Changed(after_run("10:00")), Part::ALL)
        .await;
    assert_eq!(lines(&changed), "00000000-0000-0000-0000-00000000000a ab 11:00 1");
}
