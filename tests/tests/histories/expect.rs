//! What readers may find of a view after what happened to it: mostly one thing, several after an interruption.
//!
//! A value is described by the runs that may have looked: of each, what the source showed then, and as of when. From that
//! the model says what they found. What the contract leaves open is left open here and nowhere else: rows that appear
//! later than their stamps allow, and rows that vanish without a trace, until a full run.

mod complete;
mod looks;

use uuid::Uuid;

use crate::model::value;
use crate::outcome::{Answer, Outcome, Ran};
use crate::views::{Kind, View};
use crate::world::{Action, Case, Entity, Group, Mode, Row, Time, written};
use complete::{Complete, Forced, complete};
use looks::{Look, Way, distinct};

/// What is so of one view.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    view: View,
    online: Online,
    /// As of when the last finished run was, and the last one that may have finished.
    finished: Option<Time>,
    perhaps_finished: Option<Time>,
    /// What Redis last saved, and how many runs had finished by then.
    saved: Option<(Online, u32)>,
    /// How many runs have finished.
    runs: u32,
    /// Whether one has been interrupted since the last one finished.
    interrupted: bool,
    /// The interrupted runs that may go on.
    open: Vec<Look>,
    /// The run that several processes share, and which of them have done their parts.
    shared: Option<((Uuid, Mode, u32), Vec<u32>)>,
}

#[derive(Debug, Clone)]
struct Online {
    ways: Vec<Way>,
    forced: Forced,
    /// Whether a marker says how the values are to be taken.
    judged: bool,
}

impl Online {
    fn nothing() -> Self {
        Self {
            ways: vec![Vec::new()],
            forced: Forced::Yes,
            judged: true,
        }
    }
}

impl Expected {
    pub(crate) fn new(view: View) -> Self {
        Self {
            view,
            online: Online::nothing(),
            finished: None,
            perhaps_finished: None,
            saved: None,
            runs: 0,
            interrupted: false,
            open: Vec::new(),
            shared: None,
        }
    }

    /// Takes note of an action at a tick.
    ///
    /// # Errors
    /// It did not end as it must.
    pub(crate) fn after(&mut self, case: &Case, tick: usize, action: Action, outcome: &Outcome) -> Result<(), String> {
        let now = case.ticks[tick];
        if !matches!(action, Action::Part { .. }) {
            self.shared = None;
        }
        match (action, outcome) {
            (Action::LoseMarker, _) => {
                self.online.forced = Forced::Yes;
                self.online.judged = false;
            }
            (Action::LoseAll, _) => self.online = Online::nothing(),
            (Action::Save, _) => self.saved = Some((self.online.clone(), self.runs)),
            (Action::RollBack, _) => self.roll_back(),
            (Action::Run { mode, as_of }, outcome) => {
                let look = Look::back(tick, as_of.unwrap_or(now)).asked(mode);
                self.ran(mode, look, now, outcome)?;
            }
            (Action::Interrupted { mode, .. }, outcome) => {
                self.ran(mode, Look::back(tick, now).asked(mode), now, outcome)?;
            }
            (Action::Resume | Action::Part { .. }, Outcome::Done(ran)) => self.resumed(tick, now, *ran)?,
            (Action::Part { mode, index, of }, Outcome::Part(ran)) => {
                self.share((ran.run, mode, of), index)?;
                self.did_part(mode, Look::back(tick, ran.as_of).by(*ran), now)?;
            }
            (Action::Resume, Outcome::Same) => self.same(Mode::Incremental, now)?,
            (Action::Part { mode, .. }, Outcome::Same) => self.same(mode, now)?,
            (Action::Resume | Action::Part { .. }, outcome) => return Err(format!("it ended as {outcome:?}")),
            (
                Action::Backfill {
                    start,
                    end,
                    every,
                    all_steps,
                },
                outcome,
            ) => {
                let first = if all_steps { end.min(start + every) } else { end };
                let look = Look {
                    after: start,
                    full: true,
                    ..Look::back(tick, end)
                };
                self.backfilled((look, first), now, outcome)?;
            }
        }
        Ok(())
    }

    /// A run that was interrupted has gone on, as of its own moment; or a new one has been made as of now.
    fn resumed(&mut self, tick: usize, now: Time, ran: Ran) -> Result<(), String> {
        let mut looks: Vec<Look> = self
            .open
            .iter()
            .copied()
            .filter(|open| open.as_of == ran.as_of)
            .collect();
        if looks.is_empty() {
            if ran.as_of != now {
                return Err(format!(
                    "it is as of {}, where no run was interrupted",
                    written(ran.as_of)
                ));
            }
            let mode = if ran.replaced { Mode::Replace } else { Mode::Incremental };
            return self.ran(mode, Look::back(tick, now), now, &Outcome::Done(ran));
        }
        looks.push(Look::back(tick, ran.as_of));
        let looks: Vec<Look> = looks.into_iter().map(|look| look.by(ran)).collect();
        let mode = match (ran.replaced, ran.full) {
            (true, _) => Mode::Replace,
            (false, true) => Mode::Full,
            (false, false) => Mode::Incremental,
        };
        self.done(&looks, complete(mode, ran.forced, self.online.forced));
        Ok(())
    }

