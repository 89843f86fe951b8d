//! `cargo xtask test`: all tests, on a private Postgres and Redis that are stopped afterwards, however it ends.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    cargo, compose,
    folder::{self, SetupLock},
    instance::{self, Instance, Output},
    machine::{self, Need},
    postgres::{self, Durability, Postgres},
    python,
    redis::Redis,
    say,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Replay all of the test period in the accuracy test, not only one week (takes long)
    #[arg(long)]
    auc_all: bool,
    /// How many random histories of an entity to compare with the naive model (about an hour for a million)
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// Instead of the tests: build and run docker-compose.yml, and try it (needs a Docker engine with Compose)
    #[arg(long, conflicts_with_all = ["auc_all", "cases", "cargo_args"])]
    compose: bool,
    /// Instead of the tests: drive the feature server with Feast's own SDK and the predictor with Triton's client, in virtual
    /// environments
    #[arg(long, conflicts_with_all = ["auc_all", "cases", "compose"])]
    clients: bool,
    /// Passed on to `cargo test`, which tests the whole workspace unless these name a package
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<String>,
}

/// What the tests find in their environment.
struct Environment {
    postgres: Postgres,
    redis: Redis,
    onnxruntime: PathBuf,
    python: PathBuf,
    flights: PathBuf,
    locale: PathBuf,
    /// The Pythons that have others' clients, if these are wanted.
    clients: Vec<(python::Package, PathBuf)>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.compose {
        return compose::run();
    }
    say::title("Larder's tests, on a Postgres and a Redis of their own. The first build takes minutes.");
    let mut instance = Instance::open("test")?;
    let environment = set_up(&mut instance, args)?;
    if args.clients {
        // They drive it as a program, which the tests of one package do not build.
        let mut build = cargo::command("build");
        build.args(["--workspace", "--bin", "predictor"]);
        say::step(&format!("Running {}", instance::described(&build)));
        instance
            .run("cargo-build", build, Output::Terminal)?
            .success("building the predictor")?;
    }
    let command = cargo_test(args, &environment);
    say::step(&format!("Running {}", instance::described(&command)));
    let finished = instance.run("cargo-test", command, Output::Terminal)?;
    if finished.status.success() {
        say::title("\nAll tests passed.");
        return Ok(ExitCode::SUCCESS);
    }
    say::title("\n`cargo test` failed: see above.");
    Ok(finished
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn set_up(instance: &mut Instance, args: &Args) -> Result<Environment> {
    let lock = SetupLock::take()?;
    machine::provide(&[Need::Postgres, Need::Redis, Need::Pip, Need::Locales])?;
    let onnxruntime = python::onnxruntime(instance)?;
    let python = python::packages(instance)?;
    let flights = python::flights(instance)?;
    let locale = build_locale(instance)?;
    let wanted = args.clients.then_some(python::Package::CLIENTS).into_iter().flatten();
    let clients = wanted
        .map(|client| Ok((client, python::environment(instance, client)?)))
        .collect::<Result<_>>()?;
    drop(lock);
    say::step("Starting a private Postgres and Redis");
    let postgres = Postgres::start(instance, Durability::None)?;
    let redis = Redis::start(instance)?;
    say::note(&postgres::describe(&postgres, instance));
    say::note(&format!("Redis on 127.0.0.1:{}", redis.port()));
    Ok(Environment {
        postgres,
        redis,
        onnxruntime,
        python,
        flights,
        locale,
        clients,
    })
}

fn cargo_test(args: &Args, environment: &Environment) -> Command {
    let mut command = cargo::command("test");
    if args.clients {
        // Of the whole workspace, as the other tests are, so that nothing is built for another set of features.
        command.args(["--workspace", "--test", "clients"]);
    } else if !args
        .cargo_args
        .iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
    {
        command.arg("--workspace");
    }
    command
        .args(&args.cargo_args)
        .env("LARDER_TEST_DATABASE_URL", environment.postgres.url("postgres"))
        .env("LARDER_TEST_POSTGRES_BIN", environment.postgres.bin())
        .env("LARDER_TEST_REDIS_URL", environment.redis.url())
        .env("LARDER_TEST_REDIS_SERVER", environment.redis.program())
        .env("LARDER_TEST_LOCPATH", &environment.locale)
        .env("LARDER_TEST_PYTHONPATH", &environment.python)
        .env("LARDER_TEST_FLIGHTS", &environment.flights)
        .env("LARDER_ONNXRUNTIME", &environment.onnxruntime);
    for (client, python) in &environment.clients {
        command.env(client.variable(), python);
    }
    if args.auc_all {
        command.env("LARDER_TEST_AUC", "all");
    }
    if let Some(cases) = args.cases {
        command.env("LARDER_TEST_CASES", cases.to_string());
    }
    command
}

/// A folder for LOCPATH with de_DE.UTF-8, which orders bytes otherwise than C does.
fn build_locale(instance: &mut Instance) -> Result<PathBuf> {
    let dir = folder::larder().join("locale");
    let made = dir.join("de_DE.UTF-8");
    if made.join("LC_COLLATE").exists() {
        return Ok(dir);
    }
    let part = dir.join("part");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    let mut localedef = Command::new("localedef");
    localedef.args(["-i", "de_DE", "-f", "UTF-8"]).arg(&part);
    let built = instance.run("localedef", localedef, Output::Log)?;
    // It fails over warnings, too, and builds the locale all the same.
    if !part.join("LC_COLLATE").exists() {
        built.success("building a locale for the tests")?;
    }
    fs::rename(&part, &made).with_context(|| format!("cannot create {}", made.display()))?;
    Ok(dir)
}
