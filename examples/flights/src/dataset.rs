//! The published CSV files, read and made sense of.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use chrono_tz::Tz;
use feature_defs::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::flight::{Flight, arrival_at, minute_of_day};

/// Everything the files say, in file order.
#[derive(Debug)]
pub struct Dataset {
    /// Every scheduled flight.
    pub flights: Vec<Flight>,
    /// Hourly observations at the three airports of New York.
    pub weather: Vec<Weather>,
    /// The aircraft that are registered; many that flew are not.
    pub planes: Vec<Plane>,
    /// Airports of the United States; not all that were flown to.
    pub airports: Vec<Airport>,
    /// The carriers.
    pub airlines: Vec<Airline>,
}

/// An hourly observation.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the columns of the file, which documents them")]
pub struct Weather {
    pub origin: String,
    #[serde(deserialize_with = "moment", rename = "time_hour")]
    pub observed: Timestamp,
    #[serde(deserialize_with = "optional")]
    pub temp: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub dewp: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub humid: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub wind_dir: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub wind_speed: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub wind_gust: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub precip: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub pressure: Option<f64>,
    #[serde(deserialize_with = "optional")]
    pub visib: Option<f64>,
}

/// A registered aircraft.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the columns of the file, which documents them")]
pub struct Plane {
    pub tailnum: String,
    #[serde(deserialize_with = "optional", rename = "year")]
    pub built_year: Option<i64>,
    pub manufacturer: String,
    pub model: String,
    pub engines: i64,
    pub seats: i64,
}

/// An airport.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the columns of the file, which documents them")]
pub struct Airport {
    #[serde(rename = "faa")]
    pub code: String,
    pub name: String,
    pub lat: f64,
    pub lon: f64,
    #[serde(rename = "tzone")]
    pub time_zone: String,
}

/// A carrier.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the columns of the file, which documents them")]
pub struct Airline {
    pub carrier: String,
    pub name: String,
}

/// A line of `flights.csv`.
#[derive(Deserialize)]
struct FlightLine {
    year: i32,
    month: u32,
    day: u32,
    sched_dep_time: i64,
    #[serde(deserialize_with = "optional")]
    dep_delay: Option<f64>,
    sched_arr_time: i64,
    #[serde(deserialize_with = "optional")]
    arr_delay: Option<f64>,
    carrier: String,
    flight: i64,
    #[serde(deserialize_with = "optional")]
    tailnum: Option<String>,
    origin: String,
    dest: String,
    #[serde(deserialize_with = "optional")]
    air_time: Option<f64>,
    distance: f64,
    minute: i64,
    time_hour: DateTime<Utc>,
}

/// Destinations that `airports.csv` leaves out; all four are in Puerto Rico's time zone.
const AIRPORTS_LEFT_OUT: [&str; 4] = ["BQN", "PSE", "SJU", "STT"];

impl Dataset {
    /// Reads `flights.csv`, `weather.csv`, `planes.csv`, `airports.csv` and `airlines.csv` of `dir`.
    ///
    /// # Errors
    /// The first file or line that can't be read or makes no sense.
    pub fn read(dir: &Path) -> Result<Self> {
        let airports: Vec<Airport> = read_lines(dir, "airports.csv")?;
        let zones = time_zones(&airports)?;
        let lines: Vec<FlightLine> = read_lines(dir, "flights.csv")?;
        let flights = (1..).zip(lines).map(|(id, line)| {
            line.into_flight(id, &zones)
                .with_context(|| format!("flight {id} of {}", dir.join("flights.csv").display()))
        });
        Ok(Self {
            flights: flights.collect::<Result<_>>()?,
            weather: read_lines(dir, "weather.csv")?,
            planes: read_lines(dir, "planes.csv")?,
            airports,
            airlines: read_lines(dir, "airlines.csv")?,
        })
    }

    /// The flight of this carrier and number that is scheduled to leave `origin` at `departure`.
    pub fn flight(&self, carrier: &str, number: i64, departure: Timestamp) -> Option<&Flight> {
        self.flights
            .iter()
            .find(|f| f.carrier == carrier && f.number == number && f.scheduled_departure == departure)
    }
}

impl FlightLine {
    fn into_flight(self, id: i64, zones: &HashMap<&str, Tz>) -> Result<Flight> {
        let day = NaiveDate::from_ymd_opt(self.year, self.month, self.day).context("no such day")?;
        // `time_hour` is the hour in UTC, daylight saving time and all; only the minutes are missing from it.
        let departure = self.time_hour + chrono::Duration::minutes(self.minute);
        let zone = *zones
            .get(self.dest.as_str())
            .with_context(|| format!("no time zone is known for {}", self.dest))?;
        let arrival = arrival_at(departure, day, self.sched_arr_time, zone)?;
        Ok(Flight {
            id,
            carrier: self.carrier,
            number: self.flight,
            tailnum: self.tailnum,
            origin: self.origin,
            dest: self.dest,
            distance: self.distance,
            scheduled_minute: minute_of_day(self.sched_dep_time)?,
            weekday: i64::from(day.weekday().number_from_monday()),
            scheduled_departure: departure.into(),
            scheduled_arrival: arrival.into(),
            departure_delay: whole(self.dep_delay),
            arrival_delay: whole(self.arr_delay),
            air_time: whole(self.air_time),
        })
    }
}

fn time_zones(airports: &[Airport]) -> Result<HashMap<&str, Tz>> {
    let listed = airports
        .iter()
        .filter(|airport| airport.time_zone != "NA" && airport.time_zone != "\\N");
    let mut zones = listed
        .map(|airport| {
            let zone = airport.time_zone.parse();
            Ok((
                airport.code.as_str(),
                zone.with_context(|| format!("the time zone of {}", airport.code))?,
            ))
        })
        .collect::<Result<HashMap<_, _>>>()?;
    zones.extend(AIRPORTS_LEFT_OUT.map(|code| (code, Tz::America__Puerto_Rico)));
    Ok(zones)
}

fn read_lines<T: DeserializeOwned>(dir: &Path, file: &str) -> Result<Vec<T>> {
    let path = dir.join(file);
    let context = || {
        format!(
            "reading {}: get the data with `python3 examples/flights/fetch.py DIR`",
            path.display()
        )
    };
    let mut reader = csv::Reader::from_path(&path).with_context(context)?;
    reader
        .deserialize()
        .collect::<Result<_, _>>()
        .with_context(|| format!("reading {}", path.display()))
}

/// A value, or `None` where the file says `NA`.
fn optional<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    match <&str>::deserialize(deserializer)? {
        "NA" => Ok(None),
        text => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    <&str>::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

/// Minutes that the file writes as whole numbers, some with `.0`.
#[expect(clippy::cast_possible_truncation, reason = "delays are minutes, far below 2^53")]
fn whole(minutes: Option<f64>) -> Option<i64> {
    minutes.map(|minutes| minutes.round() as i64)
}
