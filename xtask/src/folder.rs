//! The one git-ignored folder, `.larder` in the workspace, that holds whatever is fetched, made or started.

use std::{
    env,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{interrupt, say};

/// The root of the workspace this runs in. Cargo's word at run time comes first: a target directory may be shared by several clones.
pub(crate) fn workspace() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_owned)
}

pub(crate) fn larder() -> PathBuf {
    workspace().join(".larder")
}

/// Where the flights' CSV files are kept.
pub(crate) fn flights() -> PathBuf {
    larder().join("flights")
}

/// A lock on what `demo` and `test` share (downloads, packages): one sets up at a time.
pub(crate) struct SetupLock {
    _held: File,
}

impl SetupLock {
    pub(crate) fn take() -> Result<Self> {
        let path = larder().join("setup.lock");
        let file = open_lock(&path)?;
        let mut told = false;
        while !try_lock(&file, &path)? {
            if !told {
                say::note("Another `cargo xtask` is setting up in this folder: waiting for it.");
                told = true;
            }
            interrupt::pause()?;
        }
        Ok(Self { _held: file })
    }
}

pub(crate) fn open_lock(path: &Path) -> Result<File> {
    let folder = path.parent().context("a lock file stands in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Whether the lock is now held, by the open file: it is released when the file closes, however the process ends.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
