//! What a stored value means at a moment: marker, effective event timestamp and status.

use serde::{Deserialize, Serialize};

use crate::codec::Header;
use crate::definitions::View;
use crate::time::{Span, Timestamp};
use crate::value::Value;

/// What the last finished run of a view says of all its values. Stored as JSON beside them and recorded in Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The run's id.
    pub run: String,
    /// As of when it saw the world.
    pub as_of: Timestamp,
    /// [`View::digest`] of the definition it computed.
    pub digest: String,
    /// As of when the last full run saw the world.
    pub full_as_of: Timestamp,
}

/// The status of a value, in the order of DESIGN's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// There, and young enough.
    Present,
    /// The row is there, and holds a null.
    NullValue,
    /// There is no row.
    NotFound,
    /// The row's age is the view's ttl or more.
    OutsideMaxAge,
    /// The store could not be read.
    Unavailable,
}

impl Status {
    /// Its name on the wire: `PRESENT`, `NULL_VALUE`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// A view's row for one entity, as found online or in a training join.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The row's status: never `NullValue`, which is a feature's.
    pub status: Status,
    /// The effective event timestamp, if there is a row.
    pub event: Option<Timestamp>,
    /// One a feature of the view, in its order, whatever the status, if there is a row; else empty.
    pub values: Vec<Option<Value>>,
}

impl StoredRow {
    /// There is no row.
    pub const fn not_found() -> Self {
        Self {
            status: Status::NotFound,
            event: None,
            values: Vec::new(),
        }
    }

    /// The store could not be read.
    pub const fn unavailable() -> Self {
        Self {
            status: Status::Unavailable,
            event: None,
            values: Vec::new(),
        }
    }
}

/// The status and effective event timestamp, at `now`, of a value of `view` with these times.
///
/// An aggregate that no newer run has rewritten is still current, so its effective time is the marker's as-of if that is
/// later than its own; one older than the last full run is gone, since its entity had left every window by then. `None`:
/// not found.
pub fn judge(view: &View, header: &Header, marker: Option<&Marker>, now: Timestamp) -> Option<(Status, Timestamp)> {
    let event = if view.is_aggregate() {
        match marker {
            Some(marker) if header.as_of < marker.full_as_of => return None,
            Some(marker) => header.as_of.max(marker.as_of),
            None => header.as_of,
        }
    } else {
        header.event
    };
    Some((age_status(event, view.ttl, now), event))
}

/// `OutsideMaxAge` if the age at `now` is `ttl` or more, else `Present`.
pub fn age_status(event: Timestamp, ttl: Option<Span>, now: Timestamp) -> Status {
    match ttl {
        Some(ttl) if event <= now.minus(ttl) => Status::OutsideMaxAge,
        _ => Status::Present,
    }
}
