//! What will be declared, before it is text: names chosen, columns sorted into features and what is left out.

use feature_defs::definitions::{Definitions, Entity};
use feature_defs::key::KeyType;
use feature_defs::value::ValueType;

use super::guess::{Keys, Times, is_nameable, key_type};
use super::table::{Column, Kind, Repeats, Table};
use super::{InitError, InitOptions};
use crate::definition_files::names::{identified, looks_like_id, singular, unique, valid, words};

/// What the database and the guesses say.
#[derive(Debug)]
pub(super) struct Found<'t> {
    pub(super) table: &'t Table,
    pub(super) times: Times<'t>,
    pub(super) keys: Keys<'t>,
    pub(super) repeats: Repeats,
    /// What the project is called if nothing says so yet.
    pub(super) project: String,
}

/// Everything that the files say.
#[derive(Debug)]
pub(super) struct Draft {
    /// As people write it.
    pub(super) table: String,
    pub(super) file: String,
    /// In place of the table, where that can't be read as it is.
    pub(super) query: Option<Query>,
    /// `None`: the definitions that are there say it.
    pub(super) project: Option<String>,
    pub(super) entity: EntityDraft,
    pub(super) source: String,
    pub(super) event: String,
    pub(super) event_why: String,
    pub(super) created: Option<String>,
    pub(super) deleted: Option<String>,
    /// The row view, if there is a feature for it.
    pub(super) rows: Option<RowsDraft>,
    pub(super) windows: Option<WindowsDraft>,
    /// Columns, and why they are no features.
    pub(super) left_out: Vec<(String, String)>,
    pub(super) repeats: Repeats,
    pub(super) service: String,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) file: String,
    pub(super) sql: String,
}

#[derive(Debug)]
pub(super) struct EntityDraft {
    pub(super) name: String,
    pub(super) keys: Vec<KeyDraft>,
    pub(super) why: String,
    /// Whether the definitions that are there have it.
    pub(super) is_declared: bool,
}

#[derive(Debug)]
pub(super) struct KeyDraft {
    pub(super) name: String,
    pub(super) key_type: KeyType,
    pub(super) column: String,
}

#[derive(Debug)]
pub(super) struct RowsDraft {
    pub(super) view: String,
    pub(super) features: Vec<Feature>,
}

#[derive(Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) value_type: ValueType,
    pub(super) column: String,
}

/// The aggregate view.
#[derive(Debug)]
pub(super) struct WindowsDraft {
    pub(super) view: String,
    /// Name and column of each mean.
    pub(super) means: Vec<(String, String)>,
    /// Whether it stands only as a comment, to be taken up.
    pub(super) is_comment: bool,
}

/// Chooses names, and sorts the columns.
pub(super) fn draft(
    found: Found<'_>,
    options: &InitOptions,
    existing: Option<&Definitions>,
) -> Result<Draft, InitError> {
    let Found {
        table,
        times,
        keys,
        repeats,
        project,
    } = found;
    let base = valid(&table.name, "table");
    let entity = entity(table, &keys, options, existing)?;
    let deleted = table.columns.iter().find(|column| is_deleted_flag(column));
    let mut used: Vec<&str> = keys.columns.iter().map(|column| column.name.as_str()).collect();
    used.push(&times.event.name);
    used.extend(
        times
            .created
            .into_iter()
            .chain(deleted)
            .map(|column| column.name.as_str()),
    );
    let (features, left_out) = features(table, &used);

    let name = |wanted: String, taken: Vec<&str>| unique(&wanted, |name| taken.contains(&name));
    let sources = existing.map_or(Vec::new(), |d| d.sources.iter().map(|s| s.name.as_str()).collect());
    let services = existing.map_or(Vec::new(), |d| d.services.iter().map(|s| s.name.as_str()).collect());
    let rows_view = match repeats {
        Repeats::Never => base.clone(),
        Repeats::NotSeen | Repeats::Yes => format!("{base}_latest"),
    };
    let rows_view = name(rows_view, views(existing));
    let means = means(table, &features);
    let windows_view = name(format!("{base}_recent"), views(existing));
    // A view needs a feature: where no column is one, counting the rows is what is left.
    let windows = (repeats != Repeats::Never || features.is_empty()).then_some(WindowsDraft {
        view: windows_view,
        means,
        is_comment: repeats == Repeats::NotSeen && !features.is_empty(),
    });
    Ok(Draft {
        table: table.shown(),
        file: format!("{base}.toml"),
        query: needs_query(table, &times).then(|| query(table, &base, options)),
        project: existing.is_none().then(|| valid(&project, "project")),
        entity,
        source: name(base.clone(), sources),
        event: times.event.name.clone(),
        event_why: times.event_why,
        created: times.created.map(|column| column.name.clone()),
        deleted: deleted.map(|column| column.name.clone()),
        rows: (!features.is_empty()).then_some(RowsDraft {
            view: rows_view,
            features,
        }),
        windows,
        left_out,
        repeats,
        service: name(base, services),
    })
}

