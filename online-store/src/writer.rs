//! Writing values and schemas, so that nothing older ever replaces anything newer.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use feature_defs::codec::{Header, decode_header, header_time};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, schemas_key, value_key};
use feature_defs::name::{ProjectName, ViewName};
use feature_defs::time::Timestamp;

use crate::connection::SharedConnection;
use crate::error::StoreError;
use crate::script::{Call, Script, groups, run};

/// How long one batch, or one command, may take. A writer has time, but not forever.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);

static WRITE_IF_NEWER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("write_if_newer.lua")));

/// Writes one project's values. Cheap to clone; clones share a connection.
#[derive(Debug, Clone)]
pub struct OnlineWriter {
    pub(crate) connection: SharedConnection,
    pub(crate) project: ProjectName,
}

/// What of a value must not be older than what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The event timestamp, between equal ones the created timestamp, and between equal ones of these the as-of, for whoever
    /// has looked later has seen more of the rows of one moment: where an older row may come after a newer one.
    EventThenCreated {
        /// The marker's: what is stored as of before it is gone for readers, and must not keep out an older row of an
        /// entity that is there again. No value of the batch may be as of before it.
        complete_as_of: Option<Timestamp>,
    },
    /// The as-of: where a run computes values whole. What is as of before the last complete run is older in any case.
    AsOf,
}

