//! Writing values and schemas, so that nothing older ever replaces anything newer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feature_defs::codec::{Header, decode_header, header_time};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, ValueKeys, schemas_key, value_key};
use feature_defs::name::{ProjectName, ViewName};
use feature_defs::time::Timestamp;
use redis::Cmd;

use crate::connection::SharedConnection;
use crate::error::StoreError;
use crate::script::{Call, Script, groups, pipeline, run};

/// How long commands that are sent together may take. A writer has time, but not forever.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);

static WRITE_IF_NEWER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("write_if_newer.lua")));

/// Keys, each with its blob, that one command names.
type Group<'a> = &'a [(&'a str, &'a [u8])];

/// Writes one project's values. Cheap to clone; clones share a connection.
#[derive(Debug, Clone)]
pub struct OnlineWriter {
    pub(crate) connection: SharedConnection,
    pub(crate) project: ProjectName,
    /// What the last batch met: the next one may meet the same, and that can be known for less than a script costs.
    met: Arc<Mutex<Met>>,
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

    /// Whether these stored bytes are a value that counts and is newer than this one.
    fn keeps(self, stored: &[u8], blob: &[u8]) -> bool {
        let (Ok((stored, _)), Ok((new, _))) = (decode_header(stored), decode_header(blob)) else {
            return false;
        };
        header_time(stored.as_of) >= self.floor() && self.is_older(&new, &stored)
    }

    /// Whether `a` is older than `b`: the order that the script has, too.
    fn is_older(self, a: &Header, b: &Header) -> bool {
        match self {
            Self::EventThenCreated { .. } => (a.event, a.created, a.as_of) < (b.event, b.created, b.as_of),
            Self::AsOf => a.as_of < b.as_of,
        }
    }
}

/// What stood where a batch went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Met {
    #[default]
    Anything,
    /// No key held anything.
    Nothing,
    /// Every value stood already, or a newer one.
    AllOfIt,
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

impl Written {
    const fn add_written(&mut self, blob: &[u8]) {
        self.written += 1;
        self.bytes += blob.len() as u64;
    }
}

impl OnlineWriter {
    pub(crate) fn new(connection: SharedConnection, project: ProjectName) -> Self {
        Self {
            connection,
            project,
            met: Arc::default(),
        }
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
        if batch.is_empty() {
            return Ok(Written::default());
        }
        let newest = self.newest(view, guard, batch)?;
        let mut total = Written {
            older: (batch.len() - newest.len()) as u64,
            ..Written::default()
        };
        let (keys, mut text, mut ends) = (ValueKeys::new(&self.project, view), String::new(), vec![0]);
        for (entity, _) in &newest {
            keys.push(entity, &mut text);
            ends.push(text.len());
        }
        let entries: Vec<(&str, &[u8])> = ends
            .windows(2)
            .zip(newest)
            .map(|(ends, (_, blob))| (&text[ends[0]..ends[1]], blob))
            .collect();
        let mut groups = groups(&entries);
        let met = *self.met();
        match met {
            Met::Anything => {}
            Met::Nothing => self.write_new(&mut groups, &mut total).await?,
            Met::AllOfIt => self.find_standing(guard, &mut groups, &mut total).await?,
        }
        self.write_if_newer(guard, &groups, &mut total).await?;
        Ok(total)
    }

    /// Writes the groups of which no key holds anything, and leaves the others.
    async fn write_new(&self, groups: &mut Vec<Group<'_>>, total: &mut Written) -> Result<(), StoreError> {
        let commands = groups.iter().map(|group| {
            let bytes = group.iter().map(|(key, blob)| key.len() + blob.len()).sum();
            let mut command = Cmd::with_capacity(1 + 2 * group.len(), bytes);
            command.arg("MSETNX");
            for (key, blob) in *group {
                command.arg(*key).arg(*blob);
            }
            command
        });
        let answers = self.connection.send(&pipeline(commands), WITHIN).await?;
        let mut left = Vec::new();
        for (group, answer) in groups.drain(..).zip(answers) {
            match self.connection.read(answer)? {
                true => group.iter().for_each(|(_, blob)| total.add_written(blob)),
                false => left.push(group),
            }
        }
        *groups = left;
        Ok(())
    }

