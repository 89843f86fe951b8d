//! Definitions from a Feast repository with Postgres sources: its Python is read, never run, and what can't be carried
//! over is said.

mod carry;
mod draft;
mod entities;
mod feature_store;
mod files;
mod joins;
mod modules;
mod python;
mod report;
mod services;
mod sources;
mod statements;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod unread;
mod values;
mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::definition_files::names::valid;
use crate::definition_files::{self, WriteError};
use draft::Draft;
use feature_store::FeatureStore;
use modules::Repository;
pub use report::ImportNote;
use values::Place;

/// What was written, and what a reader should know of it.
#[derive(Debug)]
pub struct Import {
    /// The files, the definitions last; none if no feature view could be carried over.
    pub files: Vec<PathBuf>,
    /// Kinds of definitions, and the names of those that were carried over.
    pub carried: Vec<(&'static str, Vec<String>)>,
    /// What was carried over, but not as it stood, or on a guess.
    pub look_at: Vec<ImportNote>,
    /// What was not carried over.
    pub not_carried: Vec<ImportNote>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no Feast repository.
    #[error(
        "{} is no Feast repository: there is no {} in it, nor in its folder feature_repo",
        .0.display(),
        feature_store::FILE
    )]
    NoFeatureStore(PathBuf),
    /// A file or folder can't be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The repository's settings can't be read.
    #[error("{} {problem}", path.display())]
    FeatureStore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There are definitions already.
    #[error(
        "{} holds definitions already: import into another directory with `--out`, and move over what you want",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// The files can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ImportError {
    /// Whether another command line would do.
    pub const fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::NoFeatureStore(_) | Self::NotEmpty(_))
    }
}

/// Writes definitions of the Feast repository `repository` into the directory `out`.
///
/// # Errors
/// Why it can't be; then nothing has been written.
pub fn import_feast(repository: &Path, out: &Path) -> Result<Import, ImportError> {
    let store = FeatureStore::read(repository)?;
    if has_definitions(out) {
        return Err(ImportError::NotEmpty(out.to_owned()));
    }
    let root = std::fs::canonicalize(repository).map_err(|source| ImportError::Unreadable {
        path: repository.to_owned(),
        source,
    })?;
    let mut read = Repository::new(root);
    for module in files::files(&store.folder, &mut read)? {
        read.read(&module);
    }
    let folder = read.shown(&store.folder);
    let Repository { made, mut notes, .. } = read;
    let project = project(&store, &folder, &mut notes);
    let draft = carry::carry(&made, &store, &mut notes);
    let files = if draft.views.is_empty() {
        Vec::new()
    } else {
        definition_files::write(out, &text::files(&draft, &project, &store, &folder))?
    };
    let (look_at, not_carried) = notes.sorted();
    Ok(Import {
        files,
        carried: carried(&draft, project),
        look_at,
        not_carried,
    })
}

fn has_definitions(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.ends_with(".toml") && !name.starts_with('.'))
}

/// The project's name, and what else `feature_store.yaml` asks for.
fn project(store: &FeatureStore, folder: &str, notes: &mut report::Notes) -> String {
    let file = Path::new(folder).join(feature_store::FILE).display().to_string();
    let at = Place {
        file: Arc::from(file),
        line: 0,
    };
    if let Some(offline) = store.offline.as_ref().filter(|store| *store != "postgres") {
        let why = "features are read from Postgres only";
        notes.not_carried(
            at.clone(),
            &format!("offline store {offline}"),
            why,
            "only sources in Postgres are carried over",
        );
    }
    if let Some(online) = &store.online {
        let why = "values are kept in Redis here, in another form, and none is copied";
        notes.not_carried(
            at.clone(),
            &format!("online store {online}"),
            why,
            "run `materialize`: it computes them from the sources",
        );
    }
    if let Some(schema) = &store.unknown_schema {
        let why = "it is not written as the plain name of one, so that tables are carried over without it";
        let help = "write the schema before them, or set the database user's search_path";
        notes.look_at(
            at.clone(),
            &format!("schema `{schema}` of the offline store"),
            why,
            help,
        );
    }
    let name = valid(&store.project, "project");
    if name != store.project {
        let why = format!("it is called `{name}` here");
        notes.look_at(at, &format!("project `{}`", store.project), why, carry::RENAMED);
    }
    name
}

fn carried(draft: &Draft, project: String) -> Vec<(&'static str, Vec<String>)> {
    let entities = draft.entities.iter().map(|entity| entity.name.clone());
    let sources = draft.sources.iter().map(|source| source.name.clone());
    let views = draft.views.iter().map(|view| view.name.clone());
    let services = draft.services.iter().map(|service| service.name.clone());
    vec![
        ("project", vec![project]),
        ("entities", entities.collect()),
        ("sources", sources.collect()),
        ("feature views", views.collect()),
        ("feature services", services.collect()),
    ]
}
