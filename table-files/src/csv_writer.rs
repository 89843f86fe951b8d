//! CSV, out: a header, then rows of texts. Null is an empty cell.

use std::io::Write;

use feature_defs::value::Value;

use crate::cell::{Cell, ColumnType};
use crate::error::FileError;
use crate::reader::Column;

pub(crate) struct CsvWriter<W: Write> {
    types: Vec<ColumnType>,
    writer: csv::Writer<W>,
}

impl<W: Write> CsvWriter<W> {
    pub(crate) fn new(to: W, columns: Vec<Column>) -> Result<Self, FileError> {
        let mut writer = csv::Writer::from_writer(to);
        let names = columns.iter().map(|column| &column.name);
        writer.write_record(names).map_err(failed)?;
        let types = columns.into_iter().map(|column| column.column_type).collect();
        Ok(Self { types, writer })
    }

    pub(crate) fn row(&mut self, cells: &[Cell]) -> Result<(), FileError> {
        for (column_type, cell) in self.types.iter().zip(cells) {
            match cell {
                Some(Value::String(text)) => self.writer.write_field(text),
                cell => self.writer.write_field(column_type.text(cell)),
            }
            .map_err(failed)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(failed)
    }

    pub(crate) fn finish(mut self) -> Result<(), FileError> {
        self.writer.flush().map_err(|error| FileError::Write(error.to_string()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn failed(error: csv::Error) -> FileError {
    FileError::Write(error.to_string())
}
