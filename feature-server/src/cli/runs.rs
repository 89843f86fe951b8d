//! What the commands that run views have in common: how a run is shared and continued, and how its end is told.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::print_json;
use super::table::{span, table};
use crate::materialize::{RunError, RunOutcome, RunSummary};
use crate::shard::Shard;

#[derive(Args)]
pub(super) struct Sharing {
    /// Do one part of a run that several processes share, such as 2/4: each with its own number, all of one number of parts.
    /// The first fixes the moment; the run is done when all parts are
    #[arg(long, env = "LARDER_SHARD", value_name = "I/N")]
    shard: Option<Shard>,
    /// Go on with the view's last run where it was interrupted, if it was; begin one if not
    #[arg(long, env = "LARDER_RESUME", value_parser = BoolishValueParser::new())]
    pub(super) resume: bool,
}

impl Sharing {
    pub(super) fn shard(&self) -> Shard {
        self.shard.unwrap_or(Shard::WHOLE)
    }
}

/// How the runs of a command ended.
#[derive(Default)]
pub(super) struct Runs {
    done: Vec<RunSummary>,
    failed: bool,
}

impl Runs {
    pub(super) fn add(&mut self, view: &str, ended: Result<Vec<RunSummary>, RunError>) {
        match ended {
            Ok(runs) => self.done.extend(runs),
            Err(error) => {
                self.failed = true;
                eprintln!("error: {view}: {error}");
            }
        }
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<ExitCode> {
        if json {
            print_json(&self.done)?
        } else {
            out!("{}", text(&self.done))
        }
        Ok(if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn text(runs: &[RunSummary]) -> String {
    let rows: Vec<[String; 7]> = runs
        .iter()
        .map(|run| {
            [
                run.view.to_string(),
                kind(run),
                run.as_of.to_string(),
                run.counts.read.to_string(),
                run.counts.written.to_string(),
                run.counts.older.to_string(),
                span(i64::try_from(run.duration_ms).unwrap_or(i64::MAX).saturating_mul(1_000)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = table(["view", "run", "as of", "read", "written", "older", "took"], &rows);
    for (run, warning) in runs.iter().flat_map(|run| run.warnings.iter().map(move |w| (run, w))) {
        text.push_str(&format!("not as expected: {}: {warning}\n", run.view));
    }
    text
}

fn kind(run: &RunSummary) -> String {
    let kind = match &run.forced_full {
        Some(why) => format!("forced full: {why}"),
        None => run.kind.name().to_owned(),
    };
    let waits = |shards: &[u32]| {
        let shards: Vec<String> = shards.iter().map(u32::to_string).collect();
        match shards.as_slice() {
            [] => String::new(),
            shards => format!(", waits for shards {}", shards.join(", ")),
        }
    };
    match &run.outcome {
        RunOutcome::Done => kind,
        RunOutcome::ShardDone { waiting_for } => format!("{kind}{}", waits(waiting_for)),
        RunOutcome::AlreadyDone { waiting_for } => format!("{kind}, done before{}", waits(waiting_for)),
    }
}
