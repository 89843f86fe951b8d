//! `feature-server get`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::table::{span, table};
use super::{Places, print_json, wrong_usage};
use crate::online::{FeatureValue, GetError};

#[derive(Args)]
pub(super) struct Arguments {
    /// The feature service
    service: String,
    /// Join keys and request features: carrier=UA origin=JFK; request features that are absent are null
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_usual_source().await?;
    match app.get(&arguments.service, &arguments.values).await {
        Ok(features) => {
            if arguments.json {
                print_json(&features)?
            } else {
                out!("{}", text(&features))
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ (GetError::UnknownService(_) | GetError::Values(_))) => Ok(wrong_usage(&error)),
        Err(error) => Err(error.into()),
    }
}

fn text(features: &[FeatureValue]) -> String {
    let rows: Vec<[String; 5]> = features
        .iter()
        .map(|feature| {
            let value = if feature.value.is_null() {
                "null".to_owned()
            } else {
                feature.value.to_string()
            };
            [
                feature.feature.clone(),
                if feature.defaulted {
                    format!("{value} (default)")
                } else {
                    value
                },
                feature.status.name().to_owned(),
                feature
                    .age_ms
                    .map_or_else(|| "-".to_owned(), |ms| span(ms.saturating_mul(1_000))),
                feature
                    .event_timestamp
                    .map_or_else(|| "-".to_owned(), |at| at.to_string()),
            ]
        })
        .collect();
    table(["feature", "value", "status", "age", "event timestamp"], &rows)
}
