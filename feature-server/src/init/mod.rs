//! A first definition file from a table: looks at its columns and keys, guesses what they mean, and says why.
//!
//! What is written loads and fits the database as it stands; each guess can be overridden.

mod draft;
mod guess;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use feature_defs::definitions::{self, Definitions, Diagnostics};
use feature_defs::name::EntityName;

use crate::database::{DatabaseError, DatabaseUrl};
use crate::definition_files::{self, WriteError};
use draft::Found;
use table::Table;

/// What the user knows better than a guess.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// What the features are about.
    pub entity: Option<EntityName>,
    /// The columns that identify it; empty: guessed.
    pub join_keys: Vec<String>,
    /// The column that says when a row was true.
    pub event_timestamp: Option<String>,
    /// The column that says when a row was written.
    pub created_timestamp: Option<String>,
    /// The zone that timestamps without one are in, as Postgres knows it.
    pub time_zone: Option<String>,
}

/// What was written, and what to do with it.
#[derive(Debug)]
pub struct InitSummary {
    /// The files, the definitions last.
    pub files: Vec<PathBuf>,
    /// What was guessed and why: a sentence each.
    pub guesses: Vec<String>,
    /// The feature service of all features.
    pub service: String,
    /// The join keys that a request carries.
    pub join_keys: Vec<String>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The database has no such table.
    #[error("{database} has no table `{name}` that its user can see{}", nearest_is(.nearest))]
    NoTable {
        /// Without password.
        database: String,
        /// As asked for.
        name: String,
        /// The one most like it.
        nearest: Option<String>,
    },
    /// The table has no such column.
    #[error("{option}: the table {table} has no column `{name}`{}", nearest_is(.nearest))]
    NoColumn {
        /// What named it.
        option: &'static str,
        /// Of this table.
        table: String,
        /// As asked for.
        name: String,
        /// The one most like it.
        nearest: Option<String>,
    },
    /// A column that was asked for is of a type that it can't be used as, or used twice.
    #[error("{option}: column `{column}` {problem}")]
    Unusable {
        /// What named it.
        option: &'static str,
        /// Its name.
        column: String,
        /// Why, and what to do.
        problem: String,
    },
    /// No column says when.
    #[error("the table {table} has no timestamptz column, so nothing says when its rows were true{remedy}")]
    NoEventTimestamp {
        /// Without such a column.
        table: String,
        /// What to do.
        remedy: String,
    },
    /// The column that says when does not say in which time zone.
    #[error(
        "column `{column}` is a timestamp without time zone, which is no moment until its zone is known: say it with `--time-zone UTC` (or another, such as Europe/Berlin), and a query that converts it is written; or name a timestamptz column with `--event-timestamp` or `--created-timestamp`"
    )]
    NoTimeZone {
        /// Its name.
        column: String,
    },
    /// Postgres does not know the zone.
    #[error("Postgres knows no time zone `{zone}`: write one as in pg_timezone_names, such as UTC or Europe/Berlin")]
    UnknownTimeZone {
        /// As asked for.
        zone: String,
    },
    /// No column says what rows are about.
    #[error(
        "nothing in the table {table} looks like an id, and it has no primary key: say what its rows are about with `--join-key COLUMN`{could}"
    )]
    NoJoinKey {
        /// Without such a column.
        table: String,
        /// The columns it could be.
        could: String,
    },
    /// The entity that was asked for is another.
    #[error(
        "--entity: `{entity}` is declared already, with other join keys ({keys}): name those columns with `--join-key`, or choose another name"
    )]
    OtherEntity {
        /// Its name.
        entity: String,
        /// Name and type of each.
        keys: String,
    },
    /// The definitions that are there already are wrong.
    #[error(transparent)]
    Definitions(#[from] Diagnostics),
    /// The files can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database is away, or refuses.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl InitError {
    /// Whether another command line would do.
    pub fn is_wrong_usage(&self) -> bool {
        matches!(
            self,
            Self::NoTable { .. }
                | Self::NoColumn { .. }
                | Self::Unusable { .. }
                | Self::NoTimeZone { .. }
                | Self::UnknownTimeZone { .. }
                | Self::NoJoinKey { .. }
                | Self::OtherEntity { .. }
        )
    }
}

fn nearest_is(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |nearest| format!("; the nearest is `{nearest}`"))
}

/// Writes definitions of `table` (as the user spells it) into the directory `dir`.
///
/// # Errors
/// What is missing, and what to do; then nothing has been written.
pub async fn init(
    database: &DatabaseUrl,
    dir: &Path,
    table: &str,
    options: &InitOptions,
) -> Result<InitSummary, InitError> {
    let existing = existing(dir)?;
    let mut connection = database.connect().await?;
    let table = Table::find(&mut connection, database, table).await?;
    if let Some(zone) = &options.time_zone {
        let known = "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE lower(name) = lower($1))";
        let known: Result<bool, _> = sqlx::query_scalar(known).bind(zone).fetch_one(&mut connection).await;
        if !known.map_err(|error| database.error(&error))? {
            return Err(InitError::UnknownTimeZone { zone: zone.clone() });
        }
    }
    let times = guess::times(&table, options)?;
    let keys = guess::join_keys(&table, &times, options)?;
    let repeats = table.repeats(&mut connection, database, &keys.columns).await?;
    let project: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| database.error(&error))?;
    let found = Found {
        table: &table,
        times,
        keys,
        repeats,
        project,
    };
    let draft = draft::draft(found, options, existing.as_ref())?;
    let query = draft
        .query
        .as_ref()
        .map(|query| (query.file.clone(), query.sql.clone()));
    let texts: Vec<_> = query
        .into_iter()
        .chain([(draft.file.clone(), text::definitions(&draft))])
        .collect();
    let files = definition_files::write(dir, &texts)?;
    Ok(InitSummary {
        files,
        guesses: draft.guesses(),
        service: draft.service.clone(),
        join_keys: draft.entity.keys.iter().map(|key| key.name.clone()).collect(),
    })
}

/// The definitions that are there already; `None` if there are none.
fn existing(dir: &Path) -> Result<Option<Definitions>, InitError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // The loader says what is wrong with a directory that can't be read.
        Err(_) => return Ok(Some(definitions::load(dir)?)),
        Ok(entries) => entries,
    };
    let is_definitions = |name: &str| name.ends_with(".toml") && !name.starts_with('.');
    let any = entries
        .flatten()
        .any(|entry| is_definitions(&entry.file_name().to_string_lossy()));
    Ok(any.then(|| definitions::load(dir)).transpose()?)
}
