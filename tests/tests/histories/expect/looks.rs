//! Looks at a source, and the rows that they may have found.

use crate::model::is_in_time;
use crate::outcome::Ran;
use crate::views::{SOURCES, View};
use crate::world::{Case, Group, Mode, Row, Time};

/// A look at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) tick: usize,
    /// At rows with event times after this,
    pub(super) after: Time,
    /// up to and with this one.
    pub(super) as_of: Time,
    /// At everything there, not only at what is new.
    pub(super) full: bool,
}

impl Look {
    /// A run's, which looks back as far as there are rows.
    pub(super) const fn back(tick: usize, as_of: Time) -> Self {
        Self {
            tick,
            after: Time::MIN,
            as_of,
            full: false,
        }
    }

    /// One for which this was asked.
    pub(super) fn asked(self, mode: Mode) -> Self {
        Self {
            full: mode != Mode::Incremental,
            ..self
        }
    }

    /// One by a run that said this of itself.
    pub(super) const fn by(self, ran: Ran) -> Self {
        Self { full: ran.full, ..self }
    }

    pub(super) fn sees(&self, row: &Row) -> bool {
        let in_range = |at: Time| self.after < at && at <= self.as_of;
        row.is_visible(self.tick) && row.event.finite().is_some_and(in_range)
    }
}

/// The looks that made what is online, from the last one on that depends on none before it.
pub(super) type Way = Vec<Look>;

/// The rows that a value is made of, one list or two; `None`: that cannot be said.
pub(super) fn rows<'a>(view: View, (case, group): (&Case, &'a Group), way: &[Look]) -> Option<Vec<Vec<&'a Row>>> {
    let (Some(first), Some(last)) = (way.first(), way.last()) else {
        return Some(vec![Vec::new()]);
    };
    let mine = group.rows.iter().filter(|row| SOURCES[row.source] == *view.source);
    let whole = view.is_recomputed_whole();
    let seen: Vec<&Row> = mine
        .clone()
        .filter(|row| match whole {
            // Rows to come and rows without a time count as versions of their events.
            true => row.is_visible(last.tick),
            false => way.iter().any(|look| look.sees(row)),
        })
        .collect();
    let vanished = |row: &Row| {
        row.removed
            .is_some_and(|removed| first.tick < removed && removed <= last.tick)
    };
    if whole && mine.clone().any(vanished) {
        return None;
    }
    let is_sure = |row: &Row| {
        let previous = row.visible.checked_sub(1).map(|before| case.ticks[before]);
        is_in_time(view.source, row, previous)
            || way.iter().any(|look| {
                look.full
                    && if whole {
                        row.is_visible(look.tick)
                    } else {
                        look.sees(row)
                    }
            })
    };
    let sure: Vec<&Row> = seen.iter().copied().filter(|row| is_sure(row)).collect();
    match seen.len() - sure.len() {
        0 => Some(vec![seen]),
        1 => Some(vec![seen, sure]),
        _ => None,
    }
}

/// The ways, each once.
pub(super) fn distinct(ways: Vec<Way>) -> Vec<Way> {
    let mut distinct: Vec<Way> = Vec::new();
    for way in ways {
        if !distinct.contains(&way) {
            distinct.push(way);
        }
    }
    distinct
}
