//! The online store: the only crate that speaks Redis for features.
//!
//! Reads never wait longer than they are told to, writes never put an older value over a newer one, values that are gone
//! are removed without holding up anybody, and a Redis that is away costs its callers an error, at once, until it is back.

mod connection;
mod error;
mod found;
mod reader;
mod remove;
mod runs;
mod scan;
mod script;
mod url;
mod views;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use feature_defs::definitions::View;
use feature_defs::name::ProjectName;

pub use connection::SharedConnection;
pub use error::StoreError;
pub use found::{Found, Stored};
pub use reader::{Lookup, OnlineReader};
pub use runs::RunBegun;
pub use scan::KeySample;
pub use url::{InvalidRedisUrl, RedisUrl};
pub use writer::{Guard, OnlineWriter, Written};

/// One project's values in one Redis. Clones share its connections.
#[derive(Debug, Clone)]
pub struct OnlineStore {
    project: ProjectName,
    /// Carries what requests wait for.
    reads: SharedConnection,
    /// Carries batches and scans, so that no read queues behind one.
    writes: SharedConnection,
}

impl OnlineStore {
    /// A store that connects when it is first used: Redis may be down.
    ///
    /// # Errors
    /// A URL of a kind that this build does not speak.
    pub fn open(url: &RedisUrl, project: ProjectName) -> Result<Self, StoreError> {
        Ok(Self {
            project,
            reads: SharedConnection::open(url)?,
            writes: SharedConnection::open(url)?,
        })
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// It does not, within that time.
    pub async fn ping(&self, within: Duration) -> Result<(), StoreError> {
        self.reads.query(redis::cmd("PING"), within).await
    }

    /// A reader of these views' values. Of one name there may be several definitions, each read as it says.
    pub fn reader(&self, views: Vec<Arc<View>>) -> OnlineReader {
        OnlineReader::new(self.reads.clone(), self.project.clone(), views)
    }

    /// A writer, and remover, of any view's values, markers and schemas.
    pub fn writer(&self) -> OnlineWriter {
        OnlineWriter::new(self.writes.clone(), self.project.clone())
    }
}
