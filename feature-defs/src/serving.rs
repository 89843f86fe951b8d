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
    /// As of when the last run that wrote every value, whatever stood there, saw the world: what is as of before it, it
    /// did not find any more. Where every run computes values whole, that is each full run; else one that replaces.
    pub complete_as_of: Option<Timestamp>,
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
    /// The features, by their places in the view, that the row was written without: they were declared, or got their
    /// type, after it. Their values are null; a run that writes the row anew gives it theirs.
    pub lacking: Vec<usize>,
}

impl StoredRow {
    /// There is no row.
    pub const fn not_found() -> Self {
        Self {
            status: Status::NotFound,
            event: None,
            values: Vec::new(),
            lacking: Vec::new(),
        }
    }

    /// The store could not be read.
    pub const fn unavailable() -> Self {
        Self {
            status: Status::Unavailable,
            event: None,
            values: Vec::new(),
            lacking: Vec::new(),
        }
    }

    /// One of the view's features: its value, whatever its age, and its status. It is the row's, but `NullValue` where a
    /// row that is present holds a null, and `NotFound` where the row was written without the feature.
    pub fn feature(&self, feature: usize) -> (Option<&Value>, Status) {
        if self.lacks(feature) {
            return (None, Status::NotFound);
        }
        // NaN is how floats spell "no value": it is a null like any other.
        let is_nan = |value: &Value| value.as_f64().is_some_and(f64::is_nan);
        let value = self.values.get(feature).and_then(Option::as_ref);
        match (self.status, value.filter(|value| !is_nan(value))) {
            (Status::Present, None) => (None, Status::NullValue),
            (status, value) => (value, status),
        }
    }

    /// Whether there is a row, which was written without this feature.
    pub fn lacks(&self, feature: usize) -> bool {
        self.lacking.contains(&feature)
    }
}

/// The status and effective event timestamp, at `now`, of a value of `view` with these times.
///
/// A value as of before the last complete run is gone: that run did not find its entity any more. `None`: not found. An
/// aggregate that no newer run has rewritten is still current, so its effective time is the marker's as-of if that is later
/// than its own.
pub fn judge(view: &View, header: &Header, marker: Option<&Marker>, now: Timestamp) -> Option<(Status, Timestamp)> {
    let complete_as_of = marker.and_then(|marker| {
        // There every full run is complete.
        let whole = view.is_recomputed_whole().then_some(marker.full_as_of);
        whole.max(marker.complete_as_of)
    });
    if Some(header.as_of) < complete_as_of {
        return None;
    }
    let event = match marker {
        _ if !view.is_aggregate() => header.event,
        Some(marker) => header.as_of.max(marker.as_of),
        None => header.as_of,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::load;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn what_a_complete_run_did_not_find_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let toml = r#"
            format = 1
            project = "p"
            [[entity]]
            name = "user"
            join_keys = [{ name = "user", type = "string" }]
            [[source]]
            name = "s"
            table = "s"
            event_timestamp = "at"
            [[feature_view]]
            name = "rows"
            entity = "user"
            source = "s"
            features = [{ name = "x", type = "float64" }]
            [[feature_view]]
            name = "aggregates"
            entity = "user"
            source = "s"
            aggregate = [{ name = "n", function = "count", windows = ["1d"] }]
        "#;
        std::fs::write(dir.path().join("p.toml"), toml).unwrap();
        let definitions = load(dir.path()).unwrap_or_else(|e| panic!("{e}"));
        let header = Header {
            event: at(10),
            created: None,
            as_of: at(20),
        };
        let marker = |complete_as_of: Option<i64>| Marker {
            run: "r".into(),
            as_of: at(30),
            digest: "d".into(),
            full_as_of: at(15),
            complete_as_of: complete_as_of.map(at),
        };
        for (view, marker, event) in [
            ("rows", None, Some(10)),
            ("rows", Some(marker(None)), Some(10)),
            ("rows", Some(marker(Some(20))), Some(10)),
            ("rows", Some(marker(Some(21))), None),
            ("aggregates", None, Some(20)),
            ("aggregates", Some(marker(Some(15))), Some(30)),
            ("aggregates", Some(marker(None)), Some(30)),
            ("aggregates", Some(marker(Some(21))), None),
        ] {
            let judged = judge(definitions.view(view).unwrap(), &header, marker.as_ref(), at(40));
            assert_eq!(
                judged,
                event.map(|event| (Status::Present, at(event))),
                "{view} {marker:?}"
            );
        }
    }
}
