//! One good directory of definitions, and what is said of it once something in it is broken.

mod all_at_once;
mod broken_entities;
mod broken_services;
mod broken_views;
mod good;

use std::fs;

use tempfile::TempDir;

use super::load;
use crate::definitions::{Definitions, Diagnostic, Diagnostics};

/// The example of the documentation: every kind of declaration.
const FLIGHTS: &str = include_str!("tests/flights.toml");

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// Loads these definitions beside the queries that the example names.
fn load_text(text: &str) -> (TempDir, Result<Definitions, Diagnostics>) {
    let files = [
        ("flights.toml", text),
        ("arrivals.sql", "SELECT * FROM arrivals;\n"),
        ("empty.sql", " ;\n"),
    ];
    let dir = directory(&files);
    let loaded = load(dir.path());
    (dir, loaded)
}

/// The example with one thing changed, and all that is said of it: `line:column+width message | help`.
struct Case {
    replace: &'static str,
    by: &'static str,
    said: &'static [&'static str],
}

fn check(cases: &[Case]) {
    for Case { replace, by, said } in cases {
        assert!(FLIGHTS.contains(replace), "not in the example: {replace}");
        let (dir, loaded) = load_text(&FLIGHTS.replacen(replace, by, 1));
        let problems = loaded.map(|_| ()).expect_err(by).0;
        let told: Vec<String> = problems.iter().map(|problem| line(problem, &dir)).collect();
        assert_eq!(told, *said, "for `{by}`");
    }
}

fn line(problem: &Diagnostic, dir: &TempDir) -> String {
    let width = problem.snippet.as_ref().map_or(0, |snippet| snippet.width);
    let help = problem
        .help
        .as_ref()
        .map(|help| format!(" | {help}"))
        .unwrap_or_default();
    let text = format!("{}:{}+{width} {}{help}", problem.line, problem.column, problem.message);
    text.replace(&format!("{}/", dir.path().display()), "")
}
