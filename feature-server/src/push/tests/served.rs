//! What readers find after a push.

use feature_defs::serving::Status;

use super::*;
use crate::Mode;

#[tokio::test]
async fn a_pushed_row_is_in_the_table_and_online_in_every_view_of_its_source() {
    let mut ground = events(PLAIN).await;
    for view in VIEWS {
        ground.run(view, Mode::Full, "11:00").await;
    }
    let pushed = ground
        .push("12:00", &["F1 1 UA 11:30 - 10", "F2 1 AA 11:40 11:45 5"])
        .await;
    assert_eq!(pushed.appended, 2);
    assert_eq!(counts(&pushed), [("ops", 2, 0), ("newest", 2, 0)]);
    assert_eq!(
        (pushed.future.len(), pushed.errors.len(), pushed.not_online),
        (0, 0, None)
    );
    assert_eq!(ground.values("ops", "UA", "12:00").await.as_deref(), Some("1 1 10"));
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("10"));
    assert_eq!(ground.values("newest", "AA", "12:00").await.as_deref(), Some("5"));
    // What a row does not have is as the table says; when it was written, as the source's clock.
    let row: (String, String) =
        sqlx::query_as("SELECT note, (created AT TIME ZONE 'UTC')::text FROM events WHERE flight = 'F1'")
            .fetch_one(&mut ground.source)
            .await
            .unwrap();
    assert_eq!(row, ("none".to_owned(), "2013-11-05 12:00:00".to_owned()));
}

#[tokio::test]
async fn an_older_row_is_appended_and_counted_and_not_served() {
    let mut ground = events(PLAIN).await;
    ground.push("12:00", &["F1 1 UA 11:30 - 10"]).await;
    let pushed = ground
        .push(
            "12:01",
            &["F1 1 UA 11:20 - 99", "F1 1 UA 11:31 - 11", "F1 1 UA 11:31 - 11"],
        )
        .await;
    assert_eq!(counts(&pushed), [("ops", 1, 0), ("newest", 1, 1)]);
    assert_eq!(ground.values("newest", "UA", "12:01").await.as_deref(), Some("11"));
    assert_eq!(ground.values("ops", "UA", "12:01").await.as_deref(), Some("4 4 131"));
    assert_eq!(ground.count().await, 4);
}

#[tokio::test]
async fn rows_of_the_future_are_appended_and_told_and_wait_for_a_run() {
    for source in KINDS {
        let mut ground = events(source).await;
        for view in VIEWS {
            ground.run(view, Mode::Full, "11:00").await;
        }
        let lines = ["F1 1 ua 12:30 - 10", "F2 1 aa 11:30 - 1", "F3 1 dl 12:00 - 2"];
        let pushed = ground.push("12:00", &lines).await;
        assert_eq!((pushed.appended, pushed.future), (3, vec![0]), "{source}");
        let of = |view, carrier| ground.values(view, carrier, "12:00");
        assert_eq!(of("newest", "ua").await, None, "{source}");
        assert_eq!(of("ops", "ua").await, None, "{source}");
        assert!(
            of("newest", "aa").await.is_some() && of("newest", "dl").await.is_some(),
            "{source}"
        );
        for view in VIEWS {
            ground.run(view, Mode::Incremental, "12:30").await;
        }
        assert!(ground.values("newest", "ua", "12:30").await.is_some(), "{source}");
        assert_eq!(ground.count().await, 3);
    }
}

