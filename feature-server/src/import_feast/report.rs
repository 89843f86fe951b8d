//! What an import tells its user: what was carried over, what to look at, what was left behind.

use std::fmt;

use super::values::Place;

/// Something that a reader of the report should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportNote {
    /// `file:line` in the Feast repository, or the file alone.
    pub at: String,
    /// What it is about.
    pub what: String,
    /// What is so, and why.
    pub why: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for ImportNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, what, why, help } = self;
        write!(f, "{at}: {what}: {why}\n    help: {help}")
    }
}

/// Notes as they are made.
#[derive(Debug, Default)]
pub(super) struct Notes {
    carried: Vec<(Place, ImportNote)>,
    not_carried: Vec<(Place, ImportNote)>,
}

impl Notes {
    /// Something was carried over, but not as it stood, or on a guess.
    pub(super) fn look_at(&mut self, at: Place, what: &str, why: impl Into<String>, help: &str) {
        self.carried.push(note(at, what, why.into(), help));
    }

    /// Something was not carried over.
    pub(super) fn not_carried(&mut self, at: Place, what: &str, why: impl Into<String>, help: &str) {
        self.not_carried.push(note(at, what, why.into(), help));
    }

    /// What to look at, and what was not carried over; both by file and line.
    pub(super) fn sorted(self) -> (Vec<ImportNote>, Vec<ImportNote>) {
        (sorted(self.carried), sorted(self.not_carried))
    }
}

fn note(at: Place, what: &str, why: String, help: &str) -> (Place, ImportNote) {
    let note = ImportNote {
        at: at.to_string(),
        what: what.to_owned(),
        why,
        help: help.to_owned(),
    };
    (at, note)
}

fn sorted(mut notes: Vec<(Place, ImportNote)>) -> Vec<ImportNote> {
    notes.sort_by(|(one, _), (other, _)| one.cmp(other));
    notes.into_iter().map(|(_, note)| note).collect()
}
