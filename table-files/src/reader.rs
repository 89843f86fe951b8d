//! Files of rows, read one row at a time.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use crate::cell::{Cell, ColumnType};
use crate::csv_reader::CsvReader;
use crate::error::{FileError, RowError};
use crate::parquet_reader::ParquetReader;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Format {
    Csv,
    Parquet,
}

impl Format {
    /// What the file's name says.
    ///
    /// # Errors
    /// [`FileError::Extension`].
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
        match extension.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(FileError::Extension {
                file: path.display().to_string(),
            }),
        }
    }
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its cells are.
    pub column_type: ColumnType,
}

/// One row of a file.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// As many as there are columns.
    pub cells: Vec<Cell>,
}

/// Where a row stands in its file, as its owner finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of a CSV file, from 1, which is the header.
    Line(u64),
    /// Of a Parquet file, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

/// A file that is read row by row, as often as wanted; a bounded number of rows is held in memory.
pub struct TableReader {
    name: String,
    kind: Kind,
}

enum Kind {
    Csv(CsvReader),
    Parquet(ParquetReader),
}

/// What a CSV file is read from.
pub(crate) trait Seekable: Read + Seek + Send {}
impl<T: Read + Seek + Send> Seekable for T {}

impl TableReader {
    /// Opens a file, of the format that its name says.
    ///
    /// # Errors
    /// It cannot be opened, or is not of that format.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let format = Format::of(path)?;
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| FileError::Open {
            file: name.clone(),
            source,
        })?;
        match format {
            Format::Csv => Self::csv(name, BufReader::with_capacity(1 << 16, file)),
            Format::Parquet => Ok(Self {
                kind: Kind::Parquet(ParquetReader::new(name.clone(), file)?),
                name,
            }),
        }
    }

    /// Reads CSV from anywhere; `name` is what messages call it.
    ///
    /// # Errors
    /// There is no header that can be read.
    pub fn csv(name: impl Into<String>, from: impl Read + Seek + Send + 'static) -> Result<Self, FileError> {
        let name = name.into();
        Ok(Self {
            kind: Kind::Csv(CsvReader::new(name.clone(), Box::new(from))?),
            name,
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[Column] {
        match &self.kind {
            Kind::Csv(reader) => reader.columns(),
            Kind::Parquet(reader) => reader.columns(),
        }
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// A row that is none, after which the next can be read; or a file that cannot be read on.
    pub fn next_row(&mut self) -> Result<Option<Row>, RowError> {
        match &mut self.kind {
            Kind::Csv(reader) => reader.next_row(),
            Kind::Parquet(reader) => Ok(reader.next_row()?),
        }
    }

    /// Goes back to the first row.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn rewind(&mut self) -> Result<(), FileError> {
        match &mut self.kind {
            Kind::Csv(reader) => reader.rewind(),
            Kind::Parquet(reader) => {
                reader.rewind();
                Ok(())
            }
        }
    }
}
