//! What a prediction was made of, what the training set says, and what a person would ask in SQL: the same, value by
//! value and null by null; and the model's answer is the one that Python's ONNX Runtime gives.

use std::collections::HashMap;
use std::io::Cursor;

use end_to_end::flights::Stand;
use end_to_end::python::late_probabilities;
use feature_defs::time::{Span, Timestamp};
use feature_server::Progress;
use flights::Flight;
use predictor::Explain;
use serde_json::{Map, Value, json};
use sqlx::Row;
use table_files::{Format, TableOutput, TableReader};

const MOMENTS: usize = 20;
const PER_MOMENT: usize = 50;
/// Sums of floats may be added up in another order.
const RELATIVE: f64 = 1e-12;

/// The flights of one moment, as their instances: those that leave soonest after it.
fn instances_at(flights: &[Flight], at: Timestamp) -> Vec<Value> {
    let mut next: Vec<&Flight> = flights.iter().filter(|f| f.scheduled_departure > at).collect();
    next.sort_by_key(|f| (f.scheduled_departure, f.id));
    next.iter()
        .take(PER_MOMENT)
        .map(|f| Value::Object(f.instance()))
        .collect()
}

/// Twenty moments of November and December: busy and quiet hours, the change from summer time, the first moments after a
/// gap, and the last evening, for which there is no weather any more.
fn moments() -> Vec<Timestamp> {
    let start: Timestamp = "2013-11-01T09:17:23.5Z".parse().unwrap();
    let mut moments: Vec<Timestamp> = (0..MOMENTS - 2)
        .map(|i| start.plus(Span::from_secs(u32::try_from(i).unwrap() * 287_111)))
        .collect();
    moments.push("2013-11-03T06:30:00Z".parse().unwrap());
    moments.push("2013-12-31T20:00:00Z".parse().unwrap());
    moments.sort_unstable();
    moments
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_flights_agree_in_serving_training_and_sql() {
    let moments = moments();
    let stand = Stand::new(moments[0]).await.unwrap();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut for_python = Vec::new();
    let mut rows = 0;
    for at in moments {
        stand.materialize(at).await.unwrap();
        let instances = instances_at(&stand.replay.dataset().flights, at);
        let answer = stand
            .predict("flight_delay", instances.clone(), Explain::Yes)
            .await
            .unwrap();
        let training = training_set(&stand, &instances, at).await;
        let by_hand = by_hand(&stand, &instances, at).await;
        for (i, instance) in instances.iter().enumerate() {
            let inputs = answer["rows"][i]["inputs"].as_object().unwrap();
            let place = format!("{instance} at {at}");
            for (name, input) in inputs {
                *seen.entry(input["status"].as_str().unwrap().to_owned()).or_default() += 1;
                let served = input["value"].as_f64();
                same(
                    served,
                    training[i][name],
                    &format!("{name} in the training set, {place}"),
                );
                let expected = by_hand[i].get(name).copied().unwrap_or_else(|| instance[name].as_f64());
                same(served, expected, &format!("{name} by hand, {place}"));
            }
            let vector: Vec<Option<f64>> = inputs.values().map(|input| input["value"].as_f64()).collect();
            for_python.push((vector, answer["predictions"][i]["late_probability"].as_f64().unwrap()));
            rows += 1;
        }
    }
    assert_eq!(rows, MOMENTS * PER_MOMENT);
    println!("{rows} flights; inputs by status: {seen:?}");
    for status in ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"] {
        assert!(
            seen.get(status).is_some_and(|&n| n >= 50),
            "too few inputs are {status}: {seen:?}"
        );
    }
    agrees_with_python(&for_python);
}

fn same(served: Option<f64>, other: Option<f64>, place: &str) {
    let equal = match (served, other) {
        (Some(a), Some(b)) => (a - b).abs() <= RELATIVE * a.abs().max(b.abs()),
        (None, None) => true,
        _ => false,
    };
    assert!(equal, "served {served:?}, but {other:?} is {place}");
}

/// The training set's rows for these instances, all at one moment.
async fn training_set(stand: &Stand, instances: &[Value], at: Timestamp) -> Vec<HashMap<String, Option<f64>>> {
    let names: Vec<&String> = instances[0].as_object().unwrap().keys().collect();
    let mut labels = csv::Writer::from_writer(Vec::new());
    labels
        .write_record(["event_timestamp"].into_iter().chain(names.iter().map(|n| n.as_str())))
        .unwrap();
    for instance in instances {
        let cell = |name: &&String| match &instance[name.as_str()] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        labels
            .write_record([at.to_string()].into_iter().chain(names.iter().map(cell)))
            .unwrap();
    }
    let labels = TableReader::csv("labels.csv", Cursor::new(labels.into_inner().unwrap())).unwrap();
    let mut out = Vec::new();
    let output = TableOutput {
        format: Format::Csv,
        to: &mut out,
    };
    stand
        .features
        .training_set("flight_delay", labels, output, &Progress::hidden())
        .await
        .unwrap();
    csv::Reader::from_reader(out.as_slice())
        .deserialize::<HashMap<String, String>>()
        .map(|row| {
            row.unwrap()
                .into_iter()
                .map(|(name, cell)| (name, cell.parse().ok()))
                .collect()
        })
        .collect()
}

/// The stored and derived inputs of these instances, by SQL that a person wrote from the definitions' meaning.
async fn by_hand(stand: &Stand, instances: &[Value], at: Timestamp) -> Vec<HashMap<String, Option<f64>>> {
    let rows = sqlx::query(include_str!("flight_delay_by_hand.sql"))
        .bind(json!(instances))
        .bind(at.to_chrono().unwrap())
        .fetch_all(&stand.database.pool)
        .await
        .unwrap();
    assert_eq!(rows.len(), instances.len());
    rows.iter()
        .map(|row| {
            let inputs: sqlx::types::Json<Map<String, Value>> = row.get("inputs");
            inputs
                .0
                .iter()
                .map(|(name, value)| (name.clone(), value.as_f64()))
                .collect()
        })
        .collect()
}

fn agrees_with_python(rows: &[(Vec<Option<f64>>, f64)]) {
    let vectors: Vec<Vec<Option<f64>>> = rows.iter().map(|(vector, _)| vector.clone()).collect();
    let expected = late_probabilities(&vectors);
    let worst = rows
        .iter()
        .zip(&expected)
        .map(|((_, served), python)| (served - python).abs())
        .fold(0.0, f64::max);
    println!("largest difference to Python's ONNX Runtime: {worst:e}");
    assert!(worst <= 1e-6, "{worst}");
}
