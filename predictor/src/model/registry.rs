//! What is served: every model of the repository, with what of it serves and what is refused for which reasons.
//!
//! A set of models is never changed: after files or definitions have changed, another set is made, with all of the old one
//! that still holds, and takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feature_defs::definitions::Definitions;

use super::config::ModelFile;
use super::counterpart::Counterpart;
use super::fallback::{Answering, Answers, link};
use super::load::{Loaded, Loader};
use super::repository::Folders;
use super::traffic::{Arm, Canary, Served};
use super::{Model, ModelName, Version, repository};
use crate::app::LoadError;

/// Every model of the repository.
#[derive(Debug)]
pub struct Models {
    by_name: BTreeMap<ModelName, Entry>,
    /// Folders that look like a model, but have a name that none can have.
    strays: Vec<Refused>,
}

/// A model of the repository.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What answers, if anything does.
    pub served: Option<Arc<Served>>,
    /// What is wrong with what its files and the definitions ask for, a sentence each.
    pub problems: Vec<String>,
    /// Whether what answers is what was loaded before, by the files, service and views of then, since those of now do not
    /// fit.
    pub is_kept: bool,
    /// Whether it was told not to serve.
    pub is_unloaded: bool,
    /// Every version there is a folder of, and those that are asked for without.
    pub versions: BTreeMap<Version, VersionState>,
}

/// What one version does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionState {
    /// It takes the traffic.
    Serving,
    /// It takes a share of the traffic.
    Canary,
    /// It predicts what the serving one predicts.
    Shadow,
    /// It is ready for those who ask for it by number.
    Ready,
    /// There is a folder of it, and nobody asks for it.
    Idle,
    /// It does not fit, for these reasons.
    Refused(Vec<String>),
}

impl VersionState {
    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
            Self::Ready => "ready",
            Self::Idle => "idle",
            Self::Refused(_) => "refused",
        }
    }
}

/// Which models are loaded, besides their fallbacks.
#[derive(Debug, Clone, Copy)]
enum Only<'a> {
    All,
    Model(&'a ModelName),
    ForAFile(&'a ModelName, &'a [Version]),
}

impl<'a> Only<'a> {
    fn name(self) -> Option<&'a ModelName> {
        match self {
            Self::All => None,
            Self::Model(name) | Self::ForAFile(name, _) => Some(name),
        }
    }

    /// The versions of model `name` that are to predict the rows of a file, if that is what it is loaded for.
    fn for_a_file(self, name: &ModelName) -> Option<&'a [Version]> {
        match self {
            Self::All | Self::Model(_) => None,
            Self::ForAFile(model, versions) if model == name => Some(versions),
            Self::ForAFile(..) => Some(&[]),
        }
    }
}

