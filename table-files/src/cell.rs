//! Cells, the types of columns, and how a cell becomes a feature's value.

use std::fmt;

use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};

/// What stands in one column of one row; `None` is null.
pub type Cell = Option<Value>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Texts of a CSV file, each of which may spell a value of any type.
    Text,
    /// Values as features have them.
    Value(ValueType),
    /// Integers other than signed 64-bit ones. Cells are `Int64`, of the same bits where they are unsigned.
    Integer {
        /// 8, 16, 32 or 64.
        bits: u8,
        /// Whether below zero is there.
        signed: bool,
    },
    /// Moments that are not what features hold, microseconds in UTC. Cells are `Int64`, since 1970.
    Timestamp {
        /// What cells count.
        unit: Unit,
        /// Whether they count from 1970 in UTC; otherwise in a place that the file does not name.
        utc: bool,
    },
    /// Days. Cells are `Int64`, since 1970.
    Date,
}

/// What a file's timestamps count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    const fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Value(value_type) => value_type.fmt(f),
            Self::Integer { bits, signed } => write!(f, "{}int{bits}", if *signed { "" } else { "u" }),
            Self::Timestamp { unit, utc } => {
                let zone = if *utc { "in UTC" } else { "without a time zone" };
                write!(f, "timestamp {zone} in {}", format!("{unit:?}").to_lowercase())
            }
            Self::Date => f.write_str("date"),
        }
    }
}

impl ColumnType {
    /// Whether its cells can be values of type `wanted`.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn fits(self, wanted: ValueType) -> Result<(), String> {
        let numbers = |t| matches!(t, ValueType::Int64 | ValueType::Float32 | ValueType::Float64);
        let fits = match self {
            Self::Text => true,
            Self::Value(t) => t == wanted || numbers(t) && numbers(wanted),
            Self::Integer { .. } => numbers(wanted),
            Self::Timestamp { utc, .. } => utc && wanted == ValueType::Timestamp,
            Self::Date => false,
        };
        if fits {
            return Ok(());
        }
        let remedy = match (self, wanted) {
            (Self::Timestamp { utc: false, .. }, ValueType::Timestamp) => {
                "say which zone its times are in, with pandas: `df[c] = df[c].dt.tz_localize(\"UTC\")`".to_owned()
            }
            (Self::Date, ValueType::Timestamp) => {
                "a date is no moment; say which, with pandas: `df[c] = pd.to_datetime(df[c], utc=True)` for its start in UTC".to_owned()
            }
            (Self::Value(ValueType::String), ValueType::Timestamp) => {
                "with pandas: `df[c] = pd.to_datetime(df[c], utc=True)`".to_owned()
            }
            _ => format!("write it as {wanted}"),
        };
        Err(format!("holds {self}, expected {wanted}: {remedy}"))
    }

    /// A cell of such a column as a value of type `wanted`. NaN, which is how floats spell "no value", is null; numbers of
    /// one type are taken for another where they are the same number, and doubles are rounded to singles.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn value(self, cell: &Cell, wanted: ValueType) -> Result<Cell, String> {
        let Some(value) = cell else { return Ok(None) };
        let wrong = || format!("expected {wanted}, got {}", self.text(cell));
        match (self, value) {
            (Self::Text, Value::String(text)) => Value::from_text(wanted, text).map_err(|error| error.to_string()),
            (Self::Timestamp { unit, utc: true }, Value::Int64(n)) if wanted == ValueType::Timestamp => {
                micros(*n, unit).map(|at| Some(Value::Timestamp(at))).ok_or_else(wrong)
            }
            (
                Self::Integer {
                    bits: 64,
                    signed: false,
                },
                Value::Int64(n),
            ) if *n < 0 => Err(wrong()),
            (Self::Integer { .. } | Self::Value(_), value) => convert(value, wanted).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }

    /// A cell of such a column as a CSV file has it; null is empty.
    pub fn text(self, cell: &Cell) -> String {
        match (self, cell) {
            (_, None) => String::new(),
            (Self::Integer { signed: false, .. }, Some(Value::Int64(n))) => n.cast_unsigned().to_string(),
            (Self::Timestamp { unit, utc }, Some(Value::Int64(n))) => moment(*n, unit, utc),
            (Self::Date, Some(Value::Int64(n))) => date(*n),
            // Infinity, which JSON lacks, is spelled as every CSV reader knows it.
            (_, Some(Value::Float64(x))) if !x.is_finite() => x.to_string(),
            (_, Some(Value::Float32(x))) if !x.is_finite() => x.to_string(),
            (_, Some(value)) => value.to_text(),
        }
    }
}

/// The same number, or value, as one of type `wanted`.
fn convert(value: &Value, wanted: ValueType) -> Option<Cell> {
    /// The first whole number that a double cannot tell from its neighbour.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.as_f64().is_some_and(f64::is_nan) {
        return Some(None);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only whole numbers within range, and rounding that is meant"
    )]
    let converted = match (value, wanted) {
        (Value::Float32(x), _) if x.is_infinite() => return None,
        (Value::Float64(x), _) if x.is_infinite() => return None,
        (value, wanted) if value.value_type() == wanted => value.clone(),
        (Value::Float32(_) | Value::Float64(_), ValueType::Int64) => {
            let x = value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < EXACT)?;
            Value::Int64(x as i64)
        }
        (Value::Int64(_) | Value::Float32(_), ValueType::Float64) => Value::Float64(value.as_f64()?),
        (Value::Int64(_) | Value::Float64(_), ValueType::Float32) => {
            let x = value.as_f64()? as f32;
            Value::Float32(Some(x).filter(|x| x.is_finite())?)
        }
        _ => return None,
    };
    Some(Some(converted))
}

