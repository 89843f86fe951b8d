//! The model is as good when served as it was when trained: area under the curve over simulated time, with one
//! materialization an hour, beside the offline figure for hourly snapshots and the model that knows only the request.
//!
//! One week by default; the whole test period with `cargo xtask test --auc-all`.

use std::io::Cursor;

use end_to_end::flights::{Stand, definitions};
use end_to_end::python::late_probabilities;
use feature_defs::time::{Span, Timestamp};
use feature_server::Progress;
use flights::{Flight, LabelRange, Moment, Shift, write_labels};
use predictor::Explain;
use serde_json::Value;
use table_files::{Format, TableOutput, TableReader};

const HOUR: Span = Span::from_secs(3600);

/// The chance that a late flight is given a higher probability than a punctual one.
fn area_under_curve(scores: &[(f64, bool)]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut at) = (0.0, 0);
    for ties in sorted.chunk_by(|a, b| a.0 == b.0) {
        let late = ties.iter().filter(|(_, late)| *late).count();
        // Ranks count from 1; tied scores share the middle one.
        let (first, last) = (at + 1, at + ties.len());
        rank_sum += as_f64(late) * as_f64(first + last) / 2.0;
        at += ties.len();
    }
    let late = as_f64(sorted.iter().filter(|(_, late)| *late).count());
    let punctual = as_f64(sorted.len()) - late;
    (rank_sum - late * (late + 1.0) / 2.0) / (late * punctual)
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a year has fewer flights"))
}

#[test]
fn the_area_counts_pairs() {
    assert_eq!(area_under_curve(&[(0.1, false), (0.9, true)]), 1.0);
    assert_eq!(area_under_curve(&[(0.9, false), (0.1, true)]), 0.0);
    assert_eq!(area_under_curve(&[(0.5, false), (0.5, true)]), 0.5);
    assert_eq!(
        area_under_curve(&[(0.1, false), (0.4, true), (0.4, false), (0.8, true)]),
        3.5 / 4.0
    );
}

/// Predictions are made in `[from, until)`.
fn period() -> (Timestamp, Timestamp) {
    let (from, until) = match std::env::var("LARDER_TEST_AUC").as_deref() {
        Ok("all") => ("2013-11-01T04:00:00Z", "2014-01-01T05:00:00Z"),
        _ => ("2013-12-02T05:00:00Z", "2013-12-09T05:00:00Z"),
    };
    (from.parse().unwrap(), until.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn served_hourly_the_model_is_as_good_as_it_was_offline() {
    let (from, until) = period();
    let stand = Stand::new(from).await.unwrap();
    let mut flights: Vec<&Flight> = stand
        .replay
        .dataset()
        .flights
        .iter()
        .filter(|f| f.late().is_some())
        .collect();
    flights.retain(|f| f.prediction_time() >= from && f.prediction_time() < until);
    flights.sort_by_key(|f| f.prediction_time());

    let (mut served, mut request_only) = (Vec::new(), Vec::new());
    let mut hour = from;
    let mut rest = flights.as_slice();
    while hour < until {
        stand.materialize(hour).await.unwrap();
        let next = hour.plus(HOUR);
        let (now, later) = rest.split_at(rest.partition_point(|f| f.prediction_time() < next));
        for asked_together in now.chunk_by(|a, b| a.prediction_time() == b.prediction_time()) {
            stand.clock.set(asked_together[0].prediction_time());
            score(&stand, "flight_delay", asked_together, &mut served).await;
            score(&stand, "flight_delay_request_only", asked_together, &mut request_only).await;
        }
        (hour, rest) = (next, later);
    }
    assert_eq!(served.len(), flights.len());
    let offline = offline_hourly(&stand, (from, until)).await;
    assert_eq!(offline.len(), flights.len());

    let (served, offline, request_only) = (
        area_under_curve(&served),
        area_under_curve(&offline),
        area_under_curve(&request_only),
    );
    println!(
        "{} flights: AUC served hourly {served:.4}, offline {offline:.4}, request only {request_only:.4}",
        flights.len()
    );
    assert!(
        (served - offline).abs() <= 0.01,
        "served {served:.4}, offline {offline:.4}"
    );
    assert!(
        served >= request_only + 0.10,
        "served {served:.4}, request only {request_only:.4}"
    );
}

async fn score(stand: &Stand, model: &str, flights: &[&Flight], scores: &mut Vec<(f64, bool)>) {
    let known = definitions().service(model).unwrap().as_ref().clone();
    let carried = |name: &str| {
        known.request.iter().any(|f| f.name.as_str() == name) || known.keys.iter().any(|k| k.name.as_str() == name)
    };
    let instances = flights
        .iter()
        .map(|f| Value::Object(f.instance().into_iter().filter(|(name, _)| carried(name)).collect()));
    let answer = stand.predict(model, instances.collect(), Explain::No).await.unwrap();
    for (flight, prediction) in flights.iter().zip(answer["predictions"].as_array().unwrap()) {
        scores.push((
            prediction["late_probability"].as_f64().unwrap(),
            flight.late() == Some(true),
        ));
    }
}

/// The same flights as a data scientist scores them: the training set as of the full hour, and the model in Python.
async fn offline_hourly(stand: &Stand, (from, until): (Timestamp, Timestamp)) -> Vec<(f64, bool)> {
    // Labels are chosen by scheduled departure, an hour after the prediction.
    let range = LabelRange {
        from: from.plus(HOUR),
        until: until.plus(HOUR),
    };
    let mut labels = Vec::new();
    write_labels(
        stand.replay.dataset(),
        range,
        Moment::FullHour,
        Shift::NONE,
        &mut labels,
    )
    .unwrap();
    let mut out = Vec::new();
    let labels = TableReader::csv("labels.csv", Cursor::new(labels)).unwrap();
    let output = TableOutput {
        format: Format::Csv,
        to: &mut out,
    };
    stand
        .features
        .training_set("flight_delay", labels, output, &Progress::hidden())
        .await
        .unwrap();
    let mut reader = csv::Reader::from_reader(out.as_slice());
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| {
        header
            .iter()
            .position(|column| column == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let service = definitions();
    let inputs: Vec<usize> = service
        .service("flight_delay")
        .unwrap()
        .inputs
        .iter()
        .map(|i| place(&i.name))
        .collect();
    let late = place("late15");
    let (mut vectors, mut outcomes) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.unwrap();
        vectors.push(inputs.iter().map(|&i| row[i].parse().ok()).collect());
        outcomes.push(&row[late] == "1");
    }
    late_probabilities(&vectors).into_iter().zip(outcomes).collect()
}
