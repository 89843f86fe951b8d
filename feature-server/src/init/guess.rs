//! What columns mean, guessed from their names, types and keys: times and join keys.

use feature_defs::key::KeyType;
use feature_defs::value::ValueType;

use super::table::{Column, Kind, Table, nearest};
use super::{InitError, InitOptions};
use crate::definition_files::names::{looks_like_id, words};

/// The columns that say when.
#[derive(Debug)]
pub(super) struct Times<'t> {
    pub(super) event: &'t Column,
    pub(super) event_why: String,
    pub(super) created: Option<&'t Column>,
}

/// The columns that say what a row is about.
#[derive(Debug)]
pub(super) struct Keys<'t> {
    pub(super) columns: Vec<&'t Column>,
    pub(super) why: String,
}

/// What the name of a time column says, best event timestamp first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// It says that something happened.
    Event,
    /// Nothing.
    Plain,
    /// It says when the row was written.
    Recorded,
    /// It says when something ended, or will.
    Ending,
}

fn role(column: &Column) -> Role {
    const RECORDED: [&str; 9] = [
        "created", "inserted", "ingested", "updated", "loaded", "modified", "synced", "imported", "recorded",
    ];
    const ENDING: [&str; 10] = [
        "deleted", "removed", "expires", "expired", "expiry", "due", "until", "end", "ended", "closed",
    ];
    const EVENT: [&str; 4] = ["at", "time", "ts", "timestamp"];
    let words = words(&column.name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if has(&RECORDED) {
        Role::Recorded
    } else if has(&ENDING) {
        Role::Ending
    } else if words.last().is_some_and(|word| EVENT.contains(&word.as_str())) || has(&["event", "occurred", "happened"])
    {
        Role::Event
    } else {
        Role::Plain
    }
}

const fn is_time(column: &Column) -> bool {
    matches!(column.kind, Kind::Value(ValueType::Timestamp) | Kind::LocalTimestamp)
}

/// Whether a definition file can name the column.
pub(super) fn is_nameable(column: &Column) -> bool {
    !column.name.contains(char::is_control)
}

/// Guesses which columns say when.
pub(super) fn times<'t>(table: &'t Table, options: &InitOptions) -> Result<Times<'t>, InitError> {
    let (event, event_why) = match &options.event_timestamp {
        Some(name) => (time_column(table, "--event-timestamp", name)?, "you said so".to_owned()),
        None => event(table, options)?,
    };
    let created = match &options.created_timestamp {
        Some(name) => Some(time_column(table, "--created-timestamp", name)?),
        None => created(table, event, options),
    };
    if created.is_some_and(|created| created.name == event.name) {
        return Err(InitError::Unusable {
            option: "--created-timestamp",
            column: event.name.clone(),
            problem: "is the event timestamp: leave the option out, or name another with `--event-timestamp`".into(),
        });
    }
    let zoneless = [Some(event), created]
        .into_iter()
        .flatten()
        .find(|column| column.kind == Kind::LocalTimestamp);
    match zoneless.filter(|_| options.time_zone.is_none()) {
        Some(column) => Err(InitError::NoTimeZone {
            column: column.name.clone(),
        }),
        None => Ok(Times {
            event,
            event_why,
            created,
        }),
    }
}

fn named<'t>(table: &'t Table, option: &'static str, name: &str) -> Result<&'t Column, InitError> {
    table.column(name).ok_or_else(|| InitError::NoColumn {
        option,
        table: table.shown(),
        name: name.to_owned(),
        nearest: nearest(name, table.columns.iter().map(|column| column.name.clone())),
    })
}

fn time_column<'t>(table: &'t Table, option: &'static str, name: &str) -> Result<&'t Column, InitError> {
    let column = named(table, option, name)?;
    if is_time(column) {
        return Ok(column);
    }
    Err(InitError::Unusable {
        option,
        column: name.to_owned(),
        problem: format!(
            "is {}, not timestamptz: convert it in a view of the database, and run this on the view",
            column.type_name
        ),
    })
}

