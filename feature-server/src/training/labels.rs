//! Reads label files: a service's join keys and request features, the moment of each row, and what passes through.

use std::fmt;
use std::io::{Read, Seek};

use feature_defs::definitions::{Input, Origin, Service};
use feature_defs::key::KeyType;
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};

/// The column that holds a label's moment.
pub(super) const MOMENT: &str = "event_timestamp";
/// How many bad rows are told one by one.
const SHOWN: usize = 20;

/// What is wrong with a label file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLabels {
    shown: Vec<String>,
    count: usize,
}

impl fmt::Display for BadLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "problem" } else { "problems" };
        write!(f, "the labels have {} {plural}:", self.count)?;
        for problem in &self.shown {
            write!(f, "\n  {problem}")?;
        }
        match self.count.saturating_sub(self.shown.len()) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl BadLabels {
    fn one(problem: String) -> Self {
        Self {
            shown: vec![problem],
            count: 1,
        }
    }

    fn add(&mut self, problem: String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(problem);
        }
    }
}

/// Where a service's inputs stand in a label file's columns.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) columns: Vec<String>,
    moment: usize,
    keys: Vec<(usize, KeyType)>,
    request: Vec<(usize, ValueType)>,
}

/// One row of a label file.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) cells: csv::StringRecord,
    pub(super) moment: Timestamp,
    pub(super) keys: Vec<Option<Value>>,
    pub(super) request: Vec<Option<Value>>,
}

impl Header {
    /// Finds what `service` needs.
    fn read(service: &Service, record: &csv::StringRecord) -> Result<Self, BadLabels> {
        let columns: Vec<String> = record
            .iter()
            .map(|c| c.trim_start_matches('\u{feff}').to_owned())
            .collect();
        let mut bad = BadLabels {
            shown: Vec::new(),
            count: 0,
        };
        for (i, column) in columns.iter().enumerate() {
            if columns[..i].contains(column) {
                bad.add(format!("column `{column}` is there twice"));
            }
            let computed = |input: &Input| input.name == *column && !matches!(input.origin, Origin::Request { .. });
            if service.inputs.iter().any(computed) {
                bad.add(format!(
                    "column `{column}` has the name of an input that is computed: rename it, or leave it out"
                ));
            }
        }
        let mut find = |name: &str, what: &str| {
            columns.iter().position(|c| c == name).unwrap_or_else(|| {
                bad.add(format!("there is no column `{name}` ({what})"));
                0
            })
        };
        let moment = find(MOMENT, "the moment of each row, RFC 3339");
        let keys = service
            .keys
            .iter()
            .map(|k| (find(k.name.as_str(), "a join key"), k.key_type))
            .collect();
        let request = service
            .request
            .iter()
            .map(|field| (find(field.name.as_str(), "a request feature"), field.value_type))
            .collect();
        if bad.count > 0 {
            Err(bad)
        } else {
            Ok(Self {
                columns,
                moment,
                keys,
                request,
            })
        }
    }

    /// Reads a row; every problem of it goes to `bad`. An empty cell is null.
    fn label(&self, cells: csv::StringRecord, line: u64, bad: &mut BadLabels) -> Option<Label> {
        if cells.len() != self.columns.len() {
            bad.add(format!(
                "line {line}: {} cells, the header has {}",
                cells.len(),
                self.columns.len()
            ));
            return None;
        }
        let before = bad.count;
        let mut read = |column: usize, value_type: ValueType| {
            let cell = &cells[column];
            if cell.is_empty() {
                return None;
            }
            Value::from_text(value_type, cell).unwrap_or_else(|error| {
                bad.add(format!("line {line}, column `{}`: {error}", self.columns[column]));
                None
            })
        };
        let moment = read(self.moment, ValueType::Timestamp);
        let keys = self
            .keys
            .iter()
            .map(|&(column, key_type)| read(column, key_type.value_type()))
            .collect();
        let request = self
            .request
            .iter()
            .map(|&(column, value_type)| read(column, value_type))
            .collect();
        let moment = match moment {
            Some(Value::Timestamp(at)) if at.to_chrono().is_some() => Some(at),
            _ if cells[self.moment].is_empty() => {
                bad.add(format!(
                    "line {line}, column `{MOMENT}`: empty; each row needs its moment"
                ));
                None
            }
            _ => None,
        }?;
        (bad.count == before).then_some(Label {
            cells,
            moment,
            keys,
            request,
        })
    }
}

/// A label file that has been read once, whole, and is right.
pub(super) struct Labels<R> {
    pub(super) header: Header,
    pub(super) count: u64,
    reader: csv::Reader<R>,
}

impl<R: Read + Seek> Labels<R> {
    /// Reads every row, so that nothing is computed for a file with mistakes in it; then goes back to the first.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(super) fn check(service: &Service, labels: R) -> Result<Self, BadLabels> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(labels);
        let unreadable = |error: csv::Error| BadLabels::one(format!("the file cannot be read: {error}"));
        let header = Header::read(service, reader.headers().map_err(unreadable)?)?;
        let start = reader.position().clone();
        let mut bad = BadLabels {
            shown: Vec::new(),
            count: 0,
        };
        let mut record = csv::StringRecord::new();
        let mut count = 0;
        loop {
            match reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {
                    count += 1;
                    let line = record.position().map_or(0, csv::Position::line);
                    let _ = header.label(record.clone(), line, &mut bad);
                }
                Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => bad.add(format!("{error}")),
                Err(error) => return Err(unreadable(error)),
            }
        }
        if bad.count > 0 {
            return Err(bad);
        }
        reader.seek(start).map_err(unreadable)?;
        Ok(Self { header, count, reader })
    }

    /// The next rows, at most `limit`; none at the end.
    ///
    /// # Errors
    /// The file has changed since it was checked, or cannot be read any more.
    pub(super) fn next_chunk(&mut self, limit: usize) -> Result<Vec<Label>, BadLabels> {
        let mut chunk = Vec::with_capacity(limit);
        let mut record = csv::StringRecord::new();
        while chunk.len() < limit {
            match self.reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {
                    let mut bad = BadLabels {
                        shown: Vec::new(),
                        count: 0,
                    };
                    let line = record.position().map_or(0, csv::Position::line);
                    chunk.push(self.header.label(record.clone(), line, &mut bad).ok_or(bad)?);
                }
                Err(error) => return Err(BadLabels::one(format!("the file cannot be read: {error}"))),
            }
        }
        Ok(chunk)
    }
}