#[tokio::test]
async fn an_event_that_moves_changes_both_entities_and_a_deleted_one_its_own() {
    for source in [KEYED, KEYED_QUERY] {
        let ground = events(source).await;
        ground.push("12:00", &["F1 1 ua 11:30 - 10", "F2 1 ua 11:00 - 5"]).await;
        let newest = |carrier, time| ground.values("newest", carrier, time);
        let plus = i64::from(source == KEYED_QUERY);
        let value = |delay: i64| Some((delay + plus).to_string());
        assert_eq!(newest("ua", "12:00").await, value(10));
        let pushed = ground.push("12:01", &["F1 1 aa 11:30 - 11"]).await;
        assert_eq!(counts(&pushed), [("ops", 2, 0), ("newest", 2, 0)]);
        assert_eq!(
            (newest("ua", "12:01").await, newest("aa", "12:01").await),
            (value(5), value(11))
        );
        // into the future: it has not happened, for nobody
        ground.push("12:02", &["F1 1 aa 12:30 - 11"]).await;
        assert_eq!(newest("aa", "12:02").await, None);
        ground.push("12:03", &["F2 1 ua 11:00 - 5 gone"]).await;
        assert_eq!(newest("ua", "12:03").await, None);
        ground.push("12:04", &["F2 1 ua 11:00 - 6"]).await;
        assert_eq!(newest("ua", "12:04").await, value(6));
    }
    let ground = events(PLAIN).await;
    ground.push("12:00", &["F1 1 UA 11:30 - 10"]).await;
    ground.push("12:01", &["F1 1 UA 11:40 - 0 gone"]).await;
    assert_eq!(ground.values("newest", "UA", "12:01").await, None);
    // The deletion keeps out what is older, also where only it is pushed.
    ground.push("12:02", &["F1 1 UA 11:35 - 7"]).await;
    assert_eq!(ground.values("newest", "UA", "12:02").await, None);
    assert_eq!(ground.values("ops", "UA", "12:02").await.as_deref(), Some("2 2 17"));
}

#[tokio::test]
async fn before_its_first_run_a_view_serves_what_was_pushed() {
    for source in [PLAIN, KEYED] {
        let mut ground = events(source).await;
        ground
            .sql("INSERT INTO events VALUES ('F9', 1, 'AA', '2013-11-05 11:00+00', '2013-11-05 11:00+00', false, 3)")
            .await;
        ground.push("12:00", &["F1 1 UA 11:30 - 10"]).await;
        let ops = ground.read("ops", "UA", "12:10").await;
        assert_eq!(
            (ops.status, ops.event),
            (Status::Present, Some(at("12:00"))),
            "as of the push"
        );
        let newest = ground.read("newest", "UA", "12:10").await;
        assert_eq!((newest.status, newest.event), (Status::Present, Some(at("11:30"))));
        assert_eq!(ground.read("newest", "AA", "12:10").await.status, Status::NotFound);
        for view in VIEWS {
            let run = ground.run(view, Mode::Incremental, "12:20").await;
            assert_eq!(
                run.forced_full.as_deref(),
                Some("it is the view's first run"),
                "a push leaves no marker"
            );
        }
        assert_eq!(ground.values("newest", "UA", "12:20").await.as_deref(), Some("10"));
        assert_eq!(ground.values("newest", "AA", "12:20").await.as_deref(), Some("3"));
    }
}

