//! What a case is: moments, groups of entities with their rows and labels, and for each view the steps it goes through.
//!
//! Plain values only. Groups share nothing, so that one can be left out without changing what another one expects; within
//! a group, rows name two users, two items and their pairs, and an event may move from one to another.

use std::fmt;

use crate::views::{Join, SOURCES, View};

/// Microseconds since 1970.
pub(crate) type Time = i64;

pub(crate) const SECOND: Time = 1_000_000;
pub(crate) const MINUTE: Time = 60 * SECOND;
pub(crate) const HOUR: Time = 60 * MINUTE;

/// A timestamp as Postgres has it, in order; none is before all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stamp {
    Null,
    MinusInfinity,
    At(Time),
    Infinity,
}

impl Stamp {
    /// The moment it is, if it is one.
    pub(crate) const fn finite(self) -> Option<Time> {
        match self {
            Self::At(at) => Some(at),
            _ => None,
        }
    }
}

/// A row of a source. Which tables have the last columns, the source says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// Which of [`SOURCES`] it is in.
    pub(crate) source: usize,
    /// First in the row's text. Only exact duplicates have the same.
    pub(crate) tag: u32,
    /// Before the steps of which moment the source shows it.
    pub(crate) visible: usize,
    /// Before the steps of which moment it is gone again without a trace, as when somebody repairs a table by hand.
    pub(crate) removed: Option<usize>,
    /// Which of the group's two users.
    pub(crate) user: Option<u8>,
    /// Which of the group's two items.
    pub(crate) item: Option<u8>,
    pub(crate) event: Stamp,
    pub(crate) created: Stamp,
    pub(crate) id: Option<u8>,
    pub(crate) leg: Option<u8>,
    pub(crate) deleted: Option<bool>,
    pub(crate) x: Option<f64>,
    pub(crate) y: Option<f64>,
    pub(crate) n: Option<i64>,
    pub(crate) s: Option<&'static str>,
    pub(crate) b: Option<bool>,
    pub(crate) w: Stamp,
}

impl Row {
    /// Whether the source shows it at this moment.
    pub(crate) fn is_visible(&self, tick: usize) -> bool {
        self.visible <= tick && self.removed.is_none_or(|removed| tick < removed)
    }
}

/// A label of a training set: whose features, and as of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    /// Which of [`SOURCES`] its service reads.
    pub(crate) source: usize,
    /// After the steps of which moment the training set is built.
    pub(crate) tick: usize,
    pub(crate) user: Option<u8>,
    pub(crate) item: Option<u8>,
    pub(crate) moment: Time,
}

/// Entities whose rows have to do with each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// Its place among those that were generated, in all names.
    pub(crate) number: usize,
    pub(crate) rows: Vec<Row>,
    pub(crate) labels: Vec<Label>,
}

/// One entity of a group, as a view sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) user: Option<u8>,
    pub(crate) item: Option<u8>,
}

impl Entity {
    /// All of a group.
    pub(crate) fn all(join: Join) -> Vec<Self> {
        let one = |user, item| Self { user, item };
        match join {
            Join::User => vec![one(Some(0), None), one(Some(1), None)],
            Join::Item => vec![one(None, Some(0)), one(None, Some(1))],
            Join::Pair => [(0, 0), (0, 1), (1, 0), (1, 1)]
                .map(|(user, item)| one(Some(user), Some(item)))
                .to_vec(),
        }
    }
}

impl Group {
    /// A user's name: some spell like another's, some hold what keys must escape.
    pub(crate) fn user(&self, index: u8) -> String {
        match (self.number % 4, index) {
            (0, 0) => format!("u{}", self.number),
            (0, _) => format!("U{}", self.number),
            (1, _) => format!("{},user={index}", self.number),
            (2, _) => format!("é{{{}}} {index}", self.number),
            _ => format!("%2C{}:{index}", self.number),
        }
    }

    /// An item's number; one of two is negative.
    pub(crate) fn item(&self, index: u8) -> i64 {
        let number = i64::try_from(self.number).expect("groups are few") * 1_000_003 + 1;
        if index == 0 { number } else { -number }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Full,
    Incremental,
    Replace,
}

/// What happens to a view at one of the case's moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A run, as of an earlier moment if one is given.
    Run { mode: Mode, as_of: Option<Time> },
    /// A run whose process dies after so many steps of its own.
    Interrupted { mode: Mode, polls: u32 },
    /// The interrupted run goes on.
    Resume,
    /// One of so many processes does its part of a run that they share, or begins one.
    Part { mode: Mode, index: u32, of: u32 },
    /// Runs as of a range of moments.
    Backfill {
        start: Time,
        end: Time,
        every: Time,
        all_steps: bool,
    },
    /// Redis loses the view's marker and nothing else.
    LoseMarker,
    /// Redis loses all of the view.
    LoseAll,
    /// Redis saves the view as it is.
    Save,
    /// Redis comes back with what it last saved of the view.
    RollBack,
}

/// One action, and how long after its moment readers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Which of the case's moments.
    pub(crate) tick: usize,
    pub(crate) action: Action,
    pub(crate) asked_after: Time,
}

/// Everything that happens in one world.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    /// The moments at which rows appear and views run, in order.
    pub(crate) ticks: Vec<Time>,
    pub(crate) groups: Vec<Group>,
    /// The views, and the steps of each in order.
    pub(crate) views: Vec<(View, Vec<Step>)>,
}

impl Case {
    /// How many entities' rows in how many sources it has.
    pub(crate) fn histories(groups: usize) -> usize {
        groups * SOURCES.len() * Join::ALL.map(|join| Entity::all(join).len()).iter().sum::<usize>()
    }
}

/// A moment as people write it.
pub(crate) fn written(at: Time) -> String {
    feature_defs::time::Timestamp::from_micros(at).to_string()
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::At(at) => f.write_str(&written(*at)),
            Self::MinusInfinity => f.write_str("-infinity"),
            Self::Infinity => f.write_str("infinity"),
        }
    }
}
