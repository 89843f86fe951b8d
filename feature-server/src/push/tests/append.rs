//! What the database refuses, and databases and stores that are away.

use super::*;
use crate::Mode;
use crate::testing::Way;

async fn strict() -> Ground {
    let mut ground = events(PLAIN).await;
    ground
        .sql(
            "ALTER TABLE events ADD CHECK (delay < 100);
             CREATE UNIQUE INDEX ON events (flight, leg);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.carrier = 'XX' THEN RAISE 'no such carrier'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER look BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION look();",
        )
        .await;
    ground
}

#[tokio::test]
async fn a_row_that_the_database_refuses_refuses_all_and_is_named() {
    let mut ground = strict().await;
    ground.clock.set(at("12:00"));
    let lines = [
        "F1 1 UA 11:30 - 1",
        "F2 1 UA 11:30 - 200",
        "F3 1 XX 11:30 - 1",
        "F1 1 AA 11:30 - 1",
        "F4 1 UA 11:30 11:31 1",
    ];
    let refused = ground
        .app
        .push("events", &rows(&lines), WHOLE)
        .await
        .unwrap_err()
        .to_string();
    for told in [
        "3 rows are wrong, and nothing was written:",
        "row 1: new row for relation \"events\" violates check constraint",
        "row 2: no such carrier",
        "row 3: duplicate key value violates unique constraint",
    ] {
        assert!(refused.contains(told), "{refused}");
    }
    assert_eq!(ground.count().await, 0);
    assert_eq!(ground.values("newest", "UA", "12:00").await, None);
    // In part: what is right is taken, whoever has said what is wrong.
    let mut sent = rows(&lines);
    sent.push(object(json!({"carrier": 7})));
    let pushed = ground.app.push("events", &sent, PARTIAL).await.unwrap();
    let wrong: Vec<usize> = pushed.errors.iter().map(|error| error.row).collect();
    assert_eq!((pushed.appended, wrong), (2, vec![1, 2, 3, 5]), "{pushed:?}");
    assert_eq!(ground.values("ops", "UA", "12:00").await.as_deref(), Some("2 2 2"));
    assert_eq!(ground.count().await, 2);
}

#[tokio::test]
async fn a_constraint_that_is_looked_at_last_refuses_its_row() {
    let mut ground = events(PLAIN).await;
    ground
        .sql("ALTER TABLE events ADD CONSTRAINT one UNIQUE (flight) DEFERRABLE INITIALLY DEFERRED")
        .await;
    ground.clock.set(at("12:00"));
    let sent = rows(&["F1 1 UA 11:30 - 1", "F1 1 UA 11:30 11:31 1", "F2 1 UA 11:30 - 1"]);
    let refused = ground.app.push("events", &sent, WHOLE).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("1 row is wrong, and nothing was written"),
        "{refused}"
    );
    assert_eq!(ground.count().await, 0);
    let pushed = ground.app.push("events", &sent, PARTIAL).await.unwrap();
    assert_eq!((pushed.appended, pushed.errors.len()), (2, 1));
}

#[tokio::test]
async fn rows_of_a_trigger_that_takes_them_elsewhere_are_told() {
    let mut ground = events(PLAIN).await;
    ground
        .sql(
            "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
             CREATE TRIGGER away BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.carrier = 'XX') EXECUTE FUNCTION away();",
        )
        .await;
    let pushed = ground.push("12:00", &["F1 1 UA 11:30 - 1", "F1 1 XX 11:30 - 1"]).await;
    assert_eq!(pushed.appended, 1);
    assert_eq!(
        pushed.not_online.as_deref(),
        Some("a trigger of the table put 1 rows elsewhere, or nowhere")
    );
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn entities_are_spelled_as_the_table_spells_them() {
    let mut ground = events(PLAIN).await;
    ground
        .sql(
            "CREATE FUNCTION spell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.carrier := upper(NEW.carrier); RETURN NEW; END $$;
             CREATE TRIGGER spell BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION spell();",
        )
        .await;
    ground.push("12:00", &["F1 1 ua 11:30 - 1"]).await;
    let online = online(&ground, "newest").await;
    assert_eq!(online.into_keys().collect::<Vec<_>>(), ["UA"]);
}

