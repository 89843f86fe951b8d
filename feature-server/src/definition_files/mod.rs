//! Definition files that the program itself writes: their names, their text, and writing all of them or none.

pub(crate) mod names;
pub(crate) mod text;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use feature_defs::definitions::{self, Diagnostics};

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file of that name is there.
    #[error("{} is there already, and is not overwritten: edit it, or move it away", .0.display())]
    FileExists(PathBuf),
    /// A file can't be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Together with what is there already they are not right.
    #[error(transparent)]
    Definitions(#[from] Diagnostics),
}

/// Writes files of these names and texts into `dir`, all or none, and loads what is then there.
///
/// # Errors
/// What is in the way; then nothing has been written.
pub(crate) fn write(dir: &Path, files: &[(String, String)]) -> Result<Vec<PathBuf>, WriteError> {
    let failed = |path: &Path, source| WriteError::Write {
        path: path.to_owned(),
        source,
    };
    let mut made = Made::default();
    made.directory(dir).map_err(|error| failed(dir, error))?;
    for (name, text) in files {
        let path = dir.join(name);
        // Created anew, so that nothing that appeared meanwhile is overwritten either.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => WriteError::FileExists(path.clone()),
            _ => failed(&path, error),
        })?;
        made.files.push(path.clone());
        file.write_all(text.as_bytes()).map_err(|error| failed(&path, error))?;
    }
    definitions::load(dir)?;
    Ok(made.keep())
}

/// Files and directories that go away again unless all of them are kept.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The innermost first.
    directories: Vec<PathBuf>,
}

impl Made {
    /// Makes `dir` and those above it that are missing.
    fn directory(&mut self, dir: &Path) -> std::io::Result<()> {
        let missing = dir
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        self.directories = missing.map(Path::to_owned).collect();
        std::fs::create_dir_all(dir)
    }

    fn keep(mut self) -> Vec<PathBuf> {
        self.directories.clear();
        std::mem::take(&mut self.files)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What can't be removed is named by the error that is on its way.
        for path in &self.files {
            let _removed = std::fs::remove_file(path);
        }
        for dir in &self.directories {
            let _removed = std::fs::remove_dir(dir);
        }
    }
}
