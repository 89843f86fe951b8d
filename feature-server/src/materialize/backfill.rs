//! Backfills: values from the rows of a past range of event times, oldest first, step by step.
//!
//! Online there is one value an entity, the newest. In a row view each step writes, under the guard, the newest of its
//! rows by entity; the marker does not move, for nothing is said of rows outside of the range. In an aggregate view each
//! step is a full run as of its end, and only the last one is visible in the end.

use std::time::Duration;

use feature_defs::definitions::View;
use feature_defs::time::{Span, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::{Asked, Mode, RunError, RunOutcome, RunSummary, Task};
use crate::app::App;
use crate::shard::Shard;
use service::progress::Progress;

/// More steps than that are a mistake in `every`.
const MOST_STEPS: i64 = 100_000;

/// What a backfill is to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// Rows with an event timestamp after this are read,
    pub start: Timestamp,
    /// up to and with this one.
    pub end: Timestamp,
    /// The length of a step; the last one may be shorter.
    pub every: Span,
    /// Whether to compute an aggregate view at the end of every step, and not only of the last one.
    pub all_steps: bool,
    /// Of which entities.
    pub shard: Shard,
    /// Whether to go on with an interrupted backfill of the same range, or to leave a finished one alone.
    pub resume: bool,
}

/// The range of a backfill, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Range {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) every: Span,
}

impl Range {
    /// Each step's start and end, oldest first.
    pub(super) fn steps(self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let step = move |from: Timestamp| (from, from.plus(self.every).min(self.end));
        std::iter::successors(Some(step(self.start)), move |(_, until)| {
            (*until < self.end).then(|| step(*until))
        })
    }

    fn count(self) -> i64 {
        let (length, every) = (self.end.micros_since(self.start), self.every.as_micros());
        length / every + i64::from(length % every > 0)
    }
}

impl Backfill {
    fn range(&self) -> Result<Range, RunError> {
        let Self { start, end, every, .. } = *self;
        let range = Range { start, end, every };
        if start >= end {
            return Err(RunError::Range(format!(
                "a backfill from {start} to {end} covers nothing: it must end after it starts"
            )));
        }
        if every == Span::ZERO {
            return Err(RunError::Range(
                "a step of no length would never end: it must be longer than 0".into(),
            ));
        }
        if range.count() > MOST_STEPS {
            return Err(RunError::Range(format!(
                "steps of {every} from {start} to {end} are too many: at most {MOST_STEPS}, so take longer ones"
            )));
        }
        Ok(range)
    }
}

impl App {
    /// Computes a view's values from a past range of event times and writes them online. One summary a run: of a row view
    /// that is one, of an aggregate view one a step that is computed.
    ///
    /// # Errors
    /// See [`RunError`]. What was written before a failure is right, and running again is harmless.
    pub async fn backfill(
        &self,
        view: &str,
        backfill: &Backfill,
        progress: &Progress,
    ) -> Result<Vec<RunSummary>, RunError> {
        let view = self.view(view)?;
        let now = self.now_at(&view.source).await?;
        if backfill.end > now {
            return Err(RunError::Future {
                as_of: backfill.end,
                now,
            });
        }
        let range = backfill.range()?;
        let done = if view.is_aggregate() {
            self.backfill_aggregates(view, backfill, range, progress).await
        } else {
            progress.expect(range.count().unsigned_abs());
            let asked = Asked {
                task: Task::Backfill(range),
                as_of: None,
                shard: backfill.shard,
                resume: backfill.resume,
            };
            self.run(view, &asked, progress).await.map(|run| vec![run])
        };
        progress.finish();
        done
    }

    async fn backfill_aggregates(
        &self,
        view: &View,
        backfill: &Backfill,
        range: Range,
        progress: &Progress,
    ) -> Result<Vec<RunSummary>, RunError> {
        let moments: Vec<Timestamp> = if backfill.all_steps {
            progress.expect(range.count().unsigned_abs());
            range.steps().map(|(_, until)| until).collect()
        } else {
            vec![range.end]
        };
        let mut runs = Vec::new();
        for as_of in moments {
            let stands_at = self.stands_at(view).await?;
            // Of a step that is done and not the last one, another may have begun, which its own run must not go behind.
            if backfill.resume && (stands_at > Some(as_of) || stands_at == Some(as_of) && as_of < range.end) {
                progress.step();
                continue;
            }
            let asked = Asked {
                task: Task::Values(Mode::Full),
                as_of: Some(as_of),
                shard: backfill.shard,
                resume: backfill.resume,
            };
            let run = self.run(view, &asked, progress).await?;
            let waits = match &run.outcome {
                RunOutcome::Done => false,
                RunOutcome::ShardDone { waiting_for } | RunOutcome::AlreadyDone { waiting_for } => {
                    !waiting_for.is_empty()
                }
            };
            let id = run.run;
            runs.push(run);
            if waits && as_of < range.end {
                self.await_shards(view, id).await?;
            }
            progress.step();
        }
        Ok(runs)
    }

    /// As of when the view's last finished run is, if it was of the present definition.
    async fn stands_at(&self, view: &View) -> Result<Option<Timestamp>, RunError> {
        let (record, marker) = (self.store().view(&view.name).await?, self.marker(view).await?);
        let ours = marker.is_some_and(|marker| marker.digest == view.digest());
        Ok(record.filter(|_| ours).map(|record| record.as_of))
    }

    /// Waits until the other shards have done their part of a run: no step may begin before.
    async fn await_shards(&self, view: &View, run: Uuid) -> Result<(), RunError> {
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        let name = view.name.as_str();
        loop {
            let outcome = self.store().outcome(run).await?;
            let at_work = !self
                .store()
                .lock_holders(&self.store().view_lock(name))
                .await?
                .is_empty();
            match outcome.as_str() {
                "done" => return Ok(()),
                "waiting" => {}
                // Between its last value and the record, a run has no shard that is running, but holds its locks.
                "running" | "interrupted" | "failed" if at_work => {}
                _ => {
                    return Err(RunError::ShardsEnded {
                        view: view.name.clone(),
                        run,
                        outcome,
                    });
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_the_range_once_and_end_with_it() {
        let at = Timestamp::from_micros;
        let range = |start, end, every| Range {
            start: at(start),
            end: at(end),
            every: Span::from_micros(every),
        };
        for (given, steps) in [
            (range(0, 10, 5), vec![(0, 5), (5, 10)]),
            (range(-3, 9, 5), vec![(-3, 2), (2, 7), (7, 9)]),
            (range(0, 1, 100), vec![(0, 1)]),
        ] {
            let found: Vec<_> = given.steps().map(|(a, b)| (a.as_micros(), b.as_micros())).collect();
            assert_eq!(found, steps);
            assert_eq!(given.count(), i64::try_from(steps.len()).unwrap());
        }
    }
}
