//! What is served: every model of the repository, serving or refused with the reasons.
//!
//! A set of models is never changed: after files or definitions have changed, another set is made, with all of the old one
//! that still holds, and takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feature_defs::definitions::Definitions;

use super::fallback::{Answering, link};
use super::load::{Loaded, Loader};
use super::repository::Folders;
use super::{ModelName, Served, Version, repository};
use crate::app::LoadError;

/// Every model of the repository.
#[derive(Debug)]
pub struct Models {
    by_name: BTreeMap<ModelName, (Option<Version>, State)>,
    /// Folders that look like a model, but have a name that none can have.
    strays: Vec<Refused>,
}

/// Whether a model serves.
#[derive(Debug, Clone)]
pub enum State {
    /// It does.
    Serving(Arc<Served>),
    /// What its files and the definitions say now does not fit, for these reasons. It serves as it did before, by the
    /// service and views that it was loaded with.
    Kept(Arc<Served>, Vec<String>),
    /// It does not fit its settings or service; the reasons.
    Refused(Vec<String>),
}

impl State {
    /// What serves, if something does.
    pub fn served(&self) -> Option<&Arc<Served>> {
        match self {
            Self::Serving(served) | Self::Kept(served, _) => Some(served),
            Self::Refused(_) => None,
        }
    }

    /// Why what its files and the definitions say now does not serve; empty if it does.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Serving(_) => &[],
            Self::Kept(_, reasons) | Self::Refused(reasons) => reasons,
        }
    }
}

/// A model that was refused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The model's name, or that of a folder which is no model's.
    pub name: String,
    /// Everything that is wrong with it.
    pub reasons: Vec<String>,
    /// The version that serves as it did before.
    pub kept: Option<Version>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "model `{}` is refused", self.name)?;
        if let Some(version) = &self.kept {
            write!(f, ", and version {version} serves on as it was loaded before")?;
        }
        f.write_str(":")?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  - {reason}"))
    }
}

impl Models {
    /// Loads the models of the repository: all of them, or `only` one and its fallback.
    ///
    /// # Errors
    /// [`LoadError`] if the repository cannot be read, is empty, or lacks the `only` model.
    pub fn load(loader: &Loader, definitions: &Definitions, only: Option<&ModelName>) -> Result<Self, LoadError> {
        Self::make(loader, definitions, only, None)
    }

    /// Loads all models of the repository as its files and the definitions are now. A model that is made of what it was
    /// made of before is the same one still; one that is refused now serves on as it did; one whose folder is gone is gone.
    ///
    /// # Errors
    /// [`LoadError`] if the repository cannot be read or is empty.
    pub fn reload(&self, loader: &Loader, definitions: &Definitions) -> Result<Self, LoadError> {
        Self::make(loader, definitions, None, Some(self))
    }

    fn make(
        loader: &Loader,
        definitions: &Definitions,
        only: Option<&ModelName>,
        before: Option<&Self>,
    ) -> Result<Self, LoadError> {
        let folders = match only {
            Some(name) if !repository::holds(&loader.dir, name) => {
                return Err(LoadError::NoSuchModel {
                    name: name.clone(),
                    dir: loader.dir.clone(),
                    known: repository::folders(&loader.dir).map_err(LoadError::Failed)?.models,
                });
            }
            Some(name) => Folders {
                models: vec![name.clone()],
                strays: Vec::new(),
            },
            None => repository::folders(&loader.dir).map_err(LoadError::Failed)?,
        };
        let mut wanted: BTreeSet<ModelName> = folders.models.into_iter().collect();
        if wanted.is_empty() && folders.strays.is_empty() {
            return Err(LoadError::Failed(format!(
                "the model repository {} holds no model: a model is a folder with a model.toml",
                loader.dir.display()
            )));
        }
        let mut loaded: BTreeMap<ModelName, Loaded> = BTreeMap::new();
        while let Some(name) = wanted.pop_first() {
            let served = before.and_then(|before| before.served(&name));
            let one = loader.load(&name, definitions, served.map(|served| &served.model));
            let fallback = one.fallback.as_ref().and_then(|f| f.model.clone());
            loaded.insert(name, one);
            wanted.extend(fallback.filter(|f| !loaded.contains_key(f) && repository::holds(&loader.dir, f)));
        }
        let stray = |(name, reason)| Refused {
            name,
            reasons: vec![reason],
            kept: None,
        };
        Ok(Self {
            by_name: states(&loaded, before),
            strays: folders.strays.into_iter().map(stray).collect(),
        })
    }

    /// The state of this model.
    pub fn get(&self, name: &str) -> Option<(Option<&Version>, &State)> {
        let name: ModelName = name.parse().ok()?;
        self.by_name
            .get(&name)
            .map(|(version, state)| (version.as_ref(), state))
    }

    /// All models, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelName, Option<&Version>, &State)> {
        self.by_name
            .iter()
            .map(|(name, (version, state))| (name, version.as_ref(), state))
    }

    /// The models that serve.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_name.values().filter_map(|(_, state)| state.served())
    }

    /// The models that don't, or not as their files and the definitions are now, and folders that cannot be a model.
    pub fn refused(&self) -> impl Iterator<Item = Refused> {
        let refused = self
            .by_name
            .iter()
            .filter(|(_, (_, state))| !state.reasons().is_empty());
        let models = refused.map(|(name, (_, state))| Refused {
            name: name.to_string(),
            reasons: state.reasons().to_vec(),
            kept: state.served().map(|served| served.model.version.clone()),
        });
        models.chain(self.strays.iter().cloned())
    }

    fn served(&self, name: &ModelName) -> Option<&Arc<Served>> {
        self.by_name.get(name).and_then(|(_, state)| state.served())
    }
}

/// Which of the loaded models serve, each with its fallback; those that don't, as they did before if they did.
fn states(
    loaded: &BTreeMap<ModelName, Loaded>,
    before: Option<&Models>,
) -> BTreeMap<ModelName, (Option<Version>, State)> {
    let served = |name: &ModelName| before.and_then(|before| before.served(name));
    let answering: Answering<'_> = loaded
        .iter()
        .map(|(name, one)| {
            let now = one.outcome.as_ref().ok();
            (name, now.or_else(|| served(name).map(|served| &served.model)))
        })
        .collect();
    let state = |name: &ModelName, one: &Loaded| match (serve(one, &answering), served(name)) {
        (Ok(served), _) => State::Serving(Arc::new(served)),
        // With the fallback that it had: what could be linked then holds as long as both are there.
        (Err(reasons), Some(served)) => State::Kept(Arc::clone(served), reasons),
        (Err(reasons), None) => State::Refused(reasons),
    };
    loaded
        .iter()
        .map(|(name, one)| (name.clone(), (one.version.clone(), state(name, one))))
        .collect()
}

fn serve(one: &Loaded, answering: &Answering<'_>) -> Result<Served, Vec<String>> {
    let model = one.outcome.clone()?;
    let fallback = one.fallback.as_ref().map(|settings| link(&model, settings, answering));
    Ok(Served {
        fallback: fallback.transpose()?,
        model,
    })
}
