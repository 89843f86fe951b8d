//! Why rows were not pushed, in words for whoever sent them.

use std::fmt;

use feature_defs::name::{SourceName, ViewName};
use online_store::StoreError;
use serde::Serialize;

use crate::applied::{MayNotWrite, NotApplied};
use crate::database::DatabaseError;
use crate::source::Problem;

/// A row that was not taken, and everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// Which one, counted from 0.
    pub row: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// So many problems of a row are told,
const PROBLEMS: usize = 8;
/// in so many characters,
const CHARACTERS: usize = 1_000;
/// and so many wrong rows, where they are all refused.
const ROWS: usize = 20;

impl RowError {
    /// What is wrong with a row.
    pub(super) fn of(row: usize, problems: &[String]) -> Self {
        let told: Vec<&str> = problems.iter().take(PROBLEMS).map(String::as_str).collect();
        let mut message: String = told.join("; ").chars().take(CHARACTERS).collect();
        if let more @ 1.. = problems.len().saturating_sub(PROBLEMS) {
            message.push_str(&format!("; and {more} more"));
        }
        Self { row, message }
    }
}

/// At most 60 characters of what somebody sent, for an error message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}", self.row, self.message)
    }
}

/// Why rows were not pushed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PushError {
    #[error("{0}")]
    UnknownTarget(String),
    #[error(
        "source {0} says no table that rows are pushed to: add `push_to = \"schema.table\"` to it, the table that its rows come from"
    )]
    NoTable(SourceName),
    #[error(
        "view {view} is not written to directly: {reason}; push rows to its source instead, `feature-server push {view} FILE.ndjson`"
    )]
    NotWritten { view: ViewName, reason: &'static str },
    #[error("{given} rows are too many for one push: send at most {most} at a time")]
    TooMany { given: usize, most: usize },
    #[error("{}", told(.errors, *.count))]
    Rows {
        /// The first of the rows that are wrong.
        errors: Vec<RowError>,
        /// How many there are.
        count: usize,
    },
    #[error("the database refused the rows, and nothing was written: {0}")]
    Refused(String),
    #[error(
        "what is online is of another definition of the view, and its next run replaces all of it: run `feature-server materialize`"
    )]
    OtherDefinition,
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
    #[error("the definitions do not fit the database:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Columns(Vec<Problem>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(
        "the connection broke while the rows were being appended ({0}): they may be there or not; look before they are pushed again"
    )]
    Unknown(DatabaseError),
    #[error(transparent)]
    Online(#[from] StoreError),
}

impl PushError {
    /// All of these are wrong.
    pub(super) fn of_rows(mut errors: Vec<RowError>) -> Self {
        let count = errors.len();
        errors.truncate(ROWS);
        Self::Rows { errors, count }
    }
}

impl From<MayNotWrite> for PushError {
    fn from(refusal: MayNotWrite) -> Self {
        match refusal {
            MayNotWrite::NotApplied(refusal) => refusal.into(),
            MayNotWrite::Database(error) => error.into(),
        }
    }
}

fn told(errors: &[RowError], count: usize) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    let plural = if count == 1 { "row is" } else { "rows are" };
    let more = match count.saturating_sub(errors.len()) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    format!(
        "{count} {plural} wrong, and nothing was written:{}{more}",
        lines.concat()
    )
}
