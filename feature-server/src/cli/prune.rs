//! `feature-server prune`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::{Places, print_json};
use service::progress::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_store().await?;
    let (mut pruned, mut left) = (Vec::new(), Vec::new());
    for view in app.retired().await? {
        match app.prune(&view, &Progress::shown(view.as_str())).await {
            Ok(done) => pruned.push(done),
            Err(error) => {
                eprintln!("error: {view}: {error}");
                left.push(json!({"view": view, "problem": error.to_string()}));
            }
        }
    }
    if arguments.json {
        print_json(&json!({"pruned": pruned, "left": left}))?;
    } else if pruned.is_empty() && left.is_empty() {
        outln!("nothing is left of retired views");
    } else {
        for done in &pruned {
            let values = if done.values == 1 { "value" } else { "values" };
            outln!("{}: {} {values} removed", done.view, done.values);
        }
    }
    Ok(if left.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
