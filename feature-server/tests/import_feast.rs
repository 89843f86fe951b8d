//! `import-feast` on whole repositories, as its user meets it: every file that it writes, and its report.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::{Path, PathBuf};
use std::process::Command;

use feature_defs::definitions;

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/feast").join(name)
}

/// Runs the command in `dir`: its exit code, output and errors.
fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feature-server"));
    let variables = std::env::vars().filter(|(name, _)| name.starts_with("LARDER_"));
    variables.for_each(|(name, _)| {
        command.env_remove(name);
    });
    let output = command.args(arguments).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// The report of an import and the files that it wrote, which load.
fn imported(name: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let repository = repository(name).display().to_string();
    let (code, report, error) = run(dir.path(), &["import-feast", &repository, "--out", "features"]);
    assert_eq!((code, error.as_str()), (0, ""), "{report}");
    let features = dir.path().join("features");
    definitions::load(&features).unwrap_or_else(|problems| panic!("{problems}"));
    let (code, _, error) = run(dir.path(), &["check"]);
    assert_eq!(code, 0, "{error}");
    let names = std::fs::read_dir(&features).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let files = names.iter().map(|name| {
        let text = std::fs::read_to_string(features.join(name)).unwrap();
        format!("\n==> {name} <==\n{text}")
    });
    report + &files.collect::<String>()
}

#[test]
fn a_first_repository_of_one_file() {
    insta::assert_snapshot!(imported("couriers"));
}

#[test]
fn a_repository_of_a_team() {
    insta::assert_snapshot!(imported("rides"));
}

#[test]
fn exit_codes_say_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let couriers = repository("couriers").display().to_string();
    let (code, _, error) = run(dir.path(), &["import-feast", "nowhere"]);
    assert!(code == 1 && error.contains("nowhere cannot be read"), "{code} {error}");
    let (code, _, error) = run(dir.path(), &["import-feast", "."]);
    assert!(code == 2 && error.contains("is no Feast repository"), "{code} {error}");

    std::fs::write(dir.path().join("feature_store.yaml"), "project: empty\n").unwrap();
    std::fs::write(
        dir.path().join("f.py"),
        "from feast import FileSource\nf = FileSource(name='f')\n",
    )
    .unwrap();
    let (code, report, error) = run(dir.path(), &["import-feast", "."]);
    assert!(
        code == 1 && error.contains("no feature view could be carried over"),
        "{code} {error}"
    );
    assert!(report.contains("f.py:2: source `f`: it is a FileSource"), "{report}");
    assert!(!dir.path().join("features").exists());

    let (code, _, error) = run(dir.path(), &["import-feast", &couriers]);
    assert_eq!((code, error.as_str()), (0, ""), "into the usual directory");
    let (code, _, error) = run(dir.path(), &["import-feast", &couriers]);
    assert!(
        code == 2 && error.contains("features holds definitions already"),
        "{code} {error}"
    );
}
