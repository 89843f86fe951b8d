//! `feature-server training-set`.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use table_files::{Format, TableOutput, TableReader};

use super::{Places, wrong_usage};
use crate::app::App;
use crate::progress::Progress;
use crate::training::TrainingError;

#[derive(Args)]
pub(super) struct Arguments {
    /// The feature service whose inputs to add
    service: String,
    /// CSV or Parquet file with the service's join keys and request features, `event_timestamp`, and whatever passes
    /// through
    #[arg(long, value_name = "FILE", env = "LARDER_ENTITIES")]
    entities: PathBuf,
    /// CSV or Parquet file to write, as its name ends; its types are the service's, and the labels' own
    #[arg(long, value_name = "FILE", env = "LARDER_OUT", required_unless_present = "explain")]
    out: Option<PathBuf>,
    /// Print the SQL and Postgres's plan of it for the first labels; write nothing
    #[arg(long)]
    explain: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let labels = TableReader::open(&arguments.entities)?;
    let outcome = match &arguments.out {
        Some(out) if !arguments.explain => write(&app, &arguments.service, labels, out).await?,
        _ => explain(&app, &arguments.service, labels).await,
    };
    match outcome {
        Ok(said) => {
            println!("{said}");
            Ok(ExitCode::SUCCESS)
        }
        Err(TrainingError::UnknownService(error)) => Ok(wrong_usage(&error)),
        Err(error) => Err(error.into()),
    }
}

async fn explain(app: &App, service: &str, labels: TableReader) -> Result<String, TrainingError> {
    app.explain_training_set(service, labels).await
}

/// Writes the training set, under another name until it is whole: one that broke off must not look like one.
async fn write(
    app: &App,
    service: &str,
    labels: TableReader,
    out: &Path,
) -> anyhow::Result<Result<String, TrainingError>> {
    let format = Format::of(out)?;
    let unfinished = unfinished(out);
    let file = File::create(&unfinished).with_context(|| format!("{} cannot be written", unfinished.display()))?;
    let progress = Progress::shown(service);
    let output = TableOutput {
        format,
        to: BufWriter::new(file),
    };
    let outcome = app.training_set(service, labels, output, &progress).await;
    progress.finish();
    match outcome {
        Ok(summary) => {
            std::fs::rename(&unfinished, out).with_context(|| format!("{} cannot be written", out.display()))?;
            let place = out.display();
            Ok(Ok(format!(
                "{} rows, {} columns: {place}",
                summary.rows, summary.columns
            )))
        }
        Err(error) => {
            // Nothing is lost if it stays.
            let _removed = std::fs::remove_file(&unfinished);
            Ok(Err(error))
        }
    }
}

fn unfinished(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}
