//! The model repository: a folder of models, each with its `model.toml` and a folder a version.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::config::{ModelFile, Serve, VersionFile};
use super::{ModelName, Version};

/// The files of one version of a model.
#[derive(Debug)]
pub struct Files {
    /// What belongs to the artifact.
    pub settings: VersionFile,
    path: PathBuf,
    stamp: Stamp,
}

/// A model file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// How many bytes it has.
    pub bytes: u64,
    stamp: Stamp,
}

/// By what a file is known to be the same without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Files {
    /// Whether `artifact` was read from the file that is there now, and is the one that was released.
    pub fn are_of(&self, artifact: &Artifact) -> bool {
        self.stamp == artifact.stamp && self.is_released(&artifact.digest)
    }

    /// Reads the model file: its bytes in ONNX format, and what they are.
    ///
    /// # Errors
    /// A sentence if it cannot be read, or is another one than was released.
    pub fn read(&self) -> Result<(Vec<u8>, Artifact), String> {
        let path = self.path.display();
        let onnx = fs::read(&self.path).map_err(|e| format!("cannot read {path}: {e}"))?;
        let digest: [u8; 32] = Sha256::digest(&onnx).into();
        if !self.is_released(&digest) {
            return Err(format!(
                "{path} has sha256 {}, but version.toml says {}: it is another file than the one that was released",
                hex(&digest),
                self.settings.sha256.as_deref().unwrap_or_default()
            ));
        }
        let artifact = Artifact {
            digest,
            bytes: onnx.len() as u64,
            stamp: self.stamp,
        };
        Ok((onnx, artifact))
    }

    fn is_released(&self, digest: &[u8]) -> bool {
        let declared = self.settings.sha256.as_ref();
        declared.is_none_or(|declared| declared.eq_ignore_ascii_case(&hex(digest)))
    }
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
    model_file(dir, name).is_file()
}

/// The file in which an operator says how model `name` of repository `dir` is served.
pub fn model_file(dir: &Path, name: &ModelName) -> PathBuf {
    dir.join(name.as_str()).join("model.toml")
}

/// Reads how model `name` of repository `dir` is served.
///
/// # Errors
/// A sentence that says what is wrong with its file.
pub fn read_model(dir: &Path, name: &ModelName) -> Result<ModelFile, String> {
    read_toml(&model_file(dir, name))
}

/// Reads what belongs to a version of it.
///
/// # Errors
/// A sentence that says which file is wrong, and how.
pub fn read_version(dir: &Path, name: &ModelName, version: &Version) -> Result<Files, String> {
    let dir = dir.join(name.as_str()).join(version.as_str());
    let settings: VersionFile = read_toml(&dir.join("version.toml"))?;
    let path = dir.join("model.onnx");
    let metadata = fs::metadata(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(Files {
        settings,
        stamp: Stamp {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            inode: metadata.ino(),
        },
        path,
    })
}

/// Bytes in base 16.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The versions that may serve, the first of them that fits: one by name, or all that are named by whole numbers, from the
/// highest.
///
/// # Errors
/// A sentence if there is none.
pub fn candidates(dir: &Path, name: &ModelName, serve: &Serve, found: &[Version]) -> Result<Vec<Version>, String> {
    let dir = dir.join(name.as_str());
    match serve {
        Serve::Version(version) if found.contains(version) => Ok(vec![version.clone()]),
        Serve::Version(version) => Err(format!(
            "model.toml says serve = \"{version}\", but {} has no such version: {}",
            dir.display(),
            list(found)
        )),
        Serve::Latest => {
            let number = |v: &Version| v.as_str().parse::<u64>().ok();
            let mut numbered: Vec<Version> = found.iter().filter(|v| number(v).is_some()).cloned().collect();
            numbered.sort_by_key(|v| std::cmp::Reverse(number(v)));
            if numbered.is_empty() {
                return Err(format!(
                    "model.toml says serve = \"latest\", but {} has no version named by a whole number: {}",
                    dir.display(),
                    list(found)
                ));
            }
            Ok(numbered)
        }
    }
}

/// What versions there are, as the end of a sentence about one that is not there.
pub(crate) fn list(versions: &[Version]) -> String {
    if versions.is_empty() {
        return "it has no folder with a version.toml".to_owned();
    }
    let names: Vec<&str> = versions.iter().map(Version::as_str).collect();
    format!("it has {}", names.join(", "))
}

/// The versions that model `name` of repository `dir` has a folder of.
///
/// # Errors
/// A sentence if its folder cannot be read.
pub fn versions(dir: &Path, name: &ModelName) -> Result<Vec<Version>, String> {
    let dir = dir.join(name.as_str());
    let cannot = |e| format!("cannot read {}: {e}", dir.display());
    let mut versions = Vec::new();
    for entry in fs::read_dir(&dir).map_err(cannot)? {
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
        let name: ModelName = "m".parse().unwrap();
        let found = versions(dir.path(), &name).unwrap();
        let pick = |serve: &Serve| {
            let candidates = candidates(dir.path(), &name, serve, &found)?;
            Ok::<_, String>(candidates.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(pick(&Serve::Latest).unwrap(), ["10", "9", "2"]);
        assert_eq!(pick(&Serve::Version("draft".parse().unwrap())).unwrap(), ["draft"]);
        let message = pick(&Serve::Version("3".parse().unwrap())).unwrap_err();
        assert!(
            message.ends_with("has no such version: it has 10, 2, 9, draft"),
            "{message}"
        );
    }

    #[test]
    fn another_file_than_the_released_one_is_refused() {
        let dir = repository(&["1"], "");
        let name: ModelName = "m".parse().unwrap();
        assert_eq!(folders(dir.path()).unwrap().models, ["m".parse().unwrap()]);
        let files = read_version(dir.path(), &name, &"1".parse().unwrap()).unwrap();
        let message = files.read().unwrap_err();
        assert!(message.contains("but version.toml says AB"), "{message}");
    }

    #[test]
    fn a_typo_names_the_file_and_line() {
        let dir = repository(&["1"], "deadlin = \"5ms\"\n");
        let message = read_model(dir.path(), &"m".parse().unwrap()).unwrap_err();
        assert!(
            message.contains("model.toml") && message.contains("line 1"),
            "{message}"
        );
        assert!(message.contains("unknown field `deadlin`"), "{message}");
    }
}
