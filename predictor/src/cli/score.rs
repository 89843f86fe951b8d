//! `predictor score`: every row of a file, predicted by the code that serves.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use feature_defs::time::Span;
use service::progress::Progress;
use table_files::{Format, NewFile, TableOutput};

use super::args::{LoadArgs, ModelArgs, RedisArgs};
use super::{WrongUsage, files};
use crate::model::{ModelName, Version};
use crate::predict::PredictError;
use crate::score::{ScoreError, ScoreSummary};

#[derive(Debug, Args)]
#[command(after_help = "\
Features are as of now, whatever moments the rows are of: for those of other moments there is `feature-server training-set`.
Columns named as the join keys and request features of the model's service are what a request would carry; an empty cell is
null. Further columns come out as they went in, followed by one an output, `prediction_error` (why a row has no prediction)
and `degraded` (why a prediction is less than it could be). Canary and shadow play no part, and what predictors share in
Redis neither.

Examples:
  predictor score flight_delay --in tomorrow.csv --out scored.parquet
  predictor score flight_delay --version 7 --in rows.parquet --out scored.csv --json")]
pub(super) struct Score {
    /// The model
    model: ModelName,
    /// The version, whether or not it gets traffic; the one that serves if not given
    #[arg(long, env = "LARDER_VERSION", value_name = "VERSION")]
    version: Option<Version>,
    /// CSV or Parquet file, each row an instance
    #[arg(long = "in", env = "LARDER_IN", value_name = "FILE")]
    input: PathBuf,
    /// CSV or Parquet file to write, as its name ends
    #[arg(long, env = "LARDER_OUT", value_name = "FILE")]
    out: PathBuf,
    /// How long a batch of 1,000 rows may take
    #[arg(long, env = "LARDER_SCORE_DEADLINE", default_value = "30s", value_name = "TIME")]
    deadline: Span,
    /// Print the summary as JSON
    #[arg(long, env = "LARDER_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Score {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let format = Format::of(&self.out).map_err(WrongUsage::new)?;
        if is_same_file(&self.out, &self.input) {
            let message = format!("--out and --in are both {}: the rows would be lost", self.out.display());
            return Err(WrongUsage(message).into());
        }
        let rows = files::open(&self.input)?;
        let versions: Vec<Version> = self.version.iter().cloned().collect();
        let app = files::load((&self.load, &self.models, &self.redis), (&self.model, &versions))?;
        let summary = files::with_features(&app, async {
            let (file, to) = NewFile::create(&self.out)?;
            let progress = Progress::shown(self.model.as_str());
            let out = TableOutput { format, to };
            let outcome = app
                .score(&self.model, rows, out, (self.deadline.to_std(), &progress))
                .await;
            progress.finish();
            let summary = match outcome {
                Err(ScoreError::Model(PredictError::NeedsTensors(model))) => {
                    return Err(files::needs_tensors(&model).into());
                }
                outcome => outcome?,
            };
            file.finish()?;
            Ok(summary)
        })
        .await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}: {}", line(&summary), self.out.display());
        }
        Ok(())
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    matches!((real(one), real(other)), (Some(one), Some(other)) if one == other)
}

fn line(summary: &ScoreSummary) -> String {
    let ScoreSummary {
        model,
        version,
        rows,
        failed,
        degraded,
        cache_hits,
        rows_per_second,
        ..
    } = summary;
    format!(
        "model {model} version {version}: {rows} rows, {failed} failed, {degraded} degraded, {cache_hits} cache hits, \
         {rows_per_second:.0} rows/s"
    )
}
