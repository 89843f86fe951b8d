//! `feature-server forget`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::get::pair;
use super::{Places, print_json, wrong_usage};
use crate::forget::{ForgetError, Forgotten};

#[derive(Args)]
pub(super) struct Arguments {
    /// The entity's join keys: carrier=UA, or carrier=UA origin=JFK
    #[arg(value_name = "KEY=VALUE", value_parser = pair, required = true)]
    keys: Vec<(String, String)>,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_store().await?;
    match app.forget(&arguments.keys).await {
        Ok(forgotten) if arguments.json => print_json(&forgotten)?,
        Ok(forgotten) => out!("{}", text(&forgotten)),
        Err(error @ ForgetError::Entity(_)) => return Ok(wrong_usage(&error)),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(forgotten: &Forgotten) -> String {
    let mut text = String::new();
    for view in &forgotten.views {
        let told = if view.had_value { "removed" } else { "had nothing" };
        text.push_str(&format!("{} {}: {told}\n", forgotten.entity, view.view));
    }
    text.push_str("recorded. If the source still has the entity's rows, its values return with the next full run, or when its rows change, and `verify` calls them missing until then\n");
    if !forgotten.part_of.is_empty() {
        let views: Vec<String> = forgotten.part_of.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "not touched, as their entities have more join keys: {}; forget those by all of their keys\n",
            views.join(", ")
        ));
    }
    text
}
