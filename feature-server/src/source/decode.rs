//! Postgres's binary forms, of COPY and of single values, turned into ours.

use std::borrow::Cow;

use feature_defs::codec::Slot;
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueRef, ValueType, one_zero};
use sqlx::postgres::PgRow;
use sqlx::{Row, ValueRef as _};

/// 2000-01-01, which Postgres counts from, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
const COPY_SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Bytes that are not what the SQL asked for, or a list that no feature can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("Postgres's answer is cut short or of an unknown form")]
    Form,
    #[error("{0} bytes are no {1}")]
    Width(usize, ValueType),
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("a list holds a null, or is not one-dimensional; a feature's list can be neither")]
    List,
}

/// Reads a binary COPY stream, of which each chunk is one row.
#[derive(Debug, Default)]
pub(crate) struct CopyRows {
    started: bool,
}

impl CopyRows {
    /// The fields of the row in this chunk; `None` for the end mark.
    pub(crate) fn fields<'a>(&mut self, chunk: &'a [u8]) -> Result<Option<Fields<'a>>, DecodeError> {
        let mut rest = chunk;
        if !self.started {
            rest = rest.strip_prefix(COPY_SIGNATURE).ok_or(DecodeError::Form)?;
            let _flags = take::<4>(&mut rest)?;
            let extension = usize::try_from(i32::from_be_bytes(take(&mut rest)?)).map_err(|_| DecodeError::Form)?;
            rest = rest.get(extension..).ok_or(DecodeError::Form)?;
            self.started = true;
            if rest.is_empty() {
                return Ok(None);
            }
        }
        match i16::from_be_bytes(take(&mut rest)?) {
            -1 => Ok(None),
            _ => Ok(Some(Fields(Origin::Copied(rest)))),
        }
    }
}

/// The fields of one row, in order.
pub(crate) struct Fields<'a>(Origin<'a>);

/// Where the fields are.
enum Origin<'a> {
    /// In what is left of a COPY stream's row.
    Copied(&'a [u8]),
    /// In a query's answer, from this column on.
    Answered(&'a PgRow, usize),
}

impl<'a> Fields<'a> {
    /// Those of a row that a query was answered with.
    pub(crate) const fn of(row: &'a PgRow) -> Self {
        Self(Origin::Answered(row, 0))
    }

    /// The bytes of the next field; `None` if it is null.
    ///
    /// Inlined, as is all that decodes, and what is rare apart: a run decodes millions of fields a second.
    #[inline]
    pub(crate) fn raw(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match &mut self.0 {
            Origin::Copied(rest) => field(rest),
            Origin::Answered(row, next) => {
                *next += 1;
                answered(row, *next - 1)
            }
        }
    }

    /// The next field as a value of this type.
    pub(crate) fn value(&mut self, value_type: ValueType) -> Result<Option<Value>, DecodeError> {
        let bytes = self.raw()?;
        bytes.map(|bytes| decode(value_type, bytes, Value::from)).transpose()
    }

    /// The next field into a blob.
    pub(crate) fn put(&mut self, slot: Slot<'_>) -> Result<(), DecodeError> {
        match self.raw()? {
            Some(bytes) => decode(slot.value_type(), bytes, |value| slot.put(value)),
            None => Ok(()),
        }
    }

    /// The next fields as the join keys of a view's entity: it, and what it is spelled from.
    pub(crate) fn entity(&mut self, view: &View) -> Result<(EntityKey, Vec<KeyValue>), DecodeError> {
        let join_keys = &view.entity.join_keys;
        let mut values = Vec::with_capacity(join_keys.len());
        for key in join_keys {
            let value = self.value(key.key_type.value_type())?.ok_or(DecodeError::Form)?;
            values.push(KeyValue::try_from(value).map_err(|_| DecodeError::Form)?);
        }
        let entity = EntityKey::new(join_keys.iter().map(|key| &key.name).zip(&values));
        Ok((entity, values))
    }

    /// The next field as a moment.
    pub(crate) fn timestamp(&mut self) -> Result<Option<Timestamp>, DecodeError> {
        self.raw()?.map(timestamp).transpose()
    }
}

/// A moment in Postgres's binary form.
#[inline]
pub(crate) fn timestamp(bytes: &[u8]) -> Result<Timestamp, DecodeError> {
    Ok(Timestamp::from_micros(
        i64::from_be_bytes(exact(bytes, ValueType::Timestamp)?).saturating_add(POSTGRES_EPOCH),
    ))
}

/// The bytes of a column of a query's answer; `None` if it is null.
fn answered(row: &PgRow, column: usize) -> Result<Option<&[u8]>, DecodeError> {
    let value = row.try_get_raw(column).map_err(|_| DecodeError::Form)?;
    match value.is_null() {
        true => Ok(None),
        false => value.as_bytes().map(Some).map_err(|_| DecodeError::Form),
    }
}

/// What `then` makes of a value in Postgres's binary form of the type that SQL casts features of this type to. Inlined into
/// each arm, `then` has no type left to ask for.
#[inline]
fn decode<'a, T>(
    value_type: ValueType,
    bytes: &'a [u8],
    then: impl FnOnce(ValueRef<'a>) -> T,
) -> Result<T, DecodeError> {
    Ok(match value_type {
        ValueType::Bool => then(ValueRef::Bool(exact::<1>(bytes, value_type)? != [0])),
        ValueType::Int64 => then(ValueRef::Int64(i64::from_be_bytes(exact(bytes, value_type)?))),
        ValueType::Float32 => then(ValueRef::Float32(single(bytes)?)),
        ValueType::Float64 => then(ValueRef::Float64(one_zero(f64::from_be_bytes(exact(
            bytes, value_type,
        )?)))),
        ValueType::Timestamp => then(ValueRef::Timestamp(timestamp(bytes)?)),
        ValueType::String => then(ValueRef::String(text(bytes)?)),
        ValueType::Bytes => then(ValueRef::Bytes(bytes)),
        ValueType::Float32List => then(list(bytes, Value::Float32List, single)?),
        ValueType::Int64List => then(list(bytes, Value::Int64List, |item| {
            Ok(i64::from_be_bytes(exact(item, ValueType::Int64)?))
        })?),
        ValueType::StringList => then(list(bytes, Value::StringList, |item| Ok(text(item)?.to_owned()))?),
    })
}

#[inline]
fn single(bytes: &[u8]) -> Result<f32, DecodeError> {
    Ok(one_zero(f32::from_be_bytes(exact(bytes, ValueType::Float32)?)))
}

fn list<T>(
    bytes: &[u8],
    made: fn(Vec<T>) -> Value,
    item: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<ValueRef<'static>, DecodeError> {
    Ok(ValueRef::List(Cow::Owned(made(items(bytes, item)?))))
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}

/// The items of an array: its number of dimensions, a null flag, its item type, then length and lower bound of the one
/// dimension, then the items.
fn items<T>(bytes: &[u8], item: impl Fn(&[u8]) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
    let mut rest = bytes;
    let dimensions = i32::from_be_bytes(take(&mut rest)?);
    let _has_nulls_and_type = take::<8>(&mut rest)?;
    match dimensions {
        0 => return Ok(Vec::new()),
        1 => {}
        _ => return Err(DecodeError::List),
    }
    let count = i32::from_be_bytes(take(&mut rest)?);
    let _lower_bound = take::<4>(&mut rest)?;
    (0..count)
        .map(|_| item(field(&mut rest)?.ok_or(DecodeError::List)?))
        .collect()
}

/// A field's bytes after their length; `None` if it is null.
#[inline]
fn field<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    let len = i32::from_be_bytes(take(rest)?);
    let Ok(len) = usize::try_from(len) else { return Ok(None) };
    let (field, after) = rest.split_at_checked(len).ok_or(DecodeError::Form)?;
    *rest = after;
    Ok(Some(field))
}

