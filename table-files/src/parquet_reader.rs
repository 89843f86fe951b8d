//! Parquet, in: row groups one after the other, of each column a batch of cells at a time.

use std::fs::File;

use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};
use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::cell::{Cell, ColumnType};
use crate::error::{FileError, reason};
use crate::parquet_schema::{column_type, list_item};
use crate::reader::{Column, Place, Row};

/// How many cells of a column are decoded at a time. A row group can be a whole file; what is held is a batch and a page.
const BATCH: usize = 1_024;

pub(crate) struct ParquetReader {
    name: String,
    file: SerializedFileReader<File>,
    columns: Vec<Column>,
    /// Of list columns: what their definition levels mean.
    lists: Vec<Option<Levels>>,
    /// The row group to open next.
    next_group: usize,
    open: Vec<ColumnReader>,
    /// The rest of the batch, one a column.
    batch: Vec<std::vec::IntoIter<Cell>>,
    rows_in_batch: usize,
    /// Rows given out.
    row: u64,
}

impl ParquetReader {
    pub(crate) fn new(name: String, file: File) -> Result<Self, FileError> {
        let file = SerializedFileReader::new(file).map_err(|error| FileError::NotParquet {
            file: name.clone(),
            reason: reason(&error),
        })?;
        let groups = file.metadata().row_groups().iter();
        for chunk in groups.flat_map(RowGroupMetaData::columns) {
            let codec = match chunk.compression() {
                Compression::BROTLI(_) => "brotli",
                Compression::LZO => "lzo",
                _ => continue,
            };
            return Err(FileError::Unsupported {
                file: name,
                column: chunk.column_path().string(),
                holds: format!("values packed with {codec}"),
                remedy: "write it with compression snappy, zstd, gzip or lz4",
            });
        }
        let (mut columns, mut lists) = (Vec::new(), Vec::new());
        let schema = file.metadata().file_metadata().schema_descr();
        for field in schema.root_schema().get_fields() {
            let column_type = column_type(field).map_err(|unsupported| FileError::Unsupported {
                file: name.clone(),
                column: field.name().to_owned(),
                holds: unsupported.holds,
                remedy: unsupported.remedy,
            })?;
            columns.push(Column {
                name: field.name().to_owned(),
                column_type,
            });
            let levels = list_item(field).map(|item| Levels {
                // Each field has one leaf: others were refused.
                item: schema.column(lists.len()).max_def_level(),
                items_can_be_null: item.is_optional(),
            });
            lists.push(levels);
        }
        Ok(Self {
            name,
            file,
            columns,
            lists,
            next_group: 0,
            open: Vec::new(),
            batch: Vec::new(),
            rows_in_batch: 0,
            row: 0,
        })
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn rewind(&mut self) {
        self.next_group = 0;
        self.open.clear();
        self.batch.clear();
        self.rows_in_batch = 0;
        self.row = 0;
    }

    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, FileError> {
        while self.rows_in_batch == 0 {
            if !self.fill()? {
                return Ok(None);
            }
        }
        self.rows_in_batch -= 1;
        self.row += 1;
        let cells: Vec<Cell> = self.batch.iter_mut().filter_map(Iterator::next).collect();
        Ok(Some(Row {
            place: Place::Row(self.row),
            cells,
        }))
    }

    /// Decodes the next batch, or opens the next row group; false at the end.
    fn fill(&mut self) -> Result<bool, FileError> {
        self.batch.clear();
        for (i, reader) in self.open.iter_mut().enumerate() {
            let shape = Shape {
                column_type: self.columns[i].column_type,
                list: self.lists[i],
            };
            let cells = shape.cells(reader).map_err(|problem| FileError::Read {
                file: self.name.clone(),
                reason: format!(
                    "column `{}`, from row {}: {problem}",
                    self.columns[i].name,
                    self.row + 1
                ),
            })?;
            self.batch.push(cells.into_iter());
        }
        self.rows_in_batch = self.batch.first().map_or(0, ExactSizeIterator::len);
        if let Some(short) = self.batch.iter().position(|cells| cells.len() != self.rows_in_batch) {
            return Err(FileError::Read {
                file: self.name.clone(),
                reason: format!(
                    "column `{}` has not as many rows as the others",
                    self.columns[short].name
                ),
            });
        }
        if self.rows_in_batch > 0 {
            return Ok(true);
        }
        if self.next_group == self.file.num_row_groups() {
            return Ok(false);
        }
        let failed = |error| FileError::Read {
            file: self.name.clone(),
            reason: reason(&error),
        };
        let group = self.file.get_row_group(self.next_group).map_err(failed)?;
        self.open = (0..self.columns.len())
            .map(|i| group.get_column_reader(i))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        self.next_group += 1;
        Ok(true)
    }
}

/// What the definition levels of a list column mean.
#[derive(Clone, Copy)]
struct Levels {
    /// An item that is there.
    item: i16,
    /// Whether there is a level for items that are null.
    items_can_be_null: bool,
}

impl Levels {
    /// A list without items. What is less is a list that is null.
    fn empty(self) -> i16 {
        self.item - 1 - i16::from(self.items_can_be_null)
    }
}

/// How a column's cells are made.
#[derive(Clone, Copy)]
struct Shape {
    column_type: ColumnType,
    list: Option<Levels>,
}

impl Shape {
    /// The next batch; empty at the end of the row group.
    fn cells(self, reader: &mut ColumnReader) -> Result<Vec<Cell>, String> {
        let signed = !matches!(self.column_type, ColumnType::Integer { signed: false, .. });
        match reader {
            ColumnReader::BoolColumnReader(reader) => flat(reader, |x| Ok(Value::Bool(x))),
            ColumnReader::Int32ColumnReader(reader) => flat(reader, |x| {
                let wide = if signed {
                    i64::from(x)
                } else {
                    i64::from(x.cast_unsigned())
                };
                Ok(Value::Int64(wide))
            }),
            ColumnReader::Int64ColumnReader(reader) => match (self.list, self.column_type) {
                (Some(levels), _) => lists(reader, levels, Value::Int64List, Ok),
                (None, ColumnType::Value(ValueType::Timestamp)) => {
                    flat(reader, |x| Ok(Value::Timestamp(Timestamp::from_micros(x))))
                }
                (None, _) => flat(reader, |x| Ok(Value::Int64(x))),
            },
            ColumnReader::Int96ColumnReader(reader) => {
                flat(reader, |x| Ok(Value::Timestamp(Timestamp::from_micros(x.to_micros()))))
            }
            ColumnReader::FloatColumnReader(reader) => match self.list {
                Some(levels) => lists(reader, levels, Value::Float32List, Ok),
                None => flat(reader, |x| Ok(Value::Float32(x))),
            },
            ColumnReader::DoubleColumnReader(reader) => flat(reader, |x| Ok(Value::Float64(x))),
            ColumnReader::ByteArrayColumnReader(reader) => match (self.list, self.column_type) {
                (Some(levels), _) => lists(reader, levels, Value::StringList, |x| text(&x)),
                (None, ColumnType::Value(ValueType::Bytes)) => flat(reader, |x| Ok(Value::Bytes(x.data().to_vec()))),
                (None, _) => flat(reader, |x| text(&x).map(Value::String)),
            },
            ColumnReader::FixedLenByteArrayColumnReader(_) => Err("fixed-length bytes are not supported".to_owned()),
        }
    }
}

/// The next cells of a column of single values.
fn flat<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    value: impl Fn(T::T) -> Result<Value, String>,
) -> Result<Vec<Cell>, String> {
    let (mut defined, mut values) = (Vec::new(), Vec::new());
    reader
        .read_records(BATCH, Some(&mut defined), None, &mut values)
        .map_err(|error| reason(&error))?;
    let mut values = values.into_iter().map(value);
    // A column that is never null has no definition levels.
    if defined.is_empty() {
        return values.map(|value| value.map(Some)).collect();
    }
    defined
        .into_iter()
        .map(|level| {
            if level == 0 {
                Ok(None)
            } else {
                values.next().transpose()
            }
        })
        .collect()
}

