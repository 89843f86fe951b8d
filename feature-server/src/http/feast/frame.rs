//! Rows to be written, from the columns of a Feast client's data frame.

use std::collections::HashMap;

use feature_defs::codec::Field;
use feature_defs::definitions::{Source, View, ViewKind};
use feature_defs::value::ValueType;
use serde_json::Value as Json;

use super::body::Columns;
use super::values::ours;
use crate::push::PushedRow;

/// What Feast's SDK calls the two timestamps, whatever the source does.
const EVENT_TIMESTAMP: &str = "event_timestamp";
const CREATED: &str = "created";

/// The rows of a row view, as they are written online: its join keys and all of its features by name, and the timestamps.
/// What goes by the name of its column in the source counts, too; other columns are left out, as by Feast.
///
/// # Errors
/// Columns that are missing, and all that is of the wrong type. A feature that is left out is no null: written as such it
/// would take away what stands online.
pub(super) fn rows_of_view(view: &View, columns: &Columns) -> Result<Vec<PushedRow>, Vec<String>> {
    let mut frame = Frame::new(columns);
    for (key, column) in view.entity.join_keys.iter().zip(&view.key_columns) {
        let name = key.name.as_str();
        let is_there = frame.values(name, &[name, column], key.key_type.value_type());
        frame.require(is_there, name);
    }
    for (field, column) in fields(view) {
        let name = field.name.as_str();
        let is_there = frame.values(name, &[name, column], field.value_type);
        frame.require(is_there, name);
    }
    let source = &view.source;
    let is_there = frame.times(EVENT_TIMESTAMP, &[EVENT_TIMESTAMP, &source.event_timestamp]);
    frame.require(is_there, EVENT_TIMESTAMP);
    let created = source.created_timestamp.as_deref().unwrap_or(CREATED);
    frame.times(CREATED, &[CREATED, created]);
    frame.finish()
}

/// The rows of a source, as they are appended: by its columns, or by what the views among `views` call them. What is of a
/// type that a view tells is read as Feast writes it, the rest is passed on.
///
/// # Errors
/// All that is of the wrong type.
pub(super) fn rows_of_source<'a>(
    source: &'a Source,
    views: impl Iterator<Item = &'a View>,
    columns: &Columns,
) -> Result<Vec<PushedRow>, Vec<String>> {
    let known: Vec<(&Field, &str)> = views.flat_map(fields).collect();
    // A column's name is a column's before it is a feature's.
    let names = known.iter().map(|(field, _)| (field.name.as_str(), field.value_type));
    let of_columns = known.iter().map(|(field, column)| (*column, field.value_type));
    let types: HashMap<&str, ValueType> = names.chain(of_columns).collect();
    let sent = |name: &str| columns.columns().any(|(sent, _)| sent == name);
    let times = [
        (Some(source.event_timestamp.as_str()), EVENT_TIMESTAMP),
        (source.created_timestamp.as_deref(), CREATED),
    ];
    let mut frame = Frame::new(columns);
    for (name, _) in columns.columns() {
        let own = times.iter().find_map(|(own, feasts)| {
            let own = (*own)?;
            (name == own || name == *feasts && !sent(own)).then_some(own)
        });
        match (own, types.get(name)) {
            (Some(own), _) => frame.times(own, &[name]),
            (None, Some(value_type)) => frame.values(name, &[name], *value_type),
            (None, None) => frame.pass(name),
        };
    }
    frame.finish()
}

/// The features of a row view, each with its column in the source. None of an aggregate view, whose features no row has.
fn fields(view: &View) -> impl Iterator<Item = (&Field, &str)> {
    let columns: &[String] = match &view.kind {
        ViewKind::Row { columns } => columns,
        ViewKind::Aggregate(_) => &[],
    };
    view.fields().iter().zip(columns.iter().map(String::as_str))
}

/// Columns becoming rows.
struct Frame<'a> {
    columns: &'a Columns,
    rows: Vec<PushedRow>,
    problems: Vec<String>,
}

impl<'a> Frame<'a> {
    fn new(columns: &'a Columns) -> Self {
        Self {
            columns,
            rows: vec![PushedRow::new(); columns.rows()],
            problems: Vec::new(),
        }
    }

    fn column(&self, called: &[&str]) -> Option<&'a [Json]> {
        let find = |name: &&str| self.columns.columns().find(|(sent, _)| sent == name);
        called.iter().find_map(find).map(|(_, values)| values)
    }

    /// Puts a column into the rows as `name`, each value as `read` has it. `false` if there is none that is called so.
    fn fill(&mut self, name: &str, called: &[&str], read: impl Fn(&Json) -> Result<Json, String>) -> bool {
        let Some(values) = self.column(called) else {
            return false;
        };
        for (at, (row, json)) in self.rows.iter_mut().zip(values).enumerate() {
            match read(json) {
                Ok(json) => {
                    row.insert(name.to_owned(), json);
                }
                Err(wrong) => self.problems.push(format!("row {at}, `{name}`: {wrong}")),
            }
        }
        true
    }

    /// Values of this type.
    fn values(&mut self, name: &str, called: &[&str], value_type: ValueType) -> bool {
        self.fill(name, called, |json| {
            ours(value_type, json).map_err(|wrong| wrong.to_string())
        })
    }

    /// When rows were true, or created. Feast's clients write seconds for a feature, but not here.
    fn times(&mut self, name: &str, called: &[&str]) -> bool {
        self.fill(name, called, |json| match json {
            Json::Number(number) => Err(format!(
                "{number} is no time, for a number has no unit that everybody agrees on: write ISO 8601, such as 2013-11-05T16:30:00Z"
            )),
            json => ours(ValueType::Timestamp, json).map_err(|wrong| wrong.to_string()),
        })
    }

    /// Values as they are.
    fn pass(&mut self, name: &str) -> bool {
        self.fill(name, &[name], |json| Ok(json.clone()))
    }

    fn require(&mut self, is_there: bool, name: &str) {
        if !is_there {
            self.problems.push(format!(
                "column `{name}` is missing in `df`: send nulls where its values are not known"
            ));
        }
    }

    fn finish(mut self) -> Result<Vec<PushedRow>, Vec<String>> {
        if self.columns.columns().next().is_none() {
            self.problems.insert(
                0,
                "`df` is empty: give each column a list, with a value a row".to_owned(),
            );
        }
        if self.problems.is_empty() {
            Ok(self.rows)
        } else {
            Err(self.problems)
        }
    }
}
