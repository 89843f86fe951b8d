//! The command line.

mod args;
mod check;
mod check_cache;
mod compare;
mod files;
mod predict;
mod score;
mod serve;

use std::fmt;
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
    /// Answer predictions over HTTP and gRPC, taking up definitions and models as they change
    Serve(serve::Serve),
    /// Load a model, check it against its feature service and print what it takes and gives
    Check(check::Check),
    /// Make one prediction here and explain it
    Predict(predict::Predict),
    /// Predict every row of a file
    #[command(disable_version_flag = true)]
    Score(score::Score),
    /// Predict the rows of a file by two versions of a model, and say how they differ
    Compare(compare::Compare),
}

impl Cli {
    /// Runs the command. The exit code is 0 when done, 1 when failed, 2 when wrongly used.
    pub fn run(self) -> ExitCode {
        let outcome = telemetry::init_logs(&self.log).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                match self.command {
                    Command::Serve(serve) => serve.run().await,
                    Command::Check(check) => check.run().await,
                    Command::Predict(predict) => predict.run().await,
                    Command::Score(score) => score.run().await,
                    Command::Compare(compare) => compare.run().await,
                }
            })
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                if error.is::<WrongUsage>() {
                    ExitCode::from(2)
                } else {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// A mistake in the command line itself, which the parser could not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

impl WrongUsage {
    fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}