    /// One of several processes has done its part, and says that others have not.
    fn share(&mut self, run: (Uuid, Mode, u32), index: u32) -> Result<(), String> {
        let begun = self
            .shared
            .take()
            .filter(|(shared, done)| *shared == run && !done.contains(&index));
        let mut done = begun.map_or_else(Vec::new, |(_, done)| done);
        done.push(index);
        let all = done.len() == usize::try_from(run.2).expect("they are few");
        self.shared = Some((run, done));
        if all {
            Err("all have done their parts, and the run is not done".to_owned())
        } else {
            Ok(())
        }
    }

    /// One of several processes has looked at its entities, as of the moment of the run that it shares.
    fn did_part(&mut self, mode: Mode, look: Look, now: Time) -> Result<(), String> {
        if look.as_of != now && !self.open.iter().any(|open| open.as_of == look.as_of) {
            return Err(format!("it is as of {}, where no run began", written(look.as_of)));
        }
        if mode == Mode::Incremental && self.online.forced == Forced::Yes && !look.full {
            return Err("it must have been part of a full run, and was not".to_owned());
        }
        self.died(mode, look);
        Ok(())
    }

    /// Of a row view a backfill adds what its range holds; of an aggregate view it is full runs as of ends of its steps,
    /// the first of them as of `first`.
    fn backfilled(&mut self, (look, first): (Look, Time), now: Time, outcome: &Outcome) -> Result<(), String> {
        if self.view.kind == Kind::Aggregate {
            return match outcome {
                Outcome::Done(_) if self.finished.is_some_and(|finished| first < finished) => {
                    Err("its first step was before the last run".to_owned())
                }
                Outcome::Earlier if self.latest().is_some_and(|latest| first < latest) => Ok(()),
                Outcome::Same => self.same(Mode::Full, first),
                outcome => self.ran(
                    Mode::Full,
                    Look {
                        after: Time::MIN,
                        ..look
                    },
                    now,
                    outcome,
                ),
            };
        }
        let Outcome::Done(_) = outcome else {
            return Err(format!("it ended as {outcome:?}"));
        };
        let ways = std::mem::take(&mut self.online.ways);
        self.online.ways = if self.view.is_recomputed_whole() {
            // Whose events lie in the range, it computes as of now.
            let now = Look::back(look.tick, now);
            let computed: Vec<Way> = ways.iter().map(|way| self.extended(way, now)).collect();
            distinct(ways.into_iter().chain(computed).collect())
        } else {
            ways.iter().map(|way| self.extended(way, look)).collect()
        };
        self.perhaps_finished = self.perhaps_finished.max(Some(now));
        Ok(())
    }

    /// As of when the last run was that has left something.
    fn latest(&self) -> Option<Time> {
        self.finished.max(self.perhaps_finished)
    }

    /// The state of Redis is that of when it was last saved, and nothing if it never was.
    fn roll_back(&mut self) {
        let (online, runs) = self.saved.clone().unwrap_or((Online::nothing(), self.runs));
        let forced = if self.runs > runs {
            Forced::Yes
        } else if self.interrupted && online.forced == Forced::No {
            Forced::Perhaps
        } else {
            online.forced
        };
        self.online = Online { forced, ..online };
    }

    fn ran(&mut self, mode: Mode, look: Look, now: Time, outcome: &Outcome) -> Result<(), String> {
        let latest = self.latest();
        match outcome {
            Outcome::Future if look.as_of > now => Ok(()),
            Outcome::Future => Err("it was refused as in the future, and is not".to_owned()),
            _ if look.as_of > now => Err("it ran as of the future".to_owned()),
            Outcome::Died => {
                self.died(mode, look);
                Ok(())
            }
            Outcome::Earlier if latest.is_some_and(|latest| look.as_of < latest) => Ok(()),
            Outcome::Same => self.same(mode, look.as_of),
            Outcome::Earlier => Err("it was refused as earlier than the last run, and is not".to_owned()),
            Outcome::Done(_) if self.finished.is_some_and(|finished| look.as_of < finished) => {
                Err("it ran as of a moment before the last run".to_owned())
            }
            Outcome::Done(ran) => {
                let forced = self.online.forced;
                match (mode, forced) {
                    (Mode::Incremental, Forced::Yes) if !ran.forced => {
                        return Err("it must have been a full run, and was not".to_owned());
                    }
                    (Mode::Incremental, Forced::No) if ran.forced => {
                        return Err("it was a full run without need".to_owned());
                    }
                    (Mode::Full | Mode::Replace, _) if !ran.full => {
                        return Err("it was not the full run that was asked for".to_owned());
                    }
                    _ if ran.as_of != look.as_of => return Err("it was as of another moment".to_owned()),
                    _ => {}
                }
                self.done(&[look.by(*ran)], complete(mode, ran.forced, forced));
                Ok(())
            }
            Outcome::Part(_) | Outcome::Happened => Err("it did not come to its end".to_owned()),
        }
    }

