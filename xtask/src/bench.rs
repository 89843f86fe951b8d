//! `cargo xtask bench`: what Larder costs beside its parts, on a private Postgres and Redis, with programs built as they are shipped.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    cargo,
    folder::{self, SetupLock},
    instance::{self, Instance, Output},
    machine::{self, Need},
    postgres::{Durability, Postgres},
    python, say,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also measure the same work by Feast and MLServer, in virtual environments
    #[arg(long)]
    peers: bool,
    /// What to measure, and how: `cargo xtask bench -- --help` tells
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    say::title("Larder's benchmark. The first build takes many minutes: programs are built as they are shipped.");
    let mut instance = Instance::open("bench")?;
    let lock = SetupLock::take()?;
    machine::provide(&[Need::Postgres, Need::Redis, Need::Pip])?;
    let onnxruntime = python::onnxruntime(&mut instance)?;
    let packages = python::packages(&mut instance)?;
    let wanted = args.peers.then_some(python::Package::PEERS).into_iter().flatten();
    let peers: Vec<_> = wanted
        .map(|peer| Ok((peer, python::environment(&mut instance, peer)?)))
        .collect::<Result<_>>()?;
    drop(lock);
    let bench = build(&mut instance)?;
    say::step("Starting a private Postgres");
    let postgres = Postgres::start(&mut instance, Durability::None)?;
    let mut command = std::process::Command::new(&bench);
    command
        .current_dir(folder::workspace())
        .args(&args.args)
        .env("LARDER_TEST_DATABASE_URL", postgres.url("postgres"))
        .env(
            "LARDER_TEST_REDIS_SERVER",
            machine::redis_server()?.context("Redis was just found")?,
        )
        .env("LARDER_TEST_PYTHONPATH", &packages)
        .env("LARDER_ONNXRUNTIME", &onnxruntime);
    if args.peers {
        command.arg("--peers");
    }
    for (peer, python) in &peers {
        command.env(peer.variable(), python);
    }
    say::step(&format!("Running {}", instance::described(&command)));
    let finished = instance.run("bench", command, Output::Terminal)?;
    Ok(if finished.status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the programs and the benchmark in one go, for one set of features; where the benchmark is.
fn build(instance: &mut Instance) -> Result<PathBuf> {
    say::step("Building the servers and the benchmark");
    let mut cargo = cargo::command("build");
    cargo.args(["--release", "--workspace", "--bins", "--bench", "larder"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let messages = instance
        .run("cargo-build", cargo, Output::MessagesToTerminal)?
        .success("building the benchmark")?;
    let found = messages.lines().find_map(benchmark);
    found.context("cargo did not say where it built the benchmark")
}

/// The benchmark, if a message of cargo's tells of it.
fn benchmark(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_ours = message.pointer("/target/name")? == "larder";
    let path = message.get("executable")?.as_str()?;
    is_ours.then(|| Path::new(path).to_owned())
}
