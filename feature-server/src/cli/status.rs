//! `feature-server status`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::table::{span, table};
use super::{Places, print_json};
use crate::freshness::{Cause, Promise, ViewStatus};
use crate::store::RunRecord;

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_store().await?;
    let statuses = app.status().await?;
    if arguments.json {
        print_json(&statuses)?
    } else {
        out!("{}", text(&statuses))
    }
    Ok(ExitCode::SUCCESS)
}

/// How a run ended, or how far it has come and who does it.
fn last_run(run: &RunRecord) -> String {
    let at = run
        .finished_at
        .unwrap_or(run.started_at)
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let rows = run.rows_written;
    match run.processes.iter().find(|process| process.outcome == "running") {
        Some(process) => format!(
            "{} running since {at}, {rows} rows so far, by process {} on {}",
            run.kind, process.pid, process.host
        ),
        None => format!("{} {} {at}, {rows} rows", run.kind, run.outcome),
    }
}

/// What to look at: why the promise is broken, which is more than that something is wrong.
fn problem(status: &ViewStatus) -> Option<String> {
    let broken = status.promise.as_ref().and_then(|promise| promise.broken.as_ref());
    match broken {
        // A failure has its words there, and more of them: what becomes of an interrupted run.
        Some(broken) if broken.cause != Cause::Failing => Some(broken.why.clone()),
        _ => status.problem.clone(),
    }
}

fn text(statuses: &[ViewStatus]) -> String {
    let or_never = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 9]> = statuses
        .iter()
        .map(|status| {
            [
                status.view.to_string(),
                or_never(status.freshness.entities.map(|n| n.to_string())),
                or_never(status.freshness.watermark.map(|at| at.to_string())),
                or_never(status.freshness.lag_ms.map(|ms| span(ms.saturating_mul(1_000)))),
                or_never(status.freshness.newest_row.map(|at| at.to_string())),
                or_never(status.last_run.as_ref().map(last_run)),
                match status.paused_since {
                    Some(_) => "paused".to_owned(),
                    None => or_never(status.next_run.map(|at| at.to_string())),
                },
                or_never(status.promise.as_ref().map(Promise::in_short)),
                or_never(problem(status)),
            ]
        })
        .collect();
    table(
        [
            "view",
            "entities",
            "watermark",
            "lag",
            "newest row",
            "last run",
            "next run",
            "promise",
            "problem",
        ],
        &rows,
    )
}
