//! Taking up changed definitions and models while requests are answered.
//!
//! What will be served next is made whole, warm and with what it must know of the store, before it takes the place of what
//! is served, all at once. Whatever goes wrong on the way, nothing has happened.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use feature_defs::definitions::{self, Definitions, Diagnostics};
use feature_defs::name::ProjectName;
use service::reload::Changes;
use tokio_util::sync::CancellationToken;

use crate::app::{App, LoadError};
use crate::meters;
use crate::model::config::ModelFile;
use crate::model::{ModelName, Models, Version};
use crate::serving::Serving;

/// Why what was serving goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The definitions do not load.
    #[error("the feature definitions in {} are wrong:\n{problems}", .dir.display())]
    Definitions {
        /// Where they are.
        dir: PathBuf,
        /// Everything that is wrong.
        problems: Diagnostics,
    },
    /// They are somebody else's.
    #[error("the definitions are of project `{new}` now, and this predictor is of `{old}`: start another for them")]
    OtherProject {
        /// What is served.
        old: ProjectName,
        /// What was found.
        new: ProjectName,
    },
    /// The repository cannot be read, or has nothing that serves.
    #[error(transparent)]
    Models(#[from] LoadError),
    /// Loading ended before it was done.
    #[error("loading ended early: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

impl App {
    /// Reloads whenever `changes` of definitions or models are told, until stopped.
    pub(crate) async fn follow(self: Arc<Self>, mut changes: Changes, stop: CancellationToken) {
        meters::following();
        let following = async {
            loop {
                changes.next().await;
                // Whatever comes of it, it has been told.
                let _outcome = self.reload().await;
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// Takes up the definitions and the repository's models as they are now.
    ///
    /// A version whose files, feature service and views are what they were is the same one still, with its sessions and its
    /// cache; one that they changed for is loaded and warmed anew; one that does not fit any more serves on as it was
    /// loaded before, and its state says why.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing has changed. Log, metrics and readiness tell of it, too.
    pub async fn reload(self: &Arc<Self>) -> Result<(), ReloadError> {
        let unloaded = self.reloading().lock().await;
        self.reload_without(&unloaded).await
    }

    /// The same without the models that are to be unloaded, whose set is locked so that one reload goes on at a time.
    pub(crate) async fn reload_without(self: &Arc<Self>, unloaded: &BTreeSet<ModelName>) -> Result<(), ReloadError> {
        let outcome = self.take_up(unloaded.clone()).await;
        if let Err(error) = &outcome {
            tracing::error!("not reloaded, what was serving serves on: {error}");
        }
        meters::reloaded(&outcome);
        self.set_problem(outcome.as_ref().err().map(ToString::to_string));
        outcome
    }

    async fn take_up(self: &Arc<Self>, unloaded: BTreeSet<ModelName>) -> Result<(), ReloadError> {
        let app = Arc::clone(self);
        // Where files are read and sessions built, nobody's request waits.
        let models = tokio::task::spawn_blocking(move || app.models_without(&unloaded)).await??;
        let serving = Serving::new(models, self.store());
        // So that no request has to. The reader bounds it, and without Redis there is nothing to know.
        if let Err(error) = serving.reader.refresh().await {
            tracing::debug!(%error, "markers and schemas are not known yet");
        }
        let next = Arc::clone(&serving.models);
        let old = self.replace(serving);
        tell(&old.models, &next);
        tokio::spawn(old.retire());
        Ok(())
    }

    /// Whether a version would serve model `name` by this `model.toml`, or why not.
    pub(crate) fn try_file(
        &self,
        name: &ModelName,
        file: ModelFile,
    ) -> Result<Result<Version, Vec<String>>, ReloadError> {
        let definitions = self.definitions()?;
        Ok(self.models().try_file(self.loader(), &definitions, (name, file)))
    }

    fn definitions(&self) -> Result<Definitions, ReloadError> {
        let features = self.features();
        let definitions = definitions::load(features).map_err(|problems| ReloadError::Definitions {
            dir: features.to_owned(),
            problems,
        })?;
        if definitions.project != *self.project() {
            return Err(ReloadError::OtherProject {
                old: self.project().clone(),
                new: definitions.project,
            });
        }
        Ok(definitions)
    }

    fn models_without(&self, unloaded: &BTreeSet<ModelName>) -> Result<Models, ReloadError> {
        let definitions = self.definitions()?;
        let models = self.models().reload(self.loader(), &definitions, unloaded)?;
        // Without any model that was told not to serve, something is wrong with all.
        if models.serving().next().is_none() && unloaded.is_empty() {
            return Err(LoadError::NoneServes(models.refused().collect()).into());
        }
        Ok(models)
    }
}

/// Logs what is served differently now, and what is refused.
fn tell(old: &Models, new: &Models) {
    let before = |name: &str, version: &Version| {
        let served = old.get(name)?.served.as_ref()?;
        served.versions.get(version)
    };
    let (mut same, mut anew) = (0, 0);
    for (name, entry) in new.iter() {
        for (version, arm) in entry.served.iter().flat_map(|served| &served.versions) {
            let known = before(name.as_str(), version).is_some_and(|before| Arc::ptr_eq(&before.model, &arm.model));
            if known {
                same += 1;
                continue;
            }
            anew += 1;
            let service = arm
                .model
                .featured
                .as_ref()
                .map(|featured| featured.service.name.as_str());
            tracing::info!(model.name = %name, model.version = %version, service, "ready, as loaded now");
        }
        let serving = |models: &Models| {
            let served = models.get(name.as_str())?.served.clone()?;
            Some(served.serving.model.version.clone())
        };
        let (was, is) = (serving(old), serving(new));
        match (was, is) {
            (Some(was), Some(is)) if was != is => {
                tracing::info!(model.name = %name, %was, %is, "another version serves")
            }
            (Some(was), None) => tracing::info!(model.name = %name, %was, "does not serve any more"),
            (None, Some(is)) => tracing::info!(model.name = %name, %is, "serves"),
            _ => {}
        }
    }
    for (name, ..) in old.iter().filter(|(name, ..)| new.get(name.as_str()).is_none()) {
        tracing::info!(model = %name, "not served any more: its folder is gone");
    }
    for refused in new.refused() {
        tracing::error!("{refused}");
    }
    tracing::info!(same, anew, refused = new.refused().count(), "reloaded");
}