    /// A run that would have written everything was refused, since one as of the same moment has left something.
    fn same(&self, mode: Mode, as_of: Time) -> Result<(), String> {
        let whole = mode != Mode::Incremental && self.view.is_recomputed_whole();
        // One that was interrupted may have left nothing, not even that it began.
        if self.latest() != Some(as_of) && self.finished != Some(as_of) {
            return Err("it was refused as of the moment of the last run, and is not".to_owned());
        }
        if !whole && complete(mode, false, self.online.forced) == Complete::No {
            return Err("it was refused as of the moment of the last run, but takes nothing away".to_owned());
        }
        Ok(())
    }

    /// A run has finished: all values are as of its moment, but for those that an interrupted run wrote as of a later one.
    /// It may have looked several times, at each entity once.
    fn done(&mut self, looks: &[Look], complete: Complete) {
        let ways = std::mem::take(&mut self.online.ways);
        let as_of = looks[0].as_of;
        let complete = if looks[0].full { complete } else { Complete::No };
        // Where Redis has lost the marker of a run, another as of the same moment is not refused, and cannot tell what that
        // one wrote from what it finds itself.
        let is_again = self.online.forced == Forced::Yes && self.latest() == Some(as_of);
        let mut next: Vec<Way> = Vec::new();
        if self.view.is_recomputed_whole() {
            let later = |way: &&Way| {
                way.last()
                    .is_some_and(|last| last.as_of > as_of || is_again && last.as_of == as_of)
            };
            next.extend(ways.iter().filter(later).cloned());
            // However it came here, what this run looked at is what counts. Of what it need not have looked at, the
            // earliest beginning leaves the most open.
            let longest = ways.iter().min_by_key(|way| way.first().map_or(0, |first| first.tick));
            next.extend(
                longest
                    .iter()
                    .flat_map(|way| looks.iter().map(|look| self.extended(way, *look))),
            );
        } else {
            for (way, look) in ways.iter().flat_map(|way| looks.iter().map(move |look| (way, *look))) {
                if complete != Complete::Yes || is_again {
                    next.push(self.extended(way, look));
                }
                if complete != Complete::No {
                    next.push(vec![look]);
                }
            }
        }
        self.online = Online {
            ways: distinct(next),
            forced: Forced::No,
            judged: true,
        };
        self.finished = Some(as_of);
        self.perhaps_finished = Some(as_of);
        self.open.clear();
        self.shared = None;
        self.runs += 1;
        self.interrupted = false;
    }

    /// A run has died: any entity may be as it was, or as the run would have left it.
    fn died(&mut self, mode: Mode, look: Look) {
        if self.finished.is_some_and(|finished| look.as_of < finished) {
            return;
        }
        let complete = complete(mode, false, self.online.forced);
        let mut next = self.online.ways.clone();
        for way in &self.online.ways {
            if complete != Complete::Yes {
                next.push(self.extended(way, look));
            }
            if complete != Complete::No {
                next.push(vec![Look { full: true, ..look }]);
            }
        }
        self.online.ways = distinct(next);
        self.online.forced = Forced::Perhaps;
        self.perhaps_finished = self.perhaps_finished.max(Some(look.as_of));
        self.interrupted = true;
        self.open.push(look);
    }

    fn extended(&self, way: &Way, look: Look) -> Way {
        if self.view.is_recomputed_whole() && look.full {
            return vec![look];
        }
        let mut way = way.clone();
        if way.last() != Some(&look) {
            way.push(look);
        }
        way
    }

    /// What a reader may find of an entity at a moment; `None`: anything.
    pub(crate) fn answers(&self, case: &Case, group: &Group, entity: Entity, asked: Time) -> Option<Vec<Answer>> {
        if !self.online.judged {
            return None;
        }
        let mut answers = Vec::new();
        for way in &self.online.ways {
            for rows in looks::rows(self.view, (case, group), way)? {
                answers.push(self.answer(way, entity, &rows, asked));
            }
        }
        Some(answers)
    }

    fn answer(&self, way: &[Look], entity: Entity, rows: &[&Row], asked: Time) -> Answer {
        let found = way.last().and_then(|look| {
            // Of rows seen one by one, each had happened by the time it was seen.
            let as_of = if self.view.is_recomputed_whole() {
                look.as_of
            } else {
                Time::MAX
            };
            value(self.view, entity, rows, as_of).map(|found| (look.as_of, found))
        });
        let Some((as_of, found)) = found else {
            return Answer::not_found();
        };
        let event = if self.view.kind == Kind::Aggregate {
            as_of
        } else {
            found.event
        };
        let is_old = self.view.ttl().is_some_and(|ttl| asked - event >= ttl);
        let status = if is_old { "OUTSIDE_MAX_AGE" } else { "PRESENT" };
        Answer {
            status,
            event: Some(event),
            cells: found.cells,
        }
    }
}

#[cfg(test)]
mod tests;
