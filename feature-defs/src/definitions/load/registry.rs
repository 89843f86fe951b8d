//! What has been declared so far, by name, and references to it.

use std::collections::HashMap;

use super::problems::{Complaint, Place, suggest};
use super::toml_reader::Text;

/// Why a name leads to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// It is declared, but wrong in itself, which is reported there.
    Invalid,
    /// Nothing has that name.
    Unknown(Complaint),
}

/// The declarations of one kind, in file order.
#[derive(Debug)]
pub(super) struct Registry<'a, T> {
    kind: &'static str,
    seen: Seen<'a>,
    names: Vec<&'a str>,
    values: Vec<Option<T>>,
}

impl<'a, T> Registry<'a, T> {
    /// `kind` names it in messages: `entity`.
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            seen: Seen::default(),
            names: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds a declaration; `None` is one that is wrong in itself. A second one of the same name is reported and left out.
    pub(super) fn declare(&mut self, name: Text<'a>, value: Option<T>) {
        if self.seen.is_new(self.kind, name.str, name.place) {
            self.names.push(name.str);
            self.values.push(value);
        }
    }

    /// What has this name.
    pub(super) fn find(&self, name: Text<'_>) -> Result<&T, Miss> {
        match self.names.iter().position(|n| *n == name.str) {
            Some(index) => self.values[index].as_ref().ok_or(Miss::Invalid),
            None if name.place.problems.may_be_declared(name.str) => Err(Miss::Invalid),
            None => Err(Miss::Unknown(Complaint {
                message: format!("unknown {} `{}`", self.kind, name.str),
                help: suggest(name.str, self.names()),
            })),
        }
    }

    /// What has this name; an unknown one is reported.
    pub(super) fn resolve(&self, name: Text<'_>) -> Option<&T> {
        match self.find(name) {
            Ok(value) => Some(value),
            Err(Miss::Invalid) => None,
            Err(Miss::Unknown(complaint)) => {
                name.place.complain(complaint);
                None
            }
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().copied()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// The valid ones, in file order.
    pub(super) fn valid(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    /// Treats those that are not `good` as wrong from now on: whoever calls has reported why.
    pub(super) fn keep(&mut self, good: impl Fn(&T) -> bool) {
        for value in &mut self.values {
            if value.as_ref().is_some_and(|v| !good(v)) {
                *value = None;
            }
        }
    }
}

/// Names that must be different, and where each was first met.
#[derive(Debug, Default)]
pub(super) struct Seen<'a>(HashMap<String, Place<'a>>);

impl<'a> Seen<'a> {
    /// Whether `name` is new; if not, that is reported at `place`.
    pub(super) fn is_new(&mut self, kind: &str, name: &str, place: Place<'a>) -> bool {
        if let Some(first) = self.0.get(name) {
            place.error(
                format!("{kind} `{name}` is there twice"),
                format!("it was first at {first}"),
            );
            return false;
        }
        self.0.insert(name.to_owned(), place);
        true
    }
}