#[tokio::test]
async fn without_redis_rows_are_appended_and_the_next_run_brings_them() {
    let mut ground = events(PLAIN).await;
    for view in VIEWS {
        ground.run(view, Mode::Full, "11:00").await;
    }
    let direct = ground.settings.redis.clone();
    let way = Way::open_for(1 << 30, &redis_url()).await;
    ground.settings.redis = way.url.parse().unwrap();
    ground.reopen();
    way.shut();
    let pushed = ground.push("12:00", &["F1 1 UA 11:30 - 10", "F2 1 UA 12:30 - 1"]).await;
    assert_eq!(
        (pushed.appended, pushed.views.len(), pushed.future.as_slice()),
        (2, 0, [1].as_slice())
    );
    let told = pushed.not_online.unwrap();
    assert!(
        told.contains("view ops: Redis at") && told.contains("view newest: Redis at"),
        "{told}"
    );
    ground.settings.redis = direct;
    ground.reopen();
    assert_eq!(ground.count().await, 2);
    for view in VIEWS {
        ground.run(view, Mode::Incremental, "12:01").await;
    }
    assert_eq!(ground.values("newest", "UA", "12:01").await.as_deref(), Some("10"));
}

#[tokio::test]
async fn rows_too_late_for_an_incremental_run_that_are_not_online_make_it_a_full_one() {
    // Late by its event time, where nothing says when it was written; and as whoever sent it says that it was.
    for (source, row) in [(BARE, "F1 1 UA 10:30 - 10"), (PLAIN, "F1 1 UA 10:30 10:30 10")] {
        let mut ground = events(&source.replace("12h", "1m")).await;
        for view in VIEWS {
            ground.run(view, Mode::Full, "11:00").await;
        }
        let direct = ground.settings.redis.clone();
        let way = Way::open_for(1 << 30, &redis_url()).await;
        ground.settings.redis = way.url.parse().unwrap();
        ground.reopen();
        way.shut();
        assert!(ground.push("12:00", &[row]).await.not_online.is_some());
        ground.settings.redis = direct;
        ground.reopen();
        for view in VIEWS {
            let forced = ground.run(view, Mode::Incremental, "12:01").await.forced_full;
            assert!(
                forced.is_some_and(|reason| reason.contains("were pushed at")),
                "{source}"
            );
            // Once is enough.
            assert_eq!(ground.run(view, Mode::Incremental, "12:02").await.forced_full, None);
        }
        assert_eq!(
            ground.values("newest", "UA", "12:02").await.as_deref(),
            Some("10"),
            "{source}"
        );
    }
}

#[tokio::test]
async fn without_postgres_nothing_is_written() {
    let mut ground = events(PLAIN).await;
    ground.push("11:00", &["F1 1 UA 10:30 - 1"]).await;
    ground.settings.database = "postgres://nobody@127.0.0.1:1/nothing".parse().unwrap();
    ground.reopen();
    let refused = ground
        .app
        .push("events", &rows(&["F1 1 UA 10:40 - 2"]), WHOLE)
        .await
        .unwrap_err();
    assert!(matches!(refused, PushError::Database(_)), "{refused}");
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_table_that_changes_is_looked_at_again() {
    let mut ground = events(PLAIN).await;
    ground.push("11:00", &["F1 1 UA 10:30 - 1"]).await;
    ground.sql("ALTER TABLE events DROP COLUMN leg").await;
    let refused = ground
        .app
        .push("events", &rows(&["F1 1 UA 10:40 - 2"]), WHOLE)
        .await
        .unwrap_err();
    assert!(matches!(refused, PushError::Database(_)), "{refused}");
    let refused = ground
        .app
        .push("events", &rows(&["F1 1 UA 10:40 - 2"]), WHOLE)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("events has no column `leg`"), "{refused}");
    ground.push("11:00", &["F1 - UA 10:40 - 2"]).await;
    assert_eq!(ground.count().await, 2);
}

#[tokio::test]
async fn rows_that_are_only_appended_are_served_by_the_next_run() {
    let mut ground = events(PLAIN).await;
    ground.clock.set(at("12:00"));
    let sent = rows(&["F1 1 UA 11:30 - 1", "F1 1 UA 12:30 - 1"]);
    let pushed = ground.app.append("newest", &sent, WHOLE).await.unwrap();
    assert_eq!((pushed.appended, pushed.views.len(), pushed.future), (2, 0, vec![1]));
    assert!(online(&ground, "newest").await.is_empty());
    ground.run("newest", Mode::Incremental, "12:00").await;
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("1"));
    assert_eq!(ground.count().await, 2);
}

#[tokio::test]
async fn a_replica_is_read_by_runs_and_pushes_go_to_the_primary() {
    // Two databases: what is pushed to the one is not in the other.
    let mut ground = events(PLAIN).await;
    let other = events(PLAIN).await;
    ground.settings.source_database = Some(other.settings.database.clone());
    ground.reopen();
    ground.push("12:00", &["F1 1 UA 11:30 - 1"]).await;
    assert_eq!(ground.count().await, 1);
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("1"));
}
