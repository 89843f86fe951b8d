//! Repositories that can't be read, and places that can't be written to.

use super::{IMPORTS, STORE, import};
use crate::import_feast::{ImportError, import_feast};
use crate::{Import, WriteError};

fn files(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_no_repository_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("features");
    let refused = || import_feast(dir.path(), &out).unwrap_err().to_string();
    assert!(refused().contains("is no Feast repository"), "{}", refused());
    for (yaml, expected) in [
        ("", "is empty"),
        ("a: [", "is not YAML"),
        ("registry: r", "says no `project`"),
        ("project: [a]", "says no `project`"),
    ] {
        std::fs::write(dir.path().join("feature_store.yaml"), yaml).unwrap();
        assert!(refused().contains(expected), "{yaml}: {}", refused());
    }
    assert!(import_feast(&dir.path().join("absent"), &out).is_err());
    assert!(!out.exists());
}

#[test]
fn a_repository_without_a_view_to_carry_over_writes_nothing() {
    let imported = import(&[("repo.py", "from feast import Entity\ne = Entity(name='e')")]).unwrap();
    assert_eq!(imported.import.files.len(), 0);
}

#[test]
fn files_that_cannot_be_read_are_named_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("feature_store.yaml", STORE.as_bytes()),
        ("repo.py", IMPORTS.as_bytes()),
        ("half.py", b"from feast import Entity\ne = Entity(\n"),
        ("latin.py", b"# caf\xe9\n"),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let Import { files, not_carried, .. } = import_feast(dir.path(), &dir.path().join("features")).unwrap();
    assert_eq!(files.len(), 2);
    let at: Vec<&str> = not_carried.iter().map(|note| note.at.as_str()).collect();
    assert_eq!(at, ["half.py:3", "latin.py"]);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let (repository, out) = (dir.path().join("repository"), dir.path().join("features"));
    std::fs::create_dir_all(&repository).unwrap();
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(repository.join("feature_store.yaml"), STORE).unwrap();
    let query = "q = PostgreSQLSource(name='zzz', query='SELECT 1', timestamp_field='at')\n";
    std::fs::write(repository.join("repo.py"), format!("{IMPORTS}{query}")).unwrap();

    std::fs::write(out.join("zzz.sql"), "mine").unwrap();
    let error = import_feast(&repository, &out).unwrap_err();
    assert!(
        matches!(error, ImportError::Write(WriteError::FileExists(_))),
        "{error}"
    );
    assert_eq!(files(&out), ["zzz.sql"]);
    assert_eq!(std::fs::read_to_string(out.join("zzz.sql")).unwrap(), "mine");

    std::fs::write(out.join("own.toml"), "format = 1\nproject = \"own\"\n").unwrap();
    let error = import_feast(&repository, &out).unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty(_)), "{error}");
    assert_eq!(files(&out), ["own.toml", "zzz.sql"]);

    let elsewhere = dir.path().join("a/new/place");
    import_feast(&repository, &elsewhere).unwrap();
    assert_eq!(files(&elsewhere), ["feature_store.toml", "repo.toml", "zzz.sql"]);
    let again = import_feast(&repository, &elsewhere).unwrap_err();
    assert!(matches!(again, ImportError::NotEmpty(_)), "{again}");
}
