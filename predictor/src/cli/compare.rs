//! `predictor compare`: two versions of a model on the same rows of a file.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use service::progress::Progress;

use super::args::{LoadArgs, ModelArgs, RedisArgs};
use super::{WrongUsage, files};
use crate::compare::{CompareError, Comparison, Latency, OutputComparison};
use crate::model::{ModelName, Version};
use crate::predict::PredictError;

#[derive(Debug, Args)]
#[command(after_help = "\
Features are as of now, read once for both versions: a label of the past is compared with what the model says of the entity
as it is today. Columns named as the join keys and request features of the versions' services are what a request would carry.
Caches and fallbacks play no part. Versions need not get traffic. Latency is that of the model alone, run here in turns on
rows of which no two are the same; the rest of the machine should be idle.

Quality by --label: AUC and log loss for probabilities by 0 and 1 (or false and true), accuracy for texts, booleans and whole
numbers, the root of the mean squared error for other numbers.

Examples:
  predictor compare flight_delay 6 7 --in yesterday.csv --label was_late
  predictor compare flight_delay 7 7-quantized --in rows.parquet --json")]
pub(super) struct Compare {
    /// The model
    model: ModelName,
    /// The version to compare with
    #[arg(value_name = "VERSION")]
    one: Version,
    /// The version that is compared
    #[arg(value_name = "OTHER_VERSION")]
    other: Version,
    /// CSV or Parquet file, each row an instance
    #[arg(long = "in", env = "LARDER_IN", value_name = "FILE")]
    input: PathBuf,
    /// Column that says what was to be predicted
    #[arg(long, env = "LARDER_LABEL", value_name = "COLUMN")]
    label: Option<String>,
    /// Print all of it as JSON
    #[arg(long, env = "LARDER_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Compare {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let rows = files::open(&self.input)?;
        let versions = [self.one.clone(), self.other.clone()];
        let app = files::load((&self.load, &self.models, &self.redis), (&self.model, &versions))?;
        let comparison = files::with_features(&app, async {
            let progress = Progress::shown(self.model.as_str());
            let model = (&self.model, [&self.one, &self.other]);
            let outcome = app.compare(model, (rows, self.label.as_deref()), &progress).await;
            progress.finish();
            match outcome {
                Err(CompareError::Model(PredictError::NeedsTensors(model))) => Err(files::needs_tensors(&model).into()),
                Err(error @ CompareError::NoLabel { .. }) => Err(WrongUsage::new(error).into()),
                outcome => Ok(outcome?),
            }
        })
        .await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&comparison)?);
        } else {
            print!("{}", text(&comparison));
        }
        Ok(())
    }
}

/// All of it, for people.
fn text(comparison: &Comparison) -> String {
    let Comparison {
        model,
        versions: [one, other],
        file,
        features,
        rows,
        compared,
        ..
    } = comparison;
    let mut lines = vec![
        format!("model {model}, versions {one} and {other}: {compared} of {rows} rows of {file} compared"),
        format!("features: {features}"),
        String::new(),
    ];
    lines.extend(aligned(&table(comparison)));
    for (version, failed) in comparison.versions.iter().zip(&comparison.failed) {
        if let Some(first) = &failed.first {
            lines.push(format!("version {version} failed first at {first}"));
        }
    }
    for output in &comparison.outputs {
        lines.push(String::new());
        lines.extend(agreement(output));
    }
    lines.extend(comparison.not_compared.iter().map(|why| format!("not compared: {why}")));
    lines.into_iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What there is one number a version of.
fn table(comparison: &Comparison) -> Vec<[String; 4]> {
    let [one, other] = comparison.versions.each_ref().map(ToString::to_string);
    let [size, other_size] = comparison.size_bytes;
    let mut table = vec![[String::new(), one.clone(), other.clone(), format!("{other}/{one}")]];
    #[expect(clippy::cast_precision_loss, reason = "files have no 2^53 bytes")]
    table.push([
        "file, bytes".to_owned(),
        size.to_string(),
        other_size.to_string(),
        format!("{:.2}", other_size as f64 / (size as f64).max(1.0)),
    ]);
    for latency in &comparison.latency {
        let Latency { rows, runs, .. } = latency;
        let what = |name: &str| match rows {
            1 => format!("1 row, {name} of {runs} runs, µs"),
            rows => format!("{rows} rows, {name} of {runs} runs, µs"),
        };
        let row = |name: &str, us: [f64; 2], ratio: f64| {
            let [one, other] = us.map(|us| format!("{us:.1}"));
            [what(name), one, other, format!("{ratio:.2}")]
        };
        table.push(row("p50", latency.p50_us, latency.p50_ratio));
        table.push(row("p99", latency.p99_us, latency.p99_ratio));
    }
    for output in &comparison.outputs {
        for measure in &output.quality {
            let [one, other] = measure.values.map(|value| format!("{value:.6}"));
            let what = format!("{}: {} on {} rows", output.output, measure.measure, measure.rows);
            table.push([what, one, other, String::new()]);
        }
    }
    let [one, other] = comparison.failed.each_ref().map(|failed| failed.rows.to_string());
    table.push(["failed rows".to_owned(), one, other, String::new()]);
    table
}

fn aligned(table: &[[String; 4]]) -> Vec<String> {
    let width = |column: usize| {
        table
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(width);
    let line = |[what, one, other, ratio]: &[String; 4]| format!("{what:a$}  {one:>b$}  {other:>c$}  {ratio:>d$}");
    table.iter().map(line).collect()
}

fn agreement(output: &OutputComparison) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or("none".to_owned(), |share| format!("{:.2}%", 100.0 * share));
    let mut lines = vec![match output.near {
        None => format!(
            "output {}: the same on {} of the rows",
            output.output,
            share(output.same)
        ),
        near => format!(
            "output {}: within 1e-6 on {}, within 1e-3 on {} of the rows; largest difference {}, mean {}",
            output.output,
            share(output.same),
            share(near),
            number(output.largest_difference),
            number(output.mean_difference)
        ),
    }];
    for row in &output.differing {
        let [one, other] = &row.values;
        lines.push(format!("  {}: {one} and {other}", row.row));
    }
    lines
}

/// A number in few digits.
fn number(number: Option<f64>) -> String {
    match number {
        None => "none".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(x) if (1e-3..1e6).contains(&x.abs()) => format!("{x:.6}"),
        Some(x) => format!("{x:.3e}"),
    }
}
