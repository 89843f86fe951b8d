//! `predictor`: parse, dispatch.

use std::process::ExitCode;

use clap::Parser;
use predictor::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
