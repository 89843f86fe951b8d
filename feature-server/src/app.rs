//! The feature server without its edges: what the command line, HTTP, schedules and tests all drive.

use std::sync::Arc;
use std::time::Duration;

use feature_defs::definitions::{Definitions, Service, View};
use feature_defs::time::{Clock, Timestamp};
use online_store::{OnlineStore, OnlineWriter, RedisUrl, StoreError};
use sqlx::postgres::PgPool;

use crate::database::{DatabaseError, DatabaseUrl};
use crate::source::{self, Problem};
use crate::store::Store;

/// Connections for small questions to each database; runs and training sets bring their own.
const POOL: u32 = 4;
/// How long the source database may take to tell the time, where another clock does as well.
const SOURCE_CLOCK_WITHIN: Duration = Duration::from_secs(2);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Holds the `larder` schema.
    pub database: DatabaseUrl,
    /// Where features are read from, if that is another: a replica.
    pub source_database: Option<DatabaseUrl>,
    /// Where values go.
    pub redis: RedisUrl,
}

/// Where "now" comes from.
#[derive(Debug, Clone)]
pub enum Time {
    /// The source database's clock: production.
    SourceDatabase,
    /// A given clock: tests and simulations.
    Given(Arc<dyn Clock>),
}

/// One project's feature server.
#[derive(Debug)]
pub struct App {
    definitions: Arc<Definitions>,
    source_url: DatabaseUrl,
    source: PgPool,
    store: Store,
    online: OnlineStore,
    time: Time,
}

/// What a check of the definitions against the database found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DatabaseCheck {
    /// What does not fit, and stops views from being materialized.
    pub problems: Vec<Problem>,
    /// Statements that add indexes which make runs fast.
    pub missing_indexes: Vec<String>,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

impl App {
    /// An app that connects when it first needs to.
    ///
    /// # Errors
    /// A Redis URL of a kind that this build does not speak.
    pub fn open(settings: &Settings, definitions: Definitions, time: Time) -> Result<Arc<Self>, StoreError> {
        let source_url = settings.source_database.as_ref().unwrap_or(&settings.database).clone();
        Ok(Arc::new(Self {
            source: source_url.pool(POOL),
            store: Store::open(settings.database.clone(), definitions.project.clone(), POOL),
            online: OnlineStore::open(&settings.redis, definitions.project.clone())?,
            definitions: Arc::new(definitions),
            source_url,
            time,
        }))
    }

    /// What the team has declared.
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// The view of this name.
    ///
    /// # Errors
    /// A sentence that names the views there are.
    pub fn view(&self, name: &str) -> Result<&Arc<View>, UnknownView> {
        self.definitions.view(name).ok_or_else(|| UnknownView {
            name: name.to_owned(),
            known: listed(self.definitions.views.iter().map(|view| view.name.as_str())),
        })
    }

    /// The feature service of this name.
    ///
    /// # Errors
    /// A sentence that names the services there are.
    pub fn service(&self, name: &str) -> Result<&Arc<Service>, UnknownService> {
        self.definitions.service(name).ok_or_else(|| UnknownService {
            name: name.to_owned(),
            known: listed(self.definitions.services.iter().map(|service| service.name.as_str())),
        })
    }

    /// The moment it is, by the source database's clock or the given one.
    ///
    /// # Errors
    /// The source database is away.
    pub async fn now(&self) -> Result<Timestamp, DatabaseError> {
        match &self.time {
            Time::Given(clock) => Ok(clock.now()),
            Time::SourceDatabase => {
                let now: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
                    .fetch_one(&self.source)
                    .await
                    .map_err(|error| self.source_url.error(&error))?;
                Ok(now.into())
            }
        }
    }

    /// The moment it is, by the metadata database's clock if the source database is away: for telling how long ago
    /// something was, not for deciding what to compute.
    ///
    /// # Errors
    /// Both databases are away.
    pub(crate) async fn now_of_any(&self) -> Result<Timestamp, DatabaseError> {
        match tokio::time::timeout(SOURCE_CLOCK_WITHIN, self.now()).await {
            Ok(Ok(now)) => Ok(now),
            // The metadata database's clock stands in for what is only shown: the ages in a status, and the moment of a
            // failed run's record. What a run computes is always as of the source's own clock.
            Ok(Err(_)) | Err(_) => self.store.now().await,
        }
    }

    /// Connects once to the database of the records, outside the pool: see [`DatabaseUrl::reach`].
    pub(crate) async fn reach_store(&self) -> Result<(), DatabaseError> {
        self.store.url().reach().await
    }

    /// Connects once to the source database, outside the pool: see [`DatabaseUrl::reach`].
    pub(crate) async fn reach_source(&self) -> Result<(), DatabaseError> {
        self.source_url.reach().await
    }

    /// That the source database answers.
    pub(crate) async fn ping_source(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1")
            .execute(&self.source)
            .await
            .map(|_| ())
            .map_err(|error| self.source_url.error(&error))
    }

    /// Compares every view with the columns and indexes of its source.
    ///
    /// # Errors
    /// The source database is away.
    pub async fn check_database(&self) -> Result<DatabaseCheck, DatabaseError> {
        let mut connection = self.source_url.connect().await?;
        let mut problems: Vec<Problem> = Vec::new();
        for declared in &self.definitions.sources {
            match source::columns_of(&mut connection, declared).await {
                Ok(columns) => {
                    let views = self.definitions.views.iter().filter(|v| v.source.name == declared.name);
                    problems.extend(views.flat_map(|view| source::check_view(view, &columns)));
                }
                Err(error) => problems.push(error.into()),
            }
        }
        let indexes = source::missing_indexes(&mut connection, &self.definitions).await;
        let (missing_indexes, notes) = indexes.map_err(|error| self.source_url.error(&error))?;
        Ok(DatabaseCheck {
            problems,
            missing_indexes,
            notes,
        })
    }

    pub(crate) const fn source_url(&self) -> &DatabaseUrl {
        &self.source_url
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) const fn online(&self) -> &OnlineStore {
        &self.online
    }

    pub(crate) fn writer(&self) -> OnlineWriter {
        self.online.writer()
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// A name that no view has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no view `{name}`; there are: {known}")]
pub struct UnknownView {
    name: String,
    known: String,
}

/// A name that no feature service has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no feature service `{name}`; there are: {known}")]
pub struct UnknownService {
    name: String,
    known: String,
}
