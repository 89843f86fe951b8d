//! `feature_store.yaml`: the project, and which stores it used.

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Yaml};

use super::ImportError;
use super::sources::is_plain;

pub(super) const FILE: &str = "feature_store.yaml";

/// What the file says that matters here.
#[derive(Debug)]
pub(super) struct FeatureStore {
    /// The folder it lies in, canonical: Feast reads the Python files from there on.
    pub(super) folder: PathBuf,
    pub(super) project: String,
    /// The types of the stores, as Feast calls them.
    pub(super) offline: Option<String>,
    pub(super) online: Option<String>,
    /// The schema that unqualified tables are in, if it is another than `public`.
    pub(super) schema: Option<String>,
    /// What is said of the schema where that is not its name: `${SCHEMA}`.
    pub(super) unknown_schema: Option<String>,
}

impl FeatureStore {
    /// Finds and reads the file, in `repository` or in its folder `feature_repo`, where `feast init` puts it.
    pub(super) fn read(repository: &Path) -> Result<Self, ImportError> {
        let canonical = |path: &Path| {
            std::fs::canonicalize(path).map_err(|source| ImportError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        let root = canonical(repository)?;
        let folders = [root.clone(), root.join("feature_repo")];
        let folder = folders.into_iter().find(|folder| folder.join(FILE).is_file());
        let folder = folder.ok_or_else(|| ImportError::NoFeatureStore(repository.to_owned()))?;
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ImportError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let invalid = |problem: String| ImportError::FeatureStore {
            path: path.clone(),
            problem,
        };
        let documents = Yaml::load_from_str(&text).map_err(|error| invalid(format!("is not YAML: {error}")))?;
        let file = documents.first().ok_or_else(|| invalid("is empty".to_owned()))?;
        let project = file.as_mapping_get("project").and_then(Yaml::as_str);
        let project = project.ok_or_else(|| invalid("says no `project`".to_owned()))?;
        let offline = file.as_mapping_get("offline_store");
        let schema = offline.and_then(|store| store.as_mapping_get("db_schema")?.as_str());
        let schema = schema.filter(|schema| *schema != "public").map(str::to_owned);
        let (schema, unknown_schema) = match schema {
            Some(schema) if !is_plain(&schema) => (None, Some(schema)),
            schema => (schema, None),
        };
        Ok(Self {
            folder: canonical(&folder)?,
            project: project.to_owned(),
            offline: store_type(offline),
            online: store_type(file.as_mapping_get("online_store")),
            schema,
            unknown_schema,
        })
    }
}

/// `{type: postgres}`, or just `postgres`.
fn store_type(store: Option<&Yaml<'_>>) -> Option<String> {
    let store = store?;
    let text = store.as_str().or_else(|| store.as_mapping_get("type")?.as_str());
    text.map(str::to_owned)
}
