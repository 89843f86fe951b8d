//! `feature-server push`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Serialize;

use super::{Places, print_json, wrong_usage};
use crate::app::App;
use crate::push::{PushError, PushOptions, Pushed, PushedRow};

/// Rows pushed at a time, each time all or none.
const BATCH_ROWS: usize = 1_000;
/// The same for wide rows.
const BATCH_BYTES: usize = 1 << 20;
/// A longer line is no row.
const LINE_BYTES: usize = 1 << 20;
/// So many lines are named where any number may be meant.
const SHOWN: usize = 100;

#[derive(Args)]
pub(super) struct Arguments {
    /// The feature view that the rows are for, or the source
    view: String,
    /// One JSON object a line: a row by column of the source's `push_to`, or by the view's join keys and features; `-` is
    /// standard input
    #[arg(value_name = "FILE.ndjson")]
    file: String,
    /// Take the rows that are right where others are wrong
    #[arg(long, env = "LARDER_PARTIAL", value_parser = BoolishValueParser::new())]
    partial: bool,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// What became of the file's rows.
#[derive(Debug, Default, Serialize)]
struct Told {
    appended: u64,
    views: BTreeMap<String, Counts>,
    /// Lines of rows whose time has not come.
    future: Lines,
    /// Lines that were not taken.
    refused: Lines,
    not_online: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    written: u64,
    older: u64,
}

/// How many lines, and which the first are.
#[derive(Debug, Default, Serialize)]
struct Lines {
    rows: u64,
    lines: Vec<usize>,
}

impl Lines {
    fn add(&mut self, line: usize) {
        self.rows += 1;
        if self.lines.len() < SHOWN {
            self.lines.push(line);
        }
    }
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let file: Box<dyn Read> = match arguments.file.as_str() {
        "-" => Box::new(stdin()),
        path => Box::new(File::open(path).with_context(|| format!("{path} cannot be read"))?),
    };
    let mut reading = Reading {
        name: match arguments.file.as_str() {
            "-" => "standard input",
            path => path,
        },
        file: BufReader::new(file),
        line: 0,
        is_at_end: false,
    };
    let mut told = Told::default();
    // A file without rows has its view looked up, too.
    while !reading.is_at_end {
        let from = reading.line + 1;
        let pushed = match reading.batch() {
            Ok(batch) => push(&app, arguments, batch, &mut told).await,
            Err(error) => Err(Stopped::Failed(error)),
        };
        match pushed {
            Ok(()) => {}
            Err(Stopped::Usage(error)) => return Ok(wrong_usage(&error)),
            Err(Stopped::Failed(error)) => {
                let next = match error.downcast_ref() {
                    Some(PushError::Unknown(_)) => format!("then come lines {from} to {}", reading.line),
                    _ => "from there on push them again when this is mended".to_owned(),
                };
                return Err(match told.appended {
                    0 => error.context("nothing is appended"),
                    appended => error.context(format!(
                        "{} before line {from} {} appended; {next}",
                        counted(appended, "row"),
                        if appended == 1 { "is" } else { "are" }
                    )),
                });
            }
        }
    }
    tell(&told, arguments.json)?;
    Ok(match told.refused.rows {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Why nothing more is pushed.
enum Stopped {
    Usage(PushError),
    Failed(anyhow::Error),
}

/// Pushes the rows of a batch, and adds what became of them.
async fn push(app: &App, arguments: &Arguments, batch: Batch, told: &mut Told) -> Result<(), Stopped> {
    let options = PushOptions {
        partial: arguments.partial,
    };
    let Batch { rows, lines, problems } = batch;
    let line = |row: usize| lines.get(row).copied().unwrap_or_default();
    if !problems.is_empty() && !options.partial {
        return Err(Stopped::Failed(refusal(&problems, problems.len())));
    }
    for (line, problem) in problems {
        told.refused.add(line);
        eprintln!("line {line}: {problem}");
    }
    let pushed = match app.push(&arguments.view, &rows, options).await {
        Ok(pushed) => pushed,
        Err(error @ (PushError::UnknownTarget(_) | PushError::NoTable(_))) => return Err(Stopped::Usage(error)),
        Err(PushError::Rows { errors, count }) => {
            let errors: Vec<(usize, String)> = errors
                .into_iter()
                .map(|error| (line(error.row), error.message))
                .collect();
            return Err(Stopped::Failed(refusal(&errors, count)));
        }
        Err(error) => return Err(Stopped::Failed(error.into())),
    };
    told.add(pushed, line);
    Ok(())
}

fn refusal(problems: &[(usize, String)], count: usize) -> anyhow::Error {
    let mut text = format!("{count} {} wrong:", if count == 1 { "line is" } else { "lines are" });
    for (line, problem) in problems.iter().take(SHOWN) {
        text.push_str(&format!("\n  line {line}: {problem}"));
    }
    if let more @ 1.. = count.saturating_sub(problems.len().min(SHOWN)) {
        text.push_str(&format!("\n  and {more} more"));
    }
    anyhow::Error::msg(text)
}

impl Told {
    fn add(&mut self, pushed: Pushed, line: impl Fn(usize) -> usize) {
        self.appended += pushed.appended;
        for view in pushed.views {
            let counts = self.views.entry(view.view.to_string()).or_default();
            counts.written += view.written;
            counts.older += view.older;
        }
        for row in pushed.future {
            self.future.add(line(row));
        }
        for error in pushed.errors {
            self.refused.add(line(error.row));
            eprintln!("line {}: {}", line(error.row), error.message);
        }
        // What follows is most likely not online for the same reason.
        self.not_online = self.not_online.take().or(pushed.not_online);
    }
}

fn tell(told: &Told, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(told);
    }
    outln!("{} appended", counted(told.appended, "row"));
    for (view, Counts { written, older }) in &told.views {
        outln!(
            "{view}: {} written, {} older than what is served",
            counted(*written, "value"),
            counted(*older, "row")
        );
    }
    if told.future.rows > 0 {
        let mut first: Vec<String> = told.future.lines.iter().take(10).map(ToString::to_string).collect();
        first.extend((told.future.rows > 10).then(|| "…".to_owned()));
        outln!(
            "{} of the future, to be served when the time has come: at line {}",
            counted(told.future.rows, "row"),
            first.join(", ")
        );
    }
    if told.refused.rows > 0 {
        outln!(
            "{} not taken: push only what is corrected",
            counted(told.refused.rows, "row")
        );
    }
    if let Some(problem) = &told.not_online {
        outln!("appended, but not online before the next run, so do not push again: {problem}");
    }
    Ok(())
}

/// `1 row`, `2 rows`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A file that is read a batch at a time.
struct Reading<'a> {
    name: &'a str,
    file: BufReader<Box<dyn Read>>,
    /// The last one read, from 1.
    line: usize,
    is_at_end: bool,
}

/// Some lines of it.
#[derive(Default)]
struct Batch {
    rows: Vec<PushedRow>,
    /// Where each row stands; then those of the lines that are no rows.
    lines: Vec<usize>,
    problems: Vec<(usize, String)>,
}

impl Reading<'_> {
    /// The next lines.
    fn batch(&mut self) -> anyhow::Result<Batch> {
        let mut batch = Batch::default();
        let (mut bytes, mut lines) = (0, 0);
        while lines < BATCH_ROWS && bytes < BATCH_BYTES {
            let mut text = Vec::new();
            let limit = LINE_BYTES as u64 + 1;
            let read = self.file.by_ref().take(limit).read_until(b'\n', &mut text);
            let read = read.with_context(|| format!("{} cannot be read", self.name))?;
            if read == 0 {
                self.is_at_end = true;
                break;
            }
            self.line += 1;
            if read > LINE_BYTES {
                bail!(
                    "line {} of {} is longer than {LINE_BYTES} bytes: no row is",
                    self.line,
                    self.name
                );
            }
            bytes += read;
            if text.trim_ascii().is_empty() {
                continue;
            }
            lines += 1;
            match serde_json::from_slice(&text) {
                Ok(row) => {
                    batch.rows.push(row);
                    batch.lines.push(self.line);
                }
                Err(error) => batch
                    .problems
                    .push((self.line, format!("no JSON object, by column {}", error.column()))),
            }
        }
        Ok(batch)
    }
}