impl Guard {
    const fn name(self) -> &'static str {
        match self {
            Self::EventThenCreated { .. } => "event",
            Self::AsOf => "as_of",
        }
    }

    /// As values hold a time; zeros, which no value is as of before, if there is none.
    fn floor(self) -> [u8; 8] {
        match self {
            Self::EventThenCreated { complete_as_of } => complete_as_of.map_or([0; 8], header_time),
            Self::AsOf => [0; 8],
        }
    }

    /// Whether `a` is older than `b`: the order that the script has, too.
    fn is_older(self, a: &Header, b: &Header) -> bool {
        match self {
            Self::EventThenCreated { .. } => (a.event, a.created, a.as_of) < (b.event, b.created, b.as_of),
            Self::AsOf => a.as_of < b.as_of,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Values that are stored now.
    pub written: u64,
    /// Values that were not stored because a newer one stands, or stood in the same batch.
    pub older: u64,
    /// Bytes of the values written.
    pub bytes: u64,
}

impl OnlineWriter {
    pub(crate) const fn new(connection: SharedConnection, project: ProjectName) -> Self {
        Self { connection, project }
    }

    /// Stores the layout of a view's values. Before the first value of that layout, or readers can't read it.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn put_schema(&self, view: &View) -> Result<(), StoreError> {
        let json = serde_json::to_string(&view.schema).expect("a list of names and types is JSON");
        let mut command = redis::cmd("HSET");
        command
            .arg(schemas_key(&self.project, &view.name))
            .arg(view.schema.id())
            .arg(json);
        self.connection.query(command, WITHIN).await
    }

    /// Stores each value of a batch unless the stored one is newer by `guard`; atomic by key, whoever races. Stored
    /// bytes that are too short to be a value are overwritten, for they have no times to compare. Of values of one
    /// entity in a batch the newest by `guard` counts, between equal ones the last.
    ///
    /// # Errors
    /// Redis is away or refuses; part of the batch may be stored, and writing it again is harmless. A stored value of
    /// an unknown format is left alone; all the others are written.
    pub async fn write(
        &self,
        view: &ViewName,
        guard: Guard,
        batch: &[(EntityKey, Vec<u8>)],
    ) -> Result<Written, StoreError> {
        let newest = self.newest(view, guard, batch)?;
        let superseded = batch.len() - newest.len();
        let entries: Vec<(String, &[u8])> = newest
            .into_iter()
            .map(|(entity, blob)| (value_key(&self.project, view, entity), blob))
            .collect();
        let groups = groups(&entries);
        let floor = guard.floor();
        let calls = groups.iter().map(|group| Call {
            script: &WRITE_IF_NEWER,
            keys: group.iter().map(|(key, _)| key.as_bytes()).collect(),
            args: [guard.name().as_bytes(), &floor]
                .into_iter()
                .chain(group.iter().map(|(_, blob)| *blob))
                .collect(),
        });
        let answers = run(&self.connection, &calls.collect::<Vec<_>>(), WITHIN).await?;

        let mut total = Written {
            older: superseded as u64,
            ..Written::default()
        };
        let mut unknown = None;
        for (group, answer) in groups.iter().zip(answers) {
            let (written, older, bytes, left_alone): (u64, u64, u64, usize) = self.connection.read(answer)?;
            total.written += written;
            total.older += older;
            total.bytes += bytes;
            unknown = left_alone
                .checked_sub(1)
                .map(|index| group[index].0.clone())
                .or(unknown);
        }
        match unknown {
            None => Ok(total),
            Some(key) => Err(self.unknown_format(key).await),
        }
    }

    /// The batch without what another value of the same key in it supersedes: one script call must not name a key twice.
    fn newest<'a>(
        &self,
        view: &ViewName,
        guard: Guard,
        batch: &'a [(EntityKey, Vec<u8>)],
    ) -> Result<Vec<(&'a EntityKey, &'a [u8])>, StoreError> {
        let mut newest: Vec<(&EntityKey, &[u8])> = Vec::with_capacity(batch.len());
        let mut seen: HashMap<&EntityKey, (usize, Header)> = HashMap::with_capacity(batch.len());
        for (entity, blob) in batch {
            let (header, _) = decode_header(blob).map_err(|cause| StoreError::NotAValue {
                key: value_key(&self.project, view, entity),
                cause,
            })?;
            match seen.get_mut(entity) {
                None => {
                    seen.insert(entity, (newest.len(), header));
                    newest.push((entity, blob));
                }
                Some((_, other)) if guard.is_older(&header, other) => {}
                Some((index, other)) => {
                    newest[*index].1 = blob;
                    *other = header;
                }
            }
        }
        Ok(newest)
    }

    async fn unknown_format(&self, key: String) -> StoreError {
        let mut command = redis::cmd("GETRANGE");
        command.arg(&key).arg(0).arg(0);
        match self.connection.query::<Vec<u8>>(command, WITHIN).await {
            Ok(first) => StoreError::UnknownFormat {
                key,
                version: first.first().copied().unwrap_or_default(),
            },
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use feature_defs::codec::{AS_OF_OFFSET, Body, EVENT_OFFSET, Schema, encode};

    use super::*;

    #[test]
    fn the_script_knows_a_header_as_the_codec_does() {
        let zero = Timestamp::from_micros(0);
        let header = Header {
            event: zero,
            created: None,
            as_of: zero,
        };
        let mut blob = Vec::new();
        encode(&Schema::new(Vec::new()), header, &Body::Tombstone, &mut blob);
        let text = WRITE_IF_NEWER.text;
        let constants = format!("local FORMAT, HEADER_LENGTH = {}, {}\n", blob[0], blob.len());
        assert!(text.contains(&constants), "{constants}");
        // After the format byte what is skipped, and then the times, each of two halves, up to the as-of.
        let skipped = "x".repeat(EVENT_OFFSET - 1);
        let halves = "I4".repeat((AS_OF_OFFSET + 8 - EVENT_OFFSET) / 4);
        assert!(text.contains(&format!("'>B{skipped}{halves}'")));
        // A time alone is as in a header.
        let later = Timestamp::from_micros(0x0123_4567_89ab);
        blob.clear();
        encode(
            &Schema::new(Vec::new()),
            Header { as_of: later, ..header },
            &Body::Tombstone,
            &mut blob,
        );
        assert_eq!(blob[AS_OF_OFFSET..AS_OF_OFFSET + 8], header_time(later));
    }
}
