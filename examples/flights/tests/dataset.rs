//! What was checked about the published files, checked again: all 336,776 flights, not a sample.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::LazyLock;

use chrono::{Datelike, TimeZone, Timelike};
use chrono_tz::America::New_York;
use chrono_tz::Tz;
use flights::{Dataset, Flight, Story};

static DATA: LazyLock<Dataset> = LazyLock::new(|| Dataset::read(&data_dir()).unwrap());

fn data_dir() -> PathBuf {
    std::env::var_os("LARDER_TEST_FLIGHTS")
        .expect("run the tests with `cargo xtask test`")
        .into()
}

fn count(what: impl Fn(&Flight) -> bool) -> usize {
    DATA.flights.iter().filter(|flight| what(flight)).count()
}

fn distinct<T: Ord>(what: impl Fn(&Flight) -> T) -> usize {
    DATA.flights.iter().map(what).collect::<BTreeSet<_>>().len()
}

#[test]
fn every_line_of_the_files_is_read() {
    assert_eq!(DATA.flights.len(), 336_776);
    assert_eq!(DATA.weather.len(), 26_115);
    assert_eq!(DATA.planes.len(), 3_322);
    assert_eq!(DATA.airports.len(), 1_458);
    assert_eq!(DATA.airlines.len(), 16);

    assert_eq!(distinct(|f| f.carrier.clone()), 16);
    assert_eq!(distinct(|f| f.dest.clone()), 105);
    assert_eq!(distinct(|f| (f.origin.clone(), f.dest.clone())), 224);
    assert_eq!(distinct(|f| f.tailnum.clone()), 4_043 + 1, "one of them is null");
    assert_eq!(
        ["EWR", "JFK", "LGA"].map(|origin| count(|f| f.origin == origin)),
        [120_835, 111_279, 104_662]
    );
    assert_eq!(DATA.weather.iter().filter(|w| w.wind_gust.is_none()).count(), 20_778);
}

#[test]
fn what_is_missing_is_missing() {
    assert_eq!(count(|f| f.departed().is_none()), 8_255);
    assert_eq!(count(|f| f.cancelled().is_some()), 8_255);
    assert_eq!(count(|f| f.arrived().is_none()), 9_430);
    assert_eq!(count(|f| f.tailnum.is_none()), 2_512);
    assert_eq!(
        count(|f| f.tailnum.is_none() && f.cancelled().is_none()),
        0,
        "a null tailnum tells the cancellation"
    );
}

#[test]
fn time_on_the_ground_is_plausible_for_every_flight() {
    let mut extremes = (i64::MAX, i64::MIN);
    for flight in &DATA.flights {
        let (Some(departed), Some(arrived), Some(air_time)) = (flight.departed(), flight.arrived(), flight.air_time)
        else {
            continue;
        };
        let ground = arrived.micros_since(departed) / 60_000_000 - air_time;
        assert!((5..=235).contains(&ground), "{ground} minutes: {flight:?}");
        extremes = (extremes.0.min(ground), extremes.1.max(ground));
    }
    assert_eq!(extremes, (5, 235));
}

#[test]
fn departures_are_at_their_local_time_all_year() {
    for flight in &DATA.flights {
        let local = New_York.from_utc_datetime(&flight.scheduled_departure.to_chrono().unwrap().naive_utc());
        assert_eq!(
            i64::from(local.hour() * 60 + local.minute()),
            flight.scheduled_minute,
            "{flight:?}"
        );
        assert_eq!(
            i64::from(local.weekday().number_from_monday()),
            flight.weekday,
            "{flight:?}"
        );
    }
}

/// The delay columns, which event times are made of, and the clock columns tell the same; scheduled arrivals show on the
/// destination's clocks.
#[test]
fn delays_and_local_clocks_agree() {
    let zones: HashMap<&str, &str> = DATA
        .airports
        .iter()
        .map(|a| (a.code.as_str(), a.time_zone.as_str()))
        .collect();
    let minute = |hhmm: &str| hhmm.parse::<i64>().map(|hhmm| hhmm / 100 * 60 + hhmm % 100).unwrap();
    let mut next_day = 0;
    let mut lines = csv::Reader::from_path(data_dir().join("flights.csv")).unwrap();
    for (line, flight) in lines.records().map(Result::unwrap).zip(&DATA.flights) {
        let (scheduled_departure, scheduled_arrival) = (minute(&line[4]), minute(&line[7]));
        if let Some(delay) = flight.departure_delay {
            assert_eq!(
                (scheduled_departure + delay - minute(&line[3])).rem_euclid(1_440),
                0,
                "{flight:?}"
            );
        }
        if let Some(delay) = flight.arrival_delay {
            assert_eq!(
                (scheduled_arrival + delay - minute(&line[6])).rem_euclid(1_440),
                0,
                "{flight:?}"
            );
        }
        let zone: Tz = zones
            .get(flight.dest.as_str())
            .unwrap_or(&"America/Puerto_Rico")
            .parse()
            .unwrap();
        let [departure, arrival] =
            [(flight.scheduled_departure, New_York), (flight.scheduled_arrival, zone)].map(|(at, zone)| {
                zone.from_utc_datetime(&at.to_chrono().unwrap().naive_utc())
                    .naive_local()
            });
        assert_eq!(
            i64::from(arrival.hour() * 60 + arrival.minute()),
            scheduled_arrival % 1_440,
            "{flight:?}"
        );
        next_day += usize::from(arrival.date() > departure.date());
    }
    assert_eq!(next_day, 6_078);
}

#[test]
fn the_story_is_in_the_data() {
    let flight = Story::flight(&DATA);
    assert_eq!(flight.prediction_time(), Story::NOW);
    let landed = |f: &&Flight| f.tailnum == flight.tailnum && f.arrived().is_some_and(|at| at <= Story::NOW);
    let last = DATA.flights.iter().filter(landed).max_by_key(|f| f.arrived()).unwrap();
    assert!(last.arrived() > Some(Story::NOW.minus(Story::BEHIND)), "{last:?}");
    assert_eq!(
        (last.dest.as_str(), last.arrival_delay),
        ("CLE", Some(28)),
        "it has landed away from New York"
    );
    assert_eq!(flight.arrival_delay, Some(110));
}
