//! Whether a view is as fresh as its owner promises (`fresh_for`), and if not, why.

use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::{Span, Timestamp};
use serde::Serialize;

use super::{Freshness, ViewStatus};
use crate::store::{Kind, RunRecord};

/// What is known of a view.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) view: &'a View,
    pub(super) freshness: &'a Freshness,
    pub(super) last_run: Option<&'a RunRecord>,
    pub(super) paused_since: Option<Timestamp>,
    /// Whether some process holds the view's lock, whether or not it has recorded a run yet.
    pub(super) is_held: bool,
}

/// A view's promise of freshness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// That neither the source has been read longer ago than this, nor its newest row is older.
    pub fresh_for: Span,
    /// How it is broken, if it is.
    pub broken: Option<Broken>,
}

/// A promise that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// For programs.
    pub cause: Cause,
    /// For people.
    pub why: String,
}

/// Why a promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No run has ever finished.
    NeverRan,
    /// Its schedule is stopped.
    Paused,
    /// Runs fail.
    Failing,
    /// It has no schedule, and nobody has run it.
    NotScheduled,
    /// Runs take too long, or are too far apart.
    Slow,
    /// Nobody runs its schedule.
    NotRunning,
    /// Runs are done in time, and read a replica that is behind.
    ReplicaBehind,
    /// The source is read in time, and has nothing new.
    SourceSilent,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::NeverRan,
        Self::Paused,
        Self::Failing,
        Self::NotScheduled,
        Self::Slow,
        Self::NotRunning,
        Self::ReplicaBehind,
        Self::SourceSilent,
    ];

    /// Its name in JSON, metrics and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverRan => "never_ran",
            Self::Paused => "paused",
            Self::Failing => "failing",
            Self::NotScheduled => "not_scheduled",
            Self::Slow => "slow",
            Self::NotRunning => "not_running",
            Self::ReplicaBehind => "replica_behind",
            Self::SourceSilent => "source_silent",
        }
    }
}

impl Promise {
    /// What a view promises, if it does, and whether that is kept.
    pub(super) fn at(seen: &Seen<'_>) -> Option<Self> {
        let Seen { view, freshness, .. } = seen;
        let fresh_for = view.fresh_for?;
        let is_longer = |ms: i64| ms.saturating_mul(1_000) > fresh_for.as_micros();
        let broken = match (freshness.lag_ms, freshness.newest_row_age_ms) {
            (Some(lag), _) if is_longer(lag) => Some(unread(seen)),
            (None, _) => Some(unread(seen)),
            (Some(_), Some(age)) if is_longer(age) => Some(Broken {
                cause: Cause::SourceSilent,
                why: format!(
                    "the source `{}` has had no row newer than {}: runs are in time, look at what writes to it",
                    view.source.name,
                    or_never(freshness.newest_row)
                ),
            }),
            (Some(_), None) => Some(Broken {
                cause: Cause::SourceSilent,
                why: format!(
                    "the source `{}` has no row at all: runs are in time, look at what writes to it",
                    view.source.name
                ),
            }),
            (Some(_), Some(_)) => None,
        };
        Some(Self { fresh_for, broken })
    }

    /// In a word or two.
    pub(crate) fn in_short(&self) -> String {
        match &self.broken {
            None => format!("kept ({})", self.fresh_for),
            Some(broken) => format!("BROKEN ({}): {}", self.fresh_for, broken.cause.name()),
        }
    }
}

/// Why a source has not been read in time: the first reason that would do by itself.
fn unread(seen: &Seen<'_>) -> Broken {
    let Seen { view, freshness, .. } = seen;
    let broken = |cause, why| Broken { cause, why };
    // A backfill says nothing of the present.
    let last_run = seen.last_run.filter(|run| run.kind != Kind::Backfill.name());
    if let Some(since) = seen.paused_since {
        let why = format!(
            "its schedule is stopped since {since}: `unpause {}` lets it go on",
            view.name
        );
        return broken(Cause::Paused, why);
    }
    if let Some(run) = last_run.filter(|run| matches!(run.outcome.as_str(), "failed" | "interrupted")) {
        let reason = run.error.as_deref().unwrap_or("its process ended before it did");
        return broken(Cause::Failing, format!("the last run {}: {reason}", run.outcome));
    }
    let under_way = last_run.filter(|run| matches!(run.outcome.as_str(), "running" | "waiting"));
    let (Some(as_of), Some(fresh_for)) = (freshness.as_of, view.fresh_for) else {
        let why = match under_way {
            Some(run) => format!("its first run is under way since {}", at(run.started_at)),
            None => format!("nobody has ever run it: `materialize {}`", view.name),
        };
        return broken(Cause::NeverRan, why);
    };
    if let Some(run) = under_way {
        let why = format!("the run under way since {} has not finished", at(run.started_at));
        return broken(Cause::Slow, why);
    }
    if seen.is_held {
        let why = "a run is under way that has got no further than its beginning: its source may be locked".to_owned();
        return broken(Cause::Slow, why);
    }
    let is_behind = |watermark: Timestamp| as_of.micros_since(watermark) > fresh_for.as_micros();
    if freshness.watermark.is_some_and(is_behind) {
        let why = format!(
            "the last run is as of {as_of}, and read a replica that had replayed up to {}",
            or_never(freshness.watermark)
        );
        return broken(Cause::ReplicaBehind, why);
    }
    let Some(every) = view.schedule else {
        let why = format!("it has no schedule, and the last run is as of {as_of}");
        return broken(Cause::NotScheduled, why);
    };
    let took = last_run.and_then(|run| (run.finished_at? - run.started_at).num_microseconds());
    let took = Span::from_micros(took.unwrap_or(0) / 1_000 * 1_000);
    if took > fresh_for || every > fresh_for {
        let why = format!("the last run took {took}, and its schedule is every {every}");
        return broken(Cause::Slow, why);
    }
    let why =
        format!("it is to run every {every}, and its last run is as of {as_of}: is `feature-server serve` running?");
    broken(Cause::NotRunning, why)
}

fn at(time: chrono::DateTime<chrono::Utc>) -> Timestamp {
    time.into()
}

fn or_never(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

/// Tells no more of a promise that is no more.
pub(crate) fn silence(view: &ViewName) {
    let view = view.as_str();
    metrics::gauge!("larder_view_fresh_for_seconds", "view" => view.to_owned()).set(f64::NAN);
    for cause in Cause::ALL {
        metrics::gauge!("larder_view_promise_broken", "view" => view.to_owned(), "cause" => cause.name()).set(f64::NAN);
    }
}

/// Tells the metrics of every promise: how it is broken, as 1 under that cause and 0 under the others.
pub(crate) fn tell(statuses: &[ViewStatus]) {
    for status in statuses {
        let Some(promise) = &status.promise else { continue };
        let view = status.view.as_str();
        #[expect(clippy::cast_precision_loss, reason = "a gauge holds no more")]
        let seconds = promise.fresh_for.as_micros() as f64 / 1e6;
        metrics::gauge!("larder_view_fresh_for_seconds", "view" => view.to_owned()).set(seconds);
        for cause in Cause::ALL {
            let is_broken = promise.broken.as_ref().is_some_and(|broken| broken.cause == cause);
            metrics::gauge!("larder_view_promise_broken", "view" => view.to_owned(), "cause" => cause.name())
                .set(f64::from(u8::from(is_broken)));
        }
    }
}
