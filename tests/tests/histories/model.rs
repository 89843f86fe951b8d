//! The naive model: what a view's value is as of a moment, by filtering and folding rows as the contract's sentences say.
//!
//! It shares nothing with the product: no SQL, no statement of how a run finds out what to look at.

use std::cmp::{Ordering, Reverse};

use crate::views::{AGGREGATES, Aggregate, Column, Function, Join, Kind, OVERLAP, ROW_FEATURES, Source, View};
use crate::world::{Entity, Row, Time};

/// A feature's value.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Time(Time),
}

/// Sums of floats may differ by so much of their size.
const TOLERANCE: f64 = 1e-12;

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) | (Self::Time(a), Self::Time(b)) => a == b,
            // The two zeros are told apart, but the product is to know one of them only.
            (Self::Float(a), Self::Float(b)) if *a == 0.0 && *b == 0.0 => a.is_sign_positive() == b.is_sign_positive(),
            (Self::Float(a), Self::Float(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// An entity's value as of a moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// The newest of the rows it is made of.
    pub(crate) event: Time,
    /// One a feature.
    pub(crate) cells: Vec<Cell>,
}

/// What a view's value of an entity is as of a moment, if these are the rows of its source; `None`: it has none.
pub(crate) fn value(view: View, entity: Entity, rows: &[&Row], as_of: Time) -> Option<Found> {
    let current = current(view, rows);
    let mut mine: Vec<&Row> = current
        .into_iter()
        .filter(|row| of(view.join, row) == Some(entity) && at(row) <= as_of)
        .collect();
    match view.kind {
        Kind::Row => {
            let newest = mine
                .into_iter()
                .reduce(|a, b| if is_newer(view, b, a) { b } else { a })?;
            let cells = || ROW_FEATURES.iter().map(|(column, _)| cell(newest, *column)).collect();
            (!is_deleted(view, newest)).then(|| Found {
                event: at(newest),
                cells: cells(),
            })
        }
        Kind::Aggregate => {
            let longest = view.join.windows().iter().max()?;
            mine.retain(|row| at(row) > as_of - longest);
            Some(Found {
                event: mine.iter().map(|row| at(row)).max()?,
                cells: aggregates(view, &mine, as_of),
            })
        }
    }
}

/// The rows that count: of an event's versions the current one, whatever it says; none without event time or join keys;
/// for a source of events, none that are deleted.
fn current<'a>(view: View, rows: &[&'a Row]) -> Vec<&'a Row> {
    let mut rows = rows.to_vec();
    if !view.source.key.is_empty() {
        rows.retain(|row| key(view, row).is_some());
        rows.sort_by_key(|row| Reverse((created(view, row), row.event, row.tag)));
        let mut seen = Vec::new();
        rows.retain(|row| {
            let new = !seen.contains(&key(view, row));
            seen.push(key(view, row));
            new
        });
    }
    rows.retain(|row| row.event.finite().is_some() && of(view.join, row).is_some());
    // Where a row is the whole of an entity, a deleted one still counts: it says that there is nothing.
    if view.kind == Kind::Aggregate || !view.source.key.is_empty() {
        rows.retain(|row| !is_deleted(view, row));
    }
    rows
}

/// Who a row is about.
fn of(join: Join, row: &Row) -> Option<Entity> {
    let (user, item) = match join {
        Join::User => (Some(row.user?), None),
        Join::Item => (None, Some(row.item?)),
        Join::Pair => (Some(row.user?), Some(row.item?)),
    };
    Some(Entity { user, item })
}

/// Which event a row is a version of, if its source says so.
fn key(view: View, row: &Row) -> Option<(u8, Option<u8>)> {
    let leg = if view.source.key.contains(&"leg") {
        Some(row.leg?)
    } else {
        None
    };
    Some((row.id?, leg))
}

/// The event time of a row that has one.
fn at(row: &Row) -> Time {
    row.event.finite().expect("only rows with an event time count")
}

/// When a row was created; infinite is as unknown as null, and unknown is before all else.
fn created(view: View, row: &Row) -> Option<Time> {
    row.created.finite().filter(|_| view.source.created)
}

fn is_deleted(view: View, row: &Row) -> bool {
    view.source.deleted && row.deleted == Some(true)
}

/// Whether `a` is a newer row of an entity than `b`: by event time, then by creation, then a deleted one, then by the
/// smaller features.
fn is_newer(view: View, a: &Row, b: &Row) -> bool {
    let order = |row: &Row| (at(row), created(view, row), is_deleted(view, row));
    match order(a).cmp(&order(b)) {
        Ordering::Equal => ROW_FEATURES
            .iter()
            .map(|(column, _)| compare(&cell(a, *column), &cell(b, *column)))
            .find(|order| order.is_ne())
            .is_some_and(Ordering::is_lt),
        order => order.is_gt(),
    }
}

