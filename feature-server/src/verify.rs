//! Verification: recomputes sampled entities from the source, each as of the moment that its value online is of, and
//! compares.
//!
//! Half of the sample is drawn from the source, which finds what is missing online, half from Redis, which finds what is
//! there and should not be. The SQL is that of training sets, with the moment a column: not the SQL that wrote the values.
//! A value that differs while the next incremental run would look at its entity again is not wrong, but not yet right:
//! stale, unless the write guard would keep that run from mending it.

mod compare;
mod recompute;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::name::ViewName;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use online_store::{Found, Lookup, StoreError};
use serde::Serialize;
use uuid::Uuid;

use crate::app::{App, UnknownView};
use crate::database::DatabaseError;
use crate::source::Problem;
pub use compare::{Difference, Verdict};
use compare::{Online, compare};
use recompute::{Recompute, Subject};
use service::progress::Progress;
pub(crate) use watch::watch;

/// How long Redis may take for a batch of lookups.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Entities looked up and recomputed at a time.
const BATCH: usize = 500;
/// Differences told one by one.
const SHOWN: usize = 20;

/// What a verification found.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// The view.
    pub view: ViewName,
    /// The moment that its values are as of.
    pub as_of: Timestamp,
    /// Entities compared.
    pub entities: u64,
    /// How many are as recomputed: the value, or that there is none.
    pub matched: u64,
    /// How many have another value.
    pub different: u64,
    /// How many have no value online, though the source gives one.
    pub missing: u64,
    /// How many have a value online that the source does not give.
    pub extra: u64,
    /// How many differ, and are looked at again by the next incremental run.
    pub stale: u64,
    /// The first of those that are not as they should be.
    pub differences: Vec<Difference>,
}

impl Verification {
    /// The share of the entities compared that are wrong: different, missing or extra.
    #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
    pub fn wrong_share(&self) -> f64 {
        let wrong = self.different + self.missing + self.extra;
        if wrong == 0 {
            0.0
        } else {
            wrong as f64 / self.entities as f64
        }
    }

    fn count(&mut self, difference: Option<Difference>) {
        self.entities += 1;
        let Some(difference) = difference else {
            self.matched += 1;
            return;
        };
        match difference.verdict {
            Verdict::Different => self.different += 1,
            Verdict::Missing => self.missing += 1,
            Verdict::Extra => self.extra += 1,
            Verdict::Stale => self.stale += 1,
        }
        // What is wrong is told before what is only not yet right.
        if difference.verdict != Verdict::Stale
            && self.differences.len() == SHOWN
            && let Some(at) = self.differences.iter().position(|d| d.verdict == Verdict::Stale)
        {
            self.differences.remove(at);
        }
        if self.differences.len() < SHOWN {
            self.differences.push(difference);
        }
    }
}

/// Why a view could not be verified.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum VerifyError {
    #[error(transparent)]
    UnknownView(#[from] UnknownView),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Online(#[from] StoreError),
    #[error("the definitions do not fit the database:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Columns(Vec<Problem>),
    #[error(
        "view {0} has no values to verify that a finished run of its present definition vouches for: run `feature-server materialize {0}`"
    )]
    NotMaterialized(ViewName),
    #[error(
        "the source's answer cannot be read: {0}; compare it with the definitions: `feature-server check --database`"
    )]
    Answer(String),
}

impl App {
    /// Compares about `sample` entities of a view with its source; all, if it has no more.
    ///
    /// # Errors
    /// See [`VerifyError`]. What differs is no error.
    pub async fn verify(&self, view: &str, sample: usize, progress: &Progress) -> Result<Verification, VerifyError> {
        let view = self.view(view)?;
        self.store().check_schema().await?;
        let marker = self.vouched(view).await?;
        let record = self.store().view(&view.name).await?;
        let record = record.ok_or_else(|| VerifyError::NotMaterialized(view.name.clone()))?;
        let since = crate::materialize::since(view, marker.as_of, record.watermark);
        let known = record.entities.unsigned_abs();
        let mut recompute = Recompute::open(self, view, since).await?;
        let sampled = self.sample(view, &marker, (sample, known), &mut recompute).await?;
        progress.expect(sampled.len() as u64);
        let mut verification = Verification {
            view: view.name.clone(),
            as_of: marker.as_of,
            entities: 0,
            matched: 0,
            different: 0,
            missing: 0,
            extra: 0,
            stale: 0,
            differences: Vec::new(),
        };
        let sampled: Vec<(EntityKey, Vec<KeyValue>)> = sampled.into_iter().collect();
        for batch in sampled.chunks(BATCH) {
            for difference in self.verify_batch(view, &marker, batch, &mut recompute).await? {
                verification.count(difference);
            }
            progress.advance(batch.len() as u64);
        }
        recompute.close().await;
        progress.finish();
        Ok(verification)
    }

