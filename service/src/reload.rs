//! Noticing that the files of directories have changed, or that an operator says so with SIGHUP.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often files are looked at: by polling, since mounted volumes and network file systems tell of nothing by themselves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many looks files have to stay as they are.
const LOOKS_TO_SETTLE: u32 = 10;
/// How deep links to folders are followed: they may lead in circles.
const LINKS_DEEP: u32 = 2;

/// Changes of the files of some directories.
#[derive(Debug)]
pub struct Changes {
    dirs: Vec<PathBuf>,
    hangup: Signal,
    /// What was there when a change was last told.
    told: Listing,
}

/// The files there are, in order of their paths. What cannot be listed is not there.
type Listing = Vec<(PathBuf, State)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Changes {
    /// Changes from now on: begin before the files are read, and none is missed. From here on SIGHUP no longer ends the
    /// process.
    ///
    /// # Errors
    /// The process cannot listen to signals.
    pub fn of(dirs: &[&Path]) -> io::Result<Self> {
        let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            told: listing(&dirs),
            dirs,
        })
    }

    /// Waits until files have changed, and then stayed as they are from one look to the next, for an editor may be half-way;
    /// or until SIGHUP. May be dropped and asked again.
    pub async fn next(&mut self) {
        let mut before = None;
        let mut unsettled = 0;
        loop {
            let hangup = tokio::select! {
                _ = self.hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let dirs = self.dirs.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || listing(&dirs)).await else {
                continue;
            };
            let has_changed = now != self.told;
            // Something may change all the time, such as a log, and must not hold up the rest for ever.
            unsettled = if has_changed { unsettled + 1 } else { 0 };
            let has_settled = before.as_ref() == Some(&now) || unsettled > LOOKS_TO_SETTLE;
            if hangup || (has_changed && has_settled) {
                self.told = now;
                return;
            }
            before = Some(now);
        }
    }
}

fn listing(dirs: &[PathBuf]) -> Listing {
    let mut found = Vec::new();
    dirs.iter().for_each(|dir| list(dir, LINKS_DEEP, &mut found));
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

/// Hidden folders are left out: version control keeps its own there, and what a mounted configuration swaps there shows in
/// the links that lead to it.
fn list(dir: &Path, links: u32, found: &mut Listing) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // Of what a link leads to, not of the link.
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if metadata.is_dir() {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let left = links.checked_sub(u32::from(is_link));
            if let (Some(left), false) = (left, is_hidden) {
                list(&path, left, found);
            }
        } else {
            let state = State {
                length: metadata.len(),
                modified: metadata.modified().ok(),
                inode: metadata.ino(),
            };
            found.push((path, state));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Longer than any machine takes for two looks.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_file_that_is_changed_added_replaced_or_removed_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a.toml"), "1").unwrap();
        let mut changes = Changes::of(&[dir.path()]).unwrap();
        let steps: [&dyn Fn(); 5] = [
            &|| fs::write(path("a.toml"), "12").unwrap(),
            &|| {
                fs::create_dir(path("more"))
                    .and_then(|()| fs::write(path("more/b.sql"), ""))
                    .unwrap()
            },
            &|| {
                fs::write(path("new"), "34").unwrap();
                fs::rename(path("new"), path("a.toml")).unwrap();
            },
            &|| {
                // As Kubernetes swaps a configuration: behind a link.
                fs::create_dir(path("..one"))
                    .and_then(|()| fs::write(path("..one/c.toml"), "5"))
                    .unwrap();
                std::os::unix::fs::symlink(path("..one/c.toml"), path("c.toml")).unwrap();
            },
            &|| fs::remove_file(path("more/b.sql")).unwrap(),
        ];
        for step in steps {
            step();
            tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
            assert_eq!(changes.told, listing(&[dir.path().to_owned()]));
        }
    }
}