/// A moment, of which fractions of a microsecond are dropped: nothing that a source holds lies between.
fn micros(n: i64, unit: Unit) -> Option<Timestamp> {
    let micros = match unit {
        Unit::Millis => n.checked_mul(1_000)?,
        Unit::Micros => n,
        Unit::Nanos => n.div_euclid(1_000),
    };
    Some(Timestamp::from_micros(micros))
}

fn moment(n: i64, unit: Unit, utc: bool) -> String {
    let per_second = unit.per_second();
    let fraction = n.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let at = u32::try_from(fraction)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(n.div_euclid(per_second), nanos));
    match at {
        Some(at) if utc => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        Some(at) => format!("{:?}", at.naive_utc()),
        None => format!("{n} {unit:?} since 1970").to_lowercase(),
    }
}

fn date(days: i64) -> String {
    let span = Days::new(days.unsigned_abs());
    let epoch = NaiveDate::default();
    let date = if days < 0 {
        epoch.checked_sub_days(span)
    } else {
        epoch.checked_add_days(span)
    };
    date.map_or_else(|| format!("{days} days since 1970"), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_for_another_type_where_they_are_the_same() {
        let (int, single, double) = (ValueType::Int64, ValueType::Float32, ValueType::Float64);
        let cases = [
            (Value::Int64(7), double, Some(Value::Float64(7.0))),
            (Value::Float64(7.0), int, Some(Value::Int64(7))),
            (Value::Float64(0.1), single, Some(Value::Float32(0.1))),
            (Value::Float32(0.5), double, Some(Value::Float64(0.5))),
            (Value::Float64(f64::NAN), int, None),
            (Value::Float32(f32::NAN), single, None),
        ];
        for (value, wanted, expected) in cases {
            let column = ColumnType::Value(value.value_type());
            assert_eq!(column.fits(wanted), Ok(()), "{value:?} as {wanted}");
            assert_eq!(
                column.value(&Some(value.clone()), wanted),
                Ok(expected),
                "{value:?} as {wanted}"
            );
        }
        for (value, wanted) in [
            (Value::Float64(7.5), int),
            (Value::Float64(9_007_199_254_740_992.0), int),
            (Value::Float64(1e39), single),
            (Value::Float64(f64::INFINITY), double),
        ] {
            let column = ColumnType::Value(value.value_type());
            assert!(
                column.value(&Some(value.clone()), wanted).is_err(),
                "{value:?} as {wanted}"
            );
        }
        let unsigned = ColumnType::Integer {
            bits: 64,
            signed: false,
        };
        assert_eq!(
            unsigned.value(&Some(Value::Int64(-1)), int),
            Err("expected int64, got 18446744073709551615".into())
        );
    }

    #[test]
    fn moments_of_every_unit_are_the_same_moment() {
        let at = "1969-12-31T23:59:59.999Z".parse().unwrap();
        for (unit, n, text) in [
            (Unit::Millis, -1, "1969-12-31T23:59:59.999Z"),
            (Unit::Micros, -1_000, "1969-12-31T23:59:59.999Z"),
            (Unit::Nanos, -999_001, "1969-12-31T23:59:59.999000999Z"),
        ] {
            let column = ColumnType::Timestamp { unit, utc: true };
            let cell = Some(Value::Int64(n));
            assert_eq!(column.text(&cell), text);
            assert_eq!(
                column.value(&cell, ValueType::Timestamp),
                Ok(Some(Value::Timestamp(at))),
                "{unit:?}"
            );
        }
        let local = ColumnType::Timestamp {
            unit: Unit::Nanos,
            utc: false,
        };
        assert_eq!(local.text(&Some(Value::Int64(0))), "1970-01-01T00:00:00");
        assert_eq!(ColumnType::Date.text(&Some(Value::Int64(-1))), "1969-12-31");
    }

    #[test]
    fn a_column_of_another_type_is_told_with_the_remedy() {
        let told = |column: ColumnType, wanted| column.fits(wanted).unwrap_err();
        let local = ColumnType::Timestamp {
            unit: Unit::Nanos,
            utc: false,
        };
        insta::assert_snapshot!(told(local, ValueType::Timestamp), @r#"holds timestamp without a time zone in nanos, expected timestamp: say which zone its times are in, with pandas: `df[c] = df[c].dt.tz_localize("UTC")`"#);
        insta::assert_snapshot!(told(ColumnType::Date, ValueType::Timestamp), @"holds date, expected timestamp: a date is no moment; say which, with pandas: `df[c] = pd.to_datetime(df[c], utc=True)` for its start in UTC");
        insta::assert_snapshot!(told(ColumnType::Value(ValueType::Int64), ValueType::String), @"holds int64, expected string: write it as string");
    }
}
