//! Reading many values in one round trip, within a deadline.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use feature_defs::codec::{Schema, decode_header};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, marker_key, schemas_key, value_key};
use feature_defs::name::{ProjectName, ViewName};
use feature_defs::serving::{Marker, StoredRow};
use feature_defs::time::Timestamp;
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::connection::{Deadline, SharedConnection};
use crate::error::StoreError;
use crate::found::Found;
use crate::script::pipeline;
use crate::views::{Known, NamedView, Views};

/// How often markers and schemas are read again.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How long that may take.
const REFRESH_WITHIN: Duration = Duration::from_secs(1);
/// Keys of one command: Redis does nothing else meanwhile.
const KEYS_PER_MGET: usize = 200;
/// What a key takes, about: a command that grows as it is written is copied each time.
const KEY_BYTES: usize = 64;
/// At most one warning about what can't be read in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A value to read.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Of which view.
    pub view: &'a View,
    /// For which entity; `None` if a join key is null: not found, and not asked for.
    pub key: Option<&'a EntityKey>,
}

/// Reads the values of some views, with what it knows of their markers and layouts.
#[derive(Debug)]
pub struct OnlineReader {
    connection: SharedConnection,
    project: ProjectName,
    views: Views,
    refreshed: AtomicBool,
    warnings: Mutex<Warnings>,
}

#[derive(Debug, Default)]
struct Warnings {
    last: Option<Instant>,
    withheld: u64,
}

impl OnlineReader {
    pub(crate) fn new(connection: SharedConnection, project: ProjectName, views: Vec<Arc<View>>) -> Self {
        Self {
            connection,
            views: Views::new(&project, views),
            project,
            refreshed: AtomicBool::new(false),
            warnings: Mutex::default(),
        }
    }

