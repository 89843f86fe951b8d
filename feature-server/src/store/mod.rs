//! The `larder` schema: runs, views, what was forgotten and which definitions hold. The only place that reads or writes it.

mod applied;
mod history;
mod records;
mod runs;
mod views;

use chrono::{DateTime, Utc};
use feature_defs::name::ProjectName;
use feature_defs::time::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPool;

use crate::database::{DatabaseError, DatabaseUrl};
pub(crate) use applied::Recorded;
pub(crate) use records::{Begun, Finished, Joined, OpenRun, Reached, Whose};
pub use records::{Counts, Kind, RunRecord, ShardRecord};
pub(crate) use runs::{Cancelled, LeftBehind};
pub(crate) use views::ViewRecord;

/// The applied migrations stand in the schema they make, apart from those of the application that owns the database.
const MIGRATIONS_TABLE: &str = "larder.migrations";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.create_schema("larder");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// Creates or updates the schema.
///
/// # Errors
/// The database is away or refuses.
pub async fn migrate(url: &DatabaseUrl) -> Result<(), DatabaseError> {
    let mut connection = url.connect().await?;
    migrator().run(&mut connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => url.error(&error),
        other => DatabaseError::Query {
            url: url.to_string(),
            reason: other.to_string(),
        },
    })
}

/// One project's rows of the `larder` schema.
#[derive(Debug)]
pub(crate) struct Store {
    url: DatabaseUrl,
    pool: PgPool,
    project: ProjectName,
}

impl Store {
    pub(crate) fn open(url: DatabaseUrl, project: ProjectName, connections: u32) -> Self {
        Self {
            pool: url.pool(connections),
            url,
            project,
        }
    }

    pub(crate) const fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    fn failed(&self, error: &sqlx::Error) -> DatabaseError {
        self.url.error(error)
    }

    /// That the schema is there, and as new as this program.
    pub(crate) async fn check_schema(&self) -> Result<(), DatabaseError> {
        let schema = |what: &str| DatabaseError::Schema {
            url: self.url.to_string(),
            what: what.to_owned(),
        };
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(MIGRATIONS_TABLE)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        if !exists {
            return Err(schema("has no `larder` schema"));
        }
        let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM larder.migrations WHERE success")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        if migrator().iter().any(|migration| !applied.contains(&migration.version)) {
            return Err(schema("has a `larder` schema older than this program"));
        }
        Ok(())
    }

    /// The moment it is by this database's clock.
    pub(crate) async fn now(&self) -> Result<Timestamp, DatabaseError> {
        let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(now.into())
    }
}

/// A moment as the driver has it. What lies beyond its range is the end of its range.
fn time(at: Timestamp) -> DateTime<Utc> {
    at.to_chrono().unwrap_or(if at.as_micros() < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// A count as Postgres has it.
fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
