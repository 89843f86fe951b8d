//! The model repository: a folder of models, each with its `model.toml` and a folder a version.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::config::{ModelFile, Serve, VersionFile};
use super::{ModelName, Version};

/// The files of one version of a model.
#[derive(Debug)]
pub struct Files {
    /// What an operator decides.
    pub model: ModelFile,
    /// The version that serves.
    pub version: Version,
    /// What belongs to the artifact.
    pub settings: VersionFile,
    /// The model in ONNX format.
    pub onnx: Vec<u8>,
    /// The SHA-256 of `onnx`.
    pub digest: [u8; 32],
}

/// The folders in `dir` that hold a `model.toml`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// The names of models.
    pub models: Vec<ModelName>,
    /// Names that no model can have, and why.
    pub strays: Vec<(String, String)>,
}

/// The models in `dir`, and what looks like one.
///
/// # Errors
/// A sentence if `dir` cannot be read.
pub fn folders(dir: &Path) -> Result<Folders, String> {
    let cannot = |e| format!("cannot read the model repository {}: {e}", dir.display());
    let mut folders = Folders::default();
    for entry in fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if !path.join("model.toml").is_file() {
            continue;
        }
        let text = path.file_name().unwrap_or_default().to_string_lossy();
        match text.parse::<ModelName>() {
            Ok(name) => folders.models.push(name),
            Err(why) => folders.strays.push((
                text.into_owned(),
                format!("the folder's name cannot be a model's: {why}"),
            )),
        }
    }
    folders.models.sort();
    folders.strays.sort();
    Ok(folders)
}

/// Whether the repository in `dir` holds a model of this name.
pub fn holds(dir: &Path, name: &ModelName) -> bool {
    dir.join(name.as_str()).join("model.toml").is_file()
}

/// Reads what model `name` of repository `dir` serves.
///
/// # Errors
/// A sentence that says which file is wrong, and how.
pub fn read(dir: &Path, name: &ModelName) -> Result<Files, String> {
    let dir = dir.join(name.as_str());
    let model: ModelFile = read_toml(&dir.join("model.toml"))?;
    let version = pick(&dir, &model.serve)?;
    let dir = dir.join(version.as_str());
    let settings: VersionFile = read_toml(&dir.join("version.toml"))?;
    let path = dir.join("model.onnx");
    let onnx = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let digest: [u8; 32] = Sha256::digest(&onnx).into();
    let found = hex(&digest);
    match &settings.sha256 {
        Some(declared) if !declared.eq_ignore_ascii_case(&found) => Err(format!(
            "{} has sha256 {found}, but version.toml says {declared}: it is another file than the one that was released",
            path.display()
        )),
        _ => Ok(Files {
            model,
            version,
            settings,
            onnx,
            digest,
        }),
    }
}

/// Bytes in base 16.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn pick(dir: &Path, serve: &Serve) -> Result<Version, String> {
    let found = versions(dir)?;
    match serve {
        Serve::Version(version) if found.contains(version) => Ok(version.clone()),
        Serve::Version(version) => Err(format!(
            "model.toml says serve = \"{version}\", but {} has no such version: {}",
            dir.display(),
            list(&found)
        )),
        Serve::Latest => {
            let number = |v: &&Version| v.as_str().parse::<u64>().ok();
            let latest = found.iter().filter(|v| number(v).is_some()).max_by_key(number);
            latest.cloned().ok_or_else(|| {
                format!(
                    "model.toml says serve = \"latest\", but {} has no version named by a whole number: {}",
                    dir.display(),
                    list(&found)
                )
            })
        }
    }
}

fn list(versions: &[Version]) -> String {
    if versions.is_empty() {
        return "it has no folder with a version.toml".to_owned();
    }
    let names: Vec<&str> = versions.iter().map(Version::as_str).collect();
    format!("it has {}", names.join(", "))
}

fn versions(dir: &Path) -> Result<Vec<Version>, String> {
    let cannot = |e| format!("cannot read {}: {e}", dir.display());
    let mut versions = Vec::new();
    for entry in fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let (true, Ok(version)) = (path.join("version.toml").is_file(), name.parse()) {
            versions.push(version);
        }
    }
    versions.sort();
    Ok(versions)
}

fn read_toml<T: DeserializeOwned>(path: &PathBuf) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.to_string().trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(versions: &[&str], model: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for version in versions {
            let path = dir.path().join("m").join(version);
            fs::create_dir_all(&path).unwrap();
            fs::write(
                path.join("version.toml"),
                "feature_service = \"s\"\ninputs = \"each\"\noutputs = { y = { tensor = \"y\" } }\nsha256 = \"AB\"\n",
            )
            .unwrap();
            fs::write(path.join("model.onnx"), version).unwrap();
        }
        fs::create_dir_all(dir.path().join("m")).unwrap();
        fs::write(dir.path().join("m/model.toml"), model).unwrap();
        dir
    }

    #[test]
    fn the_latest_version_is_the_highest_number() {
        let dir = repository(&["2", "10", "9", "draft"], "");
        assert_eq!(pick(&dir.path().join("m"), &Serve::Latest).unwrap().as_str(), "10");
        let draft = Serve::Version("draft".parse().unwrap());
        assert_eq!(pick(&dir.path().join("m"), &draft).unwrap().as_str(), "draft");
        let message = pick(&dir.path().join("m"), &Serve::Version("3".parse().unwrap())).unwrap_err();
        assert!(
            message.ends_with("has no such version: it has 10, 2, 9, draft"),
            "{message}"
        );
    }

    #[test]
    fn another_file_than_the_released_one_is_refused() {
        let dir = repository(&["1"], "");
        assert_eq!(folders(dir.path()).unwrap().models, ["m".parse().unwrap()]);
        let message = read(dir.path(), &"m".parse().unwrap()).unwrap_err();
        assert!(message.contains("but version.toml says AB"), "{message}");
    }

    #[test]
    fn a_typo_names_the_file_and_line() {
        let dir = repository(&["1"], "deadlin = \"5ms\"\n");
        let message = read(dir.path(), &"m".parse().unwrap()).unwrap_err();
        assert!(
            message.contains("model.toml") && message.contains("line 1"),
            "{message}"
        );
        assert!(message.contains("unknown field `deadlin`"), "{message}");
    }
}
