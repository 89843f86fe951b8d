//! The feature server without its edges: what the command line, HTTP, schedules and tests all drive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use feature_defs::definitions::{Definitions, Service, Source, View};
use feature_defs::name::{DatabaseName, ProjectName};
use feature_defs::time::{Clock, SystemClock, Timestamp};
use online_store::{OnlineReader, OnlineStore, OnlineWriter, RedisUrl, StoreError};

use crate::database::{DatabaseError, DatabaseUrl};
use crate::databases::{Database, SourceDatabases, UnknownDatabase};
use crate::push::Plans;
use crate::source::{self, Problem};
use crate::store::Store;

/// Connections for small questions to each database; runs and training sets bring their own.
const POOL: u32 = 4;
/// Connections to each database for rows that are pushed there, and what is computed from them.
const PUSH_POOL: u32 = 8;
/// How long the source database may take to tell the time, where another clock does as well.
const SOURCE_CLOCK_WITHIN: Duration = Duration::from_secs(2);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Holds the `larder` schema.
    pub database: DatabaseUrl,
    /// Where features are read from, if that is another: a replica.
    pub source_database: Option<DatabaseUrl>,
    /// The databases that sources name, by what stands between `LARDER_DATABASE_` and `_URL` in their variables.
    pub named_databases: BTreeMap<String, DatabaseUrl>,
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

/// One project's feature server, as one state of its definitions has it.
#[derive(Debug)]
pub struct App {
    definitions: Arc<Definitions>,
    /// Of all their views; a server keeps it fresh.
    reader: Arc<OnlineReader>,
    push_plans: Plans,
    /// Shared by the apps of all states.
    connections: Arc<Connections>,
}

#[derive(Debug)]
struct Connections {
    sources: SourceDatabases,
    /// The same, where rows can be written: not a replica.
    pushes: SourceDatabases,
    store: Store,
    online: OnlineStore,
    time: Time,
}

/// Why there is no app of some definitions.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error(transparent)]
    Redis(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] UnknownDatabase),
    #[error("these definitions are of project `{new}`, and this server is of `{old}`: start another for them")]
    OtherProject { old: ProjectName, new: ProjectName },
}

