//! The collector of problems, and the places in files that problems are reported at.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::{Diagnostic, Diagnostics, diagnostic::Snippet};

/// A definition file as read.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Collects what is wrong while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Diagnostic>>,
    /// The texts of files that are not TOML, and names of declarations of no known kind.
    unread: RefCell<Vec<String>>,
    /// Whether there is a file of which not even the text is known.
    unreadable: Cell<bool>,
}

impl Problems {
    /// Reports what is wrong with a file, or the directory, as a whole.
    pub(super) fn whole_file(&self, path: &Path, message: String, help: Option<String>) {
        let file = path.to_owned();
        self.found.borrow_mut().push(Diagnostic {
            file,
            line: 0,
            column: 0,
            message,
            help,
            snippet: None,
        });
    }

    /// Notes that what this text declares is not known.
    pub(super) fn note_unread(&self, text: &str) {
        self.unread.borrow_mut().push(text.to_owned());
    }

    /// Notes that there is a file of which nothing is known.
    pub(super) fn note_unreadable(&self) {
        self.unreadable.set(true);
    }

    pub(super) fn any_unread(&self) -> bool {
        self.unreadable.get() || !self.unread.borrow().is_empty()
    }

    /// Whether a file that could not be read speaks of `name`, so that it may well be declared there.
    pub(super) fn may_be_declared(&self, name: &str) -> bool {
        let words = |text: &str| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name)
        };
        self.unreadable.get() || self.unread.borrow().iter().any(|text| words(text))
    }

    /// `value`, or everything that is wrong: in the order of files and lines, each once.
    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, Diagnostics> {
        let mut found = self.found.into_inner();
        match value {
            Some(value) if found.is_empty() => Ok(value),
            _ => {
                // Stable: problems at one place stay in the order they were found in.
                found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
                found.dedup();
                Err(Diagnostics(found))
            }
        }
    }
}

/// What is wrong with something, before it is known where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) problems: &'a Problems,
    start: usize,
    end: usize,
}

impl<'a> Place<'a> {
    pub(super) fn new(file: &'a SourceFile, problems: &'a Problems, range: Range<usize>) -> Self {
        let whole = Self {
            file,
            problems,
            start: 0,
            end: file.text.len(),
        };
        whole.part(range.start, range.len())
    }

    /// The text there.
    pub(super) fn raw(self) -> &'a str {
        self.file.text.get(self.start..self.end).unwrap_or_default()
    }

    /// A stretch of this one: bytes `start` to `start + len` of it, as whole characters.
    pub(super) fn part(self, start: usize, len: usize) -> Self {
        let start = self.file.text.floor_char_boundary((self.start + start).min(self.end));
        let end = self.file.text.ceil_char_boundary((start + len).min(self.end));
        Self { start, end, ..self }
    }

    /// Reports an error here.
    pub(super) fn error(self, message: impl Into<String>, help: impl Into<Option<String>>) {
        let (line, column) = self.line_and_column();
        let line_start = self.file.text[..self.start].rfind('\n').map_or(0, |at| at + 1);
        let text = self.file.text[line_start..]
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        // A stretch that goes on over several lines is shown on its first.
        let width = self.raw().lines().next().unwrap_or_default().chars().count().max(1);
        self.problems.found.borrow_mut().push(Diagnostic {
            file: self.file.path.clone(),
            line,
            column,
            message: message.into(),
            help: help.into(),
            snippet: Some(Snippet { text, width }),
        });
    }

    /// Reports an error here.
    pub(super) fn complain(self, complaint: Complaint) {
        self.error(complaint.message, complaint.help);
    }

    fn line_and_column(self) -> (usize, usize) {
        let before = &self.file.text[..self.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.file.path.display())
    }
}

/// What to say beside an unknown name: the nearest valid one, or a few to choose from.
pub(super) fn suggest<'s>(text: &str, valid: impl IntoIterator<Item = &'s str>) -> Option<String> {
    let valid: Vec<&str> = valid.into_iter().collect();
    let distance = |name: &str| strsim::damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase());
    let nearest = valid
        .iter()
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, name)) if distance <= (text.chars().count() / 3).max(1) => {
            Some(format!("did you mean `{name}`?"))
        }
        _ => list(&valid),
    }
}

/// `one of a, b, c`, unless there are none or too many to read.
fn list(valid: &[&str]) -> Option<String> {
    let quoted: Vec<String> = valid.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => None,
        [only] => Some(format!("the only one is {only}")),
        [..] if quoted.len() <= 12 => Some(format!("valid: {}", quoted.join(", "))),
        _ => None,
    }
}