    /// Reads the markers and schemas of all views again, in one round trip.
    ///
    /// # Errors
    /// Redis is away or refuses: what was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.refresh_by(Deadline::after(REFRESH_WITHIN)).await
    }

    /// Refreshes every second until stopped. While Redis is away, what was known last stays.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(REFRESH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut healthy = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.refresh() => outcome,
            };
            match &outcome {
                Ok(()) if !healthy => tracing::info!("the online store is back"),
                Err(error) if healthy => tracing::warn!(%error, "markers of the online store can't be refreshed"),
                Ok(()) | Err(_) => {}
            }
            healthy = outcome.is_ok();
        }
    }

    /// The marker of a view, as last known.
    pub fn marker(&self, view: &ViewName) -> Option<Marker> {
        self.views.named(view)?.marker.load().as_deref().cloned()
    }

    /// One row a lookup, in order, in one round trip. A row's values are in the order of its view's fields; a feature
    /// that the stored layout lacks is null, and told in [`StoredRow::lacking`]. A row that can't be read (damaged, or of a layout that is not stored) is
    /// `UNAVAILABLE`, and a warning names its key.
    ///
    /// # Errors
    /// Redis is away, refuses, or did not answer in time: no row is known.
    pub async fn read(
        &self,
        lookups: &[Lookup<'_>],
        now: Timestamp,
        within: Duration,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let deadline = Deadline::after(within);
        let known = self.known(lookups)?;
        // Without its marker, an aggregate can't be judged.
        if !self.refreshed.load(Ordering::Acquire) {
            self.refresh_by(deadline).await?;
        }
        // Before the values: a marker that a run sets meanwhile would judge values that the run has replaced.
        let judged = known.into_iter().map(|known| (known, known.named.marker.load_full()));
        let found = self.look_up(lookups, judged.collect(), now, deadline).await?;
        Ok(found.into_iter().map(Found::into_row).collect())
    }

    /// The same, with all that is stored and the markers that judged it, for verifying: the markers are read in this call,
    /// each before the values of its view, rather than known from the last refresh.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub async fn read_stored(
        &self,
        lookups: &[Lookup<'_>],
        now: Timestamp,
        within: Duration,
    ) -> Result<Vec<Found>, StoreError> {
        let deadline = Deadline::after(within);
        let known = self.known(lookups)?;
        let names = distinct(known.iter().map(|known| known.named));
        let markers = self.refresh_names(&names, deadline).await?;
        let markers: HashMap<_, _> = names.iter().map(|named| &named.name).zip(markers).collect();
        let judged = known
            .into_iter()
            .map(|known| (known, markers[&known.named.name].clone()));
        self.look_up(lookups, judged.collect(), now, deadline).await
    }

    /// What each lookup finds, judged by the marker beside its view.
    async fn look_up(
        &self,
        lookups: &[Lookup<'_>],
        judged: Vec<(Known<'_>, Option<Arc<Marker>>)>,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let answers = self.fetch(lookups, &judged, deadline).await?;
        self.fetch_layouts(&judged, &answers, deadline).await;
        let found = lookups
            .iter()
            .zip(judged)
            .zip(&answers)
            .map(|((lookup, (known, marker)), answer)| {
                let found = Found::new(known.state, marker, answer, now);
                if let (Err(problem), Some(entity)) = (&found.stored, lookup.key) {
                    self.warn(&value_key(&self.project, &lookup.view.name, entity), problem);
                }
                found
            });
        Ok(found.collect())
    }

    fn known(&self, lookups: &[Lookup<'_>]) -> Result<Vec<Known<'_>>, StoreError> {
        let known = lookups.iter().map(|lookup| {
            self.views.find(lookup.view).ok_or_else(|| StoreError::NotRead {
                view: lookup.view.name.clone(),
            })
        });
        known.collect()
    }

    /// One answer a lookup: nothing, if its key holds something else than a string, as if it held nothing.
    async fn fetch(
        &self,
        lookups: &[Lookup<'_>],
        judged: &[(Known<'_>, Option<Arc<Marker>>)],
        deadline: Deadline,
    ) -> Result<Vec<Value>, StoreError> {
        let places = lookups.iter().zip(judged);
        let asked: Vec<(&NamedView, &EntityKey)> = places
            .filter_map(|(lookup, (known, _))| Some((known.named, lookup.key?)))
            .collect();
        if asked.is_empty() {
            return Ok(vec![Value::Nil; lookups.len()]);
        }
        let mut key = String::new();
        let commands = asked.chunks(KEYS_PER_MGET).map(|keys| {
            let mut command = Cmd::with_capacity(keys.len() + 1, keys.len() * KEY_BYTES);
            command.arg("MGET");
            for (named, entity) in keys {
                key.clear();
                named.keys.push(entity, &mut key);
                command.arg(&key);
            }
            command
        });
        let answered = self.connection.send_by(&pipeline(commands), deadline).await?;
        let mut answers = Vec::with_capacity(asked.len());
        for (keys, answer) in asked.chunks(KEYS_PER_MGET).zip(answered) {
            let values: Vec<Value> = self.connection.read(answer)?;
            if values.len() != keys.len() {
                return Err(self.connection.unexpected("MGET was not answered with one value a key"));
            }
            answers.extend(values);
        }
        let mut answers = answers.into_iter();
        let mut answer = |lookup: &Lookup<'_>| lookup.key.and_then(|_| answers.next()).unwrap_or(Value::Nil);
        Ok(lookups.iter().map(&mut answer).collect())
    }

    /// Looks once, in the same deadline, for the layouts of answers that are of no known one.
    async fn fetch_layouts(&self, judged: &[(Known<'_>, Option<Arc<Marker>>)], answers: &[Value], deadline: Deadline) {
        let mut unknown: Vec<(Known<'_>, u64)> = Vec::new();
        for ((known, _), answer) in judged.iter().zip(answers) {
            if let Value::BulkString(blob) = answer
                && let Ok((_, id)) = decode_header(blob)
                && known.state.layout(id).is_none()
                && !unknown
                    .iter()
                    .any(|(other, other_id)| *other_id == id && std::ptr::eq(other.state, known.state))
            {
                unknown.push((*known, id));
            }
        }
        if unknown.is_empty() {
            return;
        }
        let names = distinct(unknown.iter().map(|(known, _)| known.named));
        match self.refresh_names(&names, deadline).await {
            Ok(_) => {
                for (known, id) in unknown {
                    if known.state.layout(id).is_none() {
                        known.state.miss(id);
                    }
                }
            }
            // The rows will be UNAVAILABLE, and the next read looks again.
            Err(error) => tracing::debug!(%error, "schemas can't be read"),
        }
    }

    async fn refresh_by(&self, deadline: Deadline) -> Result<(), StoreError> {
        let names: Vec<&NamedView> = self.views.names().collect();
        self.refresh_names(&names, deadline).await?;
        self.refreshed.store(true, Ordering::Release);
        Ok(())
    }

    /// Reads the markers and schemas of these names again. The markers, in order.
    async fn refresh_names(
        &self,
        names: &[&NamedView],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<Marker>>>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(2 * names.len());
        for named in names {
            commands
                .cmd("HGET")
                .arg(marker_key(&self.project, &named.name))
                .arg("json");
            commands.cmd("HVALS").arg(schemas_key(&self.project, &named.name));
        }
        let mut answers = self.connection.send_by(&commands, deadline).await?.into_iter();
        let mut markers = Vec::with_capacity(names.len());
        for named in names {
            let (marker, schemas) = (
                answers.next().unwrap_or(Value::Nil),
                answers.next().unwrap_or(Value::Nil),
            );
            let marker = self.marker_of(&named.name, marker)?.map(Arc::new);
            named.marker.store(marker.clone());
            markers.push(marker);
            named.learn(&self.schemas_of(&named.name, schemas)?);
        }
        Ok(markers)
    }

    /// A marker as stored. One that can't be read counts as none, so that the other views are not held up by it.
    fn marker_of(&self, view: &ViewName, answer: Value) -> Result<Option<Marker>, StoreError> {
        let problem = match answer {
            Value::ServerError(error) if error.code() == "WRONGTYPE" => error.to_string(),
            answer => match self
                .connection
                .read::<Option<Vec<u8>>>(answer)?
                .map(|json| serde_json::from_slice(&json))
            {
                None => return Ok(None),
                Some(Ok(marker)) => return Ok(Some(marker)),
                Some(Err(error)) => error.to_string(),
            },
        };
        self.warn(&marker_key(&self.project, view), &problem);
        Ok(None)
    }

    /// Schemas as stored. If their key holds something else, the view has none: the other views are not held up by it.
    fn schemas_of(&self, view: &ViewName, answer: Value) -> Result<Vec<Schema>, StoreError> {
        let answer = match answer {
            Value::ServerError(error) if error.code() != "WRONGTYPE" => {
                return self
                    .connection
                    .read::<()>(Value::ServerError(error))
                    .map(|()| Vec::new());
            }
            answer => answer,
        };
        match self.connection.read::<Vec<Vec<u8>>>(answer) {
            // A schema that this program can't read may use a type that only a newer one knows: so do its values.
            Ok(schemas) => Ok(schemas
                .iter()
                .filter_map(|json| serde_json::from_slice(json).ok())
                .collect()),
            Err(error) => {
                self.warn(&schemas_key(&self.project, view), &error.to_string());
                Ok(Vec::new())
            }
        }
    }

    fn warn(&self, key: &str, problem: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.last.is_some_and(|last| last.elapsed() < WARN_EVERY) {
            warnings.withheld += 1;
            return;
        }
        let withheld = std::mem::take(&mut warnings.withheld);
        warnings.last = Some(Instant::now());
        drop(warnings);
        tracing::warn!(
            key,
            problem,
            withheld,
            "what Redis holds at this key can't be read and counts as unavailable"
        );
    }
}

/// Each of these names once.
fn distinct<'a>(names: impl Iterator<Item = &'a NamedView>) -> Vec<&'a NamedView> {
    let mut distinct: Vec<&NamedView> = Vec::new();
    for named in names {
        if !distinct.iter().any(|other| std::ptr::eq(*other, named)) {
            distinct.push(named);
        }
    }
    distinct
}
