//! Rows of the event tables as `COPY` takes them.

use std::io;

use anyhow::{Context, Result};
use feature_defs::time::Timestamp;

use crate::dataset::Dataset;
use crate::flight::Flight;
use crate::shift::Shift;

/// What `ingested_at` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    /// When the row was inserted, by the database's clock.
    AtInsertion,
    /// When the event happened: for replays by a simulated clock.
    AtEvent,
}

/// When what is known beforehand was known: before the first event of 2013.
const KNOWN: Timestamp = Timestamp::from_micros(1_356_930_000_000_000); // 2012-12-31T05:00:00Z

const OF_A_FLIGHT: [&str; 6] = ["flight_id", "carrier", "flight", "tailnum", "origin", "dest"];

/// Makes rows of a dataset's events, moved by `shift`.
pub(crate) struct Tables<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) shift: Shift,
    pub(crate) ingested: Ingested,
}

/// Rows of one table.
pub(crate) struct Rows {
    table: &'static str,
    columns: Vec<&'static str>,
    ingested: Ingested,
    csv: csv::Writer<Vec<u8>>,
    count: usize,
}

impl Tables<'_> {
    pub(crate) fn departed(&self, events: &[(Timestamp, usize)]) -> Result<Rows> {
        let columns = OF_A_FLIGHT.into_iter().chain(["event_ts", "dep_delay"]);
        self.flights("flight_departed", columns, events, |flight| {
            vec![number(flight.departure_delay)]
        })
    }

    pub(crate) fn arrived(&self, events: &[(Timestamp, usize)]) -> Result<Rows> {
        let columns = OF_A_FLIGHT
            .into_iter()
            .chain(["event_ts", "arr_delay", "late15", "arrived_at"]);
        self.flights("flight_arrived", columns, events, |flight| {
            vec![
                number(flight.arrival_delay),
                number(flight.late()),
                number(flight.arrived()),
            ]
        })
    }

    pub(crate) fn cancelled(&self, events: &[(Timestamp, usize)]) -> Result<Rows> {
        self.flights(
            "flight_cancelled",
            OF_A_FLIGHT.into_iter().chain(["event_ts"]),
            events,
            |_| Vec::new(),
        )
    }

    fn flights(
        &self,
        table: &'static str,
        columns: impl Iterator<Item = &'static str>,
        events: &[(Timestamp, usize)],
        outcome: impl Fn(&Flight) -> Vec<String>,
    ) -> Result<Rows> {
        let mut rows = Rows::new(table, columns, self.ingested);
        for &(at, index) in events {
            let flight = &self.dataset.flights[index];
            let at = self.shift.apply(at);
            rows.push(
                at,
                of_a_flight(flight)
                    .into_iter()
                    .chain([at.to_string()])
                    .chain(outcome(flight)),
            )?;
        }
        Ok(rows)
    }

    pub(crate) fn weather(&self, events: &[(Timestamp, usize)]) -> Result<Rows> {
        let columns = [
            "origin",
            "event_ts",
            "temp",
            "dewp",
            "humid",
            "wind_dir",
            "wind_speed",
            "wind_gust",
            "precip",
            "pressure",
            "visib",
        ];
        let mut rows = Rows::new("weather", columns, self.ingested);
        for &(at, index) in events {
            let w = &self.dataset.weather[index];
            let at = self.shift.apply(at);
            let measured = [
                w.temp,
                w.dewp,
                w.humid,
                w.wind_dir,
                w.wind_speed,
                w.wind_gust,
                w.precip,
                w.pressure,
                w.visib,
            ];
            rows.push(
                at,
                [w.origin.clone(), at.to_string()]
                    .into_iter()
                    .chain(measured.map(number)),
            )?;
        }
        Ok(rows)
    }

    /// The timetable of departures after `after`.
    pub(crate) fn scheduled(&self, after: Timestamp) -> Result<Rows> {
        let columns = OF_A_FLIGHT.into_iter().chain(["distance", "sched_dep", "sched_arr"]);
        let mut rows = Rows::new("flight_scheduled", columns, self.ingested);
        for flight in self
            .dataset
            .flights
            .iter()
            .filter(|flight| flight.scheduled_departure > after)
        {
            let moments =
                [flight.scheduled_departure, flight.scheduled_arrival].map(|at| self.shift.apply(at).to_string());
            let fields = of_a_flight(flight)
                .into_iter()
                .chain([flight.distance.to_string()])
                .chain(moments);
            rows.push(self.shift.apply(KNOWN), fields)?;
        }
        Ok(rows)
    }

    pub(crate) fn planes(&self) -> Result<Rows> {
        let columns = [
            "tailnum",
            "built_year",
            "manufacturer",
            "model",
            "engines",
            "seats",
            "registered_at",
        ];
        let mut rows = Rows::new("plane", columns, self.ingested);
        let known = self.shift.apply(KNOWN);
        for p in &self.dataset.planes {
            let texts = [
                p.tailnum.clone(),
                number(p.built_year),
                p.manufacturer.clone(),
                p.model.clone(),
            ];
            let rest = [p.engines.to_string(), p.seats.to_string(), known.to_string()];
            rows.push(known, texts.into_iter().chain(rest))?;
        }
        Ok(rows)
    }

    pub(crate) fn airports(&self) -> Result<Rows> {
        let mut rows = Rows::undated("airport", ["airport", "name", "lat", "lon", "time_zone"]);
        for a in &self.dataset.airports {
            let place = [a.lat.to_string(), a.lon.to_string(), a.time_zone.clone()];
            rows.push(KNOWN, [a.code.clone(), a.name.clone()].into_iter().chain(place))?;
        }
        Ok(rows)
    }

    pub(crate) fn airlines(&self) -> Result<Rows> {
        let mut rows = Rows::undated("airline", ["carrier", "name"]);
        for airline in &self.dataset.airlines {
            rows.push(KNOWN, [airline.carrier.clone(), airline.name.clone()])?;
        }
        Ok(rows)
    }
}