/// What a check of the definitions against the database found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
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
    /// A Redis URL of a kind that this build does not speak, or a source's database whose URL is not in the settings.
    pub fn open(settings: &Settings, definitions: Definitions, time: Time) -> Result<Arc<Self>, OpenError> {
        let usual = settings.source_database.as_ref().unwrap_or(&settings.database).clone();
        let connections = Connections {
            sources: SourceDatabases::open(usual, &settings.named_databases, |url| url.pool(POOL)),
            pushes: SourceDatabases::open(settings.database.clone(), &settings.named_databases, |url| {
                url.pool_of_lookups(PUSH_POOL)
            }),
            store: Store::open(settings.database.clone(), definitions.project.clone(), POOL),
            online: OnlineStore::open(&settings.redis, definitions.project.clone())?,
            time,
        };
        Self::over(Arc::new(connections), definitions)
    }

    /// An app of other definitions over the same connections.
    ///
    /// # Errors
    /// Definitions of another project, or with a source whose database is not in the settings.
    pub fn redefined(&self, definitions: Definitions) -> Result<Arc<Self>, OpenError> {
        if definitions.project != self.definitions.project {
            return Err(OpenError::OtherProject {
                old: self.definitions.project.clone(),
                new: definitions.project,
            });
        }
        Self::over(Arc::clone(&self.connections), definitions)
    }

    fn over(connections: Arc<Connections>, definitions: Definitions) -> Result<Arc<Self>, OpenError> {
        connections.sources.check(&definitions)?;
        Ok(Arc::new(Self {
            reader: Arc::new(connections.online.reader(definitions.views.clone())),
            definitions: Arc::new(definitions),
            push_plans: Plans::default(),
            connections,
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

    /// The moment it is, by the clock of the usual source database or the given one.
    ///
    /// # Errors
    /// That database is away.
    pub async fn now(&self) -> Result<Timestamp, DatabaseError> {
        self.now_in(self.connections.sources.usual()).await
    }

    /// The moment it is where a source is: by the clock that its rows are stamped by.
    ///
    /// # Errors
    /// Its database is away.
    pub(crate) async fn now_at(&self, source: &Source) -> Result<Timestamp, DatabaseError> {
        self.now_in(self.database_of(source)).await
    }

    /// The moment it is, if that is given and not a database's clock.
    pub(crate) fn given_now(&self) -> Option<Timestamp> {
        match &self.connections.time {
            Time::Given(clock) => Some(clock.now()),
            Time::SourceDatabase => None,
        }
    }

    pub(crate) async fn now_in(&self, database: &Database) -> Result<Timestamp, DatabaseError> {
        match self.given_now() {
            Some(now) => Ok(now),
            None => database.now().await,
        }
    }

    /// The moment it is by this machine's clock, or the given one: for judging what stands online where no database may be
    /// waited for.
    pub(crate) fn now_here(&self) -> Timestamp {
        match &self.connections.time {
            Time::Given(clock) => clock.now(),
            Time::SourceDatabase => SystemClock.now(),
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
            Ok(Err(_)) | Err(_) => self.store().now().await,
        }
    }

    /// Connects once to the database of the records, outside the pool: see [`DatabaseUrl::reach`].
    pub(crate) async fn reach_store(&self) -> Result<(), DatabaseError> {
        self.store().url().reach().await
    }

    /// Connects once to the usual source database, outside the pool: see [`DatabaseUrl::reach`].
    pub(crate) async fn reach_usual_source(&self) -> Result<(), DatabaseError> {
        self.connections.sources.usual().url().reach().await
    }

    /// Connects once to each database that these sources are in, outside the pool: see [`DatabaseUrl::reach`].
    pub(crate) async fn reach_sources<'a>(
        &'a self,
        sources: impl Iterator<Item = &'a Source>,
    ) -> Result<(), DatabaseError> {
        for (_, database) in self.connections.sources.among(sources) {
            database.url().reach().await?;
        }
        Ok(())
    }

    /// The databases that sources are in, each once, with the name that sources call it.
    pub(crate) fn source_databases(&self) -> Vec<(Option<&DatabaseName>, &Database)> {
        let sources = self.definitions.sources.iter();
        self.connections.sources.among(sources.map(|source| &**source))
    }

    /// Compares every view with the columns and indexes of its source.
    ///
    /// # Errors
    /// A source database is away.
    pub async fn check_database(&self) -> Result<DatabaseCheck, DatabaseError> {
        let mut found = DatabaseCheck::default();
        for (_, database) in self.source_databases() {
            let mut connection = database.url().connect().await?;
            let is_here = |source: &Source| std::ptr::eq(self.database_of(source), database);
            for declared in self.definitions.sources.iter().filter(|source| is_here(source)) {
                match source::columns_of(&mut connection, declared).await {
                    Ok(columns) => {
                        let views = self.definitions.views.iter().filter(|v| v.source.name == declared.name);
                        found
                            .problems
                            .extend(views.flat_map(|view| source::check_view(view, &columns)));
                    }
                    Err(error) => found.problems.push(error.into()),
                }
                if let Some(table) = &declared.push_to {
                    match source::table_of(&mut connection, declared, table).await {
                        Ok(table) => found.problems.extend(table.problems(declared)),
                        Err(error) => found.problems.push(error.into()),
                    }
                }
            }
            let views = self.definitions.views.iter().filter(|view| is_here(&view.source));
            let (indexes, notes) = source::missing_indexes(&mut connection, views)
                .await
                .map_err(|error| database.url().error(&error))?;
            found.missing_indexes.extend(indexes);
            found.notes.extend(notes);
        }
        Ok(found)
    }

    pub(crate) fn database_of(&self, source: &Source) -> &Database {
        self.connections.sources.of(source)
    }

    /// Where rows of a source are written: its database, or the primary where that is a replica.
    pub(crate) fn primary_of(&self, source: &Source) -> &Database {
        self.connections.pushes.of(source)
    }

    pub(crate) const fn push_plans(&self) -> &Plans {
        &self.push_plans
    }

    pub(crate) fn store(&self) -> &Store {
        &self.connections.store
    }

    pub(crate) fn online(&self) -> &OnlineStore {
        &self.connections.online
    }

    /// Reads values of all views, with what it knows of their markers: see [`OnlineReader::keep_fresh`].
    pub(crate) fn reader(&self) -> &Arc<OnlineReader> {
        &self.reader
    }

    pub(crate) fn writer(&self) -> OnlineWriter {
        self.online().writer()
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
