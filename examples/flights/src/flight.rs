//! A flight, with the moments that its local clock times mean.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Days, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use feature_defs::time::Timestamp;

/// A scheduled flight and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Flight {
    /// Its line in `flights.csv`, from 1.
    pub id: i64,
    /// Such as `UA`.
    pub carrier: String,
    /// The flight number.
    pub number: i64,
    /// The aircraft. Unknown for many a cancelled flight, so its absence tells the cancellation: never an input.
    pub tailnum: Option<String>,
    /// `EWR`, `JFK` or `LGA`.
    pub origin: String,
    /// The airport it flies to.
    pub dest: String,
    /// In miles.
    pub distance: f64,
    /// Scheduled local departure in minutes since midnight.
    pub scheduled_minute: i64,
    /// Local weekday of the scheduled departure: 1 is Monday, 7 Sunday.
    pub weekday: i64,
    /// When it should leave.
    pub scheduled_departure: Timestamp,
    /// When it should arrive.
    pub scheduled_arrival: Timestamp,
    /// Minutes late at departure, negative if early; `None`: cancelled.
    pub departure_delay: Option<i64>,
    /// Minutes late at arrival; `None`: cancelled, diverted or not recorded.
    pub arrival_delay: Option<i64>,
    /// Minutes in the air.
    pub air_time: Option<i64>,
}

/// A delay of more than this many minutes is late.
const LATE_MINUTES: i64 = 15;

impl Flight {
    /// When it left.
    pub fn departed(&self) -> Option<Timestamp> {
        self.departure_delay.map(|delay| later(self.scheduled_departure, delay))
    }

    /// When it arrived where it was meant to.
    pub fn arrived(&self) -> Option<Timestamp> {
        self.arrival_delay.map(|delay| later(self.scheduled_arrival, delay))
    }

    /// When it was known not to leave: at its scheduled departure, an assumption.
    pub fn cancelled(&self) -> Option<Timestamp> {
        self.departure_delay.is_none().then_some(self.scheduled_departure)
    }

    /// Whether it arrived more than 15 minutes late: what the model predicts.
    pub fn late(&self) -> Option<bool> {
        self.arrival_delay.map(|delay| delay > LATE_MINUTES)
    }

    /// Scheduled minutes from gate to gate.
    pub fn scheduled_duration_minutes(&self) -> i64 {
        self.scheduled_arrival.micros_since(self.scheduled_departure) / 60_000_000
    }
}

fn later(moment: Timestamp, minutes: i64) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() + minutes * 60_000_000)
}

/// The first moment after `departure` at which clocks in `zone` show `hhmm`, for a flight that left on the local `day`.
///
/// Rolling over means the next *calendar* day: adding 24 hours is an hour off when clocks change that night.
pub(crate) fn arrival_at(departure: DateTime<Utc>, day: NaiveDate, hhmm: i64, zone: Tz) -> Result<DateTime<Utc>> {
    let same_day = local(day, hhmm, zone)?;
    if same_day > departure {
        return Ok(same_day);
    }
    local(
        day.checked_add_days(Days::new(1)).context("the calendar ends")?,
        hhmm,
        zone,
    )
}

/// `hhmm` as minutes since midnight; 2400 is the midnight that ends the day.
pub(crate) fn minute_of_day(hhmm: i64) -> Result<i64> {
    let (hour, minute) = (hhmm / 100, hhmm % 100);
    ensure!(
        (0..=2400).contains(&hhmm) && minute < 60,
        "{hhmm} is not a time of day written HHMM"
    );
    Ok(hour * 60 + minute)
}

fn local(day: NaiveDate, hhmm: i64, zone: Tz) -> Result<DateTime<Utc>> {
    let minute = minute_of_day(hhmm)?;
    let days = Days::new(u64::from(minute == 24 * 60));
    let minute = u32::try_from(minute % (24 * 60)).context("a minute of the day is positive")?;
    day.checked_add_days(days)
        .and_then(|day| day.and_hms_opt(minute / 60, minute % 60, 0))
        // The earlier of two where clocks are set back; none in a gap where they are set forward. No flight is in either.
        .and_then(|naive| zone.from_local_datetime(&naive).earliest())
        .map(|at| at.to_utc())
        .with_context(|| format!("{zone} had no {hhmm:04} on {day}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(departure: &str, day: &str, hhmm: i64, zone: Tz, expected: &str) {
        let arrival = arrival_at(departure.parse().unwrap(), day.parse().unwrap(), hhmm, zone).unwrap();
        assert_eq!(
            arrival,
            expected.parse::<DateTime<Utc>>().unwrap(),
            "{departure} {hhmm} {zone}"
        );
    }

    #[test]
    fn arrivals_are_local_to_the_destination_and_roll_over_by_calendar_day() {
        check(
            "2013-06-01T14:00:00Z",
            "2013-06-01",
            1445,
            chrono_tz::Pacific::Honolulu,
            "2013-06-02T00:45:00Z",
        );
        check(
            "2013-06-02T03:00:00Z",
            "2013-06-01",
            130,
            chrono_tz::America::New_York,
            "2013-06-02T05:30:00Z",
        );
        check(
            "2013-06-01T22:00:00Z",
            "2013-06-01",
            2400,
            chrono_tz::America::New_York,
            "2013-06-02T04:00:00Z",
        );
        // Clocks go back at 2 a.m. of 3 November: 03:40 the next morning is 25 hours after 03:40 the day before.
        check(
            "2013-11-03T03:59:00Z",
            "2013-11-02",
            340,
            chrono_tz::America::Puerto_Rico,
            "2013-11-03T07:40:00Z",
        );
        check(
            "2013-11-03T03:59:00Z",
            "2013-11-02",
            340,
            chrono_tz::America::New_York,
            "2013-11-03T08:40:00Z",
        );
    }

    #[test]
    fn a_time_that_clocks_never_show_is_an_error() {
        for hhmm in [-5, 1260, 2401, 9999] {
            assert!(minute_of_day(hhmm).is_err(), "{hhmm}");
        }
        assert_eq!(minute_of_day(2400).unwrap(), 1440);
        let skipped = local("2013-03-10".parse().unwrap(), 230, chrono_tz::America::New_York).unwrap_err();
        assert_eq!(skipped.to_string(), "America/New_York had no 0230 on 2013-03-10");
    }
}
