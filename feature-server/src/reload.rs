//! Taking up changed definitions while requests are answered and runs are under way.
//!
//! What will be served next is made whole before it takes the place of what is served, all at once. Requests and runs end
//! with what they began with. Whatever is wrong with the definitions, what was served is served on.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feature_defs::definitions::{self, Definitions, Diagnostics};
use service::reload::Changes;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, OpenError};
use crate::live::Live;
use crate::schedule::Scheduler;

/// The files that definitions are read from.
#[derive(Debug)]
pub struct DefinitionFiles {
    dir: PathBuf,
    changes: Changes,
}

/// Why what was served is served on.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("the definitions in {} are wrong:\n{problems}", .dir.display())]
    Definitions { dir: PathBuf, problems: Diagnostics },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("loading ended early: {0}")]
    Ended(#[from] JoinError),
}

impl DefinitionFiles {
    /// Watches a directory from before its definitions are read, so that no change is missed. From here on SIGHUP no longer
    /// ends the process.
    ///
    /// # Errors
    /// The process cannot listen to signals.
    pub fn watch(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            changes: Changes::of(&[dir])?,
            dir: dir.to_owned(),
        })
    }

    /// The definitions as they are now.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(&self) -> Result<Definitions, Diagnostics> {
        definitions::load(&self.dir)
    }
}

/// Whatever follows the definitions of a running server.
#[derive(Debug)]
pub(crate) struct Followers {
    live: Arc<Live>,
    scheduler: Scheduler,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends what is known of the markers by the app before.
    replaced: CancellationToken,
}

impl Followers {
    /// They follow what is live now.
    pub(crate) fn new(
        live: &Arc<Live>,
        mut scheduler: Scheduler,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        scheduler.follow(&live.app());
        let mut followers = Self {
            live: Arc::clone(live),
            scheduler,
            tasks: tasks.clone(),
            stop: stop.clone(),
            replaced: stop.child_token(),
        };
        followers.keep_fresh(&live.app());
        followers
    }

    /// Follows changes of the files, if there are any to follow, until the stop.
    pub(crate) async fn follow(mut self, files: Option<DefinitionFiles>) {
        let stop = self.stop.clone();
        broken(false);
        for outcome in ["done", "refused"] {
            count(outcome, 0);
        }
        let following = async {
            match files {
                Some(mut files) => loop {
                    files.changes.next().await;
                    self.reload(&files.dir).await;
                },
                None => std::future::pending().await,
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// Takes up the definitions as they are now, or says why not.
    async fn reload(&mut self, dir: &Path) {
        let outcome = self.take_up(dir).await;
        match &outcome {
            Ok(app) => {
                let definitions = app.definitions();
                let (views, services) = (definitions.views.len(), definitions.services.len());
                tracing::info!(views, services, "serving the definitions as they are now");
            }
            Err(error) => tracing::error!("definitions not taken up, those from before are served on: {error}"),
        }
        broken(outcome.is_err());
        count(if outcome.is_ok() { "done" } else { "refused" }, 1);
        self.live.set_problem(outcome.err().map(|error| error.to_string()));
    }

    async fn take_up(&mut self, dir: &Path) -> Result<Arc<App>, ReloadError> {
        let path = dir.to_owned();
        let definitions = tokio::task::spawn_blocking(move || definitions::load(&path)).await?;
        let definitions = definitions.map_err(|problems| ReloadError::Definitions {
            dir: dir.to_owned(),
            problems,
        })?;
        let app = self.live.app().redefined(definitions)?;
        // So that no request has to. The reader bounds it, and without Redis there is nothing to know.
        if let Err(error) = app.reader().refresh().await {
            tracing::debug!(%error, "markers and schemas are not known yet");
        }
        self.keep_fresh(&app);
        self.live.replace(Arc::clone(&app));
        self.scheduler.follow(&app);
        Ok(app)
    }

    /// Keeps what this app knows of the markers fresh, and no longer what the one before it did.
    fn keep_fresh(&mut self, app: &App) {
        self.replaced.cancel();
        self.replaced = self.stop.child_token();
        let reader = Arc::clone(app.reader());
        self.tasks.spawn(reader.keep_fresh(self.replaced.clone()));
    }
}

fn broken(is_broken: bool) {
    metrics::gauge!("larder_definitions_broken").set(f64::from(u8::from(is_broken)));
}

fn count(outcome: &'static str, reloads: u64) {
    metrics::counter!("larder_definitions_reloads_total", "outcome" => outcome).increment(reloads);
}
