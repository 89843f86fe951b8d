//! Values that are written online as they are given.

use feature_defs::serving::Status;

use super::*;
use crate::Mode;

async fn write(ground: &Ground, time: &str, rows: &[Value]) -> Result<Pushed, PushError> {
    ground.clock.set(at(time));
    let rows: Vec<PushedRow> = rows.iter().cloned().map(object).collect();
    ground.app.write_online("newest", &rows, WHOLE).await
}

#[tokio::test]
async fn a_value_is_online_as_it_was_given_and_nothing_is_appended() {
    let mut ground = events(PLAIN).await;
    let given = [
        json!({"carrier": "UA", "delay": 4, "event_timestamp": "2013-11-05T11:30:00"}),
        json!({"carrier": "AA", "event": "2013-11-05T11:30:00Z", "created": null}),
    ];
    let written = write(&ground, "12:00", &given).await.unwrap();
    assert_eq!((written.appended, counts(&written)), (0, vec![("newest", 2, 0)]));
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("4"));
    let absent = ground.read("newest", "AA", "12:00").await;
    assert_eq!((absent.status, absent.values), (Status::Present, vec![None]));
    assert_eq!(ground.count().await, 0);
    // The guard is every writer's.
    let older = json!({"carrier": "UA", "delay": 5, "event_timestamp": "2013-11-05T11:29:00"});
    let written = write(&ground, "12:01", &[older]).await.unwrap();
    assert_eq!(counts(&written), [("newest", 0, 1)]);
    let ahead = json!({"carrier": "UA", "delay": 5, "event_timestamp": "2013-11-05T11:30:00", "created": "2999-01-01T00:00:00"});
    write(&ground, "12:00", &[ahead]).await.unwrap();
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("5"));
    let corrected = json!({"carrier": "UA", "delay": 6, "event_timestamp": "2013-11-05T11:30:00", "created": "2013-11-05T12:01:00"});
    write(&ground, "12:02", &[corrected]).await.unwrap();
    assert_eq!(ground.values("newest", "UA", "12:02").await.as_deref(), Some("6"));
    ground
        .sql("INSERT INTO events VALUES ('F1', 1, 'UA', '2013-11-05 11:40+00', '2013-11-05 12:03+00', false, 7)")
        .await;
    ground.run("newest", Mode::Incremental, "12:05").await;
    // A first run is complete: what it did not find is gone.
    assert_eq!(ground.values("newest", "UA", "12:05").await.as_deref(), Some("7"));
    assert_eq!(ground.values("newest", "AA", "12:05").await, None);
    // One after that leaves what is newer.
    let newer = json!({"carrier": "UA", "delay": 8, "event_timestamp": "2013-11-05T12:06:00"});
    write(&ground, "12:10", &[newer]).await.unwrap();
    ground.run("newest", Mode::Full, "12:11").await;
    assert_eq!(ground.values("newest", "UA", "12:11").await.as_deref(), Some("8"));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_row_and_nothing_is_written() {
    let ground = events(PLAIN).await;
    let good = json!({"carrier": "UA", "delay": 4, "event_timestamp": "2013-11-05T11:30:00"});
    for (bad, told) in [
        (
            json!({"carrier": "UA", "event_timestamp": "2013-11-05T12:00:01"}),
            "is in the future: it is 2013-11-05T12:00:00Z",
        ),
        (
            json!({"carrier": "UA", "delay": 4}),
            "`event_timestamp` is missing, or null",
        ),
        (
            json!({"carrier": "UA", "event_timestamp": null}),
            "`event_timestamp` is missing, or null",
        ),
        (
            json!({"event_timestamp": "2013-11-05T11:30:00"}),
            "join key `carrier` is missing, or null",
        ),
        (
            json!({"carrier": 1, "event_timestamp": "2013-11-05T11:30:00"}),
            "`carrier`: expected string, got 1",
        ),
        (
            json!({"carrier": "UA", "dely": 4, "event_timestamp": "2013-11-05T11:30:00"}),
            "view newest has no join key or feature `dely`; did you mean `delay`?",
        ),
        (
            json!({"carrier": "UA", "delay": 4.5, "event_timestamp": "2013-11-05T11:30:00"}),
            "`delay`: expected int64, got 4.5",
        ),
        (
            json!({"carrier": "UA", "flight": "F1", "event_timestamp": "2013-11-05T11:30:00"}),
            "no join key or feature `flight`",
        ),
    ] {
        let refused = write(&ground, "12:00", &[good.clone(), bad.clone()])
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("row 1: ") && refused.contains(told),
            "{bad}: {refused}"
        );
        assert!(online(&ground, "newest").await.is_empty());
        let sent = [object(good.clone()), object(bad)];
        let written = ground.app.write_online("newest", &sent, PARTIAL).await.unwrap();
        assert_eq!((counts(&written), written.errors.len()), (vec![("newest", 1, 0)], 1));
        let keys = [(String::from("carrier"), String::from("UA"))];
        ground.app.forget(&keys).await.unwrap();
    }
}

#[tokio::test]
async fn only_row_views_whose_rows_are_all_there_is_are_written() {
    let ground = events(PLAIN).await;
    let refused = ground
        .app
        .write_online("ops", &[], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("its values are computed from all events") && refused.contains("push rows to its source"),
        "{refused}"
    );
    let ground = events(KEYED).await;
    let refused = ground
        .app
        .write_online("newest", &[], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("its source has a `key`"), "{refused}");
    let refused = ground
        .app
        .write_online("nothing", &[], WHOLE)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(refused, "there is no view `nothing`; there are: ops, newest");
}
