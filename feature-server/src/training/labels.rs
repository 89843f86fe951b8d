//! Reads label files: a service's join keys and request features, the moment of each row, and what passes through.

use feature_defs::definitions::{Input, Origin, Service};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};
use table_files::{BadFile, Cell, Column, Row, RowError, TableReader};

use super::TrainingError;

/// The column that holds a label's moment.
const MOMENT: &str = "event_timestamp";
/// The beginning of time as Postgres has it, in November of 4714 BC. Its end is after that of [`Timestamp`].
const EARLIEST: Timestamp = Timestamp::from_micros(-210_866_803_200_000_000);

/// Where a service's inputs stand in a label file's columns.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) columns: Vec<Column>,
    pub(super) moment: usize,
    keys: Vec<(usize, ValueType)>,
    request: Vec<(usize, ValueType)>,
}

/// One row of a label file.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) cells: Vec<Cell>,
    pub(super) moment: Timestamp,
    pub(super) keys: Vec<Option<Value>>,
    pub(super) request: Vec<Option<Value>>,
}

impl Header {
    /// Finds what `service` needs.
    fn read(service: &Service, labels: &TableReader) -> Result<Self, TrainingError> {
        let columns = labels.columns();
        let mut bad = BadFile::none_yet(labels.name());
        for (i, Column { name, .. }) in columns.iter().enumerate() {
            if columns[..i].iter().any(|before| before.name == *name) {
                bad.add(format!("column `{name}` is there twice"));
            }
            let computed = |input: &Input| input.name == *name && !matches!(input.origin, Origin::Request { .. });
            if service.inputs.iter().any(computed) {
                bad.add(format!(
                    "column `{name}` has the name of an input that is computed: rename it, or leave it out"
                ));
            }
        }
        let mut find = |name: &str, value_type: ValueType, what: &str| {
            let found = columns.iter().position(|column| column.name == name);
            match found.map(|i| columns[i].column_type.fits(value_type)) {
                Some(Ok(())) => {}
                Some(Err(problem)) => bad.add(format!("column `{name}` ({what}) {problem}")),
                None => bad.add(format!("there is no column `{name}` ({what})")),
            }
            (found.unwrap_or_default(), value_type)
        };
        let (moment, _) = find(MOMENT, ValueType::Timestamp, "the moment of each row, RFC 3339 in CSV");
        let keys = service
            .keys
            .iter()
            .map(|key| find(key.name.as_str(), key.key_type.value_type(), "a join key"))
            .collect();
        let request = service
            .request
            .iter()
            .map(|field| find(field.name.as_str(), field.value_type, "a request feature"))
            .collect();
        Ok(bad.or(Self {
            columns: columns.to_vec(),
            moment,
            keys,
            request,
        })?)
    }

    /// Reads a row; every problem of it goes to `bad`.
    fn label(&self, Row { place, cells }: Row, bad: &mut BadFile) -> Option<Label> {
        let before = bad.count();
        let mut read = |&(column, value_type): &(usize, ValueType)| {
            let Column { name, column_type } = &self.columns[column];
            column_type.value(&cells[column], value_type).unwrap_or_else(|problem| {
                bad.add(format!("{place}, column `{name}`: {problem}"));
                None
            })
        };
        let moment = read(&(self.moment, ValueType::Timestamp));
        let keys = self.keys.iter().map(&mut read).collect();
        let request = self.request.iter().map(&mut read).collect();
        let moment = match moment {
            Some(Value::Timestamp(at)) if at >= EARLIEST && at.to_chrono().is_some() => Some(at),
            Some(_) => {
                bad.add(format!(
                    "{place}, column `{MOMENT}`: a moment that Postgres does not have"
                ));
                None
            }
            None if cells[self.moment].is_none() => {
                bad.add(format!("{place}, column `{MOMENT}`: empty; each row needs its moment"));
                None
            }
            None => None,
        }?;
        (bad.count() == before).then_some(Label {
            cells,
            moment,
            keys,
            request,
        })
    }
}

/// A label file that has been read once, whole, and is right.
pub(super) struct Labels {
    pub(super) header: Header,
    pub(super) count: u64,
    reader: TableReader,
}

impl Labels {
    /// Reads every row, so that nothing is computed for a file with mistakes in it; then goes back to the first.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(super) fn check(service: &Service, mut reader: TableReader) -> Result<Self, TrainingError> {
        let header = Header::read(service, &reader)?;
        let mut bad = BadFile::none_yet(reader.name());
        let mut count = 0;
        loop {
            match reader.next_row() {
                Ok(None) => break,
                Ok(Some(row)) => {
                    count += 1;
                    let _ = header.label(row, &mut bad);
                }
                Err(error @ RowError::Row { .. }) => bad.add(error.to_string()),
                Err(RowError::File(error)) => return Err(TrainingError::Read(error)),
            }
        }
        bad.or(())?;
        reader.rewind().map_err(TrainingError::Read)?;
        Ok(Self { header, count, reader })
    }

    /// The next rows, at most `limit`; none at the end.
    ///
    /// # Errors
    /// The file has changed since it was checked, or cannot be read any more.
    pub(super) fn next_chunk(&mut self, limit: usize) -> Result<Vec<Label>, TrainingError> {
        let mut chunk = Vec::with_capacity(limit);
        let mut bad = BadFile::none_yet(self.reader.name());
        while chunk.len() < limit && bad.count() == 0 {
            match self.reader.next_row() {
                Ok(None) => break,
                Ok(Some(row)) => chunk.extend(self.header.label(row, &mut bad)),
                Err(error @ RowError::Row { .. }) => bad.add(error.to_string()),
                Err(RowError::File(error)) => return Err(TrainingError::Read(error)),
            }
        }
        Ok(bad.or(chunk)?)
    }
}