impl Rows {
    fn new(table: &'static str, columns: impl IntoIterator<Item = &'static str>, ingested: Ingested) -> Self {
        let mut columns: Vec<_> = columns.into_iter().collect();
        if ingested == Ingested::AtEvent {
            columns.push("ingested_at");
        }
        let csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        Self {
            table,
            columns,
            ingested,
            csv,
            count: 0,
        }
    }

    /// Rows of a table that says nothing about time.
    fn undated(table: &'static str, columns: impl IntoIterator<Item = &'static str>) -> Self {
        Self::new(table, columns, Ingested::AtInsertion)
    }

    fn push(&mut self, at: Timestamp, fields: impl IntoIterator<Item = String>) -> Result<()> {
        let ingested = (self.ingested == Ingested::AtEvent).then(|| at.to_string());
        self.csv
            .write_record(fields.into_iter().chain(ingested))
            .with_context(|| format!("a row of {}", self.table))?;
        self.count += 1;
        Ok(())
    }

    pub(crate) const fn table(&self) -> &'static str {
        self.table
    }

    /// The names of the columns, as a statement lists them.
    pub(crate) fn columns(&self) -> String {
        self.columns.join(", ")
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn into_csv(self) -> Result<Vec<u8>> {
        self.csv
            .into_inner()
            .map_err(|error| io::Error::other(error.to_string()))
            .context("making rows")
    }
}

fn of_a_flight(flight: &Flight) -> [String; 6] {
    [
        flight.id.to_string(),
        flight.carrier.clone(),
        flight.number.to_string(),
        flight.tailnum.clone().unwrap_or_default(),
        flight.origin.clone(),
        flight.dest.clone(),
    ]
}

/// A value as `COPY` reads it: null is empty.
fn number(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
