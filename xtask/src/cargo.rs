//! Cargo, started from within `cargo xtask`.

use std::{env, process::Command};

use crate::folder;

/// Cargo in the workspace's root, without what the outer one says about the package xtask: build scripts that look at such
/// variables (ring's does) would run again, and all that depends on them be built again, each time.
pub(crate) fn command(subcommand: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(subcommand).current_dir(folder::workspace());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}