#[inline]
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(DecodeError::Form)?;
    *rest = tail;
    Ok(*head)
}

#[inline]
fn exact<const N: usize>(bytes: &[u8], value_type: ValueType) -> Result<[u8; N], DecodeError> {
    bytes
        .try_into()
        .map_err(|_| DecodeError::Width(bytes.len(), value_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_two_zeros_one_is_read() {
        let double = (-0.0_f64).to_be_bytes();
        let single = (-0.0_f32).to_be_bytes();
        let list = [
            &1_i32.to_be_bytes()[..],
            &[0; 8],
            &1_i32.to_be_bytes(),
            &1_i32.to_be_bytes(),
            &4_i32.to_be_bytes(),
            &single,
        ];
        for (bytes, zero) in [
            (&double[..], Value::Float64(0.0)),
            (&single, Value::Float32(0.0)),
            (&list.concat(), Value::Float32List(vec![0.0])),
        ] {
            assert_eq!(decode(zero.value_type(), bytes, Value::from), Ok(zero));
        }
    }

    #[test]
    fn a_torn_answer_is_an_error_never_a_panic() {
        let mut chunk = COPY_SIGNATURE.to_vec();
        chunk.extend_from_slice(&[0; 8]);
        chunk.extend_from_slice(&2_i16.to_be_bytes());
        chunk.extend_from_slice(&8_i32.to_be_bytes());
        chunk.extend_from_slice(&(-POSTGRES_EPOCH).to_be_bytes());
        chunk.extend_from_slice(&(-1_i32).to_be_bytes());
        let read = |chunk: &[u8]| -> Result<(Option<Timestamp>, Option<Value>), DecodeError> {
            let mut rows = CopyRows::default();
            let mut fields = rows.fields(chunk)?.ok_or(DecodeError::Form)?;
            Ok((fields.timestamp()?, fields.value(ValueType::Bool)?))
        };
        assert_eq!(read(&chunk), Ok((Some(Timestamp::from_micros(0)), None)));
        for len in 0..chunk.len() {
            assert!(read(&chunk[..len]).is_err(), "{len}");
        }
        assert_eq!(
            decode(ValueType::Int64, &[1, 2], Value::from),
            Err(DecodeError::Width(2, ValueType::Int64))
        );
    }
}
