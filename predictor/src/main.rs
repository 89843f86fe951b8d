//! `predictor`: parse, dispatch.

use std::process::ExitCode;

use clap::Parser;
use predictor::cli::Cli;

/// A prediction allocates some dozens of times, on whichever thread is free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
