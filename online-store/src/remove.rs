//! Removing values for good: what a complete run did not find any more, what a person wants forgotten, and views that are
//! no more.

use std::sync::LazyLock;

use feature_defs::codec::header_time;
use feature_defs::key::{EntityKey, ValueKeys, marker_key, schemas_key, value_key};
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use redis::{Pipeline, Value};

use crate::error::StoreError;
use crate::scan::Scan;
use crate::script::{Call, Script, groups, run};
use crate::writer::{OnlineWriter, WITHIN};

static REMOVE_OLDER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("remove_older.lua")));
static REMOVE_UNMARKED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("remove_unmarked.lua")));

impl OnlineWriter {
    /// Removes the view's values, tombstones too, that are as of before that moment: with a marker's `complete_as_of`,
    /// those that count as absent already. A value that is written meanwhile stays. How many were removed; after a lost
    /// connection, perhaps fewer than were.
    ///
    /// Goes through all keys in Redis, in small steps that hold up nobody.
    ///
    /// # Errors
    /// Redis is away or refuses: part of them may be removed, and doing it again is harmless.
    pub async fn sweep(&self, view: &ViewName, before: Timestamp) -> Result<u64, StoreError> {
        let keys = ValueKeys::new(&self.project, view);
        let mut scan = Scan::from(0, &keys, &self.connection);
        let mut removed = 0;
        while let Some(found) = scan.step().await? {
            let values: Vec<(String, &[u8])> = found
                .into_iter()
                .filter(|key| keys.entity(key).is_some())
                .filter_map(|key| Some((String::from_utf8(key).ok()?, &[][..])))
                .collect();
            removed += self.remove_older(&values, before).await?;
        }
        Ok(removed)
    }

    async fn remove_older(&self, values: &[(String, &[u8])], before: Timestamp) -> Result<u64, StoreError> {
        let before = header_time(before);
        let calls = groups(values).into_iter().map(|group| Call {
            script: &REMOVE_OLDER,
            keys: group.iter().map(|(key, _)| key.as_bytes()).collect(),
            args: vec![&before],
        });
        let answers = run(&self.connection, &calls.collect::<Vec<_>>(), WITHIN).await?;
        answers
            .into_iter()
            .map(|answer| self.connection.read::<u64>(answer))
            .sum()
    }

    /// Whether anything may be stored of each of these views. What writes a value has stored a schema before, and
    /// [`Self::remove_view`] removes the schemas last.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn is_stored(&self, views: &[ViewName]) -> Result<Vec<bool>, StoreError> {
        if views.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(views.len());
        for view in views {
            let keys = [marker_key(&self.project, view), schemas_key(&self.project, view)];
            commands.cmd("EXISTS").arg(&keys);
        }
        let answers = self.connection.send(&commands, WITHIN).await?;
        answers.into_iter().map(|answer| self.connection.read(answer)).collect()
    }

    /// Removes all that is stored of a view that nobody writes any more: its marker first, so that nothing vouches for what
    /// is gone; then its values; the schemas last, since values cannot be read without. `removed` is told of the values, a
    /// step at a time. Stopped anywhere, it is begun again from the start. How many values were removed; after a lost
    /// connection, perhaps fewer than were.
    ///
    /// Goes through all keys in Redis, in small steps that hold up nobody.
    ///
    /// # Errors
    /// Redis is away or refuses; or [`StoreError::WrittenAgain`], before anything of the run that has begun is removed.
    pub async fn remove_view(&self, view: &ViewName, removed: impl Fn(u64) + Send) -> Result<u64, StoreError> {
        let keys = ValueKeys::new(&self.project, view);
        let (marker, schemas) = (marker_key(&self.project, view), schemas_key(&self.project, view));
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&marker);
        self.connection.query::<()>(unlink, WITHIN).await?;
        let mut values = 0;
        loop {
            let server = self.server().await?;
            let mut scan = Scan::from(0, &keys, &self.connection);
            while let Some(found) = scan.step().await? {
                let found = found.into_iter().filter(|key| keys.entity(key).is_some());
                let found: Vec<(String, &[u8])> = found
                    .filter_map(|key| Some((String::from_utf8(key).ok()?, &[][..])))
                    .collect();
                for group in groups(&found) {
                    let gone = self.remove_unmarked(view, &marker, group).await?;
                    values += gone;
                    removed(gone);
                }
            }
            // One that has restarted meanwhile may have shown only part of its keys.
            if self.server().await? == server {
                break;
            }
        }
        self.remove_unmarked(view, &marker, &[(schemas, &[][..])]).await?;
        Ok(values)
    }

    /// The note of a run is in the marker, so that not even a run that begins now loses a value to this.
    async fn remove_unmarked(
        &self,
        view: &ViewName,
        marker: &str,
        keys: &[(String, &[u8])],
    ) -> Result<u64, StoreError> {
        let call = Call {
            script: &REMOVE_UNMARKED,
            keys: std::iter::once(marker)
                .chain(keys.iter().map(|(key, _)| key.as_str()))
                .map(str::as_bytes)
                .collect(),
            args: Vec::new(),
        };
        let mut answers = run(&self.connection, &[call], WITHIN).await?;
        let gone: i64 = self.connection.read(answers.pop().unwrap_or(Value::Nil))?;
        u64::try_from(gone).map_err(|_| StoreError::WrittenAgain { view: view.clone() })
    }

    /// Removes what is stored of one entity in these views, whatever it is. For each view, whether there was something.
    /// A run that finds the entity's rows writes its value again.
    ///
    /// # Errors
    /// Redis is away or refuses: part of them may be removed, and doing it again is harmless.
    pub async fn forget(&self, entity: &EntityKey, views: &[&ViewName]) -> Result<Vec<bool>, StoreError> {
        // Asked first: a removal that is sent again after a lost connection would deny what it found the first time.
        let there = self.of_each("EXISTS", entity, views).await?;
        let removed = self.of_each("UNLINK", entity, views).await?;
        Ok(there
            .into_iter()
            .zip(removed)
            .map(|(there, removed)| there || removed)
            .collect())
    }

    /// The answers to a command about an entity's key in each of these views.
    async fn of_each(&self, command: &str, entity: &EntityKey, views: &[&ViewName]) -> Result<Vec<bool>, StoreError> {
        let mut commands = Pipeline::with_capacity(views.len());
        for view in views {
            commands.cmd(command).arg(value_key(&self.project, view, entity));
        }
        let answers: Vec<Value> = if views.is_empty() {
            Vec::new()
        } else {
            self.connection.send(&commands, WITHIN).await?
        };
        answers.into_iter().map(|answer| self.connection.read(answer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use feature_defs::codec::{AS_OF_OFFSET, Body, Header, Schema, encode};

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
        let text = REMOVE_OLDER.text;
        let constants = format!("local FORMAT, HEADER_LENGTH = {}, {}\n", blob[0], blob.len());
        assert!(text.contains(&constants), "{constants}");
        assert!(text.contains(&format!("'>B{}I4I4'", "x".repeat(AS_OF_OFFSET - 1))));
    }
}
