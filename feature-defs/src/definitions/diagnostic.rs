//! What is wrong with definition files, told so that it can be mended at once.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; 0 if it is about the file, or the directory, as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 if it is about the file as a whole.
    pub column: usize,
    /// A sentence that quotes the offending text.
    pub message: String,
    /// The nearest valid name, or what to do.
    pub help: Option<String>,
    /// The line itself, to show the offending text in; `None` if it is about the file as a whole.
    pub snippet: Option<Snippet>,
}

/// A line of a definition file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Its text.
    pub text: String,
    /// How many characters of it, from the diagnostic's column on, are wrong: at least 1.
    pub width: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n  --> {}", self.message, self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let number = self.line.to_string();
        let gutter = if self.snippet.is_some() { number.len() } else { 1 };
        if let Some(Snippet { text, width }) = &self.snippet {
            // One column a tab, so that the carets stand under what they mean.
            let text = text.replace('\t', " ");
            let (before, carets) = (self.column.saturating_sub(1), "^".repeat(*width));
            write!(
                f,
                "\n{:gutter$} |\n{number} | {text}\n{:gutter$} | {:before$}{carets}",
                "", "", ""
            )?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{:gutter$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of files and lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    /// Each with its line and a caret under the offending text, and a closing count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            write!(f, "{diagnostic}\n\n")?;
        }
        let files: BTreeSet<_> = self.0.iter().map(|d| &d.file).collect();
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (errors, files) = (self.0.len(), files.len());
        write!(f, "{errors} error{} in {files} file{}", plural(errors), plural(files))
    }
}
