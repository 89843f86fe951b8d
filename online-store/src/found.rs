//! What a lookup found: decoded and judged in one place, for those who serve it and for those who verify it.

use std::sync::Arc;

use feature_defs::codec::{Body, Header, decode_body, decode_header};
use feature_defs::serving::{Marker, Status, StoredRow, judge};
use feature_defs::time::Timestamp;
use feature_defs::value::Value as FeatureValue;
use redis::Value;

use crate::views::ViewState;

/// What a lookup found, and how it was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What is stored; `Ok(None)`: nothing; an error: what is wrong with it.
    pub stored: Result<Option<Stored>, String>,
    /// The row's status, as in [`StoredRow`].
    pub status: Status,
    /// The effective event timestamp, if there is a row.
    pub event: Option<Timestamp>,
    /// The view's marker that it was judged by, read before the value.
    pub marker: Option<Arc<Marker>>,
}

/// What is stored for an entity, whether or not it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its times.
    pub header: Header,
    /// One a feature of the view, in its order; null where the stored layout lacks it. `None`: a tombstone.
    pub values: Option<Vec<Option<FeatureValue>>>,
    /// The features that the stored layout lacks, by their places in the view.
    pub lacking: Vec<usize>,
}

impl Found {
    /// What an answer of Redis is at `now`.
    pub(crate) fn new(state: &ViewState, marker: Option<Arc<Marker>>, answer: &Value, now: Timestamp) -> Self {
        let stored = decode(state, answer);
        let judged = match &stored {
            Err(_) => Some((Status::Unavailable, None)),
            Ok(Some(stored)) if stored.values.is_some() => {
                judge(&state.view, &stored.header, marker.as_deref(), now).map(|(status, event)| (status, Some(event)))
            }
            Ok(_) => None,
        };
        let (status, event) = judged.unwrap_or((Status::NotFound, None));
        Self {
            stored,
            status,
            event,
            marker,
        }
    }

    /// The row, for those who serve it.
    pub(crate) fn into_row(self) -> StoredRow {
        let (values, lacking) = match self.stored {
            // What is gone has a value still, but not a row.
            Ok(Some(stored)) if self.event.is_some() => (stored.values.unwrap_or_default(), stored.lacking),
            _ => (Vec::new(), Vec::new()),
        };
        StoredRow {
            status: self.status,
            event: self.event,
            values,
            lacking,
        }
    }
}

/// What an answer of Redis holds, or what is wrong with it.
fn decode(state: &ViewState, answer: &Value) -> Result<Option<Stored>, String> {
    let blob = match answer {
        Value::Nil => return Ok(None),
        Value::BulkString(blob) => blob,
        Value::ServerError(error) => return Err(error.to_string()),
        _ => return Err("the answer is no string".into()),
    };
    let (header, schema_id) = decode_header(blob).map_err(|error| error.to_string())?;
    let (values, lacking) = match state.layout(schema_id) {
        Some(Some(layout)) => match layout.values(blob).map_err(|error| error.to_string())? {
            Some(values) => (Some(values), layout.lacking().to_vec()),
            None => (None, Vec::new()),
        },
        // A tombstone has nothing that a layout could describe.
        _ if decode_body(blob, &state.view.schema) == Ok(Body::Tombstone) => (None, Vec::new()),
        _ => return Err(format!("its schema {schema_id} is not stored beside it")),
    };
    Ok(Some(Stored {
        header,
        values,
        lacking,
    }))
}
