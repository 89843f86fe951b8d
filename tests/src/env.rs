//! What `cargo xtask test` tells the tests.

use std::path::PathBuf;

/// The value of a variable that `cargo xtask test` sets.
///
/// # Panics
/// If it is not set: the tests were started some other way.
pub fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

/// The workspace's root.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// A program of this workspace, as `cargo build` left it beside this test.
///
/// # Panics
/// If it was not built.
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    path.push(name);
    assert!(
        path.exists(),
        "{} is not built: run the tests with `cargo xtask test`",
        path.display()
    );
    path
}
