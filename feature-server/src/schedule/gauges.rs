//! What the metrics are told of every view, also while the databases are away.
//!
//! A series that was once told cannot be taken back: of a view that is no more it becomes NaN, which no alert is above or
//! below.

use std::sync::Arc;
use std::time::Duration;

use feature_defs::name::ViewName;
use metrics::Gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::freshness::{ViewStatus, silence_promise, tell_promises};
use crate::live::Live;

/// How often lag and age are told.
const EVERY: Duration = Duration::from_secs(5);

const LAG: &str = "larder_view_lag_seconds";
const NEWEST_ROW_AGE: &str = "larder_view_newest_row_age_seconds";
const WATERMARK: &str = "larder_view_watermark_timestamp_seconds";

/// Keeps lag and age of every view growing.
pub(crate) async fn keep_gauges(live: Arc<Live>, stop: CancellationToken) {
    let (mut known, mut read) = (Vec::new(), Instant::now());
    loop {
        let app = live.app();
        match app.status().await {
            Ok(statuses) => {
                silence(&known, &statuses);
                (known, read) = (statuses, Instant::now());
            }
            Err(error) => {
                tracing::warn!("freshness cannot be read: {error}");
                let still = known.iter().filter(|status| app.view(status.view.as_str()).is_ok());
                let still: Vec<ViewStatus> = still.cloned().collect();
                silence(&known, &still);
                known = still;
            }
        }
        tell(&known, read.elapsed());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// How many runs of a view's schedule have failed one after another.
pub(super) fn failures(view: &ViewName) -> Gauge {
    of(view, "larder_materialization_consecutive_failures")
}

fn of(view: &ViewName, name: &'static str) -> Gauge {
    metrics::gauge!(name, "view" => view.as_str().to_owned())
}

/// What was so this long ago.
fn tell(statuses: &[ViewStatus], since: Duration) {
    tell_promises(statuses);
    let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    for status in statuses {
        let freshness = &status.freshness;
        let set = |name, ms: Option<i64>| {
            if let Some(ms) = ms {
                of(&status.view, name).set(seconds(ms));
            }
        };
        let later = |ms: Option<i64>| ms.map(|ms| ms.saturating_add(since_ms));
        set(LAG, later(freshness.lag_ms));
        set(NEWEST_ROW_AGE, later(freshness.newest_row_age_ms));
        set(WATERMARK, freshness.watermark.map(|at| at.as_micros() / 1_000));
    }
}

/// Tells no more of views, and of promises, that were there and are not.
fn silence(before: &[ViewStatus], now: &[ViewStatus]) {
    for gone in before {
        let still = now.iter().find(|status| status.view == gone.view);
        if still.is_none() {
            for name in [LAG, NEWEST_ROW_AGE, WATERMARK] {
                of(&gone.view, name).set(f64::NAN);
            }
        }
        if gone.promise.is_some() && still.is_none_or(|status| status.promise.is_none()) {
            silence_promise(&gone.view);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge holds no more")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
