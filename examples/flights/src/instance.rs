//! What an application asks about a flight, and the labels a model learns from.
//!
//! Both come from one function, so that a training set and a request cannot name or compute a value differently.

use std::io::Write;

use anyhow::{Context, Result};
use feature_defs::time::{Span, Timestamp};
use serde_json::{Map, Value, json};

use crate::dataset::Dataset;
use crate::flight::Flight;
use crate::shift::Shift;

/// How long before its scheduled departure a flight's delay is predicted.
const AHEAD: Span = Span::from_secs(3600);
const HOUR_MICROS: i64 = 3_600_000_000;

impl Flight {
    /// When its delay is predicted: one hour before its scheduled departure.
    pub const fn prediction_time(&self) -> Timestamp {
        self.scheduled_departure.minus(AHEAD)
    }

    /// The instance that asks for this flight's delay: join keys and request features by name.
    ///
    /// All of it is as it was in 2013, the prediction moment included: the question is the same whenever it is asked.
    pub fn instance(&self) -> Map<String, Value> {
        let fields = [
            ("carrier", json!(self.carrier)),
            ("flight", json!(self.number)),
            ("origin", json!(self.origin)),
            ("dest", json!(self.dest)),
            ("tailnum", json!(self.tailnum)),
            ("scheduled_minute", json!(self.scheduled_minute)),
            ("weekday", json!(self.weekday)),
            ("distance", json!(self.distance)),
            ("scheduled_duration", json!(self.scheduled_duration_minutes())),
            ("prediction_time", json!(self.prediction_time().to_string())),
        ];
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Which flights to label: those scheduled to leave in `[from, until)` of 2013.
#[derive(Debug, Clone, Copy)]
pub struct LabelRange {
    /// The first scheduled departure.
    pub from: Timestamp,
    /// The end of scheduled departures.
    pub until: Timestamp,
}

/// As of which moment a label's features are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The prediction's own: features are as fresh as can be.
    Exact,
    /// The full hour before it: features are as an hourly materialization leaves them. `prediction_time` stays.
    FullHour,
}

/// Writes one CSV row for each flight of `range` that arrived: the moment, the instance, and what came of it. Returns the
/// number of rows.
///
/// # Errors
/// When `out` can't be written.
pub fn write_labels(
    dataset: &Dataset,
    range: LabelRange,
    moment: Moment,
    shift: Shift,
    out: impl Write,
) -> Result<u64> {
    let mut writer = csv::Writer::from_writer(out);
    let mut rows = 0;
    for flight in &dataset.flights {
        let (Some(late), Some(arrival_delay)) = (flight.late(), flight.arrival_delay) else {
            continue;
        };
        if flight.scheduled_departure < range.from || flight.scheduled_departure >= range.until {
            continue;
        }
        let instance = flight.instance();
        if rows == 0 {
            let names = instance.keys().map(String::as_str);
            writer.write_record(["event_timestamp"].into_iter().chain(names).chain([
                "flight_id",
                "late15",
                "arr_delay",
            ]))?;
        }
        let at = moment.of(shift.apply(flight.prediction_time())).to_string();
        let outcome = [
            flight.id.to_string(),
            i64::from(late).to_string(),
            arrival_delay.to_string(),
        ];
        writer.write_record([at].into_iter().chain(instance.values().map(cell)).chain(outcome))?;
        rows += 1;
    }
    writer.flush().context("writing labels")?;
    Ok(rows)
}

impl Moment {
    const fn of(self, moment: Timestamp) -> Timestamp {
        match self {
            Self::Exact => moment,
            Self::FullHour => Timestamp::from_micros(moment.as_micros() - moment.as_micros().rem_euclid(HOUR_MICROS)),
        }
    }
}

/// A value as CSV has it: null is empty.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
