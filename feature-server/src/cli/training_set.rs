//! `feature-server training-set`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use table_files::{FileError, Format, NewFile, TableOutput, TableReader};

use super::{Places, wrong_usage};
use crate::app::App;
use service::progress::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    /// The feature service whose inputs to add
    service: String,
    /// CSV or Parquet file with the service's join keys and request features, `event_timestamp`, and whatever passes
    /// through
    #[arg(long, value_name = "FILE", env = "LARDER_ENTITIES")]
    entities: PathBuf,
    /// CSV or Parquet file to write, as its name ends; its types are the service's, and the labels' own
    #[arg(long, value_name = "FILE", env = "LARDER_OUT")]
    out: Option<PathBuf>,
    /// Print the SQL and Postgres's plan of it for the first labels; write nothing
    #[arg(long, env = "LARDER_EXPLAIN", value_parser = BoolishValueParser::new())]
    explain: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    if let Err(unknown) = app.service(&arguments.service) {
        return Ok(wrong_usage(&unknown));
    }
    let labels = match TableReader::open(&arguments.entities) {
        Err(error @ FileError::Extension { .. }) => return Ok(wrong_usage(&error)),
        labels => labels?,
    };
    if arguments.explain {
        out!("{}", app.explain_training_set(&arguments.service, labels).await?);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(out) = &arguments.out else {
        return Ok(wrong_usage(&"where to? Say --out <FILE>, or only --explain"));
    };
    if is_same_file(out, &arguments.entities) {
        let message = format!(
            "--out and --entities are both {}: the labels would be lost",
            out.display()
        );
        return Ok(wrong_usage(&message));
    }
    match Format::of(out) {
        Ok(format) => write(&app, &arguments.service, labels, (out, format)).await,
        Err(error) => Ok(wrong_usage(&error)),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    matches!((real(one), real(other)), (Some(one), Some(other)) if one == other)
}

/// Writes the training set.
async fn write(
    app: &App,
    service: &str,
    labels: TableReader,
    (out, format): (&Path, Format),
) -> anyhow::Result<ExitCode> {
    let (file, to) = NewFile::create(out)?;
    let progress = Progress::shown(service);
    let outcome = app
        .training_set(service, labels, TableOutput { format, to }, &progress)
        .await;
    progress.finish();
    let summary = outcome?;
    file.finish()?;
    outln!("{} rows, {} columns: {}", summary.rows, summary.columns, out.display());
    Ok(ExitCode::SUCCESS)
}
