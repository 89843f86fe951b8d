//! Definitions that change again and again under constant requests.

use std::sync::Arc;

use feature_defs::value::Value;
use predictor::{App, Explain};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::{ADDED, DEFAULT, bench};
use crate::bench::{ask, predict};

const RELOADS: usize = 50;

/// What stands in the row: late rate and arrivals belong together.
const ROWS: [(f64, i64); 2] = [(0.25, 3), (0.5, 4)];

/// Asks for predictions until stopped; how many were answered, each without fault, and of inputs that belong together.
async fn ask_on(app: Arc<App>, stop: CancellationToken) -> usize {
    let mut answered = 0;
    while !stop.is_cancelled() {
        for model in ["full", "defaults"] {
            let instances = json!([
                { "carrier": "UA", "minute": answered },
                { "carrier": "XX", "minute": answered },
                { "carrier": null, "minute": answered },
            ]);
            let answer = ask(&app, model, instances, Explain::Yes).await.unwrap();
            for (prediction, row) in answer["predictions"]
                .as_array()
                .unwrap()
                .iter()
                .zip(answer["rows"].as_array().unwrap())
            {
                check(prediction, row);
            }
            answered += 1;
        }
        let answer = ask(&app, "base", json!([{ "minute": 3 }]), Explain::No).await.unwrap();
        assert_eq!(answer["predictions"][0]["y"], -3.0);
        // Whoever reloads shares the threads.
        tokio::task::yield_now().await;
    }
    answered
}

fn check(prediction: &Json, row: &Json) {
    assert_eq!(row["degraded"], json!([]), "{row}");
    let input = |name: &str| row["inputs"][name]["value"].as_f64();
    let (late_rate, busy) = (input("ops__late_rate"), input("busy"));
    let fed = |input: Option<f64>| input.unwrap_or(-1.0);
    let y = fed(input("minute")) + 10.0 * fed(late_rate) + 100.0 * fed(busy);
    assert_eq!(prediction["y"], y, "an answer of other inputs: {row}");
    let stands = |&(rate, arrivals): &(f64, i64)| late_rate == Some(rate) && busy == Some(2.0 * arrivals as f64);
    let is_default = matches!((late_rate, busy), (None, None) | (Some(0.5 | 0.75), Some(7.0)));
    match row["features"]["ops"]["status"].as_str() {
        Some("PRESENT") => assert!(ROWS.iter().any(stands), "torn: {row}"),
        Some("NOT_FOUND") => assert!(is_default, "{row}"),
        other => panic!("{other:?}: {row}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn constant_requests_during_fifty_reloads_are_all_answered() {
    let bench = bench();
    let rows = |row: usize| {
        let (rate, arrivals) = ROWS[row];
        [
            ("late_rate", Value::Float64(rate)),
            ("arrivals", Value::Int64(arrivals)),
        ]
    };
    bench.row_with("UA", &rows(0)).await;
    let app = bench.app();
    let stop = CancellationToken::new();
    let asking: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask_on(Arc::clone(&app), stop.clone())))
        .collect();

    let broken = ("expression = \"ops.", "expression = \"opps.");
    for i in 0..RELOADS {
        // What stands in the row changes meanwhile, and with it the layout that it is written in.
        let mut row = rows(i % 2).to_vec();
        if i % 2 == 1 {
            row.reverse();
        }
        bench.row_with("UA", &row).await;
        match i % 5 {
            0 => bench.define(&[ADDED]),
            1 => bench.define(&[DEFAULT]),
            2 => bench.define(&[broken]),
            3 => bench.define_without_ops(),
            _ => bench.define(&[]),
        }
        assert_eq!(app.reload().await.is_ok(), i % 5 != 2);
        let answer = predict(&app, "defaults", json!([{ "carrier": "XX", "minute": 1 }])).await;
        // Broken definitions are not taken up, and without its service the model stays what it was.
        let filled = if matches!(i % 5, 1..=3) { 0.75 } else { 0.5 };
        assert_eq!(answer["predictions"][0]["y"], 1.0 + 10.0 * filled + 700.0, "reload {i}");
    }
    stop.cancel();
    for asked in asking {
        let answered = asked.await.unwrap();
        assert!(answered > RELOADS, "{answered} requests");
    }
}
