//! Definitions against the database's columns and indexes.

use crate::Mode::Full;
use crate::testing::{CREATED, Ground, arrivals_toml};

#[tokio::test]
async fn columns_that_do_not_fit_are_all_named_before_anything_is_read() {
    let mut ground = Ground::arrivals().await;
    ground
        .sql("CREATE TABLE odd (carrier int, event timestamp, ingested timestamptz, delay text)")
        .await;
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"odd\""));
    let refused = ground.try_run("newest", Full, "12:00").await.unwrap_err().to_string();
    insta::assert_snapshot!(refused, @r#"
    the definitions do not fit the database:
      view newest, event_timestamp: column `event` of source arrivals (table odd) is timestamp, not timestamptz: say which time zone it is in, in a query: `"event" AT TIME ZONE 'UTC' AS "event"`
      view newest, created_timestamp: source arrivals (table odd) has no column `created`; the nearest is `ingested`
      view newest, join key carrier: column `carrier` of source arrivals (table odd) is int4, not string: change the definition, or cast it in a query
      view newest, feature delay: column `delay` of source arrivals (table odd) is text, not float64: change the definition, or cast it in a query
    "#);
    let found = ground.app.check_database().await.unwrap();
    assert_eq!(found.problems.len(), 11, "{:#?}", found.problems);
    assert_eq!(
        found.missing_indexes,
        [
            "CREATE INDEX ON \"odd\" (\"carrier\", \"event\");",
            "CREATE INDEX ON \"odd\" (\"event\");",
            "CREATE INDEX ON \"odd\" (\"created\");",
        ]
    );
}

#[tokio::test]
async fn only_indexes_that_serve_count_and_a_database_view_is_told_to_have_none() {
    let mut ground = Ground::new(
        "CREATE TABLE arrivals (carrier text, event timestamptz, created timestamptz, delay float8);
         CREATE INDEX ON arrivals (carrier) INCLUDE (event);
         CREATE INDEX ON arrivals (lower(carrier), event);
         CREATE INDEX ON arrivals (created);
         CREATE VIEW seen AS SELECT * FROM arrivals",
        &arrivals_toml(CREATED),
    )
    .await;
    let found = ground.app.check_database().await.unwrap();
    assert_eq!(
        found.missing_indexes,
        [
            "CREATE INDEX ON \"arrivals\" (\"carrier\", \"event\");",
            "CREATE INDEX ON \"arrivals\" (\"event\");",
        ]
    );
    ground.redefine(&arrivals_toml(CREATED).replace("table = \"arrivals\"", "table = \"seen\""));
    let found = ground.app.check_database().await.unwrap();
    assert_eq!((found.missing_indexes.len(), found.notes.len()), (0, 2));
    assert!(
        found.notes[0].contains("(carrier, event), (event), (created)"),
        "{:?}",
        found.notes
    );
}
