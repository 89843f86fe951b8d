//! Writes scored rows: what came in, what the model says of it, and why if that is less than it could be.

use std::io::Write;

use feature_defs::value::{Value, ValueType};
use table_files::{Cell, Column, ColumnType, FileError, Format, TableOutput, TableWriter};

use super::rows::FileRow;
use crate::model::Featured;
use crate::model::program::Outputs;
use crate::predict::answer::Row;

/// The column that says why a row has no prediction.
pub(super) const ERROR: &str = "prediction_error";
/// The column that says why a prediction is less than it could be.
pub(super) const DEGRADED: &str = "degraded";

/// The scored file as it grows.
pub(super) struct Output<W: Write + Send> {
    writer: TableWriter<W>,
    /// For each column that came in, what it is and what it becomes, if its texts were read as something else.
    typed: Vec<(ColumnType, Option<ValueType>)>,
    outputs: Vec<ValueType>,
    /// One row's cells, to be filled again.
    cells: Vec<Cell>,
}

/// The names of the columns that are added to a file.
pub(super) fn added(featured: &Featured) -> Vec<&str> {
    let outputs = featured.output_schema.fields().iter();
    outputs
        .map(|field| field.name.as_str())
        .chain([ERROR, DEGRADED])
        .collect()
}

impl<W: Write + Send> Output<W> {
    /// Begins a file with the columns that came in and those that are added.
    pub(super) fn begin(featured: &Featured, columns: &[Column], out: TableOutput<W>) -> Result<Self, FileError> {
        let typed: Vec<_> = columns
            .iter()
            .map(|column| (column.column_type, typed(featured, column, out.format)))
            .collect();
        let outputs: Vec<ValueType> = featured.output_schema.fields().iter().map(|f| f.value_type).collect();
        let carried = columns.iter().zip(&typed).map(|(column, (column_type, typed))| Column {
            name: column.name.clone(),
            column_type: typed.map_or(*column_type, ColumnType::Value),
        });
        let text = ValueType::String;
        let types = outputs.iter().chain([&text, &text]);
        let added = added(featured).into_iter().zip(types).map(|(name, value_type)| Column {
            name: name.to_owned(),
            column_type: ColumnType::Value(*value_type),
        });
        Ok(Self {
            writer: TableWriter::new(out, carried.chain(added).collect())?,
            typed,
            outputs,
            cells: Vec::new(),
        })
    }

    /// Adds a row with its outputs, if it has them, and what is said of it.
    pub(super) fn row(&mut self, row: FileRow, outputs: Option<&Outputs>, said: &Row) -> Result<(), FileError> {
        self.cells.clear();
        for (cell, (column_type, typed)) in row.cells.into_iter().zip(&self.typed) {
            self.cells.push(match typed {
                None => cell,
                // It was read as such before it was predicted.
                Some(value_type) => column_type.value(&cell, *value_type).unwrap_or_default(),
            });
        }
        for (i, value_type) in self.outputs.iter().enumerate() {
            let value = outputs.and_then(|outputs| outputs.values().get(i));
            self.cells.push(value.and_then(|value| of_type(value, *value_type)));
        }
        let error = said.error.as_ref().map(|error| Value::String(error.message.clone()));
        self.cells.push(error);
        let reasons: Vec<&str> = said.degraded.iter().map(|reason| reason.name()).collect();
        self.cells
            .push((!reasons.is_empty()).then(|| Value::String(reasons.join(","))));
        self.writer.row(&self.cells)
    }

    /// Ends the file.
    pub(super) fn finish(self) -> Result<(), FileError> {
        self.writer.finish()
    }
}

/// The type of join keys and request features that come as texts, in a file that has types.
fn typed(featured: &Featured, column: &Column, format: Format) -> Option<ValueType> {
    if format == Format::Csv || column.column_type != ColumnType::Text {
        return None;
    }
    let service = &featured.service;
    let key = service.keys.iter().find(|key| key.name.as_str() == column.name);
    let request = service.request.iter().find(|field| field.name.as_str() == column.name);
    key.map(|key| key.key_type.value_type())
        .or(request.map(|field| field.value_type))
}

/// An output as a value of its column: a fallback's may be another kind of number.
fn of_type(value: &Value, wanted: ValueType) -> Cell {
    let given = value.value_type();
    if given == wanted {
        return Some(value.clone());
    }
    ColumnType::Value(given)
        .value(&Some(value.clone()), wanted)
        .ok()
        .flatten()
}
