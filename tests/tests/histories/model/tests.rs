//! The model on histories small enough to be sure of, each from a sentence of the contract.

use super::*;
use crate::views::SOURCES;
use crate::world::{HOUR, MINUTE, Stamp};

const NOON: Time = 12 * HOUR;

/// A row of the first user and item at a minute past noon, created at another one.
fn row(event: i64, created: i64, x: f64) -> Row {
    Row {
        source: 0,
        tag: 0,
        visible: 0,
        removed: None,
        user: Some(0),
        item: Some(0),
        event: Stamp::At(NOON + event * MINUTE),
        created: Stamp::At(NOON + created * MINUTE),
        id: Some(0),
        leg: Some(0),
        deleted: Some(false),
        x: Some(x),
        y: None,
        n: None,
        s: None,
        b: None,
        w: Stamp::Null,
    }
}

fn named(name: &str) -> &'static Source {
    SOURCES.iter().find(|source| source.name == name).unwrap()
}

const USER: Entity = Entity {
    user: Some(0),
    item: None,
};
const OTHER: Entity = Entity {
    user: Some(1),
    item: None,
};

/// The feature x of a user's row view at a minute past noon.
fn newest(source: &str, entity: Entity, rows: &[Row], minute: i64) -> Option<Cell> {
    let view = View {
        source: named(source),
        kind: Kind::Row,
        join: Join::User,
    };
    let rows: Vec<&Row> = rows.iter().collect();
    Some(value(view, entity, &rows, NOON + minute * MINUTE)?.cells[0].clone())
}

/// The features of this name of a user's aggregate view at a minute past noon: over 10 minutes, an hour, three hours.
fn windows(source: &str, feature: &str, rows: &[Row], minute: i64) -> Option<Vec<Cell>> {
    let view = View {
        source: named(source),
        kind: Kind::Aggregate,
        join: Join::User,
    };
    let rows: Vec<&Row> = rows.iter().collect();
    let from = 3 * AGGREGATES
        .iter()
        .position(|aggregate| aggregate.name == feature)
        .unwrap();
    Some(value(view, USER, &rows, NOON + minute * MINUTE)?.cells[from..from + 3].to_vec())
}

fn floats(values: [f64; 3]) -> Option<Vec<Cell>> {
    Some(values.map(Cell::Float).to_vec())
}

fn ints(values: [i64; 3]) -> Option<Vec<Cell>> {
    Some(values.map(Cell::Int).to_vec())
}

#[test]
fn a_window_has_its_end_and_not_its_beginning() {
    let rows = [row(0, 0, 1.0), row(30, 30, 2.0)];
    assert_eq!(windows("created", "sum_x", &rows, 29), floats([0.0, 1.0, 1.0]));
    assert_eq!(windows("created", "sum_x", &rows, 30), floats([2.0, 3.0, 3.0]));
    assert_eq!(windows("created", "sum_x", &rows, 40), floats([0.0, 3.0, 3.0]));
    assert_eq!(windows("created", "sum_x", &rows, 60), floats([0.0, 2.0, 2.0 + 1.0]));
}

#[test]
fn an_entity_without_events_has_no_value_and_an_empty_shorter_window_has_zeros_and_nulls() {
    let rows = [row(0, 0, 1.0)];
    assert_eq!(windows("created", "events", &rows, 179), ints([0, 0, 1]));
    assert_eq!(
        windows("created", "min_x", &rows, 179),
        Some(vec![Cell::Null, Cell::Null, Cell::Float(1.0)])
    );
    let kinds = vec![Cell::Null, Cell::Null, Cell::Int(0)];
    assert_eq!(
        windows("created", "kinds_s", &rows, 179),
        Some(kinds),
        "of events without values there are none"
    );
    assert_eq!(windows("created", "events", &rows, 180), None);
    assert_eq!(windows("created", "events", &rows, -1), None);
}

#[test]
fn nulls_are_ignored_and_count_counts_events_or_values() {
    let rows = [
        row(0, 0, 1.0),
        Row {
            x: None,
            ..row(0, 0, 0.0)
        },
        row(0, 0, f64::NAN),
        row(1, 1, 4.0),
    ];
    assert_eq!(windows("created", "events", &rows, 1), ints([4; 3]));
    assert_eq!(windows("created", "xs", &rows, 1), ints([2; 3]));
    assert_eq!(windows("created", "spread_x", &rows, 1), floats([4.5_f64.sqrt(); 3]));
    assert_eq!(windows("created", "spread_x", &rows, 0), Some(vec![Cell::Null; 3]));
}

#[test]
fn the_last_value_is_the_newest_that_is_not_null() {
    let with = |event, created, s| Row {
        s,
        ..row(event, created, 0.0)
    };
    let text = |s: &str| Some(vec![Cell::Text(s.to_owned()); 3]);
    let mut rows = vec![with(0, 0, Some("a")), with(1, 1, None)];
    assert_eq!(windows("created", "last_s", &rows, 1), text("a"));
    rows.push(with(0, 5, Some("A")));
    assert_eq!(windows("created", "last_s", &rows, 1), text("A"));
    assert_eq!(windows("created", "kinds_s", &rows, 1), ints([2; 3]));
    assert_eq!(
        windows("created", "at", &rows, 1),
        Some(vec![Cell::Time(NOON + MINUTE); 3])
    );
}

