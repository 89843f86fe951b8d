//! What stands in a view's way, in words.

use feature_defs::definitions::View;
use feature_defs::time::Timestamp;

use super::Freshness;
use crate::store::{Kind, RunRecord};

/// What to tell whoever looks at the view; `None` if all is well.
pub(super) fn problem(
    view: &View,
    freshness: &Freshness,
    last_run: Option<&RunRecord>,
    paused_since: Option<Timestamp>,
) -> Option<String> {
    let Some(run) = last_run else {
        return Some("never materialized".into());
    };
    let reason = run.error.as_deref().unwrap_or("no reason recorded");
    match run.outcome.as_str() {
        "failed" => return Some(format!("the last run failed: {reason}")),
        "cancelled" => return Some(format!("the last run was cancelled: {}", run.id)),
        "interrupted" if run.kind == Kind::Backfill.name() => {
            return Some(
                "the last backfill's process ended before it did: the same command with --resume goes on with it"
                    .into(),
            );
        }
        "interrupted" => {
            return Some("the last run's process ended before it did: `materialize --resume` goes on with it".into());
        }
        "waiting" => {
            let begun = run.processes.len();
            return Some(format!(
                "run {} waits for {} of its {} shards to begin; `cancel` ends it",
                run.id,
                i64::from(run.shards) - i64::try_from(begun).unwrap_or(i64::MAX),
                run.shards
            ));
        }
        _ => {}
    }
    if let Some(warnings) = &run.warnings {
        return Some(format!("the last run's data is not as expected: {warnings}"));
    }
    let lag_ms = freshness.lag_ms?;
    let allowed_ms = view.schedule?.as_micros() / 1_000 * 3;
    let watermark = freshness.watermark?;
    if lag_ms <= allowed_ms {
        return None;
    }
    Some(match paused_since {
        Some(since) => format!("the schedule is paused since {since}; `unpause` lets it go on"),
        None => format!(
            "the watermark has not moved from {watermark} for more than three intervals of its schedule: `serve` is not running, its runs take longer than that, or the source is a replica that lags"
        ),
    })
}
