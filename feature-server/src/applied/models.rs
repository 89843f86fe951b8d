//! Which model versions use which feature service, as the model repository says, and what becomes of them when it changes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// The file that says it, in the folder of a version.
const VERSION_FILE: &str = "version.toml";

/// Model versions by the feature service they are made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelVersions {
    by_service: BTreeMap<String, Vec<ModelVersion>>,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelVersion {
    /// `fraud/1`
    pub(super) name: String,
    /// Whether it takes all inputs as one tensor, and so knows them by their order only.
    pub(super) is_by_order: bool,
}

/// What is read here of a version's file; all of it is the predictor's to judge.
#[derive(Deserialize)]
struct VersionFile {
    feature_service: Option<String>,
    inputs: Option<toml::Value>,
}

impl ModelVersions {
    /// Of a repository: `MODEL/VERSION/version.toml`.
    ///
    /// # Errors
    /// A folder or file that cannot be read, in words.
    pub(super) fn read(dir: &Path) -> Result<Self, String> {
        let mut found = Self::default();
        for model in folders(dir)? {
            for version in folders(&dir.join(&model))? {
                let path = dir.join(&model).join(&version).join(VERSION_FILE);
                if path.is_file() {
                    found.add(format!("{model}/{version}"), &path)?;
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, name: String, path: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let file: VersionFile =
            toml::from_str(&text).map_err(|error| format!("{}: {}", path.display(), error.to_string().trim_end()))?;
        if let Some(service) = file.feature_service {
            let is_by_order = matches!(file.inputs, Some(toml::Value::Table(_)));
            let versions = self.by_service.entry(service).or_default();
            versions.push(ModelVersion { name, is_by_order });
        }
        Ok(())
    }

    /// Those made for a service.
    pub(super) fn of(&self, service: &str) -> &[ModelVersion] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }
}

/// What becomes of model versions that were made for other inputs.
pub(super) fn refused(versions: &[ModelVersion]) -> Option<String> {
    let names: Vec<&str> = versions.iter().map(|version| version.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} made for the inputs as they were: the predictor refuses to load such a version, and where it is being served it goes on with the old definitions until the predictor is restarted; give the new inputs a service and a version of their own",
            was(&names)
        )
    })
}

/// What becomes of model versions that know their inputs by order.
pub(super) fn misled(versions: &[ModelVersion]) -> Option<String> {
    let by_order = versions.iter().filter(|version| version.is_by_order);
    let names: Vec<&str> = by_order.map(|version| version.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} made for one tensor with the inputs in the old order, and would be fed others in their places: give the new order a service and a version of their own",
            was(&names)
        )
    })
}

fn was(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "was" } else { "were" };
    format!("{} {verb}", names.join(", "))
}

/// The names of the folders in one, in order; hidden ones are none.
fn folders(dir: &Path) -> Result<Vec<String>, String> {
    let cannot = |error: std::io::Error| format!("cannot read the model repository {}: {error}", dir.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn versions_are_found_by_service() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("fraud/model.toml", "");
        write(
            "fraud/10/version.toml",
            "feature_service = \"a\"\ninputs = \"each\"\noutputs = { y = { tensor = \"y\" } }\n",
        );
        write(
            "fraud/9/version.toml",
            "feature_service = \"a\"\ninputs = { features = \"float32\" }\n",
        );
        write("other/1/version.toml", "feature_service = \"b\"\n");
        write("plain/1/version.toml", "# tensors in, tensors out\n");
        write(".git/1/version.toml", "no TOML");
        let models = ModelVersions::read(dir.path()).unwrap();
        let of = |service: &str| -> Vec<(String, bool)> {
            let versions = models.of(service).iter();
            versions.map(|v| (v.name.clone(), v.is_by_order)).collect()
        };
        assert_eq!(of("a"), [("fraud/10".to_owned(), false), ("fraud/9".to_owned(), true)]);
        assert_eq!(of("b"), [("other/1".to_owned(), false)]);
        assert_eq!(of("c"), []);
        write("other/2/version.toml", "feature_service = 7\n");
        let error = ModelVersions::read(dir.path()).unwrap_err();
        assert!(error.contains("other/2/version.toml"), "{error}");
        assert!(ModelVersions::read(&dir.path().join("nowhere")).is_err());
    }
}
