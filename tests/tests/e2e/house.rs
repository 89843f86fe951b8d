//! The invariants of ARCHITECTURE.md that can be read off the tree.

use std::path::{Path, PathBuf};

use end_to_end::env::root;

/// Every Rust file of the workspace.
fn rust_files() -> Vec<PathBuf> {
    let members = [
        "feature-defs",
        "table-files",
        "online-store",
        "service",
        "feature-server",
        "predictor",
        "examples",
        "tests",
        "xtask",
    ];
    let mut files = Vec::new();
    let mut dirs: Vec<PathBuf> = members.iter().map(|m| root().join(m)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "the walk found the code");
    files
}

fn dependencies(member: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let rules: [(&str, &[&str]); 6] = [
        (
            "feature-defs",
            &[
                "tokio",
                "sqlx",
                "redis",
                "axum",
                "parquet",
                "table-files",
                "online-store",
                "service",
            ],
        ),
        (
            "table-files",
            &["tokio", "sqlx", "redis", "axum", "online-store", "service"],
        ),
        (
            "online-store",
            &[
                "sqlx",
                "axum",
                "parquet",
                "table-files",
                "service",
                "feature-server",
                "predictor",
            ],
        ),
        (
            "service",
            &[
                "sqlx",
                "redis",
                "parquet",
                "feature-defs",
                "table-files",
                "online-store",
                "feature-server",
                "predictor",
            ],
        ),
        ("feature-server", &["predictor", "ort", "redis", "parquet", "csv"]),
        ("predictor", &["feature-server", "sqlx", "parquet"]),
    ];
    for (member, forbidden) in rules {
        let dependencies = dependencies(member);
        for name in forbidden {
            assert!(
                !dependencies.iter().any(|d| d == name),
                "{member} must not depend on {name}"
            );
        }
    }
}

#[test]
fn redis_keys_are_spelled_in_one_place() {
    // A crate's own tests spell what they expect to find.
    let is_test = |path: &Path| path.components().any(|part| part.as_os_str() == "tests");
    let speller = |path: &Path| path.ends_with("feature-defs/src/key.rs") || is_test(path);
    for path in rust_files().into_iter().filter(|p| !speller(p)) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // The prediction cache is not the feature store; its keys have one place of their own.
            let spelled = code.contains("\"larder:") && !code.contains("\"larder:prediction:");
            assert!(!spelled, "{}:{} spells a Redis key", path.display(), number + 1);
        }
    }
}

#[test]
fn every_file_says_what_lives_there() {
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} does not begin with a `//!` sentence",
            path.display()
        );
    }
}
