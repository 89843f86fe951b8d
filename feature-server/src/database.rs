//! Postgres by URL: connections that say what to do when they fail, and never show a password.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Lets the server notice within two minutes that we are gone without a goodbye, and drop our locks and snapshots; by
/// default it takes over two hours.
const KEEPALIVES: &str = "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6";

/// How long a pooled connection is taken to work after it last did: asking takes as long as a small question.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// A lookup of a few entities by their indexes: planning it takes longer than doing it, compiling it longer still.
const LOOKUPS: &str =
    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET max_parallel_workers_per_gather = 0";

/// The URL of a Postgres database. Shows itself without password.
#[derive(Clone)]
pub struct DatabaseUrl(PgConnectOptions);

/// A text that is no Postgres URL. The text itself is not shown: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("the database URL cannot be read ({reason}): write postgres://user:password@host:port/database")]
pub struct InvalidDatabaseUrl {
    reason: String,
}

/// A database that cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It does not answer, or refuses us.
    #[error(
        "cannot connect to {url}: {reason}; check that Postgres runs there and that the URL names the right host, database, user and password"
    )]
    Connect {
        /// Without password.
        url: String,
        /// What the driver says.
        reason: String,
    },
    /// It answered with an error.
    #[error("the database {url} failed: {reason}; check what its user may do there, and look in the log of Postgres")]
    Query {
        /// Without password.
        url: String,
        /// What it says.
        reason: String,
    },
    /// The `larder` schema is absent, or older than this program.
    #[error("the database {url} {what}: run `feature-server migrate`")]
    Schema {
        /// Without password.
        url: String,
        /// What is wrong with it.
        what: String,
    },
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;
    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidDatabaseUrl {
                reason: "it does not begin with postgres://".into(),
            });
        }
        // Unescaped, these end the part that a password stands in: the rest would be shown, or logged, as something else.
        let after_host = text
            .split_once("://")
            .and_then(|(_, rest)| rest.find(['/', '?', '#']).map(|end| &rest[end..]));
        if after_host.is_some_and(|rest| rest.contains('@')) {
            return Err(InvalidDatabaseUrl {
                reason: "there is an `@` after the host: if it ends a password with `/`, `?` or `#` in it, write those as %2F, %3F, %23, and any other `@` as %40".into(),
            });
        }
        let mut options = PgConnectOptions::from_str(text).map_err(|error| InvalidDatabaseUrl {
            reason: error.to_string(),
        })?;
        // The driver's guess for a URL without a user, where the system has no name for us.
        if matches!(options.get_username(), "anonymous" | "unknown") {
            options = options.username("postgres");
        }
        Ok(Self(
            options.application_name("feature-server").disable_statement_logging(),
        ))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        let host = match options.get_socket() {
            Some(path) => path.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        write!(
            f,
            "postgres://{}@{host}:{}/{database}",
            options.get_username(),
            options.get_port()
        )
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DatabaseUrl {
    /// A connection of its own, outside every pool.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`].
    pub async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        let connecting = async {
            let mut connection = PgConnection::connect_with(&self.0).await?;
            sqlx::raw_sql(KEEPALIVES).execute(&mut connection).await?;
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.error(&error)),
            Err(_) => Err(self.connect_error(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Connects once and leaves. A pool tries again until its time is up, and then no longer knows why it could not: a
    /// command, whose user waits, learns the cause here, and at once.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`].
    pub(crate) async fn reach(&self) -> Result<(), DatabaseError> {
        let connection = self.connect().await?;
        // It answered, which was the question.
        let _closed = connection.close().await;
        Ok(())
    }

    /// A pool that connects when it is first used.
    pub fn pool(&self, connections: u32) -> PgPool {
        pool_options(connections).connect_lazy_with(self.0.clone())
    }

    /// A pool for short statements that somebody waits for, the same ones again and again.
    pub(crate) fn pool_of_lookups(&self, connections: u32) -> PgPool {
        pool_options(connections)
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(LOOKUPS).execute(connection).await.map(|_| ()) })
            })
            .connect_lazy_with(self.0.clone())
    }

    /// A pool whose connections all begin with these statements.
    pub(crate) fn pool_of_sessions(&self, connections: u32, statements: String) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let statements = sqlx::AssertSqlSafe(statements.clone());
                Box::pin(async move { sqlx::raw_sql(statements).execute(connection).await.map(|_| ()) })
            })
            .connect_lazy_with(self.0.clone())
    }

    /// What a failure of this database means, in words for its operator.
    pub fn error(&self, error: &sqlx::Error) -> DatabaseError {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed => self.connect_error(error.to_string()),
            sqlx::Error::PoolTimedOut => self.connect_error("no connection came about, or free, in time".to_owned()),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // No such database, role or password; too many connections; starting up.
                Some("3D000" | "28000" | "28P01" | "53300" | "57P03") => {
                    self.connect_error(database.message().to_owned())
                }
                _ => DatabaseError::Query {
                    url: self.to_string(),
                    reason: database.message().to_owned(),
                },
            },
            other => DatabaseError::Query {
                url: self.to_string(),
                reason: other.to_string(),
            },
        }
    }

    fn connect_error(&self, reason: String) -> DatabaseError {
        DatabaseError::Connect {
            url: self.to_string(),
            reason,
        }
    }
}

fn pool_options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_shows_its_password() {
        let url: DatabaseUrl = "postgres://ann:s3cret@db.example:5433/shop".parse().unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "postgres://ann@db.example:5433/shop postgres://ann@db.example:5433/shop"
        );
        let error = "mysql://ann:s3cret@db/shop".parse::<DatabaseUrl>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        for unescaped in ["12/s3cret", "12?s3cret", "12#s3cret", "s3/cret", "s3@cret/"] {
            let error = format!("postgres://ann:{unescaped}@db/shop").parse::<DatabaseUrl>();
            let error = error.unwrap_err().to_string();
            assert!(error.contains("%2F") && !error.contains("cret"), "{error}");
        }
        let escaped: DatabaseUrl = "postgres://ann:12%2Fs3%40cret@db/shop".parse().unwrap();
        assert_eq!(escaped.to_string(), "postgres://ann@db:5432/shop");
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_named_without_its_password() {
        let url: DatabaseUrl = "postgres://ann:s3cret@127.0.0.1:1/shop".parse().unwrap();
        let error = url.connect().await.unwrap_err().to_string();
        assert!(
            error.contains("postgres://ann@127.0.0.1:1/shop") && error.contains("check that Postgres runs"),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
}
