//! The databases that sources are in: the usual one, and those that sources name.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use feature_defs::definitions::{Definitions, Source};
use feature_defs::name::{DatabaseName, SourceName};
use feature_defs::time::Timestamp;
use sqlx::postgres::PgPool;

use crate::database::{DatabaseError, DatabaseUrl};

/// A database that sources are in.
#[derive(Debug)]
pub(crate) struct Database {
    url: DatabaseUrl,
    pool: PgPool,
}

impl Database {
    fn open(url: DatabaseUrl, pool: fn(&DatabaseUrl) -> PgPool) -> Self {
        Self { pool: pool(&url), url }
    }

    pub(crate) const fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    pub(crate) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The moment it is by this database's clock.
    pub(crate) async fn now(&self) -> Result<Timestamp, DatabaseError> {
        let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.url.error(&error))?;
        Ok(now.into())
    }

    /// That it answers.
    pub(crate) async fn ping(&self, within: Duration) -> Result<(), String> {
        let asked = sqlx::query("SELECT 1").execute(&self.pool);
        match tokio::time::timeout(within, asked).await {
            Ok(answer) => answer.map(|_| ()).map_err(|error| self.url.error(&error).to_string()),
            Err(_) => Err(format!("{} did not answer within {} s", self.url, within.as_secs())),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct SourceDatabases {
    usual: Database,
    /// By what their variables call them.
    named: BTreeMap<String, Database>,
}

/// A source's database whose URL nobody has said.
#[derive(Debug, thiserror::Error)]
#[error(
    "source `{source_name}` is in the database `{database}`: set {} to postgres://user:password@host:port/database",
    variable(.database)
)]
pub struct UnknownDatabase {
    source_name: SourceName,
    database: DatabaseName,
}

/// The variable that says where a database is.
pub(crate) fn variable(database: &DatabaseName) -> String {
    format!("LARDER_DATABASE_{}_URL", as_in_variable(database))
}

fn as_in_variable(database: &DatabaseName) -> String {
    database.as_str().to_ascii_uppercase()
}

impl SourceDatabases {
    /// `named`: by what stands between `LARDER_DATABASE_` and `_URL` in their variables. `pool`: what connections to each of
    /// them are like.
    pub(crate) fn open(
        usual: DatabaseUrl,
        named: &BTreeMap<String, DatabaseUrl>,
        pool: fn(&DatabaseUrl) -> PgPool,
    ) -> Self {
        let named = named.iter();
        Self {
            usual: Database::open(usual, pool),
            named: named
                .map(|(name, url)| (name.clone(), Database::open(url.clone(), pool)))
                .collect(),
        }
    }

    /// That there is a database for each source.
    pub(crate) fn check(&self, definitions: &Definitions) -> Result<(), UnknownDatabase> {
        for source in &definitions.sources {
            if let Some(database) = &source.database
                && !self.named.contains_key(&as_in_variable(database))
            {
                return Err(UnknownDatabase {
                    source_name: source.name.clone(),
                    database: database.clone(),
                });
            }
        }
        Ok(())
    }

    pub(crate) const fn usual(&self) -> &Database {
        &self.usual
    }

    /// The database that a source is in, of definitions that were checked.
    pub(crate) fn of(&self, source: &Source) -> &Database {
        let named = source.database.as_ref();
        let named = named.and_then(|database| self.named.get(&as_in_variable(database)));
        named.unwrap_or(&self.usual)
    }

    /// Each database that one of these sources is in, once, with the name that sources call it.
    pub(crate) fn among<'a>(
        &'a self,
        sources: impl Iterator<Item = &'a Source>,
    ) -> Vec<(Option<&'a DatabaseName>, &'a Database)> {
        let mut found: Vec<(Option<&DatabaseName>, &Database)> = Vec::new();
        for source in sources {
            let database = self.of(source);
            if found.iter().all(|(_, other)| !std::ptr::eq(*other, database)) {
                found.push((source.database.as_ref(), database));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
