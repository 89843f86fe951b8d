//! Logs and metrics: set up once per process, the same way in both servers.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::http::current_request;

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
    let ansi = std::io::stderr().is_terminal();
    // A subscriber that is there already (another server in the same process, in tests) stays.
    let _already = subscriber(filter, args.log_format, ansi, std::io::stderr).try_init();
    Ok(())
}

fn subscriber<W>(filter: EnvFilter, format: LogFormat, ansi: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi);
    match format {
        LogFormat::Text => Box::new(
            builder
                .map_event_format(|lines| OfRequest(lines.with_ansi(ansi), format))
                .finish(),
        ),
        LogFormat::Json => Box::new(
            builder
                .json()
                .map_event_format(|lines| OfRequest(lines, format))
                .finish(),
        ),
    }
}

/// Log lines that end with the request they belong to. Not by a span, which would cost every request some microseconds,
/// whether or not it has anything to log.
struct OfRequest<F>(F, LogFormat);

impl<S, N, F> FormatEvent<S, N> for OfRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(request) = current_request() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match self.1 {
            LogFormat::Text => {
                writer.write_str(line.trim_end())?;
                for (name, value) in request {
                    write!(writer, " {name}={value:?}")?;
                }
                writeln!(writer)
            }
            LogFormat::Json => {
                writer.write_str(line.trim_end().strip_suffix('}').unwrap_or(&line))?;
                for (name, value) in request {
                    write!(writer, ",\"{name}\":{}", serde_json::Value::from(value))?;
                }
                writeln!(writer, "}}")
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn lines_say_which_request_they_belong_to() {
        let router = Router::new().route("/log", get(|| async { tracing::warn!(rows = 2, "it happened") }));
        for (format, ending) in [
            (
                LogFormat::Text,
                " it happened rows=2 request_id=\"r\\\"1\" method=\"GET\" path=\"/log\"\n",
            ),
            (
                LogFormat::Json,
                ",\"request_id\":\"r\\\"1\",\"method\":\"GET\",\"path\":\"/log\"}\n",
            ),
        ] {
            let lines = Lines::default();
            let writer = lines.clone();
            let logging = subscriber(EnvFilter::new("info"), format, false, move || writer.clone());
            let _until_then = tracing::subscriber::set_default(logging);
            let request = Request::get("/log?secret=1").header("x-request-id", "r\"1");
            let request = request.body(Body::empty()).unwrap();
            crate::http::finished(router.clone()).oneshot(request).await.unwrap();
            tracing::warn!("outside");
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let said: Vec<&str> = text.split_inclusive('\n').collect();
            assert!(said[0].ends_with(ending), "{text}");
            assert!(!said[1].contains("request_id"), "{text}");
            if format == LogFormat::Json {
                let json: serde_json::Value = serde_json::from_str(said[0]).unwrap();
                assert_eq!(json["fields"]["rows"], 2);
            }
        }
    }
}
