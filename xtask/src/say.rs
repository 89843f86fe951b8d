//! What the user reads: steps, notes beneath them, and failures.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// How much of a log is shown when its step fails. The path is shown too.
const LAST_LINES: usize = 15;

pub(crate) fn title(text: &str) {
    line(text);
}

/// A thing that is about to be done.
pub(crate) fn step(text: &str) {
    line(&format!("\n> {text}"));
}

/// What came of it, or what to know about it. Several lines are indented alike.
pub(crate) fn note(text: &str) {
    for each in text.lines() {
        line(format!("  {each}").trim_end());
    }
}

pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("\nFailed: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// The work goes on when nobody reads any more, as after `| head`.
fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The log's path and its last lines, for the end of an error message.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    let mut tail = format!("Its log is {}", log.display());
    match last {
        [] => tail.push_str(", and is empty."),
        _ => tail.push_str(", which ends:"),
    }
    for line in last {
        tail.push_str("\n    ");
        tail.push_str(line);
    }
    tail
}
