//! What is wrong with a file's header and rows, collected while it is read, so that its owner is told all of it at once.

use std::fmt;

/// How many problems are told one by one.
const SHOWN: usize = 20;

/// What is wrong with a file: the first problems in words, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    file: String,
    shown: Vec<String>,
    count: usize,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "problem" } else { "problems" };
        write!(f, "{} has {} {plural}:", self.file, self.count)?;
        for problem in &self.shown {
            write!(f, "\n  {problem}")?;
        }
        match self.count.saturating_sub(self.shown.len()) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for BadFile {}

impl BadFile {
    /// Nothing is wrong yet with the file that messages call `file`.
    pub fn none_yet(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            shown: Vec::new(),
            count: 0,
        }
    }

    /// One more problem: a sentence that says where it stands.
    pub fn add(&mut self, problem: String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(problem);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What was read, if nothing is wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn or<T>(self, right: T) -> Result<T, Self> {
        if self.count == 0 { Ok(right) } else { Err(self) }
    }
}
