//! The examples of docs/definitions.md: those that are right load together, what is wrong is answered as it says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::Path;

use feature_defs::definitions::{Function, load};
use feature_defs::value::ValueType;

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/definitions.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    let blocks = fenced.filter_map(|block| block.split_once('\n'));
    blocks
        .filter(|(found, _)| *found == language)
        .map(|(_, block)| format!("{block}\n"))
        .collect()
}

fn directory(files: &[String]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, text) in files.iter().enumerate() {
        std::fs::write(dir.path().join(format!("{number}.toml")), text).unwrap();
    }
    std::fs::write(dir.path().join("arrivals.sql"), "SELECT * FROM arrivals;\n").unwrap();
    dir
}

#[test]
fn the_examples_load() {
    let text = documentation();
    let files = blocks(&text, "toml");
    let definitions = load(directory(&files).path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        (
            files.len(),
            definitions.views.len(),
            definitions.services[0].inputs.len()
        ),
        (6, 2, 5)
    );
}

#[test]
fn what_is_wrong_is_answered_as_it_says() {
    let text = documentation();
    let mut files = blocks(&text, "toml");
    files.append(&mut blocks(&text, "toml wrong"));
    let problems = load(directory(&files).path()).unwrap_err();
    let said: Vec<String> = problems
        .0
        .iter()
        .flat_map(|problem| [Some(problem.message.clone()), problem.help.clone()])
        .flatten()
        .collect();
    let shown = blocks(&text, "text").concat();
    assert_eq!(said, shown.lines().collect::<Vec<_>>());
}

#[test]
fn every_type_and_function_is_named() {
    let text = documentation();
    let names = ValueType::ALL.map(ValueType::name).into_iter();
    for name in names.chain(Function::ALL.map(Function::name)) {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}
