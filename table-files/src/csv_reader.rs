//! CSV, in: a header, then rows of texts. An empty cell is null.

use csv::{Position, ReaderBuilder, StringRecord};
use feature_defs::value::Value;

use crate::cell::ColumnType;
use crate::error::{FileError, RowError};
use crate::reader::{Column, Place, Row, Seekable};

pub(crate) struct CsvReader {
    name: String,
    columns: Vec<Column>,
    reader: csv::Reader<Box<dyn Seekable>>,
    first: Position,
    record: StringRecord,
}

impl CsvReader {
    pub(crate) fn new(name: String, from: Box<dyn Seekable>) -> Result<Self, FileError> {
        // Rows of another length are told with their line, not by the library, which would end there.
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(from);
        let header = reader.headers().map_err(|error| unreadable(&name, &error))?;
        let columns = header
            .iter()
            .map(|column| Column {
                name: column.trim_start_matches('\u{feff}').to_owned(),
                column_type: ColumnType::Text,
            })
            .collect();
        let first = reader.position().clone();
        Ok(Self {
            name,
            columns,
            reader,
            first,
            record: StringRecord::new(),
        })
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, RowError> {
        let row_error = |place, problem| RowError::Row { place, problem };
        match self.reader.read_record(&mut self.record) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                let place = Place::Line(error.position().map_or(0, Position::line));
                return Err(match error.kind() {
                    csv::ErrorKind::Utf8 { .. } => row_error(place, "not UTF-8: save the file as UTF-8".into()),
                    _ => unreadable(&self.name, &error).into(),
                });
            }
        }
        let place = Place::Line(self.record.position().map_or(0, Position::line));
        if self.record.len() != self.columns.len() {
            let problem = format!("{} cells, the header has {}", self.record.len(), self.columns.len());
            return Err(row_error(place, problem));
        }
        let cell = |text: &str| (!text.is_empty()).then(|| Value::String(text.to_owned()));
        Ok(Some(Row {
            place,
            cells: self.record.iter().map(cell).collect(),
        }))
    }

    pub(crate) fn rewind(&mut self) -> Result<(), FileError> {
        self.reader
            .seek(self.first.clone())
            .map_err(|error| unreadable(&self.name, &error))
    }
}

fn unreadable(name: &str, error: &csv::Error) -> FileError {
    FileError::Read {
        file: name.to_owned(),
        reason: error.to_string(),
    }
}
