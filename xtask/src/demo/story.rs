//! The demo's story: predict a flight, ask again, let an hour of news come in, predict again, and see why it changed.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::Demo;
use crate::{client::Server, say};

const PREDICT: &str = "/v1/models/flight_delay:predict";
const EXPLAIN: &str = "/v1/models/flight_delay:predict?explain=true";

/// The flight of the story.
pub(super) struct Flight {
    /// For people: number, route, time.
    title: String,
    /// For the predictor.
    body: Value,
}

impl Flight {
    fn ask(demo: &mut Demo) -> Result<Self> {
        let text = demo.run_program("flights", &["instance"])?;
        let instance: Value = serde_json::from_str(&text).context("`flights instance` printed no JSON")?;
        let minute = instance["scheduled_minute"]
            .as_i64()
            .context("a flight has a scheduled minute")?;
        let word = |name: &str| instance[name].as_str().unwrap_or("?").to_owned();
        let title = format!(
            "{} {} from {} to {}, due to leave at {:02}:{:02},",
            word("carrier"),
            instance["flight"],
            word("origin"),
            word("dest"),
            minute / 60,
            minute % 60
        );
        Ok(Self {
            title,
            body: json!({"instances": [instance]}),
        })
    }
}

pub(super) fn tell(demo: &mut Demo, predictor: &Server) -> Result<Flight> {
    let flight = Flight::ask(demo)?;
    say::step(&format!("1. Will {} arrive more than 15 minutes late?", flight.title));
    let first = predict(predictor, &flight)?;
    let inputs_before = explain(predictor, &flight)?;

    say::step("2. The same question again");
    let second = predict(predictor, &flight)?;
    ensure!(
        second.cache.starts_with("hit"),
        "the same question should have come from the cache, not `{}`",
        second.cache
    );

    say::step("3. The last hour's news comes in, and the features are brought up to date");
    say::note(&demo.run_program("flights", &["feed", "--once"])?);
    say::note(&demo.run_program("feature-server", &["materialize", "--incremental"])?);
    say::note("\nThe same question, for the third time:\n\n");
    let third = predict(predictor, &flight)?;
    let inputs_after = explain(predictor, &flight)?;
    tell_why(&first, &third, &inputs_before, &inputs_after)?;
    Ok(flight)
}

/// What to try while the demo stays up.
pub(super) fn to_try(predictor: &Server, server: &Server, flight: &Flight) -> String {
    let pairs = [
        (
            "Predict, and watch it change as flights land:",
            predictor.curl(PREDICT, &flight.body),
        ),
        (
            "Every input of it, its status and where it came from:",
            predictor.curl(EXPLAIN, &flight.body),
        ),
        ("What is served:", format!("curl -s {}", predictor.url("/v1/models"))),
        (
            "How fresh the features are:",
            format!("curl -s {}", server.url("/v1/views")),
        ),
        ("What was computed when:", format!("curl -s {}", server.url("/v1/runs"))),
        ("Metrics:", format!("curl -s {}", predictor.url("/metrics"))),
    ];
    pairs
        .iter()
        .map(|(what, line)| format!("\n{what}\n    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

struct Prediction {
    probability: f64,
    cache: String,
}

fn predict(predictor: &Server, flight: &Flight) -> Result<Prediction> {
    say::note(&predictor.curl(PREDICT, &flight.body));
    let answer = predictor.post(PREDICT, &flight.body)?;
    say::note(&answer.to_string());
    let row = &answer["rows"][0];
    let Some(probability) = answer["predictions"][0]["late_probability"].as_f64() else {
        bail!("the answer has no late_probability");
    };
    ensure!(
        row["degraded"] == json!([]),
        "the prediction is degraded, though everything runs: {}",
        row["degraded"]
    );
    let cache = row["cache"]
        .as_str()
        .context("a row says where its prediction is from")?
        .to_owned();
    let source = match cache.as_str() {
        "miss" => "the model ran",
        "hit_memory" => "from the predictor's memory: the model did not run",
        "hit_redis" => "from the cache in Redis: the model did not run",
        other => other,
    };
    say::note(&format!(
        "=> late with a probability of {:.1} % ({source})",
        probability * 100.0
    ));
    Ok(Prediction { probability, cache })
}

/// The model's inputs by name.
fn explain(predictor: &Server, flight: &Flight) -> Result<Map<String, Value>> {
    let mut answer = predictor.post(EXPLAIN, &flight.body)?;
    match answer["rows"][0]["inputs"].take() {
        Value::Object(inputs) => Ok(inputs),
        _ => bail!("the explained answer has no inputs"),
    }
}

fn tell_why(
    first: &Prediction,
    third: &Prediction,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Result<()> {
    let changed: Vec<String> = after
        .iter()
        .filter_map(|(name, input)| {
            let (old, new) = (&before.get(name)?["value"], &input["value"]);
            (old != new).then(|| format!("    {name:<32} {:>10} -> {:>10}", shown(old), shown(new)))
        })
        .collect();
    ensure!(!changed.is_empty(), "the last hour changed none of the flight's inputs");
    ensure!(
        third.probability != first.probability,
        "the inputs changed, and the prediction did not"
    );
    let direction = if third.probability > first.probability {
        "up"
    } else {
        "down"
    };
    say::note(&format!(
        "\nWhy it went {direction}, from {:.1} % to {:.1} %: {} of the model's {} inputs changed in that hour\n\
         (the same request with ?explain=true shows them all).",
        first.probability * 100.0,
        third.probability * 100.0,
        changed.len(),
        after.len(),
    ));
    say::note(&changed.join("\n"));
    if let Some(news) = news_of_aircraft(after) {
        say::note(&news);
    }
    Ok(())
}

/// What stands out among the changes: the flight's aircraft has only just landed somewhere else.
fn news_of_aircraft(inputs: &Map<String, Value>) -> Option<String> {
    let hours = inputs.get("hours_since_arrival")?["value"].as_f64()?;
    let delay = inputs.get("tail_state__arr_delay_36h")?["value"].as_f64()?;
    (hours < 1.0 && delay > 0.0).then(|| {
        format!(
            "\nThe aircraft that is to fly it landed {:.0} minutes ago, {delay:.0} minutes late, after a flight from New York:\n\
             it has yet to come back.",
            hours * 60.0
        )
    })
}

fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() && number.abs() < 100.0 => format!("{number:.3}"),
        Some(number) if value.is_f64() => format!("{number:.1}"),
        _ if value.is_null() => "unknown".to_owned(),
        _ => value.to_string(),
    }
}
