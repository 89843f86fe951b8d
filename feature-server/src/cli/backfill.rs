//! `feature-server backfill`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use feature_defs::time::Span;

use super::runs::{Runs, Sharing};
use super::time::When;
use super::{Places, wrong_usage};
use crate::materialize::{Backfill, RunError};
use service::progress::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    /// The view
    view: String,
    /// Rows with an event timestamp after this are read: RFC 3339, or how long ago, such as -30d, which no --resume finds again
    #[arg(long, env = "LARDER_START", value_name = "T", allow_hyphen_values = true)]
    start: When,
    /// Up to and with this one [default: now]
    #[arg(long, env = "LARDER_END", value_name = "T", allow_hyphen_values = true)]
    end: Option<When>,
    /// The length of a step: what is computed, and lost by a crash, at a time
    #[arg(long, env = "LARDER_EVERY", value_name = "SPAN", default_value = "1d")]
    every: Span,
    /// Compute an aggregate view as of the end of every step, not only of the last, which is all that stays visible online
    #[arg(long, env = "LARDER_ALL_STEPS", value_parser = BoolishValueParser::new())]
    all_steps: bool,
    #[command(flatten)]
    sharing: Sharing,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let view = match app.view(&arguments.view) {
        Ok(view) => view,
        Err(unknown) => return Ok(wrong_usage(&unknown)),
    };
    app.reach_store().await?;
    app.reach_sources(std::iter::once(&*view.source)).await?;
    let now = app.now_at(&view.source).await?;
    let backfill = Backfill {
        start: arguments.start.resolve(now),
        end: arguments.end.map_or(now, |end| end.resolve(now)),
        every: arguments.every,
        all_steps: arguments.all_steps,
        shard: arguments.sharing.shard(),
        resume: arguments.sharing.resume,
    };
    if view.is_aggregate() && !arguments.all_steps {
        eprintln!(
            "{} is an aggregate view: online, only its values as of the end, {}, will be visible, so only they are computed (--all-steps computes each step's)",
            view.name, backfill.end
        );
    }
    let progress = if view.is_aggregate() && !arguments.all_steps {
        Progress::shown(&arguments.view)
    } else {
        Progress::of_steps(&arguments.view)
    };
    let ended = match app.backfill(&arguments.view, &backfill, &progress).await {
        Err(error @ (RunError::Range(_) | RunError::Future { .. })) => return Ok(wrong_usage(&error)),
        ended => ended,
    };
    let mut runs = Runs::default();
    runs.add(&arguments.view, ended);
    runs.print(arguments.json)
}
