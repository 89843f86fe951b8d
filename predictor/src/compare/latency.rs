//! How long two versions run on the same rows: the model alone, in this process, both in turns, so that what else the machine
//! does meets both.

use std::time::Duration;

use serde::Serialize;

use super::Side;
use super::sample::Sample;
use crate::model::program::Inputs;

/// How often each version is measured, in turns; what is told is the median of them.
const ROUNDS: usize = 5;
/// About how long a version is measured in one round: on single rows, and on batches.
const ROUND: Duration = Duration::from_millis(500);
/// The runs of a round at most.
const MOST_RUNS: usize = 1_000;
/// The runs of a round at least, however long they take.
const LEAST_RUNS: usize = 5;
/// The rows of a batch at most.
const MOST_ROWS: usize = 256;
/// The batches that there should be rows for.
const BATCHES: usize = 8;

/// How long runs of so many rows take. Pairs hold what is of the first version, then of the second.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// The rows of a run.
    pub rows: usize,
    /// How many runs were measured in each of the rounds.
    pub runs: usize,
    /// The median, in microseconds.
    pub p50_us: [f64; 2],
    /// What 99 of 100 runs take at most, in microseconds.
    pub p99_us: [f64; 2],
    /// The second's median over the first's.
    pub p50_ratio: f64,
    /// The same of the 99th percentile.
    pub p99_ratio: f64,
}

/// Measures both, on one row and on as many as make a good number of batches. Nothing, if there are no rows.
pub(super) async fn measure(sides: [Side<'_>; 2], sample: &Sample) -> Vec<Latency> {
    let largest = sides
        .iter()
        .map(|side| side.model.batcher.max_rows())
        .fold(MOST_ROWS, usize::min);
    let mut sizes = vec![1, (sample.rows() / BATCHES).min(largest)];
    sizes.dedup();
    let mut measured = Vec::new();
    for rows in sizes.into_iter().filter(|rows| (1..=sample.rows()).contains(rows)) {
        measured.extend(runs_of(rows, sides, sample).await);
    }
    measured
}

async fn runs_of(rows: usize, sides: [Side<'_>; 2], sample: &Sample) -> Option<Latency> {
    let runs = (sample.rows() / rows).min(affordable(rows, sides));
    let batches: [Vec<Inputs>; 2] = [0, 1].map(|side| {
        let batch = |i: usize| sample.inputs[side].select(i * rows..(i + 1) * rows);
        (0..runs).map(batch).collect()
    });
    let mut seen: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 0..ROUNDS {
        // Each is first in every other round.
        for side in [round % 2, 1 - round % 2] {
            let took = time(sides[side], &batches[side])?;
            seen[side][0].push(percentile(&took, 50));
            seen[side][1].push(percentile(&took, 99));
            tokio::task::yield_now().await;
        }
    }
    let median = |rounds: &[f64]| percentile(&sorted(rounds), 50);
    let of = |which: usize| [median(&seen[0][which]), median(&seen[1][which])];
    let (p50_us, p99_us) = (of(0), of(1));
    let ratio = |[one, other]: [f64; 2]| other / one.max(1e-3);
    Some(Latency {
        rows,
        runs,
        p50_us,
        p99_us,
        p50_ratio: ratio(p50_us),
        p99_ratio: ratio(p99_us),
    })
}

/// How many runs of so many rows the slower of both does in a round.
fn affordable(rows: usize, sides: [Side<'_>; 2]) -> usize {
    let expected = |side: &Side<'_>| side.model.batcher.expected(rows).unwrap_or_default();
    let slower = sides.iter().map(expected).max().unwrap_or_default();
    let runs = ROUND.as_nanos() / slower.as_nanos().max(1);
    usize::try_from(runs).unwrap_or(MOST_RUNS).clamp(LEAST_RUNS, MOST_RUNS)
}

/// How long each of these runs takes, in microseconds, from the shortest; nothing if the model fails, which it did not
/// before.
fn time(side: Side<'_>, batches: &[Inputs]) -> Option<Vec<f64>> {
    let mut took = Vec::with_capacity(batches.len());
    for batch in batches {
        let ran = side.model.batcher.try_out(&side.featured.program, batch).ok()?;
        took.push(ran.as_secs_f64() * 1e6);
    }
    Some(sorted(&took))
}

fn sorted(numbers: &[f64]) -> Vec<f64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// Of sorted numbers the one that so many of a hundred do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numbers_that_were_seen() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 50) - 50.0).abs() < 1e-9);
        assert!((percentile(&hundred, 99) - 99.0).abs() < 1e-9);
        assert!((percentile(&sorted(&[3.0, 1.0, 2.0]), 50) - 2.0).abs() < 1e-9);
        assert!((percentile(&[7.0], 99) - 7.0).abs() < 1e-9);
    }
}
