//! Sources in several databases: each is read where it is, and one training set has them all.

use std::io::Cursor;

use table_files::{Format, TableOutput, TableReader};

use crate::testing::{Ground, at};
use crate::{Mode, OpenError, Progress, Verdict};

const LATE: &str = "CREATE TABLE late (carrier text, at timestamptz, minutes float8)";
const FLEET: &str = "CREATE TABLE fleet (carrier text, at timestamptz, planes int8)";

/// A view in the usual database and one in `database`, and a service that takes its inputs from both, in turns.
fn toml(database: &str) -> String {
    format!(
        r#"
        [[entity]]
        name = "carrier"
        join_keys = [{{ name = "carrier", type = "string" }}]
        [[source]]
        name = "late"
        table = "late"
        event_timestamp = "at"
        [[source]]
        name = "fleet"
        table = "fleet"
        event_timestamp = "at"
        {database}
        [[feature_view]]
        name = "ops"
        entity = "carrier"
        source = "late"
        aggregate = [{{ name = "minutes", function = "sum", column = "minutes", type = "float64", windows = ["1h"] }}]
        [[feature_view]]
        name = "fleet"
        entity = "carrier"
        source = "fleet"
        features = [{{ name = "planes", type = "int64" }}]
        [[feature_view]]
        name = "newest"
        entity = "carrier"
        source = "late"
        features = [{{ name = "minutes", type = "float64" }}]
        [[feature_service]]
        name = "s"
        features = ["newest:minutes", "fleet:planes", "ops:minutes_1h"]
        "#
    )
}

/// The usual database and the warehouse, which lacks the other's table.
async fn two() -> (Ground, Ground) {
    let mut warehouse = Ground::new(FLEET, "").await;
    warehouse
        .sql("INSERT INTO fleet VALUES ('UA', '2013-11-05 11:00+00', 700), ('UA', '2013-11-05 11:45+00', 710)")
        .await;
    let mut usual = Ground::new(LATE, "").await;
    usual
        .sql("INSERT INTO late VALUES ('UA', '2013-11-05 11:10+00', 5), ('UA', '2013-11-05 11:50+00', 8)")
        .await;
    let url = warehouse.settings.database.clone();
    usual.settings.named_databases.insert("WAREHOUSE".into(), url);
    usual.redefine(&toml(r#"database = "warehouse""#));
    (usual, warehouse)
}

#[tokio::test]
async fn each_source_is_read_where_it_is() {
    let (usual, _warehouse) = two().await;
    assert_eq!(usual.app.check_database().await.unwrap().problems, []);
    for view in ["ops", "fleet", "newest"] {
        usual.run(view, Mode::Full, "12:00").await;
        let verified = usual.app.verify(view, 10, &Progress::hidden()).await.unwrap();
        assert_eq!(verified.matched, 1, "{view}: {verified:?}");
    }
    assert_eq!(usual.values("fleet", "UA", "12:00").await.unwrap(), "710");
    assert_eq!(usual.values("ops", "UA", "12:00").await.unwrap(), "13.0");
}

#[tokio::test]
async fn what_changes_in_one_database_is_found_there() {
    let (usual, mut warehouse) = two().await;
    usual.run("fleet", Mode::Full, "12:00").await;
    warehouse
        .sql("UPDATE fleet SET planes = 1 WHERE planes = 710; INSERT INTO fleet VALUES ('UA', '2013-11-05 12:01+00', 720)")
        .await;
    let verified = usual.app.verify("fleet", 10, &Progress::hidden()).await.unwrap();
    assert_eq!(verified.differences[0].verdict, Verdict::Different, "{verified:?}");
    usual.run("fleet", Mode::Incremental, "12:02").await;
    assert_eq!(usual.values("fleet", "UA", "12:02").await.unwrap(), "720");
    // Each knows the time by itself.
    let source = &usual.app.view("fleet").unwrap().source;
    assert_eq!(usual.app.now_at(source).await.unwrap(), at("12:02"));
}

#[tokio::test]
async fn a_training_set_has_them_all() {
    let (usual, _warehouse) = two().await;
    let labels = "carrier,event_timestamp\nUA,2013-11-05T11:30:00Z\nXX,2013-11-05T11:30:00Z\nUA,2013-11-05T12:00:00Z\n";
    let reader = || TableReader::csv("labels.csv", Cursor::new(labels.to_owned())).unwrap();
    let mut to = Vec::new();
    let out = TableOutput {
        format: Format::Csv,
        to: &mut to,
    };
    let app = &usual.app;
    app.training_set("s", reader(), out, &Progress::hidden()).await.unwrap();
    insta::assert_snapshot!(String::from_utf8(to).unwrap(), @"
    carrier,event_timestamp,newest__minutes,fleet__planes,ops__minutes_1h
    UA,2013-11-05T11:30:00Z,5.0,700,5.0
    XX,2013-11-05T11:30:00Z,,,
    UA,2013-11-05T12:00:00Z,8.0,710,13.0
    ");
    let plans = app.explain_training_set("s", reader()).await.unwrap();
    assert_eq!(plans.matches("ORDER BY given.number;").count(), 2, "{plans}");
}

#[tokio::test]
async fn a_database_that_nobody_has_told_of_is_named_with_its_variable() {
    let (usual, _warehouse) = two().await;
    let folder = tempfile::tempdir().unwrap();
    let project = &usual.app.definitions().project;
    for (database, refusal) in [
        (
            "lake_eu",
            Some(
                "source `fleet` is in the database `lake_eu`: set LARDER_DATABASE_LAKE_EU_URL to postgres://user:password@host:port/database",
            ),
        ),
        ("Warehouse", None),
    ] {
        let toml = toml(&format!("database = \"{database}\""));
        let toml = format!("format = 1\nproject = \"{project}\"\n{toml}");
        std::fs::write(folder.path().join("d.toml"), toml).unwrap();
        let definitions = feature_defs::definitions::load(folder.path()).unwrap();
        let said = usual.app.redefined(definitions).err().map(|error| error.to_string());
        assert_eq!(said.as_deref(), refusal);
    }
    std::fs::write(folder.path().join("d.toml"), "format = 1\nproject = \"another\"\n").unwrap();
    let definitions = feature_defs::definitions::load(folder.path()).unwrap();
    let refused = usual.app.redefined(definitions);
    assert!(matches!(refused, Err(OpenError::OtherProject { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_warehouse_that_is_away_holds_up_its_own_views_alone() {
    let (mut usual, _warehouse) = two().await;
    let nowhere = "postgres://ann@127.0.0.1:1/dw".parse().unwrap();
    usual.settings.named_databases.insert("WAREHOUSE".into(), nowhere);
    usual.reopen();
    usual.run("ops", Mode::Full, "12:00").await;
    let error = usual.try_run("fleet", Mode::Full, "12:00").await.unwrap_err();
    assert!(
        error.is_outage() && error.to_string().contains("postgres://ann@127.0.0.1:1/dw"),
        "{error}"
    );
    assert_eq!(usual.app.status().await.unwrap().len(), 3);
}
