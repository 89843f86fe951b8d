//! What a run has to do: everything, or what may have changed since the run before.

use feature_defs::definitions::View;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;

use super::{Mode, RunError};
use crate::source::Since;
use crate::store::{Kind, ViewRecord};

/// What a run has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Compute everything.
    Full {
        /// Why, if an incremental run was asked for.
        reason: Option<String>,
        /// Values of another definition may be online, whose timestamps do not compare with ours.
        redefined: bool,
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
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } => Kind::Full,
            Self::Incremental { .. } => Kind::Incremental,
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Full { reason, .. } => reason.as_deref(),
            Self::Incremental { .. } => None,
        }
    }
}

/// What is known before a run: the marker in Redis, and what Postgres recorded of the last finished run.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    pub(super) marker: Option<Marker>,
    pub(super) record: Option<ViewRecord>,
    /// The latest as-of of runs with another definition, the last finished one and those begun after it, which may have
    /// written values whatever became of them.
    pub(super) other_definition: Option<Timestamp>,
}

/// Decides what a run as of `as_of` has to do.
///
/// # Errors
/// A later run has finished: marker and watermark never move back, and the write guard would refuse older values.
pub(super) fn plan(view: &View, mode: Mode, as_of: Timestamp, before: &Before) -> Result<Plan, RunError> {
    let Before {
        marker,
        record,
        other_definition,
    } = before;
    let finished = marker.as_ref().map(|m| m.as_of).max(record.as_ref().map(|r| r.as_of));
    let latest = finished.max(*other_definition);
    if let Some(latest) = latest.filter(|&latest| latest > as_of) {
        return Err(RunError::Earlier {
            view: view.name.clone(),
            as_of,
            latest,
        });
    }
    let digest = view.digest();
    let redefined = other_definition.is_some() || marker.as_ref().is_some_and(|m| m.digest != digest);
    if mode == Mode::Full {
        return Ok(Plan::Full {
            reason: None,
            redefined,
        });
    }
    let full = |reason: String| {
        Ok(Plan::Full {
            reason: Some(reason),
            redefined,
        })
    };
    let (marker, record) = match (marker, record) {
        (None, None) => return full("it is the view's first run".into()),
        (None, Some(_)) => return full("Redis has no marker of the last run: it has lost the view's data".into()),
        (Some(marker), None) => {
            return full(format!(
                "Postgres has no record of run {}, whose marker is in Redis",
                marker.run
            ));
        }
        (Some(marker), Some(record)) => (marker, record),
    };
    if marker.run != record.run.to_string() {
        return full(format!(
            "the marker in Redis is of run {}, the last finished one is {}: Redis has rolled back its data, or a process ended between the two",
            marker.run, record.run
        ));
    }
    if marker.digest != digest {
        return full("the view's definition has changed".into());
    }
    if let Some(as_of) = other_definition {
        return full(format!(
            "a run as of {as_of}, with another definition of the view, did not finish and may have left values online"
        ));
    }
    let read_to = record.watermark.min(marker.as_of);
    let look_back = view.source.look_back;
    let since = match view.source.created_timestamp {
        Some(_) => Since {
            event: read_to,
            created: Some(record.watermark.minus(look_back)),
            as_of: marker.as_of,
        },
        None => Since {
            event: read_to.minus(look_back),
            created: None,
            as_of: marker.as_of,
        },
    };
    Ok(Plan::Incremental {
        marker: marker.clone(),
        since,
    })
}