fn event<'t>(table: &'t Table, options: &InitOptions) -> Result<(&'t Column, String), InitError> {
    let times: Vec<&Column> = table.columns.iter().filter(|c| is_time(c) && is_nameable(c)).collect();
    let is_created = |column: &Column| options.created_timestamp.as_ref() == Some(&column.name);
    // Of equals the first: Postgres lists columns as they were declared.
    let best = times.iter().filter(|column| !is_created(column)).min_by_key(|column| {
        (
            role(column),
            is_worse_record(table, column),
            column.kind == Kind::LocalTimestamp,
            !column.not_null,
        )
    });
    let Some(best) = best else {
        if let Some(created) = times.first() {
            return Err(InitError::Unusable {
                option: "--created-timestamp",
                column: created.name.clone(),
                problem: "is the only column with a time, and so the event timestamp: leave the option out".to_owned(),
            });
        }
        return Err(no_event_timestamp(table));
    };
    let why = if times.len() == 1 {
        "the only column with a time".to_owned()
    } else {
        match role(best) {
            Role::Event => "its name says that something happened then".to_owned(),
            Role::Plain => "no other column with a time is called like an event's".to_owned(),
            Role::Recorded => "only times of writing are there".to_owned(),
            Role::Ending => "no better column with a time is there".to_owned(),
        }
    };
    Ok((best, why))
}

/// Nothing says when: what to do about it.
fn no_event_timestamp(table: &Table) -> InitError {
    let dates: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.kind == Kind::Date)
        .map(|column| format!("`{}`", column.name))
        .collect();
    let remedy = if dates.is_empty() {
        ": add one (`ALTER TABLE … ADD COLUMN updated_at timestamptz`, kept by whoever writes), or run this on a view that has one".to_owned()
    } else {
        format!(
            ": a date ({}) names a day and no moment; run this on a view that says from when a row was known, for example `({} + 1)::timestamp AT TIME ZONE 'UTC' AS known_at`",
            dates.join(", "),
            dates[0].trim_matches('`')
        )
    };
    InitError::NoEventTimestamp {
        table: table.shown(),
        remedy,
    }
}

/// Whether, where rows say only when they were written, this time of writing is not when they became true: events are
/// true from their creation on, rows that are kept up to date since their update.
fn is_worse_record(table: &Table, column: &Column) -> bool {
    role(column) == Role::Recorded && is_update(column) == has_foreign_id(table)
}

fn is_update(column: &Column) -> bool {
    words(&column.name)
        .iter()
        .any(|word| word == "updated" || word == "modified")
}

fn created<'t>(table: &'t Table, event: &Column, options: &InitOptions) -> Option<&'t Column> {
    table
        .columns
        .iter()
        .filter(|c| is_time(c) && is_nameable(c) && role(c) == Role::Recorded && c.name != event.name)
        .filter(|c| c.kind != Kind::LocalTimestamp || options.time_zone.is_some())
        // A row is not written anew after its update.
        .filter(|c| role(event) != Role::Recorded || is_update(c))
        .min_by_key(|c| (!c.not_null, !is_update(c)))
}

/// The type of a join key that the column can be.
pub(super) fn key_type(column: &Column) -> Option<KeyType> {
    match column.kind {
        Kind::Value(ValueType::Int64) => Some(KeyType::Int64),
        Kind::Value(ValueType::String) => Some(KeyType::String),
        _ => None,
    }
    .filter(|_| is_nameable(column))
}

