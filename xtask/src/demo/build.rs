//! The programs that the demo runs, built by cargo.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    cargo,
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
        let mut cargo = cargo::command("build");
        cargo.arg("--message-format=json-render-diagnostics");
        for name in NAMES {
            cargo.args(["--package", name]);
        }
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
