//! What else is asked about values: of a range, of a sample, of those that changed, whether they are as expected.

use super::*;

async fn keys_of(ground: &mut Ground, query: &str) -> Vec<String> {
    let query = format!("SELECT asked.k0::text FROM ({query}) AS asked ORDER BY 1");
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_all(&mut ground.source)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_range_is_of_entities_with_rows_in_it_as_of_its_end() {
    let mut ground = Ground::events().await;
    ground.row("F1 1 7 UA 09:00 09:01 1").await;
    ground.row("F2 1 7 UA 10:00 10:01 2").await;
    ground.row("F3 1 7 AA 09:00 09:01 3").await;
    ground.row("F4 1 7 DL 09:30 09:31 4").await;
    ground.row("F4 1 7 DL 10:30 09:40 4").await;
    let within = Scope::Within {
        after: at("09:00"),
        until: at("10:00"),
    };
    let found = async |ground: &mut Ground, view| lines(&ground.values_of(view, "10:00", within, Part::ALL).await);
    assert_eq!(
        found(&mut ground, "plain_newest").await,
        "DL 09:30 09:31 4 | UA 10:00 10:01 2"
    );
    // DL's event is not of the range any more.
    assert_eq!(found(&mut ground, "keyed_newest").await, "DL absent | UA 10:00 10:01 2");
}

#[tokio::test]
async fn samples_are_of_entities_with_values_and_the_salt_chooses_them() {
    let mut ground = Ground::events().await;
    ground
        .sql("INSERT INTO events SELECT 'F' || i, 1, i, 'C' || i, '2013-11-05 11:00+00', '2013-11-05 11:00+00', i % 10 = 0, 1 FROM generate_series(1, 400) i")
        .await;
    for view in ["plain_newest", "keyed_newest", "keyed_ops", "plain_ops_pair"] {
        let (view, columns) = ground.view_and_columns(view).await;
        let mut sample = async |one_in, salt| {
            keys_of(&mut ground, &sample_query(&view, &columns, at("12:00"), (one_in, salt))).await
        };
        assert_eq!(sample(1, 0).await.len(), 360, "{}", view.name);
        let (some, others) = (sample(4, 1).await, sample(4, u64::MAX).await);
        for sample in [&some, &others] {
            assert!((60..120).contains(&sample.len()), "{}: {}", view.name, sample.len());
        }
        assert_ne!(some, others);
    }
}

#[tokio::test]
async fn entities_are_told_that_the_next_run_looks_at() {
    let mut ground = Ground::events().await;
    ground.row("F1 1 7 UA 08:30 08:31 1").await;
    ground.row("F2 1 7 AA 08:30 08:31 1").await;
    ground.row("F3 1 7 DL 08:30 08:31 1").await;
    ground.row("F4 1 7 WN 12:02 08:31 1").await;
    ground.row("F2 1 7 UA 08:30 12:01 1").await;
    for (view, expected) in [
        ("keyed_newest", &[1_i64, 2, 4][..]),
        ("keyed_ops", &[1, 2, 4]),
        ("plain_newest", &[1, 4]),
        ("plain_ops", &[4]),
    ] {
        let (view, _) = ground.view_and_columns(view).await;
        let query = changed_among_query(&view, at("12:05"), after_run("12:00"));
        let mut numbers: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(vec![1_i64, 2, 3, 4, 5])
            .bind(vec!["UA", "AA", "DL", "WN", "XX"])
            .fetch_all(&mut ground.source)
            .await
            .unwrap();
        numbers.sort_unstable();
        assert_eq!(numbers, expected, "{}", view.name);
    }
}

#[tokio::test]
async fn expectations_are_counted_over_the_values_that_are_present() {
    let mut ground = Ground::events().await;
    for (carrier, delay) in [("UA", "-"), ("AA", "-1"), ("DL", "50"), ("WN", "51"), ("B6", "0")] {
        ground.row(&format!("- - 7 {carrier} 11:00 11:01 {delay}")).await;
    }
    ground.row("- - 7 HA 11:00 11:01 99 gone").await;
    let (view, columns) = ground.view_and_columns("plain_newest").await;
    let wanted = Wanted {
        as_of: at("12:00"),
        scope: ALL,
        part: Part::ALL,
    };
    let query = expectations_query(&view, &values_query(&view, &columns, &wanted));
    type Answer = (i64, i64, i64, i64, Option<String>, Option<String>);
    let answer: Answer = sqlx::query_as(AssertSqlSafe(query))
        .fetch_one(&mut ground.source)
        .await
        .unwrap();
    assert_eq!(answer, (5, 1, 1, 1, Some("-1".to_owned()), Some("51".to_owned())));
}

#[tokio::test]
async fn columns_of_key_and_deletion_are_checked_and_the_keys_index_asked_for() {
    let mut ground = Ground::events().await;
    ground
        .sql(
            "CREATE TABLE odd (flight json, tail int8, carrier text, event timestamptz, created timestamptz, gone text, delay int8);
             CREATE TABLE bare (flight date, leg int2, tail int8, carrier text, event timestamptz, created timestamptz, gone bool, delay int8);
             CREATE INDEX ON bare (carrier, tail, event);
             CREATE INDEX ON bare (leg, flight)",
        )
        .await;
    ground.redefine(&definitions().replace("table = \"events\"", "table = \"odd\""));
    let view = Arc::clone(ground.app.view("keyed_newest").unwrap());
    let columns = columns_of(&mut ground.source, &view.source).await.unwrap();
    let problems: Vec<String> = check_view(&view, &columns).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(problems.join("\n"), @"
    view keyed_newest, key: column `flight` of source keyed (table odd) is json, not a comparable type: change the definition, or cast it in a query
    view keyed_newest, key: source keyed (table odd) has no column `leg`; the nearest is `flight`
    view keyed_newest, deleted: column `gone` of source keyed (table odd) is text, not bool: change the definition, or cast it in a query
    ");
    ground
        .sql("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false); ALTER TABLE events ALTER carrier TYPE text COLLATE loose")
        .await;
    ground.redefine(&definitions());
    let view = Arc::clone(ground.app.view("keyed_newest").unwrap());
    let columns = columns_of(&mut ground.source, &view.source).await.unwrap();
    let problems: Vec<String> = check_view(&view, &columns).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(problems.join("\n"), @"view keyed_newest, join key carrier: column `carrier` of source keyed (table events) has a collation that takes different texts for equal, and each spelling is an entity of its own: give the column a deterministic collation");
    ground.redefine(&definitions().replace("table = \"events\"", "table = \"bare\""));
    let found = ground.app.check_database().await.unwrap();
    assert_eq!(found.problems, []);
    // The last join key stands before the event time, and the others in any order before it.
    assert_eq!(
        found.missing_indexes,
        [
            "CREATE INDEX ON \"bare\" (\"carrier\", \"event\");",
            "CREATE INDEX ON \"bare\" (\"event\");",
            "CREATE INDEX ON \"bare\" (\"created\");",
            "CREATE INDEX ON \"bare\" (\"tail\", \"carrier\", \"event\");",
        ]
    );
}

#[tokio::test]
async fn training_obeys_keys_deletions_and_ages() {
    let mut ground = Ground::events().await;
    let service = |views: [&str; 3]| {
        let features = views.map(|view| format!("\"{view}\"")).join(", ");
        format!(
            "{}\n[[feature_service]]\nname = \"late\"\nfeatures = [{features}]\n",
            definitions()
        )
    };
    ground.redefine(&service(["keyed_newest:delay", "plain_newest:delay", "keyed_ops:n_1h"]));
    ground.row("F1 1 7 UA 09:00 09:01 1").await;
    ground.row("F2 1 7 UA 10:00 10:01 2").await;
    ground.row("F2 1 7 UA 10:00 10:02 3 gone").await;
    let service = Arc::clone(ground.app.service("late").unwrap());
    let mut joins = Vec::new();
    for join in &service.joins {
        joins.push((join, columns_of(&mut ground.source, &join.view.source).await.unwrap()));
    }
    // UA at its first event, after the second is taken away, when the first is as old as the ttl; and a stranger.
    let moments = ["09:00", "10:30", "11:00", "10:30"].map(|time| at(time).to_chrono().unwrap());
    let rows = sqlx::query(AssertSqlSafe(training_query(&service, &joins)))
        .bind(vec![0_i64, 1, 2, 3])
        .bind(moments.to_vec())
        .bind(vec!["UA", "UA", "UA", "XX"])
        .fetch_all(&mut ground.source)
        .await
        .unwrap();
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for join in 0..3 {
            let event = row
                .get::<Option<DateTime<Utc>>, _>(join * 3 + 1)
                .map(|event| event.format("%H:%M").to_string());
            let _infallible = write!(
                line,
                " {:?} {} {:?};",
                row.get::<Option<bool>, _>(join * 3),
                event.unwrap_or_default(),
                row.get::<Option<i64>, _>(join * 3 + 2)
            );
        }
        line
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
     Some(true) 09:00 Some(1); Some(true) 09:00 Some(1); Some(true) 09:00 Some(1);
     Some(true) 09:00 Some(1); None  None; Some(true) 10:30 Some(0);
     None  None; None  None; Some(true) 11:00 Some(0);
     None  None; None  None; None  None;
    ");
}
