//! The rows of a file as instances: join keys and request features by the names of columns.

use std::slice;

use feature_defs::definitions::Service;
use feature_defs::key::KeyValue;
use feature_defs::value::{Value, ValueType};
use table_files::{BadFile, Cell, Column, FileError, Place, Row, RowError, TableReader};

use crate::model::Featured;
use crate::predict::Problems;
use crate::predict::request::Instance;

/// Why the rows of a file cannot be predicted.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// Something is wrong in it.
    #[error(transparent)]
    Bad(#[from] BadFile),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
}

/// One row of a file.
#[derive(Debug, Clone)]
pub(crate) struct FileRow {
    /// Where it stands.
    pub(crate) place: Place,
    /// All of it.
    pub(crate) cells: Vec<Cell>,
    /// One for each of those that it was read for.
    pub(crate) instances: Vec<Instance>,
}

/// A file that has been read once, whole, and is right.
pub(crate) struct FileRows<'a> {
    /// How many rows it has.
    pub(crate) count: u64,
    reading: Reading<'a>,
    reader: TableReader,
}

/// Where in a file's columns everything stands.
struct Reading<'a> {
    columns: Vec<Column>,
    wanted: Vec<(&'a Featured, Header)>,
}

/// Where a service's join keys and request features stand.
struct Header {
    keys: Vec<(usize, ValueType)>,
    request: Vec<(usize, ValueType)>,
}

impl<'a> FileRows<'a> {
    /// Reads every row as an instance of each of `wanted`, so that nothing is predicted of a file with mistakes in it; then
    /// goes back to the first. `added` are the names of columns that it must not have.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(crate) fn check(wanted: &[&'a Featured], mut reader: TableReader, added: &[&str]) -> Result<Self, RowsError> {
        let mut bad = BadFile::none_yet(reader.name());
        let reading = Reading::find(wanted, &reader, added, &mut bad);
        bad.or(())?;
        let mut bad = BadFile::none_yet(reader.name());
        let mut count = 0;
        while let Some(row) = next_row(&mut reader, &mut bad)? {
            count += u64::from(row.is_some());
            if let Some(row) = row {
                let _ = reading.row(row, &mut bad);
            }
        }
        bad.or(())?;
        reader.rewind()?;
        Ok(Self { count, reading, reader })
    }

    /// Its columns, in order.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.reading.columns
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        self.reader.name()
    }

    /// The next rows, at most `limit`; none at the end.
    ///
    /// # Errors
    /// The file has changed since it was checked, or cannot be read any more.
    pub(crate) fn next_chunk(&mut self, limit: usize) -> Result<Vec<FileRow>, RowsError> {
        let mut chunk = Vec::with_capacity(limit);
        let mut bad = BadFile::none_yet(self.reader.name());
        while chunk.len() < limit && bad.count() == 0 {
            match next_row(&mut self.reader, &mut bad)? {
                None => break,
                Some(row) => chunk.extend(row.and_then(|row| self.reading.row(row, &mut bad))),
            }
        }
        Ok(bad.or(chunk)?)
    }
}

/// The next row, `Some(None)` if it is none; `None` at the end.
fn next_row(reader: &mut TableReader, bad: &mut BadFile) -> Result<Option<Option<Row>>, FileError> {
    match reader.next_row() {
        Ok(row) => Ok(row.map(Some)),
        Err(error @ RowError::Row { .. }) => {
            bad.add(error.to_string());
            Ok(Some(None))
        }
        Err(RowError::File(error)) => Err(error),
    }
}

impl<'a> Reading<'a> {
    fn find(wanted: &[&'a Featured], reader: &TableReader, added: &[&str], bad: &mut BadFile) -> Self {
        let columns = reader.columns().to_vec();
        for (i, Column { name, .. }) in columns.iter().enumerate() {
            if columns[..i].iter().any(|before| before.name == *name) {
                bad.add(format!("column `{name}` is there twice"));
            }
            if added.contains(&name.as_str()) {
                bad.add(format!(
                    "column `{name}` has the name of one that is added: rename it, or leave it out"
                ));
            }
        }
        let mut told: Vec<String> = Vec::new();
        let mut headers = Vec::with_capacity(wanted.len());
        for featured in wanted {
            let (header, problems) = Header::find(&featured.service, &columns);
            headers.push((*featured, header));
            told.extend(
                problems
                    .into_iter()
                    .filter(|problem| !told.contains(problem))
                    .collect::<Vec<_>>(),
            );
        }
        told.into_iter().for_each(|problem| bad.add(problem));
        Self {
            columns,
            wanted: headers,
        }
    }

    /// Reads a row; every problem of it goes to `bad`.
    fn row(&self, Row { place, cells }: Row, bad: &mut BadFile) -> Option<FileRow> {
        let mut instances = Vec::with_capacity(self.wanted.len());
        for (featured, header) in &self.wanted {
            match self.instance((featured, header), &cells) {
                Ok(instance) => instances.push(instance),
                Err(problems) => {
                    for (column, problem) in problems {
                        bad.add(format!("{place}, column `{column}`: {problem}"));
                    }
                    return None;
                }
            }
        }
        Some(FileRow {
            place,
            cells,
            instances,
        })
    }

    /// The instance that these cells are, or columns with what is wrong in them.
    fn instance(
        &self,
        (featured, header): (&Featured, &Header),
        cells: &[Cell],
    ) -> Result<Instance, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let mut read = |&(column, value_type): &(usize, ValueType)| -> Option<Value> {
            let Column { name, column_type } = &self.columns[column];
            column_type.value(&cells[column], value_type).unwrap_or_else(|problem| {
                problems.push((name.clone(), problem));
                None
            })
        };
        let keys: Vec<(usize, Option<Value>)> = header.keys.iter().map(|key| (key.0, read(key))).collect();
        let request = header.request.iter().map(&mut read).collect();
        let key = |(column, value): (usize, Option<Value>)| {
            value.map(KeyValue::try_from).transpose().unwrap_or_else(|error| {
                problems.push((self.columns[column].name.clone(), error.to_string()));
                None
            })
        };
        let instance = Instance {
            keys: keys.into_iter().map(key).collect(),
            request,
            overrides: Vec::new(),
        };
        let mut unfit = Problems::default();
        featured.shape.check(slice::from_ref(&instance), &mut unfit);
        let unfit = unfit.shown().iter();
        problems.extend(unfit.map(|p| (p.name.clone().unwrap_or_default(), p.problem.clone())));
        if problems.is_empty() {
            Ok(instance)
        } else {
            Err(problems)
        }
    }
}

impl Header {
    /// Finds what `service` needs; with what is wrong about it, a sentence each.
    fn find(service: &Service, columns: &[Column]) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let mut find = |name: &str, value_type: ValueType, what: &str| {
            let found = columns.iter().position(|column| column.name == name);
            match found.map(|i| columns[i].column_type.fits(value_type)) {
                Some(Ok(())) => {}
                Some(Err(problem)) => problems.push(format!("column `{name}` ({what}) {problem}")),
                None => {
                    let hint = service::nearest::hint(name, columns.iter().map(|column| column.name.as_str()));
                    problems.push(format!("there is no column `{name}` ({what}, {value_type}){hint}"));
                }
            }
            (found.unwrap_or_default(), value_type)
        };
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
        (Self { keys, request }, problems)
    }
}
