//! What the product can answer: how an action ended, and what a reader finds.

use uuid::Uuid;

use crate::model::Cell;
use crate::world::Time;

/// What a run said it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Its id: of one moment there may be several.
    pub(crate) run: Uuid,
    pub(crate) as_of: Time,
    pub(crate) full: bool,
    pub(crate) forced: bool,
    pub(crate) replaced: bool,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Every run of it is done.
    Done(Ran),
    /// It did its part of a run that waits for others.
    Part(Ran),
    /// It was refused, because a later run has finished.
    Earlier,
    /// It was refused, because what a run as of the same moment found could not be told from what it finds.
    Same,
    /// It was refused, because its moment has not come.
    Future,
    /// It did not come to its end.
    Died,
    /// What happened to Redis has happened.
    Happened,
}

/// What a reader finds of one entity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) event: Option<Time>,
    pub(crate) cells: Vec<Cell>,
}

impl Answer {
    pub(crate) const fn not_found() -> Self {
        Self {
            status: "NOT_FOUND",
            event: None,
            cells: Vec::new(),
        }
    }
}
