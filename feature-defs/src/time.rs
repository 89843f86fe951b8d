//! Moments, spans and the clock. Everything is UTC microseconds, as in Postgres.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::{Deserialize, Serialize, Serializer};

/// A moment: microseconds since 1970-01-01 UTC, negative before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write RFC 3339, such as 2013-11-05T16:30:00Z")]
pub struct InvalidTimestamp(pub String);

impl Timestamp {
    /// The moment this many microseconds after 1970-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment a text names: RFC 3339, or the same without a zone, which then is UTC: so Python's `isoformat` writes it.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_text_in_utc(text: &str) -> Result<Self, InvalidTimestamp> {
        let in_utc = || format!("{}Z", text.trim()).parse();
        text.parse()
            .or_else(|invalid| in_utc().map_err(|_: InvalidTimestamp| invalid))
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This moment less `span`; saturates at the ends of time.
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// This moment plus `span`; saturates at the ends of time.
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Microseconds from `earlier` to this moment; negative if `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment as chrono has it, or `None` outside its range (about ±262,000 years).
    pub fn to_chrono(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        DateTime::parse_from_rfc3339(text.trim())
            .map(|at| Self(at.timestamp_micros()))
            .map_err(|_| InvalidTimestamp(text.to_owned()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;
    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        text.parse()
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Spelling::of(*self) {
            Some(spelling) => serializer.serialize_str(spelling.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many sub-second digits as needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (Spelling::of(*self), self.to_chrono()) {
            (Some(spelling), _) => f.write_str(spelling.as_str()),
            (None, Some(at)) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            (None, None) => write!(f, "{}us since 1970", self.0),
        }
    }
}

/// A moment of a year of four digits, spelled as [`Timestamp`] is: every answer spells one a view, and chrono takes ten times
/// as long.
struct Spelling {
    text: [u8; 27],
    len: usize,
}

impl Spelling {
    /// `None` for other years.
    fn of(at: Timestamp) -> Option<Self> {
        let time = at.to_chrono()?;
        let year = u32::try_from(time.year()).ok().filter(|year| *year <= 9_999)?;
        let micros = time.timestamp_subsec_micros();
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [
            (0..4, year),
            (5..7, time.month()),
            (8..10, time.day()),
            (11..13, time.hour()),
            (14..16, time.minute()),
            (17..19, time.second()),
            (20..26, micros),
        ];
        for (place, mut number) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        }
        let len = match micros {
            0 => 20,
            _ if micros.is_multiple_of(1_000) => 24,
            _ => 27,
        };
        text[len - 1] = b'Z';
        Some(Self { text, len })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

/// A length of time, never negative: microseconds. Written `90s`, `5m`, `3h`, `7d`, `250ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(i64);

/// A text that is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time: write a whole number and ms, s, m, h or d, such as 90s or 7d")]
pub struct InvalidSpan(pub String);

const UNITS: [(&str, i64); 5] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs as i64 * 1_000_000)
    }

    /// A span of so many microseconds; none, if they are negative.
    pub const fn from_micros(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros })
    }

    /// Its length in microseconds, at least 0.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The same length as the standard library has it.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.unsigned_abs())
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.to_owned());
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, unit) = text.split_at(unit_at);
        let number: i64 = number.parse().map_err(|_| invalid())?;
        let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        number.checked_mul(*micros).map(Self).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;
    fn try_from(text: String) -> Result<Self, InvalidSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    /// In the largest unit that leaves no remainder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, micros) in UNITS {
            if self.0 % micros == 0 && self.0 >= micros {
                return write!(f, "{}{name}", self.0 / micros);
            }
        }
        write!(f, "{}ms", self.0 / 1_000)
    }
}

/// Where "now" comes from. Below `main`, the only way to know the time of day.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> Timestamp {
        Utc::now().into()
    }
}

/// A clock that stands where it is set: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the clock to `now`, forwards or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_read_and_write() {
        for (text, micros) in [
            ("250ms", 250_000),
            ("90s", 90_000_000),
            ("5m", 300_000_000),
            ("3h", 10_800_000_000),
            ("7d", 604_800_000_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_micros(), micros, "{text}");
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("24h".parse::<Span>().unwrap().to_string(), "1d");
        for bad in ["", "5", "h", "-5m", "1.5h", "5 m", "5w", "99999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_are_spelled_as_chrono_spells_them(
            micros in prop_oneof![
                any::<i64>(),
                // The years 1 to 9999 and some beyond them, to the microsecond, millisecond and second.
                -63_000_000_000_000_000..260_000_000_000_000_000_i64,
                (-63_000_000_000_000..260_000_000_000_000_i64).prop_map(|millis| millis * 1_000),
                (-63_000_000_000..260_000_000_000_i64).prop_map(|secs| secs * 1_000_000),
            ],
        ) {
            let at = Timestamp::from_micros(micros);
            if let Some(time) = at.to_chrono() {
                let expected = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
                prop_assert_eq!(serde_json::to_string(&at).unwrap(), format!("\"{expected}\""));
                prop_assert_eq!(at.to_string(), expected);
            }
        }
    }

    #[test]
    fn timestamps_keep_microseconds_and_time_before_1970() {
        for text in [
            "2013-11-05T16:30:00Z",
            "1969-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!("1969-12-31T23:59:59.999999Z".parse(), Ok(Timestamp::from_micros(-1)));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_time_without_a_zone_can_be_read_as_utc() {
        let at = Timestamp::from_micros(1_383_669_000_500_000);
        for text in [
            "2013-11-05T16:30:00.5",
            "2013-11-05 16:30:00.500000",
            "2013-11-05T16:30:00.5Z",
            "2013-11-05T17:30:00.5+01:00",
            "2013-11-05 16:30:00.5+00:00",
        ] {
            assert_eq!(Timestamp::from_text_in_utc(text), Ok(at), "{text}");
        }
        for bad in [
            "2013-11-05",
            "",
            "Z",
            "16:30:00",
            "2013-11-05T16:30:00 UTC",
            "2013-11-05T25:00:00",
            "infinity",
        ] {
            let refused = Timestamp::from_text_in_utc(bad);
            assert_eq!(refused, Err(InvalidTimestamp(bad.to_owned())));
        }
    }
}
