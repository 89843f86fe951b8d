//! Files of rows, written one row at a time.

use std::io::Write;

use crate::cell::Cell;
use crate::csv_writer::CsvWriter;
use crate::error::FileError;
use crate::parquet_writer::ParquetWriter;
use crate::reader::{Column, Format};

/// Where a file goes, before its columns are known.
#[derive(Debug)]
pub struct TableOutput<W> {
    /// What it is written in.
    pub format: Format,
    /// Gets its bytes.
    pub to: W,
}

/// A file that is written row by row; a bounded number of rows is held in memory. It is whole only once finished.
pub struct TableWriter<W: Write + Send>(Kind<W>);

enum Kind<W: Write + Send> {
    Csv(CsvWriter<W>),
    Parquet(ParquetWriter<W>),
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a file of these columns.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn new(output: TableOutput<W>, columns: Vec<Column>) -> Result<Self, FileError> {
        Ok(Self(match output.format {
            Format::Csv => Kind::Csv(CsvWriter::new(output.to, columns)?),
            Format::Parquet => Kind::Parquet(ParquetWriter::new(output.to, columns)?),
        }))
    }

    /// Adds a row of as many cells as there are columns.
    ///
    /// # Errors
    /// [`FileError::Write`]; also for a cell that is not of its column's type, which is the caller's mistake.
    pub fn row(&mut self, cells: &[Cell]) -> Result<(), FileError> {
        match &mut self.0 {
            Kind::Csv(writer) => writer.row(cells),
            Kind::Parquet(writer) => writer.row(cells),
        }
    }

    /// Writes what is held, and the end.
    ///
    /// # Errors
    /// [`FileError::Write`].
    pub fn finish(self) -> Result<(), FileError> {
        match self.0 {
            Kind::Csv(writer) => writer.finish(),
            Kind::Parquet(writer) => writer.finish(),
        }
    }
}