/// The order of values of one type; nulls are last.
fn compare(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) => Ordering::Greater,
        (_, Cell::Null) => Ordering::Less,
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) | (Cell::Time(a), Cell::Time(b)) => a.cmp(b),
        (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        (a, b) => unreachable!("{a:?} and {b:?} in one column"),
    }
}

/// What a row holds, without what no feature can hold: NaN and infinite times are null, and -0 is 0.
fn cell(row: &Row, column: Column) -> Cell {
    let float = |x: Option<f64>| x.filter(|x| !x.is_nan()).map(|x| Cell::Float(x + 0.0));
    let value = match column {
        Column::X => float(row.x),
        Column::Y => float(row.y),
        Column::N => row.n.map(Cell::Int),
        Column::S => row.s.map(|s| Cell::Text(s.to_owned())),
        Column::B => row.b.map(Cell::Bool),
        Column::W => row.w.finite().map(Cell::Time),
    };
    value.unwrap_or(Cell::Null)
}

fn aggregates(view: View, rows: &[&Row], as_of: Time) -> Vec<Cell> {
    let mut cells = Vec::new();
    for aggregate in &AGGREGATES {
        for window in view.join.windows() {
            let within: Vec<&Row> = rows.iter().copied().filter(|row| at(row) > as_of - window).collect();
            cells.push(fold(view, aggregate, &within));
        }
    }
    cells
}

/// One aggregate over the rows of its window.
fn fold(view: View, aggregate: &Aggregate, rows: &[&Row]) -> Cell {
    let cells: Vec<(&Row, Cell)> = rows
        .iter()
        .map(|row| {
            (
                *row,
                aggregate.column.map_or(Cell::Time(at(row)), |column| cell(row, column)),
            )
        })
        .filter(|(_, cell)| *cell != Cell::Null)
        .collect();
    let values = || cells.iter().map(|(_, cell)| cell.clone());
    let numbers: Vec<f64> = cells.iter().filter_map(|(_, cell)| number(cell)).collect();
    let count = |n: usize| Cell::Int(i64::try_from(n).expect("rows are few"));
    let found = match aggregate.function {
        Function::Count => Some(count(cells.len())),
        Function::Sum if aggregate.column == Some(Column::N) => Some(Cell::Int(
            cells
                .iter()
                .map(|(_, cell)| if let Cell::Int(n) = cell { *n } else { 0 })
                .sum(),
        )),
        Function::Sum => Some(Cell::Float(numbers.iter().sum::<f64>() + 0.0)),
        Function::Mean => mean(&numbers).map(Cell::Float),
        Function::Stddev => spread(&numbers).map(Cell::Float),
        Function::Min => values().min_by(compare),
        Function::Max => values().max_by(compare),
        Function::Last => cells
            .iter()
            .max_by(|(a, value), (b, other)| {
                let order = |row: &Row| (at(row), created(view, row));
                order(a).cmp(&order(b)).then_with(|| compare(value, other))
            })
            .map(|(_, value)| value.clone()),
        Function::LastTime => cells.iter().map(|(row, _)| at(row)).max().map(Cell::Time),
        Function::DistinctCount if rows.is_empty() => None,
        Function::DistinctCount => {
            let mut distinct = Vec::new();
            for value in values() {
                if !distinct.contains(&value) {
                    distinct.push(value);
                }
            }
            Some(count(distinct.len()))
        }
    };
    found.unwrap_or(Cell::Null)
}

fn number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Float(x) => Some(*x),
        Cell::Bool(b) => Some(f64::from(u8::from(*b))),
        _ => None,
    }
}

fn mean(numbers: &[f64]) -> Option<f64> {
    let count = u32::try_from(numbers.len()).expect("rows are few");
    (count > 0).then(|| numbers.iter().sum::<f64>() / f64::from(count))
}

/// The standard deviation of a sample.
fn spread(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers)?;
    let others = u32::try_from(numbers.len()).expect("rows are few") - 1;
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    (others > 0).then(|| (squares / f64::from(others)).sqrt())
}

/// Whether a row becomes visible soon enough after it was stamped for runs that only look at news, if the last run
/// before was at `previous`: else they may miss it until a full run.
pub(crate) fn is_in_time(source: &Source, row: &Row, previous: Option<Time>) -> bool {
    let Some(previous) = previous else { return true };
    let created = row.created.finite().is_some_and(|created| created > previous - OVERLAP);
    if !source.key.is_empty() {
        // Whom else a version concerns is found by its stamp alone.
        return created;
    }
    let Some(event) = row.event.finite() else { return true };
    if source.created {
        created || event > previous
    } else {
        event > previous - source.lateness
    }
}

#[cfg(test)]
mod tests;
