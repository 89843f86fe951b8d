//! How far long work has come: a bar on a terminal, log lines elsewhere, nothing in tests and schedules.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LOG_EVERY: Duration = Duration::from_secs(10);

/// A counter that shows itself.
#[derive(Debug, Default)]
pub struct Progress {
    unit: Unit,
    shown: Shown,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Unit {
    #[default]
    Rows,
    Steps,
}

#[derive(Debug, Default)]
enum Shown {
    #[default]
    Hidden,
    Bar(ProgressBar),
    Log {
        what: String,
        started: Instant,
        state: Mutex<Told>,
    },
}

#[derive(Debug)]
struct Told {
    done: u64,
    of: Option<u64>,
    last: Instant,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Steps => "steps",
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress {
    /// One that does not show.
    pub fn hidden() -> Self {
        Self::default()
    }

    /// One that shows how many rows of `what` are done.
    pub fn shown(what: &str) -> Self {
        Self::of(Unit::Rows, what)
    }

    /// One that shows how many steps of `what` are done.
    pub fn of_steps(what: &str) -> Self {
        Self::of(Unit::Steps, what)
    }

    fn of(unit: Unit, what: &str) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            let template = format!(
                "{{spinner}} {{msg}} {{human_pos}} {}, {{per_sec}}, {{elapsed}}",
                unit.name()
            );
            bar.set_style(style(&template));
            bar.set_message(what.to_owned());
            Shown::Bar(bar)
        } else {
            let started = Instant::now();
            Shown::Log {
                what: what.to_owned(),
                started,
                state: Mutex::new(Told {
                    done: 0,
                    of: None,
                    last: started,
                }),
            }
        };
        Self { unit, shown }
    }

    /// It is known now how many rows, or steps, there are.
    pub fn expect(&self, count: u64) {
        match &self.shown {
            Shown::Hidden => {}
            Shown::Bar(bar) => {
                bar.set_length(count);
                let unit = self.unit.name();
                let template =
                    format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left");
                bar.set_style(style(&template));
            }
            Shown::Log { state, .. } => {
                if let Ok(mut state) = state.lock() {
                    state.of = Some(count);
                }
            }
        }
    }

    /// So many more rows are done. Where steps are counted, a step counts when it is done.
    pub fn advance(&self, rows: u64) {
        if self.unit == Unit::Rows {
            self.count(rows);
        }
    }

    /// Another step is done.
    pub fn step(&self) {
        if self.unit == Unit::Steps {
            self.count(1);
        }
    }

    fn count(&self, more: u64) {
        match &self.shown {
            Shown::Hidden => {}
            Shown::Bar(bar) => bar.inc(more),
            Shown::Log { what, started, state } => {
                let Ok(mut state) = state.lock() else { return };
                state.done += more;
                if state.last.elapsed() >= LOG_EVERY {
                    state.last = Instant::now();
                    let (done, of, unit) = (state.done, state.of, self.unit.name());
                    let a_second = done / started.elapsed().as_secs().max(1);
                    let left_s = of.map(|of| of.saturating_sub(done) / a_second.max(1));
                    tracing::info!(done, of, a_second, left_s, "{what}: {unit}");
                }
            }
        }
    }

    /// It is over: a bar disappears.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
