//! `feature-server verify`.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{Places, print_json, wrong_usage};
use crate::verify::{Difference, Verdict, Verification};
use service::progress::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    /// The views to verify; all, if none is named
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Entities to compare in each view
    #[arg(long, env = "LARDER_SAMPLE", value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// The largest share of them that may be different, missing or extra; beyond it the command fails
    #[arg(long, env = "LARDER_THRESHOLD", value_name = "SHARE", default_value_t = 0.0)]
    threshold: f64,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !(0.0..=1.0).contains(&arguments.threshold) {
        return Ok(wrong_usage(&"--threshold is a share: give 0 to 1"));
    }
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
    let sample = usize::try_from(arguments.sample)?;
    let (mut verifications, mut failed) = (Vec::new(), false);
    for view in views.iter().map(|view| view.name.as_str()) {
        let progress = Progress::shown(view);
        match app.verify(view, sample, &progress).await {
            Ok(verification) => {
                failed |= verification.wrong_share() > arguments.threshold;
                verifications.push(verification);
            }
            Err(error) => {
                progress.finish();
                failed = true;
                eprintln!("error: {view}: {error}");
            }
        }
    }
    if arguments.json {
        print_json(&verifications)?;
    } else {
        verifications
            .iter()
            .for_each(|verification| out!("{}", text(verification)));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(verification: &Verification) -> String {
    let Verification {
        view,
        as_of,
        entities,
        matched,
        different,
        missing,
        extra,
        stale,
        differences,
    } = verification;
    let mut text = format!(
        "{view} as of {as_of}: {entities} entities compared: {matched} matched, {different} different, {missing} missing, {extra} extra, {stale} stale\n"
    );
    for difference in differences {
        text.push_str(&line(difference));
    }
    text
}

fn line(difference: &Difference) -> String {
    let verdict = match difference.verdict {
        Verdict::Different => "different",
        Verdict::Missing => "missing",
        Verdict::Extra => "extra",
        Verdict::Stale => "stale (the next incremental run looks at it again)",
    };
    let mut what: Vec<String> = difference
        .features
        .iter()
        .map(|feature| {
            format!(
                "{} is {} online, {} by the source",
                feature.feature, feature.online, feature.source
            )
        })
        .collect();
    what.extend(
        difference
            .unreadable
            .iter()
            .map(|problem| format!("cannot be read: {problem}")),
    );
    format!("  {} {verdict}: {}\n", difference.entity, what.join("; "))
}
