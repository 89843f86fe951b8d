//! The command line.

mod args;
mod check;
mod predict;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service::telemetry::{self, LogArgs};

/// Serves ONNX models on stored and request-time features.
#[derive(Debug, Parser)]
#[command(name = "predictor", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer predictions over HTTP
    Serve(serve::Serve),
    /// Load a model, check it against its feature service and print what it takes and gives
    Check(check::Check),
    /// Make one prediction here and explain it
    Predict(predict::Predict),
}

impl Cli {
    /// Runs the command. The exit code is 0 when done, 1 when failed; wrong usage (2) does not come so far.
    pub fn run(self) -> ExitCode {
        let outcome = telemetry::init_logs(&self.log).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                match self.command {
                    Command::Serve(serve) => serve.run().await,
                    Command::Check(check) => check.run(),
                    Command::Predict(predict) => predict.run().await,
                }
            })
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("predictor: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}
