//! Histories in which a view's definition changes under the same name: no value of another definition stays vouched for.

use feature_defs::serving::Status;

use crate::Mode::{Full, Incremental};
use crate::testing::{CREATED, Ground, arrivals_toml, at};

#[tokio::test]
async fn a_feature_that_is_added_or_retyped_is_not_found_until_the_next_run() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.arrival("AA", "11:30", "11:30", "NULL").await;
    ground.run("newest", Full, "12:00").await;
    let before = "features = [{ name = \"delay\", type = \"float64\" }]";
    let added = "features = [{ name = \"late\", column = \"delay\", type = \"float64\" }, { name = \"delay\", type = \"float64\" }]";
    let retyped = "features = [{ name = \"late\", column = \"delay\", type = \"float32\" }, { name = \"delay\", type = \"float32\" }]";
    let toml = arrivals_toml(CREATED);
    let found = async |ground: &Ground, carrier: &str| {
        let row = ground.read("newest", carrier, "12:10").await;
        assert_eq!((row.status, row.event), (Status::Present, Some(at("11:30"))));
        [row.feature(0).1, row.feature(1).1]
    };
    let told = async |ground: &Ground| {
        let values = [("carrier".to_owned(), "UA".to_owned())];
        let features = ground.app.get("delay", &values).await.unwrap();
        let newest = features.iter().find(|f| f.feature == "newest__delay").unwrap();
        (
            newest.status,
            newest.value.clone(),
            newest.defaulted,
            newest.age_ms.is_some(),
        )
    };
    ground.redefine(&toml.replace(before, added));
    assert_eq!(found(&ground, "UA").await, [Status::NotFound, Status::Present]);
    assert_eq!(found(&ground, "AA").await, [Status::NotFound, Status::NullValue]);
    assert_eq!(told(&ground).await, (Status::Present, 10.0.into(), false, true));
    ground.redefine(&toml.replace(before, retyped));
    assert_eq!(found(&ground, "UA").await, [Status::NotFound, Status::NotFound]);
    assert_eq!(told(&ground).await, (Status::NotFound, (-1.0).into(), true, false));
    ground.sql("ALTER TABLE arrivals ALTER delay TYPE float4").await;
    let run = ground.run("newest", Incremental, "12:10").await;
    assert!(run.forced_full.is_some());
    assert_eq!(found(&ground, "UA").await, [Status::Present, Status::Present]);
    assert_eq!(found(&ground, "AA").await, [Status::NullValue, Status::NullValue]);
    assert_eq!(told(&ground).await, (Status::Present, 10.0.into(), false, true));
}

#[tokio::test]
async fn an_unfinished_run_of_another_definition_forces_a_full_run() {
    let mut ground = Ground::arrivals().await;
    let ours = arrivals_toml(CREATED);
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground.run("newest", Incremental, "12:00").await;
    ground
        .sql("CREATE VIEW other AS SELECT carrier, event + interval '1 minute' AS event, created, delay + 1000 AS delay FROM arrivals")
        .await;
    ground.redefine(&ours.replace("table = \"arrivals\"", "table = \"other\""));
    // It has written its values when it cannot record that it is done.
    ground
        .sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON larder.run_shards
            FOR EACH ROW WHEN (new.outcome = 'done') EXECUTE FUNCTION refuse()",
        )
        .await;
    let died = ground
        .try_run("newest", Incremental, "12:05")
        .await
        .unwrap_err()
        .to_string();
    assert!(died.contains("not now"), "{died}");
    ground.sql("DROP TRIGGER refuse ON larder.run_shards").await;

    ground.redefine(&ours);
    let earlier = ground
        .try_run("newest", Incremental, "12:04")
        .await
        .unwrap_err()
        .to_string();
    assert!(earlier.contains("as of 2013-11-05T12:05:00Z already"), "{earlier}");
    let run = ground.run("newest", Incremental, "12:10").await;
    assert!(run.forced_full.unwrap().contains("another definition"));
    let row = ground.read("newest", "UA", "12:10").await;
    assert_eq!(row.event, Some(at("11:30")));
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("10.0"));
    let run = ground.run("newest", Incremental, "12:11").await;
    assert_eq!(run.forced_full, None, "it is done once");
}

#[tokio::test]
async fn a_row_view_replaces_the_aggregate_view_of_its_name() {
    const HEAD: &str = "[[entity]]\nname = \"carrier\"\njoin_keys = [{ name = \"carrier\", type = \"string\" }]\n
[[source]]\nname = \"arrivals\"\ntable = \"arrivals\"\nevent_timestamp = \"event\"\n
[[feature_view]]\nname = \"delays\"\nentity = \"carrier\"\nsource = \"arrivals\"\n";
    const AGGREGATE: &str =
        "aggregate = [{ name = \"delay\", function = \"mean\", column = \"delay\", windows = [\"3h\"] }]\n";
    const ROW: &str = "features = [{ name = \"delay_3h\", column = \"delay\", type = \"float64\" }]\n";
    for mode in [Full, Incremental] {
        let mut ground = Ground::new(crate::testing::ARRIVALS, &format!("{HEAD}{AGGREGATE}")).await;
        ground.arrival("UA", "11:00", "11:00", "10").await;
        ground.arrival("UA", "11:30", "11:30", "20").await;
        ground.run("delays", Full, "12:00").await;
        assert_eq!(ground.values("delays", "UA", "12:00").await.as_deref(), Some("15.0"));
        ground.redefine(&format!("{HEAD}{ROW}"));
        let run = ground.run("delays", mode, "12:10").await;
        assert_eq!((run.counts.written, run.counts.older), (1, 0));
        let row = ground.read("delays", "UA", "12:10").await;
        assert_eq!((row.status, row.event), (Status::Present, Some(at("11:30"))));
        assert_eq!(ground.values("delays", "UA", "12:10").await.as_deref(), Some("20.0"));
    }
}

#[tokio::test]
async fn an_event_timestamp_may_move_to_an_earlier_column() {
    for mode in [Full, Incremental] {
        let mut ground = Ground::arrivals_without_created().await;
        ground.arrival("UA", "11:30", "10:00", "10").await;
        ground.arrival("UA", "11:00", "10:30", "20").await;
        ground.run("newest", Full, "12:00").await;
        assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("10.0"));
        ground.redefine(&arrivals_toml("").replace("event_timestamp = \"event\"", "event_timestamp = \"created\""));
        let run = ground.run("newest", mode, "12:10").await;
        assert_eq!((run.counts.written, run.counts.older), (1, 0));
        let row = ground.read("newest", "UA", "12:10").await;
        assert_eq!(row.event, Some(at("10:30")));
        assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("20.0"));
    }
}