impl Entry {
    /// The state of the model as a whole, on the wire.
    pub fn state(&self) -> &'static str {
        match (&self.served, self.is_unloaded) {
            (Some(_), _) => "serving",
            (None, true) => "unloaded",
            (None, false) => "refused",
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
    /// What serves all the same.
    pub kept: Option<Kept>,
}

/// The version that serves though not all is as the files and the definitions ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The version.
    pub version: Version,
    /// Whether it serves by the files, service and views that it was loaded with before.
    pub as_before: bool,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, as_before } = self;
        if *as_before {
            write!(f, "version {version} serves on as it was loaded before")
        } else {
            write!(f, "version {version} serves")
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kept {
            None => write!(f, "model `{}` is refused", self.name)?,
            Some(kept) => write!(f, "model `{}` is not as its files ask for, and {kept}", self.name)?,
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
        let only = only.map_or(Only::All, Only::Model);
        Self::make(loader, definitions, only, (None, &BTreeSet::new()))
    }

    /// Loads these versions of one model for the rows of a file, the first of them as the one that serves; without any, the
    /// one that serves requests. With its fallback, but without canary, shadow and what predictors share in Redis.
    ///
    /// # Errors
    /// [`LoadError`] if there is no such model or version, or one of them is refused.
    pub fn load_for_a_file(
        loader: &Loader,
        definitions: &Definitions,
        (name, versions): (&ModelName, &[Version]),
    ) -> Result<Self, LoadError> {
        let known = repository::versions(&loader.dir, name).unwrap_or_default();
        let unknown = versions.iter().find(|version| !known.contains(version));
        if let Some(version) = unknown.filter(|_| repository::holds(&loader.dir, name)) {
            return Err(LoadError::NoSuchVersion {
                name: name.clone(),
                version: version.clone(),
                known,
            });
        }
        let only = Only::ForAFile(name, versions);
        let models = Self::make(loader, definitions, only, (None, &BTreeSet::new()))?;
        let served = models.served(name);
        let is_ready = |version: &Version| served.is_some_and(|served| served.versions.contains_key(version));
        if served.is_none() || !versions.iter().all(is_ready) {
            let entry = models.by_name.get(name);
            return Err(LoadError::Unfit {
                name: name.clone(),
                reasons: entry.map(|entry| entry.problems.clone()).unwrap_or_default(),
            });
        }
        Ok(models)
    }

    /// Loads all models of the repository, but those that are `unloaded`, as its files and the definitions are now. A
    /// version that is made of what it was made of before is the same one still; a model that is refused now serves on as
    /// it did; one whose folder is gone is gone.
    ///
    /// # Errors
    /// [`LoadError`] if the repository cannot be read or is empty.
    pub fn reload(
        &self,
        loader: &Loader,
        definitions: &Definitions,
        unloaded: &BTreeSet<ModelName>,
    ) -> Result<Self, LoadError> {
        Self::make(loader, definitions, Only::All, (Some(self), unloaded))
    }

    fn make(
        loader: &Loader,
        definitions: &Definitions,
        only: Only<'_>,
        (before, unloaded): (Option<&Self>, &BTreeSet<ModelName>),
    ) -> Result<Self, LoadError> {
        let folders = match only.name() {
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
        let mut by_name: BTreeMap<ModelName, Entry> = BTreeMap::new();
        let mut loaded: BTreeMap<ModelName, Loaded> = BTreeMap::new();
        while let Some(name) = wanted.pop_first() {
            if unloaded.contains(&name) {
                let versions = repository::versions(&loader.dir, &name).unwrap_or_default();
                by_name.insert(name, Entry::unloaded(versions));
                continue;
            }
            let served = before.and_then(|before| before.served(&name));
            let one = loader.load(
                &name,
                definitions,
                served.map(|served| &**served),
                only.for_a_file(&name),
            );
            let fallback = one.file.as_ref().and_then(|file| file.fallback.as_ref());
            let fallback = fallback.and_then(|fallback| fallback.model.clone());
            loaded.insert(name, one);
            wanted.extend(
                fallback.filter(|f| {
                    !loaded.contains_key(f) && !by_name.contains_key(f) && repository::holds(&loader.dir, f)
                }),
            );
        }
        by_name.extend(entries(loaded, before, unloaded));
        let stray = |(name, reason)| Refused {
            name,
            reasons: vec![reason],
            kept: None,
        };
        Ok(Self {
            by_name,
            strays: folders.strays.into_iter().map(stray).collect(),
        })
    }

    /// The version that would serve model `name` by this `model.toml`.
    ///
    /// # Errors
    /// Everything that is wrong, a sentence each, if none that fits would.
    pub(crate) fn try_file(
        &self,
        loader: &Loader,
        definitions: &Definitions,
        (name, file): (&ModelName, ModelFile),
    ) -> Result<Version, Vec<String>> {
        let before = self.served(name);
        let one = loader.load_by(Ok(file), name, definitions, before.map(|before| &**before));
        let answering: Answering<'_> = self
            .by_name
            .iter()
            .map(|(name, entry)| {
                let answers = match &entry.served {
                    Some(served) => Answers::By(&served.serving.model),
                    None if entry.is_unloaded => Answers::Unloaded,
                    None => Answers::Refused,
                };
                (name, answers)
            })
            .collect();
        let entry = entry(&one, before, &answering);
        match entry.served.filter(|_| !entry.is_kept) {
            Some(served) => Ok(served.serving.model.version.clone()),
            None => Err(entry.problems),
        }
    }

    /// This model.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        let name: ModelName = name.parse().ok()?;
        self.by_name.get(&name)
    }

    /// All models, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelName, &Entry)> {
        self.by_name.iter()
    }

    /// The models that serve.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_name.values().filter_map(|entry| entry.served.as_ref())
    }

    /// The models that don't, or not as their files and the definitions are now, and folders that cannot be a model.
    pub fn refused(&self) -> impl Iterator<Item = Refused> {
        let refused = self.by_name.iter().filter(|(_, entry)| !entry.problems.is_empty());
        let models = refused.map(|(name, entry)| Refused {
            name: name.to_string(),
            reasons: entry.problems.clone(),
            kept: entry.served.as_ref().map(|served| Kept {
                version: served.serving.model.version.clone(),
                as_before: entry.is_kept,
            }),
        });
        models.chain(self.strays.iter().cloned())
    }

    fn served(&self, name: &ModelName) -> Option<&Arc<Served>> {
        self.by_name.get(name).and_then(|entry| entry.served.as_ref())
    }
}

impl Entry {
    fn unloaded(versions: Vec<Version>) -> Self {
        Self {
            served: None,
            problems: Vec::new(),
            is_kept: false,
            is_unloaded: true,
            versions: versions
                .into_iter()
                .map(|version| (version, VersionState::Idle))
                .collect(),
        }
    }
}

/// What becomes of the loaded models: each with its fallback, canary and shadow, or as it was before.
fn entries(
    loaded: BTreeMap<ModelName, Loaded>,
    before: Option<&Models>,
    unloaded: &BTreeSet<ModelName>,
) -> BTreeMap<ModelName, Entry> {
    let served = |name: &ModelName| before.and_then(|before| before.served(name));
    let serving: Vec<Option<Arc<Model>>> = loaded
        .iter()
        .map(|(name, one)| {
            let kept = || served(name).map(|served| Arc::clone(&served.serving.model));
            one.serving.clone().or_else(kept)
        })
        .collect();
    let loaded_names = loaded.keys().zip(serving.iter());
    let answers = loaded_names.map(|(name, model)| (name, model.as_ref().map_or(Answers::Refused, Answers::By)));
    let answering: Answering<'_> = answers
        .chain(unloaded.iter().map(|name| (name, Answers::Unloaded)))
        .collect();
    let made: Vec<Entry> = loaded
        .iter()
        .map(|(name, one)| entry(one, served(name), &answering))
        .collect();
    loaded.into_keys().zip(made).collect()
}