/// The names that no new view can have.
fn views(existing: Option<&Definitions>) -> Vec<&str> {
    let mut names = vec!["request", "derived"];
    if let Some(definitions) = existing {
        names.extend(definitions.views.iter().map(|view| view.name.as_str()));
        let joins = definitions.services.iter().flat_map(|service| &service.joins);
        names.extend(joins.map(|join| join.alias.as_str()));
    }
    names
}

fn is_deleted_flag(column: &Column) -> bool {
    let says_so = matches!(
        words(&column.name)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice(),
        ["deleted"] | ["is", "deleted"]
    );
    says_so && column.kind == Kind::Value(ValueType::Bool)
}

fn entity(
    table: &Table,
    keys: &Keys<'_>,
    options: &InitOptions,
    existing: Option<&Definitions>,
) -> Result<EntityDraft, InitError> {
    let guessed = || {
        let stems: Vec<String> = keys
            .columns
            .iter()
            .map(|column| identified(&column.name).unwrap_or_else(|| singular(&table.name)))
            .collect();
        valid(&stems.join("_"), "entity")
    };
    let wanted = options
        .entity
        .as_ref()
        .map_or_else(guessed, |name| name.as_str().to_owned());
    let mut names: Vec<String> = Vec::new();
    for column in &keys.columns {
        // A bare `id` says nothing in a request that carries the ids of several entities.
        let wanted = match identified(&column.name) {
            None => format!("{wanted}_{}", valid(&column.name, "id")),
            Some(_) => valid(&column.name, "key"),
        };
        names.push(unique(&wanted, |name| names.iter().any(|known| known == name)));
    }
    let columns = names.into_iter().zip(&keys.columns);
    let mut keys_of: Vec<KeyDraft> = columns
        .filter_map(|(name, column)| {
            Some(KeyDraft {
                name,
                key_type: key_type(column)?,
                column: column.name.clone(),
            })
        })
        .collect();
    let entities = existing.map_or(&[][..], |definitions| &definitions.entities);
    let known = entities.iter().find(|entity| entity.name.as_str() == wanted);
    let (name, is_declared) = match known {
        None => (wanted, false),
        Some(entity) if is_same(entity, &keys_of) => {
            for (key, declared) in keys_of.iter_mut().zip(&entity.join_keys) {
                key.name = declared.name.as_str().to_owned();
            }
            (wanted, true)
        }
        Some(entity) if options.entity.is_some() => {
            let keys = entity.join_keys.iter();
            let keys: Vec<String> = keys
                .map(|key| format!("{} {}", key.name, key.key_type.value_type()))
                .collect();
            return Err(InitError::OtherEntity {
                entity: wanted,
                keys: keys.join(", "),
            });
        }
        Some(_) => {
            let is_taken = |name: &str| entities.iter().any(|entity| entity.name.as_str() == name);
            (unique(&wanted, is_taken), false)
        }
    };
    Ok(EntityDraft {
        name,
        keys: keys_of,
        why: keys.why.clone(),
        is_declared,
    })
}

/// Whether these keys are an entity's: of one key the type decides, of several the names tell which is which.
fn is_same(entity: &Entity, keys: &[KeyDraft]) -> bool {
    let one = keys.len() == 1;
    entity.join_keys.len() == keys.len()
        && entity
            .join_keys
            .iter()
            .zip(keys)
            .all(|(declared, key)| declared.key_type == key.key_type && (one || declared.name.as_str() == key.name))
}

