//! `feature-server materialize`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::table::{span, table};
use super::time::When;
use super::{Places, print_json, wrong_usage};
use crate::materialize::{Mode, RunSummary};
use crate::progress::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    /// The views to materialize; all, if none is named
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Compute only what may have changed since the last run
    #[arg(long, env = "LARDER_INCREMENTAL", value_parser = BoolishValueParser::new())]
    incremental: bool,
    /// The moment to compute values of: RFC 3339, or how long ago, such as -7d [default: now]
    #[arg(long, env = "LARDER_AS_OF", value_name = "T", allow_hyphen_values = true)]
    as_of: Option<When>,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let mut views = Vec::new();
    for name in &arguments.views {
        match app.view(name) {
            Ok(view) => views.push(view.name.as_str()),
            Err(unknown) => return Ok(wrong_usage(&unknown)),
        }
    }
    if views.is_empty() {
        views = app.definitions().views.iter().map(|view| view.name.as_str()).collect();
    }
    app.reach_store().await?;
    app.reach_source().await?;
    let as_of = match arguments.as_of {
        Some(when) => Some(when.resolve(app.now().await?)),
        None => None,
    };
    let mode = if arguments.incremental {
        Mode::Incremental
    } else {
        Mode::Full
    };
    let mut done = Vec::new();
    let mut failed = false;
    for view in views {
        let progress = Progress::shown(view);
        match app.materialize(view, mode, as_of, &progress).await {
            Ok(summary) => done.push(summary),
            Err(error) => {
                failed = true;
                eprintln!("error: {view}: {error}");
            }
        }
    }
    if arguments.json {
        print_json(&done)?
    } else {
        print!("{}", text(&done))
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(runs: &[RunSummary]) -> String {
    let rows: Vec<[String; 7]> = runs
        .iter()
        .map(|run| {
            [
                run.view.to_string(),
                run.forced_full
                    .as_ref()
                    .map_or_else(|| run.kind.name().to_owned(), |why| format!("forced full: {why}")),
                run.as_of.to_string(),
                run.counts.read.to_string(),
                run.counts.written.to_string(),
                run.counts.older.to_string(),
                span(i64::try_from(run.duration_ms).unwrap_or(i64::MAX).saturating_mul(1_000)),
            ]
        })
        .collect();
    if rows.is_empty() {
        String::new()
    } else {
        table(["view", "run", "as of", "read", "written", "older", "took"], &rows)
    }
}
