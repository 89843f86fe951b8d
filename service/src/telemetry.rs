//! Logs and metrics: set up once per process, the same way in both servers.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Bounds of duration histograms (names end in `_seconds`): 50 µs to 10 s, so that a Redis round trip and a stuck
/// request both show, and replicas can be added up.
const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_35, 0.000_5, 0.000_75, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
    2.5, 10.0,
];

/// The bounds of histograms of rows.
const ROWS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0,
];
/// Bounds of how long runs take: 100 ms to an hour.
const RUN_SECONDS: [f64; 12] = [
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0,
];

/// How often samples are folded into their histograms.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How to log.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What to log: a level, or `target=level` pairs with commas between
    #[arg(
        long,
        env = "LARDER_LOG",
        default_value = "info,ort=warn",
        global = true,
        help_heading = "Logging"
    )]
    pub log: String,
    /// Log lines for people or for machines
    #[arg(
        long,
        env = "LARDER_LOG_FORMAT",
        default_value = "text",
        global = true,
        help_heading = "Logging"
    )]
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// one line of text
    Text,
    /// one JSON object a line
    Json,
}

/// Starts logging to standard error: standard output belongs to what a command prints.
///
/// # Errors
/// If the filter can't be parsed.
pub fn init_logs(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| anyhow::anyhow!("LARDER_LOG / --log `{}` is not a filter: {error}", args.log))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A subscriber that is there already (another server in the same process, in tests) stays.
    let _already = match args.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Installs the process's metrics recorder at the first call; the same handle after that.
///
/// # Panics
/// If another recorder is installed already, which only a program of other make could have done.
pub fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
                .expect("the bounds are not empty")
                .set_buckets_for_metric(
                    Matcher::Full("larder_materialization_duration_seconds".into()),
                    &RUN_SECONDS,
                )
                .expect("the bounds are not empty")
                .set_buckets_for_metric(Matcher::Suffix("_batch_rows".into()), &ROWS)
                .expect("the bounds are not empty")
                .install_recorder()
                .expect("no other metrics recorder in this process");
            keep_up(handle.clone());
            handle
        })
        .clone()
}

/// Folds samples into their histograms, whether or not anybody asks for metrics: until then they pile up.
fn keep_up(handle: PrometheusHandle) {
    let upkeep = move || loop {
        std::thread::sleep(UPKEEP_EVERY);
        handle.run_upkeep();
    };
    if let Err(error) = std::thread::Builder::new().name("metrics".to_owned()).spawn(upkeep) {
        tracing::error!("metrics take more and more memory while nobody reads them: {error}");
    }
}

/// `GET /metrics`, in Prometheus's text format.
pub fn metrics_route() -> Router {
    let handle = metrics_handle();
    Router::new().route(
        "/metrics",
        get(move || async move {
            handle.run_upkeep();
            (
                [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
                handle.render(),
            )
        }),
    )
}
