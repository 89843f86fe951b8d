//! One run for all who want the same prediction at the same time.
//!
//! Whoever asks first for a key holds its claim, and the others wait for what it gets, be it a prediction or the model's
//! failure. A claim that is dropped without either (its request was cancelled, or no session was free) frees the key:
//! one of those waiting takes over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::cache::Predicted;
use super::cache_key::CacheKey;

type Landed = Option<Predicted>;

/// The predictions being made now.
#[derive(Debug, Clone, Default)]
pub(super) struct SingleFlight(Arc<Mutex<HashMap<CacheKey, watch::Receiver<Landed>>>>);

/// What came of asking for a key: whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// The prediction is the asker's to make.
    Mine(Claim),
    /// Someone is making it.
    Theirs(Waiter),
}

/// The right and duty to make a prediction.
#[derive(Debug)]
pub(super) struct Claim {
    flight: SingleFlight,
    key: CacheKey,
    waiters: watch::Sender<Landed>,
}

/// A place among those who wait for one.
#[derive(Debug)]
pub(super) struct Waiter(watch::Receiver<Landed>);

impl SingleFlight {
    /// Claims `key`, or joins those who wait for its claimant.
    pub(super) fn ask(&self, key: CacheKey) -> Turn {
        match self.map().entry(key) {
            Entry::Occupied(claimed) => Turn::Theirs(Waiter(claimed.get().clone())),
            Entry::Vacant(free) => {
                let (waiters, landing) = watch::channel(None);
                free.insert(landing);
                Turn::Mine(Claim {
                    flight: self.clone(),
                    key,
                    waiters,
                })
            }
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<CacheKey, watch::Receiver<Landed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The claimed key.
    pub(super) fn key(&self) -> CacheKey {
        self.key
    }

    /// Hands the prediction, or the model's failure, to all who wait.
    pub(super) fn land(self, predicted: Predicted) {
        self.waiters.send_replace(Some(predicted));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.flight.map().remove(&self.key);
    }
}

impl Waiter {
    /// What the claimant got, or `None` if it gave up: ask again.
    pub(super) async fn landed(mut self) -> Landed {
        self.0
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|landed| landed.clone())
    }
}

#[cfg(test)]
mod tests {
    use feature_defs::value::Value;

    use super::*;
    use crate::model::program::Outputs;
    use crate::predict::answer::CacheState;
    use crate::predict::cache_key::tests_support::key;

    fn predicted(outcome: Result<Outputs, String>) -> Predicted {
        Predicted {
            outcome,
            cache: CacheState::Miss,
            made: "2013-11-05T16:30:00Z".parse().unwrap(),
        }
    }

    async fn all_who_wait_get(predicted: Predicted) {
        let flight = SingleFlight::default();
        let Turn::Mine(claim) = flight.ask(key(1)) else {
            panic!("nobody else asked")
        };
        assert!(matches!(flight.ask(key(2)), Turn::Mine(_)), "another key is free");
        let waiters: Vec<_> = (0..3)
            .map(|_| match flight.ask(key(1)) {
                Turn::Theirs(waiter) => tokio::spawn(waiter.landed()),
                Turn::Mine(_) => panic!("it is claimed"),
            })
            .collect();
        claim.land(predicted.clone());
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap().as_ref(), Some(&predicted));
        }
        assert!(matches!(flight.ask(key(1)), Turn::Mine(_)), "it has landed");
    }

    #[tokio::test]
    async fn all_who_wait_get_the_claimants_answer_or_failure() {
        all_who_wait_get(predicted(Ok(Outputs::Values([Value::Float32(0.5)].into())))).await;
        all_who_wait_get(predicted(Err("the model failed".to_owned()))).await;
    }

    #[tokio::test]
    async fn when_the_claimant_is_cancelled_someone_takes_over() {
        let flight = SingleFlight::default();
        let Turn::Mine(claim) = flight.ask(key(1)) else {
            panic!("nobody else asked")
        };
        let claimant = tokio::spawn(async move {
            let _held = claim;
            std::future::pending::<()>().await;
        });
        let Turn::Theirs(waiter) = flight.ask(key(1)) else {
            panic!("it is claimed")
        };
        let waiting = tokio::spawn(waiter.landed());
        claimant.abort();
        assert_eq!(waiting.await.unwrap(), None);
        assert!(matches!(flight.ask(key(1)), Turn::Mine(_)));
    }
}
