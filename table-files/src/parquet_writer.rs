//! Parquet, out: rows are held by column until they fill a row group.

use std::io::Write;
use std::sync::Arc;

use feature_defs::value::{Value, ValueType};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};

use crate::cell::{Cell, ColumnType};
use crate::error::{FileError, reason};
use crate::parquet_schema::schema;
use crate::reader::Column;

/// A row group is written when it has so many rows, or bytes before they are packed: this bounds what is held in memory,
/// and what a reader must hold who reads by row group.
const GROUP_ROWS: usize = 131_072;
const GROUP_BYTES: usize = 32 << 20;

pub(crate) struct ParquetWriter<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<(Column, Held)>,
    rows: usize,
    bytes: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    pub(crate) fn new(to: W, columns: Vec<Column>) -> Result<Self, FileError> {
        let schema = Arc::new(schema(&columns).map_err(failed)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("larder version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(to, schema, Arc::new(properties)).map_err(failed)?;
        let columns = columns
            .into_iter()
            .map(|column| {
                let held = Held::new(column.column_type);
                (column, held)
            })
            .collect();
        Ok(Self {
            writer,
            columns,
            rows: 0,
            bytes: 0,
        })
    }

    pub(crate) fn row(&mut self, cells: &[Cell]) -> Result<(), FileError> {
        for ((column, held), cell) in self.columns.iter_mut().zip(cells) {
            let bytes = held.push(cell).ok_or_else(|| {
                FileError::Write(format!(
                    "column `{}` is of {}, and {cell:?} is not",
                    column.name, column.column_type
                ))
            })?;
            self.bytes += bytes;
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group().map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), FileError> {
        if self.rows > 0 {
            self.write_group().map_err(failed)?;
        }
        self.writer.close().map(|_metadata| ()).map_err(failed)
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let mut columns = self.columns.iter_mut();
        while let (Some(writer), Some((_, held))) = (group.next_column()?, columns.next()) {
            held.write(writer)?;
        }
        group.close()?;
        self.rows = 0;
        self.bytes = 0;
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn failed(error: ParquetError) -> FileError {
    FileError::Write(reason(&error))
}

/// The cells of a column that are not written yet.
struct Held {
    values: Values,
    /// 0 for null, 1 for a value; of a list 1 for none, 2 for an item.
    defined: Vec<i16>,
    /// Of lists: 0 for the first item, 1 for those after.
    repeated: Option<Vec<i16>>,
}

enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

impl Held {
    fn new(column_type: ColumnType) -> Self {
        let values = match column_type {
            ColumnType::Value(ValueType::Bool) => Values::Bool(Vec::new()),
            ColumnType::Integer { bits: 8..=32, .. } | ColumnType::Date => Values::Int32(Vec::new()),
            ColumnType::Value(ValueType::Int64 | ValueType::Int64List | ValueType::Timestamp)
            | ColumnType::Integer { .. }
            | ColumnType::Timestamp { .. } => Values::Int64(Vec::new()),
            ColumnType::Value(ValueType::Float32 | ValueType::Float32List) => Values::Float32(Vec::new()),
            ColumnType::Value(ValueType::Float64) => Values::Float64(Vec::new()),
            ColumnType::Value(ValueType::String | ValueType::Bytes | ValueType::StringList) | ColumnType::Text => {
                Values::Bytes(Vec::new())
            }
        };
        let is_list = matches!(
            column_type,
            ColumnType::Value(ValueType::Float32List | ValueType::Int64List | ValueType::StringList)
        );
        Self {
            values,
            defined: Vec::new(),
            repeated: is_list.then(Vec::new),
        }
    }

    /// How many bytes the cell takes; `None` if it is not of the column's type.
    fn push(&mut self, cell: &Cell) -> Option<usize> {
        /// A level, and what a text has beside its letters.
        const LEVEL: usize = 2;
        const TEXT: usize = 48;
        let size = match (&mut self.values, cell) {
            (_, None) => {
                self.defined.push(0);
                if let Some(repeated) = &mut self.repeated {
                    repeated.push(0);
                }
                return Some(2 * LEVEL);
            }
            (Values::Float32(all), Some(Value::Float32List(items))) => {
                all.extend(items);
                return self.list(items.len(), 4 * items.len());
            }
            (Values::Int64(all), Some(Value::Int64List(items))) => {
                all.extend(items);
                return self.list(items.len(), 8 * items.len());
            }
            (Values::Bytes(all), Some(Value::StringList(items))) => {
                all.extend(items.iter().map(|text| ByteArray::from(text.as_str())));
                let bytes = items.iter().map(|text| text.len() + TEXT).sum();
                return self.list(items.len(), bytes);
            }
            (Values::Bool(all), Some(Value::Bool(x))) => push(all, *x),
            // Unsigned ones are held by the bits of signed ones.
            (Values::Int32(all), Some(Value::Int64(x))) => {
                let unsigned = || u32::try_from(*x).ok().map(u32::cast_signed);
                push(all, i32::try_from(*x).ok().or_else(unsigned)?)
            }
            (Values::Int64(all), Some(Value::Int64(x))) => push(all, *x),
            (Values::Int64(all), Some(Value::Timestamp(at))) => push(all, at.as_micros()),
            (Values::Float32(all), Some(Value::Float32(x))) => push(all, *x),
            (Values::Float64(all), Some(Value::Float64(x))) => push(all, *x),
            (Values::Bytes(all), Some(Value::String(text))) => {
                all.push(text.as_str().into());
                text.len() + TEXT
            }
            (Values::Bytes(all), Some(Value::Bytes(bytes))) => {
                all.push(bytes.clone().into());
                bytes.len() + TEXT
            }
            _ => return None,
        };
        if self.repeated.is_some() {
            return None;
        }
        self.defined.push(1);
        Some(size + LEVEL)
    }

    /// The levels of a list whose items take so many bytes; `None` in a column of single values.
    fn list(&mut self, items: usize, bytes: usize) -> Option<usize> {
        let repeated = self.repeated.as_mut()?;
        repeated.push(0);
        match items {
            0 => self.defined.push(1),
            _ => {
                self.defined.extend(std::iter::repeat_n(2, items));
                repeated.extend(std::iter::repeat_n(1, items - 1));
            }
        }
        Some(bytes + 4 * items.max(1))
    }

    /// Writes all, and forgets it.
    fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let defined = Some(self.defined.as_slice());
        let repeated = self.repeated.as_deref();
        match (writer.untyped(), &mut self.values) {
            (ColumnWriter::BoolColumnWriter(to), Values::Bool(all)) => {
                to.write_batch(all, defined, repeated)?;
                all.clear();
            }
            (ColumnWriter::Int32ColumnWriter(to), Values::Int32(all)) => {
                to.write_batch(all, defined, repeated)?;
                all.clear();
            }
            (ColumnWriter::Int64ColumnWriter(to), Values::Int64(all)) => {
                to.write_batch(all, defined, repeated)?;
                all.clear();
            }
            (ColumnWriter::FloatColumnWriter(to), Values::Float32(all)) => {
                to.write_batch(all, defined, repeated)?;
                all.clear();
            }
            (ColumnWriter::DoubleColumnWriter(to), Values::Float64(all)) => {
                to.write_batch(all, defined, repeated)?;
                all.clear();
            }
            (ColumnWriter::ByteArrayColumnWriter(to), Values::Bytes(all)) => {
                to.write_batch(all, defined, repeated)?;
                all.clear();
            }
            _ => return Err(ParquetError::General("a column is not what its schema says".to_owned())),
        }
        self.defined.clear();
        self.repeated.iter_mut().for_each(Vec::clear);
        writer.close()
    }
}

fn push<T>(all: &mut Vec<T>, x: T) -> usize {
    all.push(x);
    size_of::<T>()
}
