//! Which Python files of a repository Feast reads.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::ImportError;
use super::modules::Repository;
use super::values::Place;

/// The Python files that Feast reads, as modules: all below `folder` but packages' own, hidden folders and what
/// `.feastignore` names.
pub(super) fn files(folder: &Path, repository: &mut Repository) -> Result<Vec<PathBuf>, ImportError> {
    let ignored = ignored(folder, repository);
    let (mut modules, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed = |source| ImportError::Unreadable {
            path: folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_skipped =
                name.starts_with('.') || name.starts_with("__") || name == "venv" || ignored.contains(&path);
            // Links are not followed: they may lead back.
            match entry.file_type().map_err(failed)? {
                _ if is_skipped => {}
                kind if kind.is_dir() => folders.push(path),
                _ if name.ends_with(".py") => modules.push(path.with_extension("")),
                _ => {}
            }
        }
    }
    modules.sort();
    Ok(modules)
}

/// The files and folders that `.feastignore` names. Patterns are not followed, and noted.
fn ignored(folder: &Path, repository: &mut Repository) -> HashSet<PathBuf> {
    let file = folder.join(".feastignore");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut ignored = HashSet::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.contains(['*', '?', '[']) {
            let at = Place {
                file: repository.shown(&file),
                line: number + 1,
            };
            let why = "it is a pattern, and only plain paths are left out";
            repository.notes.look_at(
                at,
                &format!("`{line}`"),
                why,
                "delete what comes of the files that it means",
            );
        } else if !line.is_empty() {
            ignored.insert(folder.join(line.trim_end_matches('/')));
        }
    }
    ignored
}
