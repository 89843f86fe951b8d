//! How far 2013 is moved, so that its flights fly now.

use feature_defs::time::Timestamp;

const MINUTE_MICROS: i64 = 60_000_000;

/// Whole minutes added to every event time. Calendar fields of a flight (its local minute, its weekday) are not moved:
/// the 5 p.m. bank of a Wednesday stays one, whatever the day of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    minutes: i64,
}

impl Shift {
    /// 2013 as it was.
    pub const NONE: Self = Self { minutes: 0 };

    /// The shift after which `moment` of 2013 is `now`, or up to a minute before it.
    pub const fn bringing(moment: Timestamp, now: Timestamp) -> Self {
        Self {
            minutes: now.micros_since(moment).div_euclid(MINUTE_MICROS),
        }
    }

    /// A shift by this many minutes.
    pub const fn minutes(minutes: i64) -> Self {
        Self { minutes }
    }

    /// The number of minutes.
    pub const fn as_minutes(self) -> i64 {
        self.minutes
    }

    /// A moment of 2013, moved.
    pub const fn apply(self, moment: Timestamp) -> Timestamp {
        Timestamp::from_micros(moment.as_micros().saturating_add(self.minutes * MINUTE_MICROS))
    }

    /// The moment of 2013 that is moved to `moment`.
    pub const fn undo(self, moment: Timestamp) -> Timestamp {
        Timestamp::from_micros(moment.as_micros().saturating_sub(self.minutes * MINUTE_MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_whole_minutes_and_never_runs_ahead_of_now() {
        let moment: Timestamp = "2013-12-05T22:00:00Z".parse().unwrap();
        for now in ["2026-11-24T14:00:59.5Z", "2013-12-05T22:00:00Z", "2001-01-01T00:00:01Z"] {
            let now: Timestamp = now.parse().unwrap();
            let shift = Shift::bringing(moment, now);
            let behind = now.micros_since(shift.apply(moment));
            assert!((0..MINUTE_MICROS).contains(&behind), "{behind}");
            assert_eq!(shift.undo(shift.apply(moment)), moment);
        }
    }
}
