//! What is recorded of runs: as programs need it to go on, and as people look at it.

use chrono::{DateTime, Utc};
use feature_defs::name::ViewName;
use feature_defs::serving::Marker;
use feature_defs::time::{Span, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::shard::Shard;

/// What a run computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everything as of a moment.
    Full,
    /// What may have changed since the run before.
    Incremental,
    /// Everything as of a moment, whatever stands online.
    Replace,
    /// The rows of a range of event times.
    Backfill,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Full, Self::Incremental, Self::Replace, Self::Backfill];

    /// Its name in the schema, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Replace => "replace",
            Self::Backfill => "backfill",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a run of this kind computes every value.
    pub(crate) const fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::Replace)
    }
}

/// A run as recorded, for whoever looks.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the migrations explain each column")]
pub struct RunRecord {
    pub id: Uuid,
    pub view: String,
    pub kind: String,
    pub reason: Option<String>,
    pub as_of: DateTime<Utc>,
    pub range_start: Option<DateTime<Utc>>,
    pub range_end: DateTime<Utc>,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// running, done, failed, interrupted, cancelled; or waiting: for shards that have not begun.
    pub outcome: String,
    pub error: Option<String>,
    pub shards: i32,
    pub cancel_requested: bool,
    pub rows_read: i64,
    pub rows_written: i64,
    pub rows_older: i64,
    pub bytes: i64,
    pub newest_row: Option<DateTime<Utc>>,
    pub warnings: Option<String>,
    /// One a shard that has begun.
    pub processes: Vec<ShardRecord>,
}

/// What one process did of a run.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the migrations explain each column")]
pub struct ShardRecord {
    #[serde(skip)]
    pub run: Uuid,
    pub shard: i32,
    /// running, done, failed or interrupted.
    pub outcome: String,
    pub error: Option<String>,
    pub step: Option<DateTime<Utc>>,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub rows_read: i64,
    pub rows_written: i64,
    pub rows_older: i64,
    pub bytes: i64,
    pub newest_row: Option<DateTime<Utc>>,
    pub warnings: Option<String>,
    pub host: String,
    pub pid: i32,
}

/// Which process works on which part of which run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose {
    pub(crate) run: Uuid,
    pub(crate) shard: Shard,
}

/// A run that begins, with its first process.
#[derive(Debug, Clone)]
pub(crate) struct Begun<'a> {
    pub(crate) whose: Whose,
    pub(crate) view: &'a ViewName,
    pub(crate) kind: Kind,
    pub(crate) reason: Option<&'a str>,
    pub(crate) as_of: Timestamp,
    pub(crate) range: (Option<Timestamp>, Timestamp),
    pub(crate) every: Option<Span>,
    pub(crate) digest: &'a str,
    pub(crate) watermark: Timestamp,
    /// The Redis process that the run writes to.
    pub(crate) redis_process: Option<&'a str>,
}

/// A process that joins or continues a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    pub(crate) whose: Whose,
    pub(crate) watermark: Timestamp,
}

/// A run that may still be joined or continued.
#[derive(Debug, Clone)]
pub(crate) struct OpenRun {
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) reason: Option<String>,
    pub(crate) as_of: Timestamp,
    pub(crate) range: (Option<Timestamp>, Timestamp),
    pub(crate) every: Option<Span>,
    pub(crate) digest: String,
    pub(crate) outcome: String,
    pub(crate) shards: u32,
    pub(crate) redis_process: Option<String>,
    /// Whether none of its processes has given a sign of life for some time.
    pub(crate) is_idle: bool,
    pub(crate) begun: Vec<OpenShard>,
}

/// What one process did of a run, so that another one can go on.
#[derive(Debug, Clone)]
pub(crate) struct OpenShard {
    pub(crate) shard: u32,
    pub(crate) done: bool,
    pub(crate) reached: Reached,
}

impl OpenRun {
    /// Whether it has ended in a way that leaves nothing to go on with.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.outcome.as_str(), "done" | "cancelled")
    }

    pub(crate) fn shard(&self, shard: Shard) -> Option<&OpenShard> {
        self.begun.iter().find(|begun| begun.shard == shard.index())
    }
}

/// How far a process has come with its part of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) counts: Counts,
    /// In a backfill, the end of the last step that is done.
    pub(crate) step: Option<Timestamp>,
    /// Join keys, as text, of the last entity that is written with all before it.
    pub(crate) checkpoint: Vec<String>,
    /// What the data was expected to be and was not.
    pub(crate) warnings: Vec<String>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows that came from the source.
    pub read: u64,
    /// Values written.
    pub written: u64,
    /// Values not written because a newer one was online.
    pub older: u64,
    /// Bytes of the values written.
    pub bytes: u64,
    /// The latest event timestamp among the rows read.
    pub newest_row: Option<Timestamp>,
}

impl Counts {
    /// So many more rows came from the source, the latest with this event timestamp.
    pub(crate) fn add_read(&mut self, rows: u64, newest_row: Option<Timestamp>) {
        self.read += rows;
        self.newest_row = self.newest_row.max(newest_row);
    }
}

/// What a view's row says after a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished<'a> {
    pub(crate) id: Uuid,
    pub(crate) view: &'a ViewName,
    pub(crate) kind: Kind,
    pub(crate) marker: &'a Marker,
}
