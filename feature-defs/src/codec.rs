//! The bytes of a stored value: a file format, with golden bytes in its tests.
//!
//! ```text
//! offset  size  what
//!      0     1  format version: 1
//!      1     1  kind: 0 values, 1 tombstone
//!      2     8  event timestamp   } microseconds since 1970 with the sign bit flipped, big-endian, so that unsigned
//!     10     8  created timestamp } 32-bit halves compare as the times do; an absent created timestamp is all zeros,
//!     18     8  as of             } older than any
//!     26     8  schema id, big-endian
//!     34     -  null bitmap, one bit a feature, lowest bit first, 1 = null; then the values that are not null,
//!               in schema order, little-endian: bool 1 byte, float32 4, int64, float64 and timestamp 8; string and
//!               bytes a u32 length and the bytes; lists a u32 count and the items
//! ```
//!
//! A tombstone ends after its header. A float's -0 is read as 0.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::name::FeatureName;
use crate::time::Timestamp;
use crate::value::{Value, ValueRef, ValueType, one_zero};

const FORMAT: u8 = 1;
const KIND_VALUES: u8 = 0;
const KIND_TOMBSTONE: u8 = 1;

/// Where the event timestamp lies in a blob; the created timestamp follows it.
pub const EVENT_OFFSET: usize = 2;
/// Where the as-of lies in a blob.
pub const AS_OF_OFFSET: usize = 18;
const SCHEMA_OFFSET: usize = 26;
const HEADER_LEN: usize = 34;

/// A feature as stored: its name and type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    /// The feature's name within its view.
    pub name: FeatureName,
    /// Its type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
}

/// The layout of a view's blobs, stored beside them as JSON, so that a reader of any age finds a feature by name and
/// type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Field>", into = "Vec<Field>")]
pub struct Schema {
    id: u64,
    fields: Vec<Field>,
}

impl Schema {
    /// The layout of these features, in this order. Its id is made from names, types and order alone.
    pub fn new(fields: Vec<Field>) -> Self {
        let mut hash = Xxh3::new();
        for field in &fields {
            hash.update(field.name.as_str().as_bytes());
            hash.update(b":");
            hash.update(field.value_type.name().as_bytes());
            hash.update(b"\n");
        }
        Self {
            id: hash.digest(),
            fields,
        }
    }

    /// The id that blobs of this layout carry.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The features in stored order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where each wanted feature stands in this layout: `None` where it has no feature of that name and type.
    pub fn positions(&self, wanted: &[Field]) -> Vec<Option<usize>> {
        wanted.iter().map(|w| self.fields.iter().position(|f| f == w)).collect()
    }
}

impl From<Vec<Field>> for Schema {
    fn from(fields: Vec<Field>) -> Self {
        Self::new(fields)
    }
}

impl From<Schema> for Vec<Field> {
    fn from(schema: Schema) -> Self {
        schema.fields
    }
}

/// The times of a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the value was true in the world; for an aggregate, its as-of.
    pub event: Timestamp,
    /// When its row was written at the source, if the source says.
    pub created: Option<Timestamp>,
    /// As of when the run that wrote it saw the world.
    pub as_of: Timestamp,
}

/// What a blob holds besides its times.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One value (or null) a feature of the schema, in its order.
    Values(Vec<Option<Value>>),
    /// The entity has no value any more; older writers can't bring one back.
    Tombstone,
}

/// Bytes that are no blob of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DecodeError {
    #[error("stored value is {0} bytes, shorter than its header")]
    Short(usize),
    #[error("stored value has format version {0}, this program reads {FORMAT}: a newer program wrote it")]
    Version(u8),
    #[error("stored value has unknown kind {0}")]
    Kind(u8),
    #[error("stored value ends within feature `{0}`")]
    Truncated(FeatureName),
    #[error("stored value has {0} bytes after its last feature")]
    Trailing(usize),
    #[error("stored value of feature `{0}` is not UTF-8")]
    NotUtf8(FeatureName),
}

/// Appends the blob of a value to `out`.
///
/// # Panics
/// If `values` are not one per field of the schema, of the field's type: the caller's mistake, never data's.
pub fn encode(schema: &Schema, header: Header, body: &Body, out: &mut Vec<u8>) {
    let Body::Values(values) = body else {
        return encode_tombstone(schema, header, out);
    };
    assert_eq!(values.len(), schema.fields.len(), "one value a feature");
    let mut values = values.iter();
    let encoded = encode_values(schema, header, out, |slot| {
        if let Some(value) = values.next().and_then(Option::as_ref) {
            slot.put(value.into());
        }
        Ok::<_, Infallible>(())
    });
    encoded.unwrap_or_else(|never| match never {});
}

