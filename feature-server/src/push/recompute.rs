//! After rows are appended: the values of their entities, computed by the SQL of incremental runs and written under their
//! guard.
//!
//! The moment they are as of is read after the rows are committed and before the snapshot they are computed in. So the value
//! that is as of the latest moment has been computed from all that any other had seen, and the guard, which keeps it, loses
//! nothing: neither to another push nor to a run, whose moment is before its snapshot, too.

use std::collections::{BTreeMap, BTreeSet};

use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use futures_util::TryStreamExt;
use futures_util::future::join;
use online_store::{Guard, OnlineWriter};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, query};

use super::append::Appended;
use super::plan::ViewPlan;
use super::{PushError, PushedView};
use crate::app::App;
use crate::databases::Database;
use crate::materialize::{encode_row, guard};
use crate::source::{self, Entities, Fields, MOST_ENTITIES};

/// Values written at a time.
const BATCH: usize = 1_000;

/// A view that rows were appended for.
pub(super) struct Recompute<'a> {
    pub(super) app: &'a App,
    pub(super) database: &'a Database,
    pub(super) plan: &'a ViewPlan,
    pub(super) appended: &'a [Appended],
}

impl App {
    /// Makes sure that what is written to a view can be read, and gives its marker.
    ///
    /// # Errors
    /// Redis is away, or what is there is of another definition.
    pub(super) async fn ready_online(&self, view: &View) -> Result<Option<Marker>, PushError> {
        let writer = self.writer();
        // Also where a run of this definition has left its layout: the features may stand in another order here.
        let (marker, ()) = tokio::try_join!(self.marker(view), writer.put_schema(view))?;
        match marker {
            Some(marker) if marker.digest != view.digest() => Err(PushError::OtherDefinition),
            marker => Ok(marker),
        }
    }
}

impl App {
    /// Whether a run has finished meanwhile that makes values of this view count for nothing that are as of this moment. As
    /// of later, it has seen the source later; but a value that wins by its event timestamp may have been written after it.
    pub(super) async fn is_overtaken(&self, view: &View, moment: Timestamp) -> Result<bool, PushError> {
        if view.is_recomputed_whole() {
            // There the later moment wins.
            return Ok(false);
        }
        let marker = self.marker(view).await?;
        Ok(marker.and_then(|marker| marker.complete_as_of) > Some(moment))
    }
}

/// The moment that something written now is as of: never before what a finished run saw, should another clock have said when
/// that was.
pub(super) fn moment(now: Timestamp, marker: Option<&Marker>) -> Timestamp {
    marker.map_or(now, |marker| marker.as_of.max(now))
}

