//! Writes training sets: which column holds what, and each row's cells.

use std::io::Write;

use feature_defs::assemble::{Parts, Stale, assemble};
use feature_defs::definitions::Service;
use feature_defs::serving::StoredRow;
use feature_defs::value::{Value, ValueType};
use table_files::{Cell, Column, ColumnType, Format, TableOutput, TableWriter};

use super::TrainingError;
use super::labels::{Header, Label};

/// The training set as it grows.
pub(super) struct Output<W: Write + Send> {
    writer: TableWriter<W>,
    places: Vec<Place>,
    /// One row's cells, to be filled again.
    cells: Vec<Cell>,
}

/// What a column of the training set is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The labels' own cell.
    Label(usize),
    /// The label's moment.
    Moment,
    /// The label's join key.
    Key(usize),
    /// The service's input.
    Input(usize),
}

impl<W: Write + Send> Output<W> {
    /// Begins a file with the columns of the labels and of the service.
    pub(super) fn begin(service: &Service, header: &Header, out: TableOutput<W>) -> Result<Self, TrainingError> {
        let mut places: Vec<Place> = (0..header.columns.len())
            .map(|i| place(service, header, i, out.format))
            .collect();
        let is_there = |i: &usize| places.iter().any(|place| matches!(place, Place::Input(j) if j == i));
        let appended: Vec<usize> = (0..service.inputs.len()).filter(|i| !is_there(i)).collect();
        places.extend(appended.into_iter().map(Place::Input));
        let columns = places
            .iter()
            .enumerate()
            .map(|(i, place)| match *place {
                Place::Input(input) => Column {
                    name: service.inputs[input].name.clone(),
                    column_type: ColumnType::Value(service.inputs[input].value_type),
                },
                Place::Label(_) => header.columns[i].clone(),
                Place::Moment => typed(&header.columns[i], ValueType::Timestamp),
                Place::Key(key) => typed(&header.columns[i], service.keys[key].key_type.value_type()),
            })
            .collect();
        Ok(Self {
            writer: TableWriter::new(out, columns).map_err(TrainingError::Write)?,
            cells: Vec::with_capacity(places.len()),
            places,
        })
    }

    /// Adds a label with the inputs that are made of it and what was stored.
    pub(super) fn row(
        &mut self,
        service: &Service,
        mut label: Label,
        stored: &[StoredRow],
    ) -> Result<(), TrainingError> {
        let parts = Parts {
            request: &label.request,
            stored,
            now: label.moment,
            stale: Stale::Default,
        };
        let mut inputs = assemble(service, parts);
        self.cells.clear();
        for place in &self.places {
            // Each is in one place only.
            self.cells.push(match *place {
                Place::Label(i) => label.cells[i].take(),
                Place::Moment => Some(Value::Timestamp(label.moment)),
                Place::Key(i) => label.keys[i].take(),
                Place::Input(i) => inputs[i].value.take(),
            });
        }
        self.writer.row(&self.cells).map_err(TrainingError::Write)
    }

    /// Ends the file; how many columns it has.
    pub(super) fn finish(self) -> Result<usize, TrainingError> {
        self.writer.finish().map_err(TrainingError::Write)?;
        Ok(self.places.len())
    }
}

/// What stands in a column of the labels. Texts that were read as moments and keys become such in a file that has types.
fn place(service: &Service, header: &Header, column: usize, format: Format) -> Place {
    let Column { name, column_type } = &header.columns[column];
    if let Some(input) = service.inputs.iter().position(|input| input.name == *name) {
        return Place::Input(input);
    }
    if format == Format::Csv || *column_type != ColumnType::Text {
        return Place::Label(column);
    }
    match service.keys.iter().position(|key| key.name.as_str() == name) {
        Some(key) => Place::Key(key),
        None if column == header.moment => Place::Moment,
        None => Place::Label(column),
    }
}

fn typed(column: &Column, value_type: ValueType) -> Column {
    Column {
        name: column.name.clone(),
        column_type: ColumnType::Value(value_type),
    }
}