/// Columns that identify something else than a row of this table, the likeliest first.
fn foreign_ids(table: &Table) -> Vec<&Column> {
    let is_own = |column: &Column| {
        let bare = words(&column.name).len() == 1 && looks_like_id(&column.name);
        table.primary_key.contains(&column.name) || bare
    };
    let usable = |column: &&Column| key_type(column).is_some() && !is_own(column);
    let ids = table.columns.iter().filter(usable).filter(|c| looks_like_id(&c.name));
    let references = table.columns.iter().filter(usable);
    ids.chain(references.filter(|c| c.is_reference && !looks_like_id(&c.name)))
        .collect()
}

fn has_foreign_id(table: &Table) -> bool {
    !foreign_ids(table).is_empty()
}

/// Guesses which columns say what a row is about.
pub(super) fn join_keys<'t>(table: &'t Table, times: &Times<'_>, options: &InitOptions) -> Result<Keys<'t>, InitError> {
    if !options.join_keys.is_empty() {
        return asked_keys(table, options);
    }
    let is_when = |name: &String| {
        *name == times.event.name
            || table
                .column(name)
                .is_some_and(|column| is_time(column) || column.kind == Kind::Date)
    };
    for key in table.keys.iter().filter(|key| key.iter().any(&is_when)) {
        let rest = usable_keys(table, key.iter().filter(|name| !is_when(name)));
        if let Some(columns) = rest {
            let why = format!("the unique key ({}) has them beside a time", key.join(", "));
            return Ok(Keys { columns, why });
        }
    }
    let foreign = foreign_ids(table);
    if let Some((&first, others)) = foreign.split_first() {
        let mut why = if looks_like_id(&first.name) {
            "its name is that of an id, and not of the table's own".to_owned()
        } else {
            "it refers to another table".to_owned()
        };
        if !others.is_empty() {
            let others: Vec<&str> = others.iter().map(|column| column.name.as_str()).collect();
            why.push_str(&format!(
                "; so are others ({}): `--join-key` chooses",
                others.join(", ")
            ));
        }
        return Ok(Keys {
            columns: vec![first],
            why,
        });
    }
    if let Some(columns) = table.keys.iter().find_map(|key| usable_keys(table, key.iter())) {
        let why = "it is the table's own key, and nothing else looks like an id".to_owned();
        return Ok(Keys { columns, why });
    }
    let bare = table
        .columns
        .iter()
        .find(|c| looks_like_id(&c.name) && key_type(c).is_some());
    if let Some(id) = bare {
        let why = "nothing else looks like an id".to_owned();
        return Ok(Keys { columns: vec![id], why });
    }
    let could: Vec<String> = table
        .columns
        .iter()
        .filter(|column| key_type(column).is_some())
        .map(|column| format!("`{}`", column.name))
        .collect();
    Err(InitError::NoJoinKey {
        table: table.shown(),
        could: if could.is_empty() {
            "; first give it a column of integers or text".to_owned()
        } else {
            format!(", one of {}", could.join(", "))
        },
    })
}

/// These columns, if there are some and each can be a join key.
fn usable_keys<'t>(table: &'t Table, names: impl Iterator<Item = &'t String>) -> Option<Vec<&'t Column>> {
    let columns: Option<Vec<&Column>> = names
        .map(|name| table.column(name).filter(|column| key_type(column).is_some()))
        .collect();
    columns.filter(|columns| !columns.is_empty())
}

fn asked_keys<'t>(table: &'t Table, options: &InitOptions) -> Result<Keys<'t>, InitError> {
    let option = "--join-key";
    let mut columns: Vec<&Column> = Vec::new();
    for name in &options.join_keys {
        let column = named(table, option, name)?;
        let problem = if key_type(column).is_none() {
            format!(
                "is {}: a join key is of integers or text; cast it in a view of the database, and run this on the view",
                column.type_name
            )
        } else if columns.iter().any(|known| known.name == *name) {
            "is named twice".to_owned()
        } else {
            columns.push(column);
            continue;
        };
        return Err(InitError::Unusable {
            option,
            column: name.clone(),
            problem,
        });
    }
    Ok(Keys {
        columns,
        why: "you said so".to_owned(),
    })
}
