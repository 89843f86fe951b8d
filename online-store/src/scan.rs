//! Going through the keys of a view's values, and a sample of the entities that have one.

use std::collections::HashSet;

use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue, ValueKeys};

use crate::OnlineStore;
use crate::connection::SharedConnection;
use crate::error::StoreError;
use crate::writer::WITHIN;

/// How many keys of all Redis one step looks at: less than a millisecond for whoever waits behind it.
const KEYS_PER_STEP: usize = 1_000;

/// Steps through the keys of a view's values. Keys that are there all the while are seen, perhaps twice; others may be. If
/// Redis restarts meanwhile, some may be missed.
///
/// Of one server: a cluster wants one of these for each primary, for cursors and keys are a node's own.
pub(crate) struct Scan<'a> {
    connection: &'a SharedConnection,
    pattern: String,
    /// Where to go on; `None` after the end.
    cursor: Option<u64>,
}

impl<'a> Scan<'a> {
    /// From a place of the keyspace to its end. Only from 0 is that all of it; any other number is some place in it.
    pub(crate) fn from(cursor: u64, keys: &ValueKeys, connection: &'a SharedConnection) -> Self {
        Self {
            connection,
            pattern: keys.pattern(),
            cursor: Some(cursor),
        }
    }

    /// The next keys, often none; `None` after the end.
    pub(crate) async fn step(&mut self) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(&self.pattern);
        command.arg("COUNT").arg(KEYS_PER_STEP);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.connection.query(command, WITHIN).await?;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(keys))
    }
}

/// Some of a view's entities that have something stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySample {
    /// Each once, with the values of its join keys, in declared order.
    pub entities: Vec<(EntityKey, Vec<KeyValue>)>,
    /// Keys that were passed over because they spell no entity of the view as it is defined now.
    pub unreadable: u64,
}

impl OnlineStore {
    /// Up to `limit` entities of a view that have something stored, whatever it is: a value, a tombstone, damaged bytes.
    /// All there are, if they are fewer. They are neighbours by a hash of their keys, so where `start` is a random number
    /// they are a fair sample.
    ///
    /// Goes through the keyspace twice at most, in small steps, whatever else is in it.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn sample_keys(&self, view: &View, limit: usize, start: u64) -> Result<KeySample, StoreError> {
        let keys = ValueKeys::new(&self.project, &view.name);
        let mut sample = KeySample::default();
        let mut seen = HashSet::new();
        // From the middle to the end, then all of it, for where the middle was is known to Redis alone.
        let turns = [Some(start), (start != 0).then_some(0)];
        for cursor in turns.into_iter().flatten() {
            // The second turn meets them all again.
            sample.unreadable = 0;
            let mut scan = Scan::from(cursor, &keys, &self.writes);
            while sample.entities.len() < limit
                && let Some(found) = scan.step().await?
            {
                for key in found {
                    let Some((entity, values)) = keys.entity(&key).and_then(|text| parse(view, text)) else {
                        sample.unreadable += 1;
                        continue;
                    };
                    if sample.entities.len() < limit && seen.insert(entity.clone()) {
                        sample.entities.push((entity, values));
                    }
                }
            }
            if sample.entities.len() >= limit {
                break;
            }
        }
        Ok(sample)
    }
}

fn parse(view: &View, text: &str) -> Option<(EntityKey, Vec<KeyValue>)> {
    let join_keys = view.entity.join_keys.iter();
    EntityKey::parse(text, join_keys.map(|key| (&key.name, key.key_type)))
}
