//! The rows of a read: join keys and request features, from the columns a client sent.

use feature_defs::definitions::{JoinKey, Service};
use feature_defs::key::KeyValue;
use feature_defs::value::Value;
use serde_json::Value as Json;

use super::body::Columns;
use super::values::from_feast;

/// The rows that a service's features are asked for.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    rows: Vec<Row>,
    /// The service's join keys in the order that their columns were sent in.
    echo: Vec<(usize, &'a str)>,
}

/// What one row carries.
#[derive(Debug)]
pub(super) struct Row {
    /// One a [`Service::keys`] column.
    pub(super) keys: Vec<Option<KeyValue>>,
    /// One a [`Service::request`] feature.
    pub(super) request: Vec<Option<Value>>,
}

/// What a column is to a service.
#[derive(Debug, Clone, Copy)]
enum Column {
    Key(usize),
    Request(usize),
}

impl<'a> Rows<'a> {
    /// Reads the columns that the service needs; others are ignored, as by Feast.
    ///
    /// # Errors
    /// Everything that is missing or of the wrong type.
    pub(super) fn read(service: &'a Service, columns: &Columns) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut echo = Vec::new();
        let mut rows: Vec<Row> = (0..columns.rows())
            .map(|_| Row {
                keys: vec![None; service.keys.len()],
                request: vec![None; service.request.len()],
            })
            .collect();
        let mut wanted = wanted(service, columns, &mut problems);
        wanted.sort_unstable_by_key(|(at, _)| *at);
        let sent: Vec<(&str, &[Json])> = columns.columns().collect();
        for (at, column) in wanted {
            let (name, values) = sent[at];
            if let Column::Key(key) = column {
                echo.push((key, service.keys[key].name.as_str()));
            }
            for (at, (row, json)) in rows.iter_mut().zip(values).enumerate() {
                if let Err(wrong) = row.set(service, column, json) {
                    problems.push(format!("row {at}, `{name}`: {wrong}"));
                }
            }
        }
        if columns.rows() == 0 && columns.columns().next().is_none() {
            problems.push("`entities` is empty: give each join key a list, with a value a row".to_owned());
        }
        if problems.is_empty() {
            Ok(Self { rows, echo })
        } else {
            Err(problems)
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// The join keys to answer with, in the order that they were sent in.
    pub(super) fn echo(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Option<Value>>)> {
        self.echo.iter().map(|&(key, name)| {
            let values = self.rows.iter().map(move |row| row.keys[key].clone().map(Value::from));
            (name, values)
        })
    }
}

impl Row {
    fn set(&mut self, service: &Service, column: Column, json: &Json) -> Result<(), String> {
        match column {
            Column::Key(at) => {
                let value_type = service.keys[at].key_type.value_type();
                let value = from_feast(value_type, json).map_err(|e| e.to_string())?;
                self.keys[at] = value.map(KeyValue::try_from).transpose().map_err(|e| e.to_string())?;
            }
            Column::Request(at) => {
                let value_type = service.request[at].value_type;
                self.request[at] = from_feast(value_type, json).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

/// Where each column that the service needs stands among those that were sent.
fn wanted(service: &Service, columns: &Columns, problems: &mut Vec<String>) -> Vec<(usize, Column)> {
    let sent: Vec<&str> = columns.columns().map(|(name, _)| name).collect();
    let place = |name: &str| sent.iter().position(|sent| *sent == name);
    let mut wanted = Vec::new();
    for (at, key) in service.keys.iter().enumerate() {
        let found = place(key.name.as_str()).or_else(|| place(entity_name(service, at, key)?));
        match found {
            Some(found) => wanted.push((found, Column::Key(at))),
            None => problems.push(format!("join key `{}` is missing in `entities`", key.name)),
        }
    }
    for (at, field) in service.request.iter().enumerate() {
        match place(field.name.as_str()) {
            Some(found) => wanted.push((found, Column::Request(at))),
            None => problems.push(format!(
                "request feature `{}` is missing in `entities`: send null where its value is not known",
                field.name
            )),
        }
    }
    wanted
}

/// The name of the entity that a join key is the only one of: older clients of Feast send that.
fn entity_name<'a>(service: &'a Service, at: usize, key: &JoinKey) -> Option<&'a str> {
    let mut joins = service.joins.iter();
    let join = joins.find(|join| join.key_indexes == [at] && join.view.entity.join_keys[0].name == key.name)?;
    Some(join.view.entity.name.as_str())
}