    /// Counts the groups of which every value stands already, or a newer one, and leaves the others.
    async fn find_standing(
        &self,
        guard: Guard,
        groups: &mut Vec<Group<'_>>,
        total: &mut Written,
    ) -> Result<(), StoreError> {
        let commands = groups.iter().map(|group| {
            let mut command = redis::cmd("MGET");
            group.iter().for_each(|(key, _)| {
                command.arg(*key);
            });
            command
        });
        let answers = self.connection.send(&pipeline(commands), WITHIN).await?;
        let mut left = Vec::new();
        for (group, answer) in groups.drain(..).zip(answers) {
            let stored: Vec<Option<Vec<u8>>> = self.connection.read(answer)?;
            let stands = |((_, blob), stored): (&(&str, &[u8]), &Option<Vec<u8>>)| {
                stored
                    .as_ref()
                    .is_some_and(|stored| stored == blob || guard.keeps(stored, blob))
            };
            if !group.iter().zip(&stored).all(stands) {
                left.push(group);
                continue;
            }
            for ((_, blob), stored) in group.iter().zip(&stored) {
                match stored.as_deref() == Some(*blob) {
                    true => total.add_written(blob),
                    false => total.older += 1,
                }
            }
        }
        *groups = left;
        Ok(())
    }

    async fn write_if_newer(&self, guard: Guard, groups: &[Group<'_>], total: &mut Written) -> Result<(), StoreError> {
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
        let (mut found, mut set, mut unknown) = (0, 0, None);
        for (group, answer) in groups.iter().zip(answers) {
            let answer: (u64, u64, u64, u64, u64, usize) = self.connection.read(answer)?;
            let (written, older, bytes, found_of_it, set_of_it, left_alone) = answer;
            total.written += written;
            total.older += older;
            total.bytes += bytes;
            found += found_of_it;
            set += set_of_it;
            unknown = left_alone.checked_sub(1).map(|index| group[index].0).or(unknown);
        }
        if !groups.is_empty() {
            *self.met() = match (found, set) {
                (0, _) => Met::Nothing,
                (_, 0) => Met::AllOfIt,
                _ => Met::Anything,
            };
        }
        match unknown {
            None => Ok(()),
            Some(key) => Err(self.unknown_format(key.to_owned()).await),
        }
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        // One word: a panic elsewhere leaves it right.
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch without what another value of the same key in it supersedes: one script call must not name a key twice.
    fn newest<'a>(
        &self,
        view: &ViewName,
        guard: Guard,
        batch: &'a [(EntityKey, Vec<u8>)],
    ) -> Result<Vec<(&'a EntityKey, &'a [u8])>, StoreError> {
        let header_of = |(entity, blob): (&EntityKey, &[u8])| match decode_header(blob) {
            Ok((header, _)) => Ok(header),
            Err(cause) => Err(StoreError::NotAValue {
                key: value_key(&self.project, view, entity),
                cause,
            }),
        };
        let mut newest: Vec<(&EntityKey, &[u8])> = Vec::with_capacity(batch.len());
        let mut places: HashMap<&EntityKey, usize> = HashMap::with_capacity(batch.len());
        for (entity, blob) in batch {
            let header = header_of((entity, blob))?;
            match places.entry(entity) {
                Entry::Vacant(place) => {
                    place.insert(newest.len());
                    newest.push((entity, blob));
                }
                Entry::Occupied(place) => {
                    let other = &mut newest[*place.get()];
                    if !guard.is_older(&header, &header_of(*other)?) {
                        other.1 = blob;
                    }
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
