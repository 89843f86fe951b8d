//! `cargo xtask`: the demo, the tests and the benchmark, with all their set-up, and `down`, which stops what they started.

mod bench;
mod cargo;
mod client;
mod compose;
mod demo;
mod down;
mod folder;
mod instance;
mod interrupt;
mod machine;
mod postgres;
mod process;
mod python;
mod redis;
mod say;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Larder's demo, tests and benchmark, set-up included"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, load real flights, and predict one before and after fresh data comes in
    Demo(demo::Args),
    /// Run all tests on a private Postgres and Redis
    Test(test::Args),
    /// Measure predictions, materialization and training sets beside what their parts cost alone
    Bench(bench::Args),
    /// Stop whatever `demo`, `test` and `bench` have started, and nothing else
    Down,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = interrupt::listen().and_then(|()| match cli.command {
        Command::Demo(args) => demo::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Down => down::run().map(|()| ExitCode::SUCCESS),
    });
    match outcome {
        Ok(code) => code,
        Err(error) if error.is::<interrupt::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}
