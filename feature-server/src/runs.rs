//! Runs that somebody asks a server for: a few at a time, a bounded number waiting for their turn, and finished whether or not
//! whoever asked is still there.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many may be under way or wait.
const PLACES: usize = 32;

/// Where such runs take place.
#[derive(Debug)]
pub(crate) struct Runs {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    stop: CancellationToken,
}

/// As many runs wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many runs are under way or wait as may ({PLACES}): try again when some have ended")]
pub(crate) struct NoPlace;

/// A run that did not come to an end of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the server stopped before the run's turn came: ask again")]
    Stopping,
    #[error("it died")]
    Died,
}

/// A run that has its place.
#[derive(Debug)]
pub(crate) struct Begun<T>(JoinHandle<Result<T, Ended>>);

impl<T> Begun<T> {
    /// Waits for the end.
    ///
    /// # Errors
    /// [`Ended`], where there is no outcome.
    pub(crate) async fn end(self) -> Result<T, Ended> {
        self.0.await.map_err(|_| Ended::Died)?
    }
}

impl Runs {
    /// Room for so many runs at a time. After `stop` none begins any more.
    pub(crate) fn new(at_a_time: usize, stop: CancellationToken) -> Self {
        Self {
            tasks: TaskTracker::new(),
            places: Arc::new(Semaphore::new(PLACES)),
            turns: Arc::new(Semaphore::new(at_a_time.max(1))),
            stop,
        }
    }

    /// Lets `run` begin when it is its turn. What is given back can wait for its end, and be dropped without ending it.
    ///
    /// # Errors
    /// [`NoPlace`], and nothing has begun.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        run: impl Future<Output = T> + Send + 'static,
    ) -> Result<Begun<T>, NoPlace> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NoPlace)?;
        let (turns, stop) = (Arc::clone(&self.turns), self.stop.clone());
        let task = self.tasks.spawn(async move {
            let _place = place;
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Ended::Stopping),
                turn = turns.acquire() => turn,
            };
            let outcome = run.await;
            drop(turn);
            Ok(outcome)
        });
        Ok(Begun(task))
    }

    /// Does at once what must not be left half done because whoever asked goes away: something brief, that takes no turn.
    pub(crate) fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Begun<T> {
        Begun(self.tasks.spawn(async { Ok(work.await) }))
    }

    /// Waits for the runs that have begun.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn runs_take_turns_and_go_on_without_those_who_asked() {
        let stop = CancellationToken::new();
        let runs = Runs::new(1, stop.clone());
        let (first_goes, first_waits) = oneshot::channel::<()>();
        let (told, hears) = oneshot::channel();
        let first = runs
            .begin(async move {
                first_waits.await.unwrap();
                told.send(()).unwrap();
            })
            .unwrap();
        // Whoever asked goes away.
        drop(first);
        let second = runs.begin(async { 2 }).unwrap();
        first_goes.send(()).unwrap();
        hears.await.unwrap();
        assert_eq!(second.end().await, Ok(2));

        let (holds, never) = oneshot::channel::<()>();
        let dies = runs.begin(never).unwrap();
        drop(holds);
        assert!(dies.end().await.unwrap().is_err());
        let panics = runs
            .begin(async {
                if true {
                    panic!("as it must be possible to")
                }
            })
            .unwrap();
        assert_eq!(panics.end().await, Err(Ended::Died));
    }

    #[tokio::test]
    async fn only_so_many_wait_and_none_begins_after_the_stop() {
        let stop = CancellationToken::new();
        let runs = Runs::new(1, stop.clone());
        let (goes, waits) = oneshot::channel::<()>();
        let (entered, is_in) = oneshot::channel();
        let first = runs
            .begin(async move {
                entered.send(()).unwrap();
                waits.await.unwrap();
            })
            .unwrap();
        is_in.await.unwrap();
        let waiting: Vec<_> = (1..PLACES).map(|_| runs.begin(async {}).unwrap()).collect();
        assert!(runs.begin(async {}).is_err_and(|error| error == NoPlace));
        stop.cancel();
        for run in waiting {
            assert_eq!(run.end().await, Err(Ended::Stopping));
        }
        goes.send(()).unwrap();
        assert_eq!(first.end().await, Ok(()));
        runs.wait().await;
    }
}