/// The next cells of a column of lists.
fn lists<T: DataType, I>(
    reader: &mut ColumnReaderImpl<T>,
    levels: Levels,
    list: impl Fn(Vec<I>) -> Value,
    item: impl Fn(T::T) -> Result<I, String>,
) -> Result<Vec<Cell>, String> {
    let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    reader
        .read_records(BATCH, Some(&mut defined), Some(&mut repeated), &mut values)
        .map_err(|error| reason(&error))?;
    let mut values = values.into_iter();
    let mut lists: Vec<Option<Vec<I>>> = Vec::new();
    for (level, again) in defined.into_iter().zip(repeated) {
        if again == 0 {
            lists.push((level >= levels.empty()).then(Vec::new));
        }
        if level <= levels.empty() {
            continue;
        }
        let (Some(Some(items)), true) = (lists.last_mut(), level == levels.item) else {
            return Err("a list holds a null; a feature's list cannot: drop the row, or fill it".to_owned());
        };
        items.push(item(values.next().ok_or("a list is cut short")?)?);
    }
    Ok(lists.into_iter().map(|items| items.map(&list)).collect())
}

fn text(bytes: &ByteArray) -> Result<String, String> {
    String::from_utf8(bytes.data().to_vec()).map_err(|_| "text is not UTF-8".to_owned())
}