#[test]
fn the_newest_row_wins_then_the_newest_created_then_an_order() {
    let x = |x: f64| Some(Cell::Float(x));
    let mut rows = vec![row(0, 0, 5.0), row(5, 5, 3.0)];
    assert_eq!(newest("created", USER, &rows, 4), x(5.0));
    assert_eq!(newest("created", USER, &rows, 5), x(3.0));
    rows.push(row(5, 6, 4.0));
    assert_eq!(newest("created", USER, &rows, 5), x(4.0));
    rows.push(row(5, 6, 2.0));
    assert_eq!(newest("created", USER, &rows, 5), x(2.0));
    rows.push(Row {
        created: Stamp::Infinity,
        ..row(5, 0, 1.0)
    });
    rows.push(Row {
        created: Stamp::Null,
        ..row(5, 0, 1.0)
    });
    assert_eq!(newest("created", USER, &rows, 5), x(2.0));
    // Without created timestamps, the order alone.
    assert_eq!(newest("plain", USER, &rows, 5), x(1.0));
}

#[test]
fn rows_without_time_or_entity_are_none() {
    for event in [Stamp::Null, Stamp::Infinity, Stamp::MinusInfinity] {
        assert_eq!(
            newest(
                "created",
                USER,
                &[Row {
                    event,
                    ..row(0, 0, 1.0)
                }],
                5
            ),
            None
        );
    }
    assert_eq!(
        newest(
            "created",
            USER,
            &[Row {
                user: None,
                ..row(0, 0, 1.0)
            }],
            5
        ),
        None
    );
    assert_eq!(
        newest(
            "created",
            USER,
            &[Row {
                item: None,
                ..row(0, 0, 1.0)
            }],
            5
        ),
        Some(Cell::Float(1.0))
    );
}

#[test]
fn of_an_event_the_newest_version_is_all_there_is() {
    let rows = [row(5, 0, 1.0), row(3, 1, 2.0)];
    assert_eq!(newest("keyed", USER, &rows, 5), Some(Cell::Float(2.0)));
    assert_eq!(newest("created", USER, &rows, 5), Some(Cell::Float(1.0)));
    assert_eq!(windows("keyed", "events", &rows, 5), ints([1; 3]));
    // The second of two columns makes it another event; a null makes it none.
    let other = [
        row(5, 0, 1.0),
        Row {
            leg: Some(1),
            ..row(3, 1, 2.0)
        },
        Row {
            leg: None,
            ..row(4, 4, 3.0)
        },
    ];
    assert_eq!(windows("keyed_deleted", "events", &other, 5), ints([2; 3]));
    assert_eq!(windows("keyed", "events", &other, 5), ints([1; 3]));
    // Exact duplicates are one event with a key, two without.
    let twice = [row(5, 0, 1.0), row(5, 0, 1.0)];
    assert_eq!(windows("keyed", "events", &twice, 5), ints([1; 3]));
    assert_eq!(windows("created", "events", &twice, 5), ints([2; 3]));
}

#[test]
fn an_event_moves_with_its_newest_version_even_before_its_time() {
    let moved = [
        row(0, 0, 1.0),
        Row {
            user: Some(1),
            ..row(10, 5, 2.0)
        },
    ];
    assert_eq!(newest("keyed", USER, &moved, 5), None);
    assert_eq!(newest("keyed", OTHER, &moved, 9), None);
    assert_eq!(newest("keyed", OTHER, &moved, 10), Some(Cell::Float(2.0)));
    assert_eq!(newest("created", USER, &moved, 10), Some(Cell::Float(1.0)));
}

#[test]
fn a_deleted_row_is_no_event_and_takes_the_entitys_value() {
    let deleted = |row: Row| Row {
        deleted: Some(true),
        ..row
    };
    let rows = [
        row(0, 0, 1.0),
        deleted(Row {
            id: Some(1),
            ..row(5, 5, 2.0)
        }),
    ];
    assert_eq!(windows("deleted", "events", &rows, 5), ints([1; 3]));
    assert_eq!(newest("deleted", USER, &rows, 4), Some(Cell::Float(1.0)));
    assert_eq!(newest("deleted", USER, &rows, 5), None, "not the one before");
    assert_eq!(
        newest("created", USER, &rows, 5),
        Some(Cell::Float(2.0)),
        "this source knows no deletion"
    );
    // With a key a row is an event, and the one before is the newest again.
    assert_eq!(newest("keyed_deleted", USER, &rows, 5), Some(Cell::Float(1.0)));
    // Undeleted by a newer row; in a tie, deletion wins.
    let back = [rows[1], row(5, 6, 3.0)];
    assert_eq!(newest("deleted", USER, &back, 5), Some(Cell::Float(3.0)));
    let tied = [rows[1], row(5, 5, 3.0)];
    assert_eq!(newest("deleted", USER, &tied, 5), None);
    assert_eq!(newest("late_deleted", USER, &back, 5), None);
}

#[test]
fn floats_may_differ_by_rounding_and_nothing_else_may() {
    assert_eq!(Cell::Float(0.1 + 0.2), Cell::Float(0.3));
    assert_ne!(Cell::Float(0.3), Cell::Float(0.300_000_000_001));
    assert_ne!(Cell::Float(0.0), Cell::Null);
    assert_ne!(Cell::Int(1 << 53), Cell::Int((1 << 53) + 1));
}