impl Recompute<'_> {
    /// Computes and writes the values of the entities that the appended rows are of, or were: again, if a run has made
    /// nothing of them meanwhile.
    ///
    /// # Errors
    /// Why they are not online, in words.
    pub(super) async fn run(&self, now: Timestamp, marker: Option<Marker>) -> Result<PushedView, String> {
        let view = &self.plan.view;
        let (mut now, mut marker) = (now, marker);
        loop {
            let moment = moment(now, marker.as_ref());
            let pushed = self.run_as_of(moment, marker).await?;
            let overtaken = self.app.is_overtaken(view, moment).await;
            if !overtaken.map_err(|error| error.to_string())? {
                return Ok(pushed);
            }
            now = self
                .app
                .now_in(self.database)
                .await
                .map_err(|error| error.to_string())?;
            marker = self.app.ready_online(view).await.map_err(|error| error.to_string())?;
        }
    }

    async fn run_as_of(&self, moment: Timestamp, marker: Option<Marker>) -> Result<PushedView, String> {
        let view = &self.plan.view;
        let guard = guard(view, marker.and_then(|marker| marker.complete_as_of));
        let mut pushed = PushedView {
            view: view.name.clone(),
            written: 0,
            older: 0,
        };
        let mut rows_of = self.rows_of_entities(moment);
        let Some(query) = self.query(&rows_of, moment) else {
            return Ok(pushed);
        };
        let mut answers = query.fetch(self.database.pool());
        // Asked again, after the moment was read: whoever applies other definitions from here on runs them as of a later one,
        // and that run's values replace what is written now.
        let (mut next, may_write) = join(answers.try_next(), self.app.may_write(view)).await;
        may_write.map_err(|refusal| refusal.to_string())?;
        let writer = self.app.writer();
        let mut batch = Vec::new();
        let mut count = 0;
        loop {
            let answer = next.map_err(|error| self.database.url().error(&error).to_string())?;
            if let Some(row) = &answer {
                count += 1;
                let value = encode_row(view, moment, Fields::of(row)).map_err(|error| error.to_string())?;
                let rows = rows_of.remove(&value.join_keys).unwrap_or_default();
                pushed.older += rows
                    .iter()
                    .filter(|&&row| value.event.is_some_and(|event| row < event))
                    .count() as u64;
                batch.push((value.key, value.blob));
            }
            if count > MOST_ENTITIES {
                return Err(format!(
                    "rows of more than {MOST_ENTITIES} entities have the times of those that were pushed"
                ));
            }
            if batch.len() >= BATCH || answer.is_none() && !batch.is_empty() {
                self.write(&writer, guard, &std::mem::take(&mut batch), &mut pushed)
                    .await?;
            }
            if answer.is_none() {
                return Ok(pushed);
            }
            next = answers.try_next().await;
        }
    }

    async fn write(
        &self,
        writer: &OnlineWriter,
        guard: Guard,
        batch: &[(EntityKey, Vec<u8>)],
        pushed: &mut PushedView,
    ) -> Result<(), String> {
        let written = writer.write(&self.plan.view.name, guard, batch).await;
        let written = written.map_err(|error| error.to_string())?;
        pushed.written += written.written;
        pushed.older += written.older;
        Ok(())
    }

    /// The entities that the rows' own columns show, each with its rows' event timestamps. In an aggregate view these are
    /// not told from the value's, which is of another kind.
    fn rows_of_entities(&self, moment: Timestamp) -> BTreeMap<Vec<KeyValue>, Vec<Timestamp>> {
        let view = &self.plan.view;
        let mut rows_of: BTreeMap<Vec<KeyValue>, Vec<Timestamp>> = BTreeMap::new();
        let Some(places) = &self.plan.keys else { return rows_of };
        let longest = view.kind.longest_window();
        let counts = |event: Timestamp| event <= moment && longest.is_none_or(|longest| event > moment.minus(longest));
        for row in self.appended.iter().filter(|row| counts(row.event)) {
            let keys: Option<Vec<KeyValue>> = places.iter().map(|&i| row.keys[i].clone()).collect();
            if let Some(keys) = keys {
                let events = rows_of.entry(keys).or_default();
                events.extend((!view.is_aggregate()).then_some(row.event));
            }
        }
        rows_of
    }

    /// The view's query, for these rows; `None` if they are of no entity.
    fn query(
        &self,
        rows_of: &BTreeMap<Vec<KeyValue>, Vec<Timestamp>>,
        moment: Timestamp,
    ) -> Option<Query<'static, Postgres, PgArguments>> {
        let query = query(AssertSqlSafe(self.plan.query.clone()));
        let view = &self.plan.view;
        let times = |of: &dyn Fn(&Appended) -> Option<Timestamp>| -> Vec<chrono::DateTime<chrono::Utc>> {
            let times: BTreeSet<Timestamp> = self.appended.iter().filter_map(of).collect();
            times.into_iter().filter_map(Timestamp::to_chrono).collect()
        };
        let bound = match &self.plan.entities {
            Entities::Given if rows_of.is_empty() => return None,
            Entities::Given => source::bind_keys(query, &view.entity.join_keys, |k| {
                rows_of.keys().map(|keys| Some(keys[k].clone().into())).collect()
            }),
            Entities::OfEvents(_) => {
                let keys = self
                    .appended
                    .iter()
                    .filter_map(|row| row.key.iter().cloned().collect::<Option<Vec<String>>>());
                let keys: BTreeSet<Vec<String>> = keys.collect();
                (0..view.source.key.len()).fold(query, |query, k| {
                    query.bind(keys.iter().map(|key| key[k].clone()).collect::<Vec<_>>())
                })
            }
            Entities::OfTimes => {
                let query = query.bind(times(&|row| Some(row.event)));
                match &view.source.created_timestamp {
                    Some(_) => query.bind(times(&|row| row.created)),
                    None => query,
                }
            }
        };
        Some(bound.bind(moment.to_chrono()))
    }
}