/// Appends the blob of an entity without a value.
pub fn encode_tombstone(schema: &Schema, header: Header, out: &mut Vec<u8>) {
    put_header(schema, header, KIND_TOMBSTONE, out);
}

/// Where one value of a blob goes; null, if none is put there.
#[derive(Debug)]
pub struct Slot<'o> {
    field: &'o Field,
    out: &'o mut Vec<u8>,
}

impl Slot<'_> {
    /// The type of what goes there.
    pub fn value_type(&self) -> ValueType {
        self.field.value_type
    }

    /// Puts a value there.
    ///
    /// Inlined, so that who knows the type pays for a few instructions: a run encodes millions of values a second.
    ///
    /// # Panics
    /// If it is not of the field's type: the caller's mistake, never data's.
    #[inline]
    pub fn put(self, value: ValueRef<'_>) {
        assert_eq!(value.value_type(), self.value_type(), "type of `{}`", self.field.name);
        put(value, self.out);
    }
}

/// Appends the blob of a value whose features `fill` gives, one a slot, in the order of the schema's fields.
///
/// # Errors
/// What `fill` fails with: then `out` ends anywhere in the blob.
pub fn encode_values<E>(
    schema: &Schema,
    header: Header,
    out: &mut Vec<u8>,
    mut fill: impl FnMut(Slot<'_>) -> Result<(), E>,
) -> Result<(), E> {
    put_header(schema, header, KIND_VALUES, out);
    let bitmap_at = out.len();
    out.resize(bitmap_at + schema.fields.len().div_ceil(8), 0);
    for (i, field) in schema.fields.iter().enumerate() {
        let empty = out.len();
        fill(Slot { field, out })?;
        // A value takes a byte at least.
        if out.len() == empty {
            out[bitmap_at + i / 8] |= 1 << (i % 8);
        }
    }
    Ok(())
}

fn put_header(schema: &Schema, header: Header, kind: u8, out: &mut Vec<u8>) {
    let mut bytes = [0; HEADER_LEN];
    bytes[0] = FORMAT;
    bytes[1] = kind;
    bytes[EVENT_OFFSET..EVENT_OFFSET + 8].copy_from_slice(&header_time(header.event));
    if let Some(created) = header.created {
        bytes[EVENT_OFFSET + 8..AS_OF_OFFSET].copy_from_slice(&header_time(created));
    }
    bytes[AS_OF_OFFSET..SCHEMA_OFFSET].copy_from_slice(&header_time(header.as_of));
    bytes[SCHEMA_OFFSET..].copy_from_slice(&schema.id.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// A time as a header holds it, for comparing with one where it is stored.
pub fn header_time(at: Timestamp) -> [u8; 8] {
    sortable(at).to_be_bytes()
}

/// The times and schema id of a blob.
///
/// # Errors
/// Bytes that are no blob, or one of a newer format.
pub fn decode_header(blob: &[u8]) -> Result<(Header, u64), DecodeError> {
    if blob.len() < HEADER_LEN {
        return Err(DecodeError::Short(blob.len()));
    }
    if blob[0] != FORMAT {
        return Err(DecodeError::Version(blob[0]));
    }
    let at = |offset: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&blob[offset..offset + 8]);
        u64::from_be_bytes(bytes)
    };
    let created = at(EVENT_OFFSET + 8);
    let header = Header {
        event: unsortable(at(EVENT_OFFSET)),
        created: (created != 0).then(|| unsortable(created)),
        as_of: unsortable(at(AS_OF_OFFSET)),
    };
    Ok((header, at(SCHEMA_OFFSET)))
}

/// The body of a blob that was written with `schema`.
///
/// # Errors
/// Bytes that are no blob of this schema.
pub fn decode_body(blob: &[u8], schema: &Schema) -> Result<Body, DecodeError> {
    match blob.get(1) {
        Some(&KIND_TOMBSTONE) => return Ok(Body::Tombstone),
        Some(&KIND_VALUES) if blob.len() >= HEADER_LEN => {}
        Some(&kind) if blob.len() >= HEADER_LEN => return Err(DecodeError::Kind(kind)),
        _ => return Err(DecodeError::Short(blob.len())),
    }
    let bitmap_len = schema.fields.len().div_ceil(8);
    let (bitmap, mut rest) = blob[HEADER_LEN..]
        .split_at_checked(bitmap_len)
        .ok_or(DecodeError::Short(blob.len()))?;
    let mut values = Vec::with_capacity(schema.fields.len());
    for (i, field) in schema.fields.iter().enumerate() {
        let null = bitmap[i / 8] & (1 << (i % 8)) != 0;
        values.push(if null { None } else { Some(take(field, &mut rest)?) });
    }
    if !rest.is_empty() {
        return Err(DecodeError::Trailing(rest.len()));
    }
    Ok(Body::Values(values))
}

const SIGN: u64 = 1 << 63;

/// A time as an unsigned number of the same order. Never 0, which stands for "no created timestamp".
fn sortable(at: Timestamp) -> u64 {
    (at.as_micros().cast_unsigned() ^ SIGN).max(1)
}

fn unsortable(bits: u64) -> Timestamp {
    Timestamp::from_micros((bits ^ SIGN).cast_signed())
}

#[inline]
fn put(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Bool(b) => out.push(u8::from(b)),
        ValueRef::Int64(i) => out.extend_from_slice(&i.to_le_bytes()),
        ValueRef::Float32(x) => out.extend_from_slice(&x.to_le_bytes()),
        ValueRef::Float64(x) => out.extend_from_slice(&x.to_le_bytes()),
        ValueRef::Timestamp(t) => out.extend_from_slice(&t.as_micros().to_le_bytes()),
        ValueRef::String(s) => put_bytes(s.as_bytes(), out),
        ValueRef::Bytes(b) => put_bytes(b, out),
        ValueRef::List(list) => put_list(&list, out),
    }
}

