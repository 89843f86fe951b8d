//! `feature-server plan` and `apply`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{Places, print_json};

#[derive(Args)]
pub(super) struct Arguments {
    /// The model repository, to tell which model versions a change touches [default: they are not looked at]
    #[arg(long, env = "LARDER_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn plan(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_store().await?;
    let plan = app.plan(arguments.models.as_deref()).await?;
    if arguments.json {
        print_json(&plan)?;
    } else {
        out!("{plan}");
        if !plan.changes.is_empty() {
            outln!("`feature-server apply` makes these the definitions that values come from");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn apply(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_store().await?;
    let plan = app.apply(arguments.models.as_deref()).await?;
    if arguments.json {
        print_json(&plan)?;
    } else {
        out!("{plan}");
        if !plan.changes.is_empty() {
            outln!("applied: values come from these definitions from now on");
        }
    }
    Ok(ExitCode::SUCCESS)
}
