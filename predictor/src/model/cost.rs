//! What a run of a model costs: a fixed part and a part a row, learned from runs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How much of what a run teaches is believed at once.
const PACE: f64 = 0.1;
/// One run is taken for so many times the expected at most, and for that part of it at least: machines stall.
const MOST: f64 = 5.0;

/// What a run costs.
#[derive(Debug, Default)]
pub(super) struct Cost(Mutex<Option<Line>>);

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    fixed: f64,
    row: f64,
}

impl Cost {
    /// Begins with what a run of one row and one of `rows` took.
    pub(super) fn measured(&self, one: Duration, (rows, many): (usize, Duration)) {
        let more = many.saturating_sub(one).as_secs_f64();
        let row = more / count(rows.saturating_sub(1).max(1));
        // Neither is nothing, or nothing would be learned of it.
        let least = 1e-9;
        let fixed = (one.as_secs_f64() - row).max(least);
        *self.line() = Some(Line {
            fixed,
            row: row.max(least),
        });
    }

    /// A run of so many rows took so long.
    pub(super) fn learn(&self, rows: usize, took: Duration) {
        let (rows, took) = (count(rows.max(1)), took.as_secs_f64());
        let mut line = self.line();
        let Some(Line { fixed, row }) = *line else {
            // Nothing is known of its shape yet: half of it is taken for the rows'.
            *line = Some(Line {
                fixed: took / 2.0,
                row: took / 2.0 / rows,
            });
            return;
        };
        let expected = fixed + row * rows;
        let surprise = (took / expected).clamp(1.0 / MOST, MOST) - 1.0;
        // Each part answers for its share: small batches teach the fixed one, large ones that of a row.
        *line = Some(Line {
            fixed: fixed * (1.0 + PACE * surprise * fixed / expected),
            row: row * (1.0 + PACE * surprise * row * rows / expected),
        });
    }

    /// What a run of so many rows is expected to take; `None` if none has been seen.
    pub(super) fn expected(&self, rows: usize) -> Option<Duration> {
        let line = (*self.line())?;
        Some(Duration::from_secs_f64(line.fixed + line.row * count(rows)))
    }

    /// How many rows are expected to run within `time`; `None` if nothing is known.
    pub(super) fn rows_within(&self, time: Duration) -> Option<usize> {
        let line = (*self.line())?;
        let rows = (time.as_secs_f64() - line.fixed) / line.row;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        Some(rows.max(0.0) as usize)
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Option<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_precision_loss, reason = "batches have no 2^53 rows")]
fn count(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn rows_are_as_many_as_fit_into_the_time() {
        let cost = Cost::default();
        assert_eq!(cost.rows_within(micros(1_000)), None);
        cost.measured(micros(110), (101, micros(1_110)));
        assert_eq!(cost.expected(101), Some(micros(1_110)));
        assert_eq!(cost.rows_within(micros(1_100)), Some(100));
        assert_eq!(cost.rows_within(micros(50)), Some(0));
    }

    #[test]
    fn what_was_measured_wrong_is_learned() {
        let cost = Cost::default();
        // As it looks with one row repeated.
        cost.measured(micros(10), (64, micros(73)));
        let truth = |rows: u64| micros(20 + 5 * rows);
        for round in 0..2_000 {
            let rows = [1, 8, 64, 200][round % 4];
            cost.learn(usize::try_from(rows).unwrap(), truth(rows));
        }
        for rows in [1, 10, 100] {
            let ratio = cost.expected(rows).unwrap().as_secs_f64() / truth(rows as u64).as_secs_f64();
            assert!((0.8..1.25).contains(&ratio), "{rows}: {ratio}");
        }
    }

    #[test]
    fn one_stall_is_not_believed() {
        let cost = Cost::default();
        cost.measured(micros(100), (2, micros(110)));
        cost.learn(1, Duration::from_secs(3));
        assert!(cost.expected(1).unwrap() < micros(160));
    }
}
