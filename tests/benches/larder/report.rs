//! What was measured: lines with figures, as a table for people and as JSON, and how two runs differ.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// All that one run measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) tables: Vec<Table>,
}

/// Lines that are read beside each other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// One a column; `None` where there is nothing to measure.
    pub(crate) figures: Vec<Option<f64>>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self, name: impl Into<String>, figures: impl IntoIterator<Item = Option<f64>>) {
        self.lines.push(Line {
            name: name.into(),
            figures: figures.into_iter().collect(),
        });
    }

    /// As Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n## {}\n\n| |", self.title);
        self.columns.iter().for_each(|column| _ = write!(text, " {column} |"));
        text.push_str("\n|---|");
        self.columns.iter().for_each(|_| text.push_str("---:|"));
        for line in &self.lines {
            let figures = line.figures.iter().map(|figure| figure.map_or(String::new(), shown));
            _ = write!(
                text,
                "\n| {} | {} |",
                line.name,
                figures.collect::<Vec<_>>().join(" | ")
            );
        }
        text.push('\n');
        text
    }
}

impl Report {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let json = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&json)
            .with_context(|| format!("{} is not what `cargo xtask bench` writes", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Every figure of this run beside that of an earlier one: a table a table that both have.
    pub(crate) fn compared(&self, earlier: &Self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let Some(before) = earlier.tables.iter().find(|before| before.title == table.title) else {
                continue;
            };
            let mut changes = Table {
                title: format!("{}: now / then", table.title),
                columns: table.columns.clone(),
                lines: Vec::new(),
            };
            for line in &table.lines {
                let Some(then) = before.lines.iter().find(|then| then.name == line.name) else {
                    continue;
                };
                let ratio = |(i, now): (usize, &Option<f64>)| {
                    let column = before.columns.iter().position(|column| *column == table.columns[i])?;
                    Some((*now)? / (*then.figures.get(column)?)?)
                };
                changes.line(&line.name, line.figures.iter().enumerate().map(ratio));
            }
            text.push_str(&changes.text());
        }
        text
    }
}

/// With as many digits as anybody reads.
fn shown(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1000.0 => grouped(figure),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle of some figures, of an even number of them the mean of the two in the middle.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    match (figures.get(low), figures.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}