fn entry(one: &Loaded, before: Option<&Arc<Served>>, answering: &Answering<'_>) -> Entry {
    let mut problems = one.problems.clone();
    let now = one.file.as_ref().zip(one.serving.as_ref());
    let served = now.and_then(|(file, model)| serve((file, model), (one, before), answering, &mut problems));
    // With the fallback that it had: what could be linked then holds as long as both are there.
    let is_kept = served.is_none() && before.is_some();
    let served = served.map(Arc::new).or_else(|| before.cloned());
    Entry {
        versions: states(one, served.as_deref()),
        served,
        problems,
        is_kept,
        is_unloaded: false,
    }
}

/// The model as it serves now; `None` if that is not possible. What is wrong is added to `problems`.
fn serve(
    (file, model): (&ModelFile, &Arc<Model>),
    (one, before): (&Loaded, Option<&Arc<Served>>),
    answering: &Answering<'_>,
    problems: &mut Vec<String>,
) -> Option<Served> {
    let arm = |model: &Arc<Model>| {
        let fallback = file.fallback.as_ref().map(|settings| link(model, settings, answering));
        fallback.transpose().map(|fallback| Arm {
            model: Arc::clone(model),
            fallback,
        })
    };
    let serving = match arm(model) {
        Ok(arm) => arm,
        Err(reasons) => {
            problems.extend(reasons);
            return None;
        }
    };
    let ready = one.versions.iter().filter_map(|(version, outcome)| {
        let model = outcome.as_ref()?.as_ref().ok()?;
        Some((version, arm(model)))
    });
    let mut versions = BTreeMap::new();
    // One that is wrong now, and still asked for, serves on as it was loaded before.
    for (version, outcome) in &one.versions {
        let before = before.and_then(|before| before.versions.get(version));
        if let (Some(Err(_)), Some(arm)) = (outcome, before) {
            versions.insert(version.clone(), arm.clone());
        }
    }
    for (version, arm) in ready {
        match arm {
            Ok(arm) => {
                versions.insert(version.clone(), arm);
            }
            Err(reasons) => problems.extend(reasons.iter().map(|reason| format!("version {version}: {reason}"))),
        }
    }
    for (what, version) in [
        ("canary", file.canary.as_ref().map(|canary| &canary.version)),
        ("shadow", file.shadow.as_ref()),
    ] {
        if version == Some(&model.version) {
            problems.push(format!(
                "model.toml says {what} version {}, which is the one that serves: say which one that is (serve = \"…\")",
                model.version
            ));
        }
    }
    let is_other = |version: &Version| *version != model.version;
    let mut refused = |reasons: Vec<String>| problems.extend(reasons);
    // One that is refused has been told of.
    let canary = file
        .canary
        .as_ref()
        .filter(|canary| is_other(&canary.version))
        .and_then(|settings| {
            let arm = versions.get(&settings.version)?;
            Canary::link(model, arm, settings).map_err(&mut refused).ok()
        });
    let shadow = file
        .shadow
        .as_ref()
        .filter(|shadow| is_other(shadow))
        .and_then(|version| {
            let arm: &Arm = versions.get(version)?;
            let called = format!("version {version}, the shadow,");
            Counterpart::link(model, &arm.model, &called).map_err(&mut refused).ok()
        });
    Some(Served {
        serving,
        canary,
        shadow,
        versions,
    })
}

/// What each version does.
fn states(one: &Loaded, served: Option<&Served>) -> BTreeMap<Version, VersionState> {
    let of = |outcome: &Option<super::load::Outcome>| match outcome {
        None => VersionState::Idle,
        Some(Err(reasons)) => VersionState::Refused(reasons.clone()),
        Some(Ok(_)) => VersionState::Ready,
    };
    let mut states: BTreeMap<Version, VersionState> = one
        .versions
        .iter()
        .map(|(version, outcome)| (version.clone(), of(outcome)))
        .collect();
    let Some(served) = served else {
        // Without one that serves, nobody can ask for the others.
        let idle = |state: &mut VersionState| {
            if *state == VersionState::Ready {
                *state = VersionState::Idle;
            }
        };
        states.values_mut().for_each(idle);
        return states;
    };
    for version in served.versions.keys() {
        states.insert(version.clone(), VersionState::Ready);
    }
    if let Some(shadow) = &served.shadow {
        states.insert(shadow.model.version.clone(), VersionState::Shadow);
    }
    if let Some(canary) = &served.canary {
        states.insert(canary.counterpart.model.version.clone(), VersionState::Canary);
    }
    states.insert(served.serving.model.version.clone(), VersionState::Serving);
    states
}