/// The columns that become features, and those that don't with the reason.
fn features(table: &Table, used: &[&str]) -> (Vec<Feature>, Vec<(String, String)>) {
    let mut features: Vec<Feature> = Vec::new();
    let mut left_out = Vec::new();
    for column in table
        .columns
        .iter()
        .filter(|column| !used.contains(&column.name.as_str()))
    {
        let why = match column.kind {
            _ if !is_nameable(column) => "its name has control characters: rename it in a query".to_owned(),
            _ if table.primary_key.contains(&column.name) => {
                "part of the table's own key: it says which row it is, and nothing about the entity".to_owned()
            }
            Kind::Other => format!(
                "{} is no type of features: take what you need out of it in a query",
                column.type_name
            ),
            Kind::Date => "a date is no type of features: make it a number or a timestamptz in a query".to_owned(),
            Kind::LocalTimestamp => "a timestamp without time zone: say its zone in a query".to_owned(),
            Kind::Value(ValueType::Timestamp) => {
                "a time: if it is known as soon as the row is, add it as a feature of type `timestamp`".to_owned()
            }
            Kind::Value(value_type) => {
                let is_taken = |name: &str| features.iter().any(|feature| feature.name == name);
                features.push(Feature {
                    name: unique(&valid(&column.name, "column"), is_taken),
                    value_type,
                    column: column.name.clone(),
                });
                continue;
            }
        };
        left_out.push((column.name.clone(), why));
    }
    (features, left_out)
}

/// What can be averaged: numbers and flags that are no ids.
fn means(table: &Table, features: &[Feature]) -> Vec<(String, String)> {
    let is_quantity = |feature: &&Feature| {
        let is_reference = table.column(&feature.column).is_some_and(|column| column.is_reference);
        (feature.value_type.is_number() || feature.value_type == ValueType::Bool)
            && !looks_like_id(&feature.column)
            && !is_reference
    };
    let means = features.iter().filter(is_quantity);
    means
        .map(|feature| (format!("{}_mean", feature.name), feature.column.clone()))
        .collect()
}

/// Whether a definition file can't name the table, or its times need their zone said.
fn needs_query(table: &Table, times: &Times<'_>) -> bool {
    let plain = |name: &str| !name.contains(|c: char| c == '.' || c.is_control() || c.is_whitespace());
    let zoneless = |column: &Column| column.kind == Kind::LocalTimestamp;
    !plain(&table.schema) || !plain(&table.name) || zoneless(times.event) || times.created.is_some_and(zoneless)
}

fn query(table: &Table, base: &str, options: &InitOptions) -> Query {
    let zone = options.time_zone.as_ref().map(|zone| zone.replace('\'', "''"));
    let column = |column: &Column| match &zone {
        Some(zone) if column.kind == Kind::LocalTimestamp => {
            format!("  {0} AT TIME ZONE '{zone}' AS {0}", column.sql)
        }
        _ => format!("  {}", column.sql),
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    Query {
        file: format!("{base}.sql"),
        sql: format!(
            "-- What {base}.toml reads: one row an event, its times as timestamptz.\nSELECT\n{}\nFROM {}\n",
            columns.join(",\n"),
            table.sql
        ),
    }
}

impl Draft {
    /// What was guessed and why: a sentence each.
    pub(super) fn guesses(&self) -> Vec<String> {
        let columns: Vec<&str> = self.entity.keys.iter().map(|key| key.column.as_str()).collect();
        let mut guesses = vec![
            format!(
                "`{}` says when a row was true (event_timestamp): {}",
                self.event, self.event_why
            ),
            format!(
                "rows are about entity `{}`{}, by {}: {}",
                self.entity.name,
                if self.entity.is_declared {
                    ", which is declared already"
                } else {
                    ""
                },
                columns.join(", "),
                self.entity.why
            ),
        ];
        if let Some(created) = &self.created {
            guesses.push(format!(
                "`{created}` says when a row was written (created_timestamp): late rows are found by it"
            ));
        }
        if let Some(deleted) = &self.deleted {
            guesses.push(format!("`{deleted}` marks rows that take a value away (deleted)"));
        }
        guesses.push(match self.repeats {
            Repeats::Never => "an entity has one row, by a unique key: a row view is enough".to_owned(),
            Repeats::Yes => "an entity has several rows: an aggregate view counts and averages them".to_owned(),
            Repeats::NotSeen => {
                "an entity has one row, as far as could be seen: an aggregate view stands as a comment".to_owned()
            }
        });
        for (column, why) in &self.left_out {
            guesses.push(format!("`{}` is left out: {why}", column.escape_debug()));
        }
        guesses
    }
}
