//! The programs that the demo runs, built by cargo.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    folder,
    instance::{Instance, Output},
    say,
};

const NAMES: [&str; 3] = ["feature-server", "predictor", "flights"];

/// Where the programs are.
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub(super) fn build(instance: &mut Instance) -> Result<Self> {
        say::step("Building the servers (minutes the first time: cargo shows how far it is)");
        let since = Instant::now();
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--message-format=json-render-diagnostics"])
            .current_dir(folder::workspace());
        for name in NAMES {
            cargo.args(["--package", name]);
        }
        // Queries are checked against the files in .sqlx: no database is needed, and none of the user's is asked.
        cargo.env("SQLX_OFFLINE", "true");
        let messages = instance
            .run("cargo-build", cargo, Output::MessagesToTerminal)?
            .success("building the servers")?;
        let program = messages
            .lines()
            .find_map(executable)
            .context("cargo did not say where it built the servers")?;
        let folder = program.parent().context("a program stands in a folder")?.to_owned();
        say::note(&format!("Built in {} s.", since.elapsed().as_secs()));
        Ok(Self { folder })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The program that a message of cargo's tells of. All three stand in one folder.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let program = message.get("executable")?.as_str()?;
    let name = message.pointer("/target/name")?.as_str()?;
    NAMES.contains(&name).then(|| program.into())
}
