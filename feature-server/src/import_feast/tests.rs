//! Construct by construct: what is written for it, and what is said of it. Whole repositories: `tests/import_feast.rs`.

use std::path::Path;

use feature_defs::definitions;

use super::{Import, ImportError, import_feast};

mod broken;
mod constructs;
mod python;

const STORE: &str = "project: shop\noffline_store:\n  type: postgres\n";

const IMPORTS: &str = "import os
from datetime import timedelta
from feast import *
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import *
user = Entity(name='user', value_type=ValueType.INT64)
events = PostgreSQLSource(name='events', table='events', timestamp_field='at')
view = FeatureView(name='view', entities=[user], schema=[Field(name='x', dtype=Int64)], source=events)
";

/// A repository of these files, imported: what was written, as one text, and what was said.
struct Imported {
    import: Import,
    text: String,
}

fn import(files: &[(&str, &str)]) -> Result<Imported, ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    for (name, text) in [("feature_store.yaml", STORE)].iter().chain(files) {
        let path = repository.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let out = dir.path().join("features");
    let import = import_feast(&repository, &out)?;
    if !import.files.is_empty() {
        definitions::load(&out).unwrap_or_else(|problems| panic!("{problems}"));
    }
    let text = import.files.iter().map(|file| text_of(file)).collect();
    Ok(Imported { import, text })
}

fn text_of(file: &Path) -> String {
    let name = file.file_name().unwrap().to_string_lossy();
    format!("== {name}\n{}", std::fs::read_to_string(file).unwrap())
}

/// Imports `python`, after [`IMPORTS`], as the one file of a repository.
fn import_one(python: &str) -> Imported {
    import(&[("repo.py", &format!("{IMPORTS}{python}\n"))]).unwrap()
}

impl Imported {
    fn said(&self) -> String {
        let notes = self.import.look_at.iter().chain(&self.import.not_carried);
        let notes: Vec<String> = notes.map(ToString::to_string).collect();
        notes.join("\n")
    }
}

/// What is written for `python` has `written` in it, and what is said has `said`.
fn check(python: &str, written: &[&str], said: &[&str]) {
    let imported = import_one(python);
    for wanted in written {
        assert!(
            imported.text.contains(wanted),
            "{python}\nhas no {wanted}:\n{}",
            imported.text
        );
    }
    for wanted in said {
        assert!(
            imported.said().contains(wanted),
            "{python}\nsays not {wanted}:\n{}",
            imported.said()
        );
    }
    if said.is_empty() {
        assert_eq!(imported.said(), "", "{python}");
    }
}
