//! Training sets: each row's own moment, agreement with serving, and bad labels.

use std::io::Cursor;

use crate::testing::{Ground, at, text};
use crate::{Mode, Progress, TrainingError};

async fn training_set(ground: &Ground, labels: &str) -> Result<String, TrainingError> {
    let mut out = Vec::new();
    ground
        .app
        .training_set("delay", Cursor::new(labels), &mut out, &Progress::hidden())
        .await?;
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn each_row_sees_its_own_moment_and_nothing_later() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:00", "11:00", "10").await;
    ground.arrival("UA", "11:30", "11:30", "20").await;
    ground.arrival("UA", "11:30", "11:45", "21").await;
    let labels = "late,carrier,distance,event_timestamp\n\
        1,UA,100,2013-11-05T11:30:00Z\n\
        0,UA,,2013-11-05T12:29:59.999999+01:00\n\
        1,UA,3.5,2013-11-05T17:30:00Z\n\
        \"a, b\",,1,2013-11-05T11:30:00Z\n\
        0,XX,1,2013-11-05T11:30:00Z\n";
    insta::assert_snapshot!(training_set(&ground, labels).await.unwrap(), @r#"
    late,carrier,distance,event_timestamp,ops__delay_1h,ops__delay_3h,ops__n_1h,ops__n_3h,ops__total_1h,ops__newest_3h,ops__at_3h,newest__delay
    1,UA,100.0,2013-11-05T11:30:00Z,17.0,17.0,3,3,51.0,21.0,2013-11-05T11:30:00Z,21.0
    0,UA,,2013-11-05T12:29:59.999999+01:00,10.0,10.0,1,1,10.0,10.0,2013-11-05T11:00:00Z,10.0
    1,UA,3.5,2013-11-05T17:30:00Z,,,,,,,,-1.0
    "a, b",,1.0,2013-11-05T11:30:00Z,,,,,,,,-1.0
    0,XX,1.0,2013-11-05T11:30:00Z,,,,,,,,-1.0
    "#);
}

#[tokio::test]
async fn training_and_serving_agree() {
    let mut ground = Ground::arrivals().await;
    for minute in 0..60 {
        let (carrier, delay) = (["UA", "AA", "DL"][minute % 3], minute * 7 % 50);
        let event = format!("{:02}:{:02}", 6 + minute / 10, minute % 10 * 6);
        ground.arrival(carrier, &event, &event, &format!("{delay}.5")).await;
    }
    let carriers = ["UA", "AA", "DL", "XX"];
    for time in ["07:00", "09:30", "12:00", "14:59", "16:00"] {
        for view in ["ops", "newest"] {
            ground.run(view, Mode::Incremental, time).await;
        }
        let mut labels = "carrier,distance,event_timestamp\n".to_owned();
        for carrier in carriers {
            labels.push_str(&format!("{carrier},1.0,{}\n", at(time)));
        }
        let trained = training_set(&ground, &labels).await.unwrap();
        for (carrier, row) in carriers.iter().zip(trained.lines().skip(1)) {
            let given = [
                ("carrier".to_owned(), (*carrier).to_owned()),
                ("distance".to_owned(), "1.0".to_owned()),
            ];
            let served = ground.app.get("delay", &given).await.unwrap();
            let served: Vec<String> = served
                .iter()
                .map(|f| match &f.value {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(s) => s.clone(),
                    value => value.to_string(),
                })
                .collect();
            let expected = format!("{carrier},1.0,{},{}", at(time), served[1..].join(","));
            assert_eq!(row, expected, "{carrier} at {time}");
        }
    }
    assert_eq!(text(&ground.read("newest", "UA", "16:00").await.values), "49.5");
}

#[tokio::test]
async fn bad_labels_are_told_together_and_nothing_is_written() {
    let ground = Ground::arrivals().await;
    let refused = |labels: &'static str| {
        let ground = &ground;
        async move { training_set(ground, labels).await.unwrap_err().to_string() }
    };
    insta::assert_snapshot!(refused("carrier,late,late\nUA,1,1\n").await, @"
    the labels have 3 problems:
      column `late` is there twice
      there is no column `event_timestamp` (the moment of each row, RFC 3339)
      there is no column `distance` (a request feature)
    ");
    let computed = "carrier,distance,event_timestamp,newest__delay\nUA,1,2013-11-05T11:30:00Z,7\n";
    insta::assert_snapshot!(refused(computed).await, @r"
    the labels have 1 problem:
      column `newest__delay` has the name of an input that is computed: rename it, or leave it out
    ");
    let rows = "carrier,distance,event_timestamp\nUA,far,yesterday\nUA,1\nUA,1,\nUA,1,2013-11-05T11:30:00Z\n";
    insta::assert_snapshot!(refused(rows).await, @r#"
    the labels have 4 problems:
      line 2, column `event_timestamp`: expected timestamp, got "yesterday"
      line 2, column `distance`: expected float64, got "far"
      line 3: 2 cells, the header has 3
      line 4, column `event_timestamp`: empty; each row needs its moment
    "#);
}