fn put_list(list: &Value, out: &mut Vec<u8>) {
    match list {
        Value::Float32List(items) => {
            put_len(items.len(), out);
            items.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
        }
        Value::Int64List(items) => {
            put_len(items.len(), out);
            items.iter().for_each(|i| out.extend_from_slice(&i.to_le_bytes()));
        }
        Value::StringList(items) => {
            put_len(items.len(), out);
            items.iter().for_each(|s| put_bytes(s.as_bytes(), out));
        }
        other => put(other.into(), out),
    }
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    // Postgres holds no field of 4 GiB, and neither does Redis: a longer one cannot have been read.
    let len = u32::try_from(len).expect("a field under 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_len(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn take(field: &Field, rest: &mut &[u8]) -> Result<Value, DecodeError> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotUtf8(field.name.clone()));
    Ok(match field.value_type {
        ValueType::Bool => Value::Bool(take_array::<1>(field, rest)?[0] != 0),
        ValueType::Int64 => Value::Int64(i64::from_le_bytes(take_array(field, rest)?)),
        ValueType::Float32 => Value::Float32(one_zero(f32::from_le_bytes(take_array(field, rest)?))),
        ValueType::Float64 => Value::Float64(one_zero(f64::from_le_bytes(take_array(field, rest)?))),
        ValueType::Timestamp => Value::Timestamp(Timestamp::from_micros(i64::from_le_bytes(take_array(field, rest)?))),
        ValueType::String => Value::String(text(take_bytes(field, rest)?)?),
        ValueType::Bytes => Value::Bytes(take_bytes(field, rest)?.to_vec()),
        ValueType::Float32List => Value::Float32List(take_items(field, rest, |rest| {
            take_array(field, rest).map(f32::from_le_bytes).map(one_zero)
        })?),
        ValueType::Int64List => Value::Int64List(take_items(field, rest, |rest| {
            take_array(field, rest).map(i64::from_le_bytes)
        })?),
        ValueType::StringList => {
            Value::StringList(take_items(field, rest, |rest| take_bytes(field, rest).and_then(text))?)
        }
    })
}

fn take_array<const N: usize>(field: &Field, rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, tail) = rest
        .split_first_chunk::<N>()
        .ok_or_else(|| DecodeError::Truncated(field.name.clone()))?;
    *rest = tail;
    Ok(*head)
}

fn take_bytes<'a>(field: &Field, rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let len = u32::from_le_bytes(take_array(field, rest)?) as usize;
    let (head, tail) = rest
        .split_at_checked(len)
        .ok_or_else(|| DecodeError::Truncated(field.name.clone()))?;
    *rest = tail;
    Ok(head)
}

