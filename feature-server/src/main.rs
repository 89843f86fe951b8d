//! The `feature-server` program: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use feature_defs::definitions::Diagnostics;
use feature_server::cli::Cli;

/// A run and an answer allocate some dozens of times a row, and threads free what others allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run().await {
        Ok(code) => code,
        Err(error) => {
            // Diagnostics of definition files say "error" themselves, once each.
            match error.downcast_ref::<Diagnostics>() {
                Some(diagnostics) => eprintln!("{diagnostics}"),
                None => eprintln!("error: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}
