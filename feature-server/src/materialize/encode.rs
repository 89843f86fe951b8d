//! From a row of the source's answer to an entity's key and blob.

use feature_defs::codec::{Header, encode_tombstone, encode_values};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};

use crate::source::{DecodeError, Fields};

/// What a row of the source becomes.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) key: EntityKey,
    /// What the key is spelled from.
    pub(crate) join_keys: Vec<KeyValue>,
    pub(crate) blob: Vec<u8>,
    /// The row's event timestamp, or the newest event of an aggregate.
    pub(crate) event: Option<Timestamp>,
}

/// A row that cannot become a stored value.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", .entity.as_ref().map(|e| format!("entity {e}: ")).unwrap_or_default())]
pub(crate) struct EncodeError {
    pub(crate) entity: Option<EntityKey>,
    pub(crate) error: DecodeError,
}

/// Encodes a row of keys, whether there is a value, event, created and features.
pub(crate) fn encode_row(view: &View, as_of: Timestamp, mut fields: Fields<'_>) -> Result<Encoded, EncodeError> {
    let (key, join_keys) = fields
        .entity(view)
        .map_err(|error| EncodeError { entity: None, error })?;
    match encode_value(view, as_of, &mut fields) {
        Ok((blob, event)) => Ok(Encoded {
            key,
            join_keys,
            blob,
            event,
        }),
        Err(error) => Err(EncodeError {
            entity: Some(key),
            error,
        }),
    }
}

fn encode_value(
    view: &View,
    as_of: Timestamp,
    fields: &mut Fields<'_>,
) -> Result<(Vec<u8>, Option<Timestamp>), DecodeError> {
    let present = fields.value(ValueType::Bool)? == Some(Value::Bool(true));
    let (event, created) = (fields.timestamp()?, fields.timestamp()?);
    // An aggregate is of the run's moment, whenever its newest event was. So is the absence of a value, unless a row says
    // since when.
    let header = match event {
        Some(event) if !view.is_aggregate() => Header { event, created, as_of },
        None if present => return Err(DecodeError::Form),
        _ => Header {
            event: as_of,
            created: None,
            as_of,
        },
    };
    // Of most types a feature takes up to 8 bytes; a longer blob grows.
    let mut blob = Vec::with_capacity(64 + 8 * view.fields().len());
    match present {
        true => encode_values(&view.schema, header, &mut blob, |slot| fields.put(slot))?,
        false => encode_tombstone(&view.schema, header, &mut blob),
    }
    Ok((blob, event))
}