fn take_items<'a, T>(
    field: &Field,
    rest: &mut &'a [u8],
    mut item: impl FnMut(&mut &'a [u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = u32::from_le_bytes(take_array(field, rest)?) as usize;
    // A count that the bytes cannot hold must not make us reserve memory for it.
    let mut items = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        items.push(item(rest)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value_type: ValueType) -> Field {
        Field {
            name: name.parse().unwrap(),
            value_type,
        }
    }

    fn every_type() -> (Schema, Vec<Option<Value>>) {
        let values = vec![
            Value::Bool(true),
            Value::Int64(-2),
            Value::Float32(1.5),
            Value::Float64(-0.25),
            Value::String("hé".into()),
            Value::Bytes(vec![0, 255]),
            Value::Timestamp(Timestamp::from_micros(-1)),
            Value::Float32List(vec![1.0]),
            Value::Int64List(vec![3, 4]),
            Value::StringList(vec!["a".into(), String::new()]),
        ];
        let fields = values
            .iter()
            .enumerate()
            .map(|(i, v)| field(&format!("f{i}"), v.value_type()))
            .collect();
        (Schema::new(fields), values.into_iter().map(Some).collect())
    }

    fn header(event: i64, created: Option<i64>) -> Header {
        Header {
            event: Timestamp::from_micros(event),
            created: created.map(Timestamp::from_micros),
            as_of: Timestamp::from_micros(9),
        }
    }

    fn blob(schema: &Schema, header: Header, body: &Body) -> Vec<u8> {
        let mut out = Vec::new();
        encode(schema, header, body, &mut out);
        out
    }

    #[test]
    fn golden_bytes() {
        let schema = Schema::new(vec![
            field("late_rate_3h", ValueType::Float64),
            field("arrivals_3h", ValueType::Int64),
            field("tail", ValueType::String),
        ]);
        let body = Body::Values(vec![Some(Value::Float64(0.5)), None, Some(Value::String("N1".into()))]);
        let hex: String = blob(&schema, header(1, Some(-1)), &body)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let golden = [
            "01",
            "00",
            "8000000000000001",
            "7fffffffffffffff",
            "8000000000000009",
            "45672b91265b0a27",
            "02",
            "000000000000e03f",
            "02000000",
            "4e31",
        ]
        .concat();
        assert_eq!(hex, golden);
    }

    #[test]
    fn of_the_two_zeros_one_is_read() {
        let zeros = |single: f32, double: f64| {
            let list = Value::Float32List(vec![single, 1.0]);
            vec![Some(Value::Float32(single)), Some(Value::Float64(double)), Some(list)]
        };
        let types = [ValueType::Float32, ValueType::Float64, ValueType::Float32List];
        let schema = Schema::new((0..).zip(types).map(|(i, t)| field(&format!("f{i}"), t)).collect());
        let blob = blob(&schema, header(1, None), &Body::Values(zeros(-0.0, -0.0)));
        assert_eq!(decode_body(&blob, &schema), Ok(Body::Values(zeros(0.0, 0.0))));
    }

    #[test]
    fn every_type_reads_back_whole_and_with_nulls() {
        let (schema, values) = every_type();
        for nulls in 0..1_u32 << values.len() {
            let values = values
                .iter()
                .enumerate()
                .map(|(i, v)| v.clone().filter(|_| nulls & (1 << i) == 0))
                .collect();
            let body = Body::Values(values);
            let header = header(i64::from(nulls) - 5, (nulls % 2 == 0).then_some(7));
            let bytes = blob(&schema, header, &body);
            assert_eq!(decode_header(&bytes), Ok((header, schema.id())));
            assert_eq!(decode_body(&bytes, &schema), Ok(body));
        }
    }

    #[test]
    fn torn_and_foreign_bytes_are_errors_never_panics() {
        let (schema, values) = every_type();
        let bytes = blob(&schema, header(1, None), &Body::Values(values));
        for len in 0..bytes.len() {
            assert!(
                decode_header(&bytes[..len]).is_err() || decode_body(&bytes[..len], &schema).is_err(),
                "{len}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode_body(&longer, &schema), Err(DecodeError::Trailing(1)));
        let mut newer = bytes;
        newer[0] = 2;
        assert_eq!(decode_header(&newer), Err(DecodeError::Version(2)));
    }

    #[test]
    fn stored_times_sort_as_the_times_do() {
        let schema = Schema::new(vec![]);
        let times = [i64::MIN, -1, 0, 1, 1 << 32, i64::MAX];
        let mut last = Vec::new();
        for event in times {
            for created in [None, Some(i64::MIN), Some(-1), Some(i64::MAX)] {
                let bytes = blob(&schema, header(event, created), &Body::Tombstone);
                let guard = bytes[EVENT_OFFSET..EVENT_OFFSET + 16].to_vec();
                assert!(guard > last || event == i64::MIN && created.is_none());
                last = guard;
            }
        }
    }

    #[test]
    fn another_layout_is_read_by_name_and_type() {
        let stored = Schema::new(vec![field("a", ValueType::Int64), field("b", ValueType::Float64)]);
        let wanted = [
            field("b", ValueType::Float64),
            field("a", ValueType::Float64),
            field("c", ValueType::Int64),
        ];
        assert_eq!(stored.positions(&wanted), [Some(1), None, None]);
        let json = serde_json::to_string(&stored).unwrap();
        assert_eq!(json, r#"[{"name":"a","type":"int64"},{"name":"b","type":"float64"}]"#);
        assert_eq!(serde_json::from_str::<Schema>(&json).unwrap(), stored);
    }
}
