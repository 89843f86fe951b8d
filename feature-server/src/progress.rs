//! How far long work has come: a bar on a terminal, log lines elsewhere, nothing in tests and schedules.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LOG_EVERY: Duration = Duration::from_secs(10);

/// A counter that shows itself.
#[derive(Debug, Default)]
pub struct Progress(Shown);

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[derive(Debug, Default)]
enum Shown {
    #[default]
    Hidden,
    Bar(ProgressBar),
    Log {
        what: String,
        started: Instant,
        state: Mutex<(u64, Instant)>,
    },
}

impl Progress {
    /// One that does not show.
    pub fn hidden() -> Self {
        Self::default()
    }

    /// One that shows how many rows of `what` are done.
    pub fn shown(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            let started = Instant::now();
            return Self(Shown::Log {
                what: what.to_owned(),
                started,
                state: Mutex::new((0, started)),
            });
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {msg} {human_pos} rows, {per_sec}, {elapsed}"));
        bar.set_message(what.to_owned());
        Self(Shown::Bar(bar))
    }

    /// It is known now how many rows there are.
    pub fn expect(&self, rows: u64) {
        if let Shown::Bar(bar) = &self.0 {
            bar.set_length(rows);
            bar.set_style(style(
                "{msg} {wide_bar} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
            ));
        }
    }

    /// So many more rows are done.
    pub fn advance(&self, rows: u64) {
        match &self.0 {
            Shown::Hidden => {}
            Shown::Bar(bar) => bar.inc(rows),
            Shown::Log { what, started, state } => {
                let Ok(mut state) = state.lock() else { return };
                state.0 += rows;
                if state.1.elapsed() >= LOG_EVERY {
                    state.1 = Instant::now();
                    let secs = started.elapsed().as_secs().max(1);
                    tracing::info!(rows = state.0, rows_per_s = state.0 / secs, "{what}");
                }
            }
        }
    }

    /// It is over: a bar disappears.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
