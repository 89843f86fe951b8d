//! `feature-server training-set`.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{Places, wrong_usage};
use crate::progress::Progress;
use crate::training::TrainingError;

#[derive(Args)]
pub(super) struct Arguments {
    /// The feature service whose inputs to add
    service: String,
    /// CSV file with the service's join keys and request features, `event_timestamp`, and whatever passes through
    #[arg(long, value_name = "FILE", env = "LARDER_ENTITIES")]
    entities: PathBuf,
    /// CSV file to write
    #[arg(long, value_name = "FILE", env = "LARDER_OUT")]
    out: PathBuf,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let labels = File::open(&arguments.entities)
        .with_context(|| format!("the labels {} cannot be read", arguments.entities.display()))?;
    // Under another name until it is whole: a training set that broke off must not look like one.
    let unfinished = unfinished(&arguments.out);
    let file = File::create(&unfinished).with_context(|| format!("{} cannot be written", unfinished.display()))?;
    let progress = Progress::shown(&arguments.service);
    let outcome = app
        .training_set(
            &arguments.service,
            BufReader::new(labels),
            BufWriter::new(file),
            &progress,
        )
        .await;
    progress.finish();
    match outcome {
        Ok(summary) => {
            std::fs::rename(&unfinished, &arguments.out)
                .with_context(|| format!("{} cannot be written", arguments.out.display()))?;
            println!(
                "{} rows, {} columns: {}",
                summary.rows,
                summary.columns,
                arguments.out.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // Nothing is lost if it stays.
            let _removed = std::fs::remove_file(&unfinished);
            match error {
                TrainingError::UnknownService(_) => Ok(wrong_usage(&error)),
                error => Err(error.into()),
            }
        }
    }
}

fn unfinished(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}
