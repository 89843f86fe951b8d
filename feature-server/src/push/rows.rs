//! Rows as they are sent, read as rows of the table they are pushed to; every problem of all of them before any is written.

use std::collections::HashMap;

use feature_defs::definitions::{Source, View, ViewKind};
use feature_defs::time::Timestamp;
use serde_json::Map;
use service::nearest;

use super::error::{RowError, shortened};
use super::plan::Plan;
use super::{PushedRow, cells};

/// A row for the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Which one it was, counted from 0.
    pub(super) number: usize,
    pub(super) event: Timestamp,
    /// The columns that it has, by their place in the table, in order,
    pub(super) columns: Vec<usize>,
    /// and what is in each by name, as Postgres reads it.
    pub(super) cells: PushedRow,
}

/// Reads rows for a source, or for one of its views.
pub(super) struct Reading<'a> {
    source: &'a Source,
    view: Option<&'a View>,
    plan: &'a Plan,
    /// The columns that the view has other names for, by these.
    aliases: HashMap<&'a str, &'a str>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(source: &'a Source, view: Option<&'a View>, plan: &'a Plan) -> Self {
        let mut aliases = HashMap::new();
        if let Some(view) = view.filter(|_| plan.table.is_source) {
            let keys = view.entity.join_keys.iter().map(|key| key.name.as_str());
            aliases.extend(keys.zip(view.key_columns.iter().map(String::as_str)));
            if let ViewKind::Row { columns } = &view.kind {
                let features = view.fields().iter().map(|field| field.name.as_str());
                aliases.extend(features.zip(columns.iter().map(String::as_str)));
            }
            aliases.retain(|name, column| name != column);
        }
        Self {
            source,
            view,
            plan,
            aliases,
        }
    }

    /// The rows that are right, and what is wrong with the others.
    pub(super) fn rows(&self, rows: &[PushedRow]) -> (Vec<Row>, Vec<RowError>) {
        let (mut right, mut wrong) = (Vec::with_capacity(rows.len()), Vec::new());
        for (number, row) in rows.iter().enumerate() {
            match self.row(number, row) {
                Ok(row) => right.push(row),
                Err(problems) => wrong.push(RowError::of(number, &problems)),
            }
        }
        (right, wrong)
    }

    fn row(&self, number: usize, row: &PushedRow) -> Result<Row, Vec<String>> {
        let table = &self.plan.table;
        let mut problems = Vec::new();
        let mut found = vec![None; table.columns.len()];
        for (name, json) in row {
            let cell = self.column(name).and_then(|i| {
                let column = &table.columns[i];
                if column.is_computed {
                    return Err(format!("`{name}` is filled by the database: leave it out"));
                }
                if found[i].is_some() {
                    return Err(format!("column `{}` is given twice, once as `{name}`", column.name));
                }
                let cell = cells::cell(column, &self.plan.reads[i], json);
                Ok((i, cell.map_err(|problem| format!("`{name}`: {problem}"))?))
            });
            match cell {
                Ok((i, cell)) => found[i] = Some(cell),
                Err(problem) => problems.push(problem),
            }
        }
        // What is there and wrong has been told already.
        if problems.is_empty() {
            self.missing(&found, &mut problems);
        }
        let event = table
            .position(&self.source.event_timestamp)
            .and_then(|i| found[i].as_ref());
        let event = event.and_then(|json| cells::moment(json).ok());
        match event {
            Some(event) if problems.is_empty() => {
                let there: Vec<usize> = (0..found.len()).filter(|&i| found[i].is_some()).collect();
                let named = found.into_iter().enumerate();
                let cells = named.filter_map(|(i, cell)| Some((table.columns[i].name.clone(), cell?)));
                Ok(Row {
                    number,
                    event,
                    columns: there,
                    cells: cells.collect::<Map<_, _>>(),
                })
            }
            _ => Err(problems),
        }
    }

    /// Which column a name stands for.
    fn column(&self, name: &str) -> Result<usize, String> {
        let table = &self.plan.table;
        match (table.position(name), self.aliases.get(name)) {
            (Some(_), Some(column)) => Err(format!(
                "`{name}` is a column of {}, and what the view calls its column `{column}`: push to source {} instead, where names are the table's",
                self.table_name(),
                self.source.name
            )),
            (Some(i), None) => Ok(i),
            (None, Some(column)) => table.position(column).ok_or_else(|| self.unknown(name)),
            (None, None) => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let columns = self.plan.table.columns.iter().map(|column| column.name.as_str());
        let hint = nearest::hint(name, columns.chain(self.aliases.keys().copied()));
        format!("{} has no column `{}`{hint}", self.table_name(), shortened(name))
    }

    fn table_name(&self) -> &str {
        self.source.push_to.as_deref().unwrap_or_default()
    }

    /// What a row needs to be a row of the source, and of an entity.
    fn missing(&self, found: &[Option<serde_json::Value>], problems: &mut Vec<String>) {
        let columns = &self.plan.table.columns;
        let lacks = |name: &str, or_default: bool| {
            let i = self.plan.table.position(name)?;
            match &found[i] {
                Some(cell) if cell.is_null() => Some(format!("`{}` is null", columns[i].name)),
                Some(_) => None,
                None if or_default && columns[i].has_default => None,
                None => Some(format!("`{}` is missing", columns[i].name)),
            }
        };
        let event = lacks(&self.source.event_timestamp, false);
        problems.extend(event.map(|what| format!("{what}: a row needs its event timestamp")));
        let key = self.source.key.iter().filter_map(|column| lacks(column, true));
        problems.extend(
            key.map(|what| format!("{what}: a row needs the source's key, which says what it is a version of")),
        );
        let without = |view: &View| -> Vec<String> {
            view.key_columns
                .iter()
                .filter_map(|column| lacks(column, true))
                .collect()
        };
        if !self.plan.table.is_source {
            return;
        }
        let told = |view: &View, lacking: Vec<String>| {
            let told = lacking.into_iter();
            told.map(|what| format!("{what}: a row needs the join keys of view {}", view.name))
                .collect::<Vec<_>>()
        };
        match self.view {
            Some(view) => problems.extend(told(view, without(view))),
            // A row may be of one view's entities and of no other's.
            None => {
                let lacking = self
                    .plan
                    .views
                    .iter()
                    .map(|planned| (&planned.view, without(&planned.view)));
                let fewest = lacking.min_by_key(|(_, lacking)| lacking.len());
                problems.extend(fewest.into_iter().flat_map(|(view, lacking)| told(view, lacking)));
            }
        }
    }
}
