//! The `feature-server` program: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use feature_server::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