#[tokio::test]
async fn a_push_never_moves_marker_or_watermark() {
    let ground = events(PLAIN).await;
    for view in VIEWS {
        ground.run(view, Mode::Full, "11:00").await;
    }
    let state = async || {
        let view = ground.app.view("ops").unwrap();
        let record = ground.app.store().view(&view.name).await.unwrap().unwrap();
        (ground.app.marker(view).await.unwrap(), record.watermark)
    };
    let before = state().await;
    ground.push("12:00", &["F1 1 UA 11:30 - 10"]).await;
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn values_of_another_definition_stay_until_the_views_next_run() {
    let mut ground = events(PLAIN).await;
    ground.push("11:00", &["F1 1 UA 10:30 - 10"]).await;
    for view in VIEWS {
        ground.run(view, Mode::Full, "11:00").await;
    }
    let redefined = definitions(PLAIN).replace(
        "column = \"delay\", type = \"int64\", windows = [\"3h\"]",
        "column = \"leg\", type = \"int64\", windows = [\"3h\"]",
    );
    ground.redefine(&redefined);
    let pushed = ground.push("12:00", &["F1 7 UA 11:30 - 11"]).await;
    assert_eq!((pushed.appended, counts(&pushed)), (1, vec![("newest", 1, 0)]));
    let told = pushed.not_online.unwrap();
    assert!(
        told.starts_with("view ops: what is online is of another definition"),
        "{told}"
    );
    assert_eq!(
        ground.values("ops", "UA", "12:00").await.as_deref(),
        Some("1 1 10"),
        "the old value"
    );
    ground.run("ops", Mode::Incremental, "12:01").await;
    assert_eq!(ground.values("ops", "UA", "12:01").await.as_deref(), Some("1 2 8"));
}

#[tokio::test]
async fn rows_for_views_that_are_not_the_applied_ones_are_refused_before_they_are_appended() {
    let mut ground = events(PLAIN).await;
    ground.app.apply(None).await.unwrap();
    let older = Arc::clone(&ground.app);
    let applied = ground.push("11:00", &["F1 1 UA 10:30 - 10"]).await;
    assert_eq!(applied.appended, 1);
    ground.redefine(&definitions(PLAIN).replace("windows = [\"3h\"]", "windows = [\"2h\"]"));
    let value = json!({"carrier": "UA", "delay": 5, "event_timestamp": "2013-11-05T10:40:00"});
    let sent = rows(&["F2 1 UA 10:40 - 11"]);
    let refused = ground.app.push("newest", &sent, PARTIAL).await.unwrap_err();
    assert!(matches!(refused, PushError::NotApplied(_)), "{refused}");
    assert!(refused.to_string().contains("was never applied"), "{refused}");
    ground.app.apply(None).await.unwrap();
    for refused in [
        older.push("events", &sent, WHOLE).await.unwrap_err(),
        older.push("newest", &sent, WHOLE).await.unwrap_err(),
    ] {
        assert!(refused.to_string().contains("is an older one"), "{refused}");
    }
    assert_eq!(ground.count().await, 1);
    // The view itself is as it was.
    let written = older.write_online("newest", &[object(value)], WHOLE).await.unwrap();
    assert_eq!(counts(&written), [("newest", 1, 0)]);
    assert_eq!(ground.push("11:00", &["F2 1 UA 10:45 - 11"]).await.appended, 1);
}

#[tokio::test]
async fn rows_for_a_view_may_have_its_names() {
    let toml = definitions(PLAIN).replace(
        "features = [{ name = \"delay\", type = \"int64\" }]",
        "features = [{ name = \"minutes\", type = \"int64\", column = \"delay\" }]",
    );
    let toml = toml.replace(
        "name = \"newest\"\nentity = \"carrier\"",
        "name = \"newest\"\nentity = \"airline\"\ncolumns = { airline = \"carrier\" }",
    ) + "[[entity]]\nname = \"airline\"\njoin_keys = [{ name = \"airline\", type = \"string\" }]\n";
    let ground = Ground::new(EVENTS, &toml).await;
    let row = object(json!({"airline": "UA", "minutes": 4, "event": "2013-11-05T11:30:00"}));
    let pushed = ground
        .app
        .push("newest", std::slice::from_ref(&row), WHOLE)
        .await
        .unwrap();
    assert_eq!(counts(&pushed), [("ops", 1, 0), ("newest", 1, 0)]);
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("4"));
    let error = ground.app.push("events", &[row], WHOLE).await.unwrap_err().to_string();
    assert!(
        error.contains("events has no column `airline`") && error.contains("`minutes`"),
        "{error}"
    );
    let twice = object(json!({"airline": "UA", "carrier": "UA", "event": "2013-11-05T11:30:00"}));
    let error = ground
        .app
        .push("newest", &[twice], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("column `carrier` is given twice"), "{error}");
}

#[tokio::test]
async fn rows_pushed_by_another_order_of_the_features_are_read_by_both() {
    let mut ground = events(PLAIN).await;
    let toml = |features: &str| {
        let declared = "features = [{ name = \"delay\", type = \"int64\" }]";
        definitions(PLAIN).replace(declared, &format!("features = [{features}]"))
    };
    let (delay, leg) = (
        "{ name = \"delay\", type = \"int64\" }",
        "{ name = \"leg\", type = \"int64\" }",
    );
    let one = toml(&format!("{delay}, {leg}"));
    ground.redefine(&one);
    ground.run("newest", crate::Mode::Full, "11:00").await;
    ground.redefine(&toml(&format!("{leg}, {delay}")));
    ground.push("12:00", &["F1 7 UA 11:30 11:31 10"]).await;
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("7 10"));
    ground.redefine(&one);
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("10 7"));
}
