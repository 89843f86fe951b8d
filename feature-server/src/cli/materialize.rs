//! `feature-server materialize`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::runs::{Runs, Sharing};
use super::time::When;
use super::{Places, wrong_usage};
use crate::materialize::{Mode, RunError, RunRequest};
use service::progress::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    /// The views to materialize; all, if none is named
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Compute only what may have changed since the last run
    #[arg(long, env = "LARDER_INCREMENTAL", value_parser = BoolishValueParser::new())]
    incremental: bool,
    /// Compute everything as of now, whatever stands online, and remove what the source no longer has: for a source that was
    /// wrong
    #[arg(long, env = "LARDER_REPLACE", value_parser = BoolishValueParser::new(), conflicts_with_all = ["incremental", "as_of"])]
    replace: bool,
    /// The moment to compute values of: RFC 3339, or how long ago, such as -7d [default: now]
    #[arg(long, env = "LARDER_AS_OF", value_name = "T", allow_hyphen_values = true)]
    as_of: Option<When>,
    #[command(flatten)]
    sharing: Sharing,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let mut views = Vec::new();
    for name in &arguments.views {
        match app.view(name) {
            Ok(view) => views.push(view),
            Err(unknown) => return Ok(wrong_usage(&unknown)),
        }
    }
    if views.is_empty() {
        views = app.definitions().views.iter().collect();
    }
    app.reach_store().await?;
    let as_of = match arguments.as_of {
        Some(when) => {
            app.reach_usual_source().await?;
            let now = app.now().await?;
            let as_of = when.resolve(now);
            if as_of > now {
                return Ok(wrong_usage(&RunError::Future { as_of, now }));
            }
            Some(as_of)
        }
        None => None,
    };
    let request = RunRequest {
        mode: match (arguments.incremental, arguments.replace) {
            (_, true) => Mode::Replace,
            (true, false) => Mode::Incremental,
            (false, false) => Mode::Full,
        },
        as_of,
        shard: arguments.sharing.shard(),
        resume: arguments.sharing.resume,
    };
    let mut runs = Runs::default();
    for view in views.iter().map(|view| view.name.as_str()) {
        let progress = Progress::shown(view);
        let done = app.materialize(view, &request, &progress).await;
        runs.add(view, done.map(|run| vec![run]));
    }
    runs.print(arguments.json)
}
