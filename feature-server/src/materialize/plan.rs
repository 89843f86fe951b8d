//! What a run has to do: everything, or what may have changed since the run before.

use feature_defs::definitions::View;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use online_store::Guard;

use super::{Mode, RunError};
use crate::source::Since;
use crate::store::{Kind, LeftBehind, ViewRecord};

/// What a run has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Compute everything.
    Full {
        /// Why, if an incremental run was asked for.
        reason: Option<String>,
        /// Whether what stands online counts for nothing: values of every entity are written, and those that it does not
        /// find are gone. Else what is newer online stays.
        complete: bool,
        /// The marker's, for a run that is not complete itself.
        complete_as_of: Option<Timestamp>,
    },
    /// Compute what may have changed since the run that left this marker.
    Incremental {
        /// What Redis says of the run before.
        marker: Marker,
        /// What to look at again.
        since: Since,
    },
}

impl Plan {
    pub(super) const fn kind(&self, mode: Mode) -> Kind {
        match (self, mode) {
            (Self::Full { .. }, Mode::Replace) => Kind::Replace,
            (Self::Full { .. }, _) => Kind::Full,
            (Self::Incremental { .. }, _) => Kind::Incremental,
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Full { reason, .. } => reason.as_deref(),
            Self::Incremental { .. } => None,
        }
    }

    /// Since when every value has been rewritten once this run, as of `as_of`, is done.
    pub(super) fn complete_as_of(&self, as_of: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Full { complete: true, .. } => Some(as_of),
            Self::Full { complete_as_of, .. } => *complete_as_of,
            Self::Incremental { marker, .. } => marker.complete_as_of,
        }
    }
}

/// What is known before a run: the marker in Redis, what Postgres recorded of the last finished run, and what others may
/// have left since.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    pub(super) marker: Option<Marker>,
    pub(super) record: Option<ViewRecord>,
    pub(super) left_behind: LeftBehind,
}

/// Decides what a run as of `as_of` has to do.
///
/// # Errors
/// A later run has written: marker and watermark never move back, and the write guard would refuse older values. Or one of
/// the same moment has, and this one could not take away what it does not find any more.
pub(super) fn plan(view: &View, mode: Mode, as_of: Timestamp, before: &Before) -> Result<Plan, RunError> {
    let Before {
        marker,
        record,
        left_behind,
    } = before;
    let finished = marker.as_ref().map(|m| m.as_of).max(record.as_ref().map(|r| r.as_of));
    let latest = finished.max(left_behind.as_of);
    if let Some(latest) = latest.filter(|&latest| latest > as_of) {
        return Err(RunError::Earlier {
            view: view.name.clone(),
            as_of,
            latest,
        });
    }
    let full = |untrusted: Option<String>| Plan::Full {
        complete: untrusted.is_some() || mode == Mode::Replace || view.is_recomputed_whole(),
        complete_as_of: marker.as_ref().and_then(|marker| marker.complete_as_of),
        reason: untrusted.filter(|_| mode == Mode::Incremental),
    };
    let plan = match trusted(view, before) {
        Err(reason) => full(Some(reason)),
        Ok(_) if mode != Mode::Incremental => full(None),
        Ok((marker, record)) => Plan::Incremental {
            since: since(view, marker.as_of, record.watermark),
            marker: marker.clone(),
        },
    };
    // What a complete run does not find any more is told by being as of before it.
    if matches!(plan, Plan::Full { complete: true, .. }) && marker.as_ref().is_some_and(|m| m.as_of == as_of) {
        return Err(RunError::SameMoment {
            view: view.name.clone(),
            as_of,
        });
    }
    Ok(plan)
}

/// The last run's marker and record, if they agree and nothing else may be online; else why a run cannot build on them.
fn trusted<'a>(view: &View, before: &'a Before) -> Result<(&'a Marker, &'a ViewRecord), String> {
    let (marker, record) = match (&before.marker, &before.record) {
        (None, None) => return Err("it is the view's first run".into()),
        (None, Some(_)) => return Err("Redis has no marker of the last run: it has lost the view's data".into()),
        (Some(marker), None) => {
            return Err(format!(
                "Postgres has no record of run {}, whose marker is in Redis",
                marker.run
            ));
        }
        (Some(marker), Some(record)) => (marker, record),
    };
    if marker.run != record.run.to_string() {
        return Err(format!(
            "the marker in Redis is of run {}, the last finished one is {}: Redis has rolled back its data, or a process ended between the two",
            marker.run, record.run
        ));
    }
    if marker.digest != view.digest() {
        return Err("the view's definition has changed".into());
    }
    if let Some(as_of) = before.left_behind.other_definition {
        return Err(format!(
            "a run as of {as_of}, with another definition of the view, did not finish and may have left values online"
        ));
    }
    if let Some(at) = record.missed_at {
        return Err(format!(
            "rows that were pushed at {at} are not online, and came too late for an incremental run to look for them"
        ));
    }
    Ok((marker, record))
}

/// What decides whether a value replaces the one online, if what stands there counts; `complete_as_of` is the marker's.
pub(crate) fn guard(view: &View, complete_as_of: Option<Timestamp>) -> Guard {
    match view.is_recomputed_whole() {
        true => Guard::AsOf,
        false => Guard::EventThenCreated { complete_as_of },
    }
}

/// What a run has to look at again that follows one as of this moment, which had read the source up to this watermark.
pub(crate) fn since(view: &View, as_of: Timestamp, watermark: Timestamp) -> Since {
    let read_to = watermark.min(as_of);
    let look_back = view.source.look_back;
    match view.source.created_timestamp {
        Some(_) => Since {
            event: read_to,
            created: Some(watermark.minus(look_back)),
            as_of,
        },
        None => Since {
            event: read_to.minus(look_back),
            created: None,
            as_of,
        },
    }
}