    /// The marker of the last finished run, if what it says can be trusted.
    async fn vouched(&self, view: &View) -> Result<Marker, VerifyError> {
        let record = self.store().view(&view.name).await?;
        let marker = self.marker(view).await?;
        marker
            .filter(|marker| marker.digest == view.digest())
            .filter(|marker| record.is_some_and(|record| record.run.to_string() == marker.run))
            .ok_or_else(|| VerifyError::NotMaterialized(view.name.clone()))
    }

    /// Entities with their join keys, about half of them from the source and half from Redis.
    async fn sample(
        &self,
        view: &View,
        marker: &Marker,
        (sample, known): (usize, u64),
        recompute: &mut Recompute<'_>,
    ) -> Result<BTreeMap<EntityKey, Vec<KeyValue>>, VerifyError> {
        let random = Uuid::new_v4().as_u64_pair().0;
        let online = self.online().sample_keys(view, sample, random).await?.entities;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        if known <= sample {
            // All of both: what is missing online is in the source only, what is extra online only.
            let found = recompute.sample(marker.as_of, (1, random)).await?;
            return Ok(found.into_iter().chain(online).collect());
        }
        let half = sample.div_ceil(2);
        let one_in = u64::try_from(known / half).unwrap_or(u64::MAX);
        let found = recompute.sample(marker.as_of, (one_in, random)).await?;
        let mut sampled: BTreeMap<_, _> = spread(found, half, random).into_iter().collect();
        for (entity, keys) in online {
            if sampled.len() >= sample {
                break;
            }
            sampled.entry(entity).or_insert(keys);
        }
        Ok(sampled)
    }

    /// One answer an entity: what is wrong with it, if anything is.
    async fn verify_batch(
        &self,
        view: &Arc<View>,
        marker: &Marker,
        batch: &[(EntityKey, Vec<KeyValue>)],
        recompute: &mut Recompute<'_>,
    ) -> Result<Vec<Option<Difference>>, VerifyError> {
        let lookups: Vec<Lookup<'_>> = batch.iter().map(|(key, _)| Lookup { view, key: Some(key) }).collect();
        let reader = self.online().reader(vec![Arc::clone(view)]);
        let found = reader.read_stored(&lookups, marker.as_of, READ_WITHIN).await?;
        let subjects: Vec<Subject<'_>> = batch
            .iter()
            .zip(&found)
            .map(|((_, keys), found)| Subject {
                keys,
                moment: moment(found, marker),
            })
            .collect();
        let recomputed = recompute.values(&subjects).await?;
        let mut differences: Vec<Option<Difference>> = batch
            .iter()
            .zip(found)
            .zip(subjects.iter().zip(recomputed))
            .map(|(((entity, _), found), (subject, recomputed))| {
                compare(view, (entity, subject.moment), Online::from(found), recomputed)
            })
            .collect();
        let wrong: Vec<usize> = (0..differences.len()).filter(|&i| differences[i].is_some()).collect();
        let keys: Vec<&[KeyValue]> = wrong.iter().map(|&i| batch[i].1.as_slice()).collect();
        for (&i, again) in wrong.iter().zip(recompute.looked_at_again(marker.as_of, &keys).await?) {
            // What a run wrote that nobody vouches for yet is looked at again, too.
            let again = again || subjects[i].moment > marker.as_of;
            if let Some(difference) = differences[i].as_mut().filter(|d| again && !d.stays) {
                difference.verdict = Verdict::Stale;
            }
        }
        Ok(differences)
    }
}

/// So many of these, from all over their order; which ones is chosen by `random`.
fn spread<T>(found: Vec<T>, wanted: usize, random: u64) -> Vec<T> {
    let count = found.len();
    if count <= wanted {
        return found;
    }
    let offset = usize::try_from(random % count as u64).unwrap_or_default();
    let mut chosen: Vec<usize> = (0..wanted).map(|i| (offset + i * count / wanted) % count).collect();
    chosen.sort_unstable();
    let mut chosen = chosen.into_iter().peekable();
    let mut is_chosen = |at: &usize| chosen.next_if_eq(at).is_some();
    let numbered = found.into_iter().enumerate();
    numbered
        .filter_map(|(at, item)| is_chosen(&at).then_some(item))
        .collect()
}

/// As of when a value is: of a run under way, later than the marker; of an entity that has not changed since, the marker's.
fn moment(found: &Found, marker: &Marker) -> Timestamp {
    let marker = found.marker.as_ref().map_or(marker.as_of, |marker| marker.as_of);
    match &found.stored {
        Ok(Some(stored)) if found.event.is_some() || stored.values.is_none() => stored.header.as_of.max(marker),
        _ => marker,
    }
}
