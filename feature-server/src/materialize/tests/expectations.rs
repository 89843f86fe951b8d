//! Data that is not as a definition expects: nothing of it is written, or a warning stands beside it.

use crate::Mode::{Full, Incremental};
use crate::materialize::RunError;
use crate::testing::content;
use crate::testing::{CREATED, Ground, arrivals_toml, at};

/// Definitions that expect delays between 0 and 100, of which no more than a quarter is null.
fn expecting(otherwise: &str) -> String {
    let expect = format!("expect = {{ min = 0, max = 100, null_share = 0.25{otherwise} }}");
    arrivals_toml(CREATED)
        .replace("windows = [\"1h\"] }", &format!("windows = [\"1h\"], {expect} }}"))
        .replace(
            "name = \"delay\", type = \"float64\"",
            &format!("name = \"delay\", type = \"float64\", {expect}"),
        )
}

#[tokio::test]
async fn a_run_stops_before_it_writes_and_the_next_one_lands() {
    for view in ["newest", "ops"] {
        for mode in [Full, Incremental] {
            let mut ground = Ground::arrivals().await;
            ground.redefine(&expecting(""));
            ground.arrival("UA", "11:30", "11:30", "10").await;
            ground.arrival("DL", "11:30", "11:30", "0").await;
            ground.run(view, mode, "11:40").await;
            let before = content(&ground, view).await;
            ground.arrival("UA", "11:50", "11:50", "101").await;
            ground.arrival("AA", "11:50", "11:50", "1").await;
            for attempt in ["12:00", "12:01"] {
                let stopped = ground.try_run(view, mode, attempt).await.unwrap_err();
                assert!(matches!(stopped, RunError::Unexpected { .. }), "{stopped}");
                assert!(stopped.to_string().contains("values are above 100.0"), "{stopped}");
                assert!(content(&ground, view).await == before, "nothing is written");
                let status = ground.app.status().await.unwrap();
                let status = status.into_iter().find(|status| status.view.as_str() == view).unwrap();
                assert_eq!(status.freshness.watermark, Some(at("11:40")));
                assert_eq!(status.problem, Some(format!("the last run failed: {stopped}")));
            }
            ground.sql("UPDATE arrivals SET delay = 50 WHERE delay = 101").await;
            let run = ground.run(view, mode, "12:10").await;
            assert_eq!(run.forced_full, None);
            let expected = if view == "ops" {
                "30.0 30.0 2 2 60.0 50.0 2013-11-05T11:50:00Z"
            } else {
                "50.0"
            };
            assert_eq!(
                ground.values(view, "UA", "12:10").await.as_deref(),
                Some(expected),
                "{mode:?}"
            );
            assert!(ground.values(view, "AA", "12:10").await.is_some());
            let status = ground.app.status().await.unwrap();
            assert!(
                status
                    .iter()
                    .all(|status| status.view.as_str() != view || status.problem.is_none())
            );
        }
    }
}

#[tokio::test]
async fn a_warning_stands_in_summary_record_and_status() {
    for view in ["newest", "ops"] {
        for mode in [Full, Incremental] {
            let mut ground = Ground::arrivals().await;
            ground.redefine(&expecting(", otherwise = \"warn\""));
            ground.arrival("UA", "11:30", "11:30", "10").await;
            let run = ground.run(view, mode, "11:40").await;
            assert_eq!(run.warnings, Vec::<String>::new());
            ground.arrival("UA", "11:50", "11:50", "-20").await;
            let run = ground.run(view, mode, "12:00").await;
            let [warning] = run.warnings.as_slice() else {
                panic!("{run:?}")
            };
            assert!(warning.contains("1 of 1 values are below 0.0"), "{warning}");
            assert!(ground.values(view, "UA", "12:00").await.unwrap().contains("-20.0"));
            let status = ground.app.status().await.unwrap();
            let status = status.into_iter().find(|status| status.view.as_str() == view).unwrap();
            assert_eq!(status.last_run.unwrap().warnings.as_ref(), Some(warning));
            let problem = status.problem.unwrap();
            assert!(
                problem.contains("not as expected") && problem.contains(warning),
                "{problem}"
            );
            assert_eq!(status.freshness.watermark, Some(at("12:00")));
        }
    }
}

#[tokio::test]
async fn more_nulls_than_expected_are_found() {
    let mut ground = Ground::arrivals().await;
    ground.redefine(&expecting(""));
    for (carrier, delay) in [("A", "NULL"), ("B", "1"), ("C", "NULL"), ("D", "1")] {
        ground.arrival(carrier, "11:30", "11:30", delay).await;
    }
    let stopped = ground.try_run("newest", Full, "12:00").await.unwrap_err().to_string();
    assert!(
        stopped.contains("2 of 4 values are null, more than the expected share of 0.25"),
        "{stopped}"
    );
    for carrier in ["E", "F", "G", "H"] {
        ground.arrival(carrier, "11:30", "11:30", "1").await;
    }
    ground.run("newest", Full, "12:10").await;
    assert_eq!(ground.values("newest", "A", "12:10").await.as_deref(), Some("-"));
}
