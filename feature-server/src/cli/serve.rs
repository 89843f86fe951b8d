//! `feature-server serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use feature_defs::time::Span;
use service::lifecycle;

use super::Places;
use crate::app::{App, Time};
use crate::reload::DefinitionFiles;
use crate::serve::ServeOptions;

#[derive(Args)]
pub(super) struct Arguments {
    /// Address to answer HTTP on
    #[arg(long, env = "LARDER_LISTEN", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Scheduled runs at a time
    #[arg(long, env = "LARDER_CONCURRENT_RUNS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    concurrent_runs: u16,
    /// How often to recompute a sample of every view's entities from the source and compare, such as 1h: log and metrics tell
    /// [default: never]
    #[arg(long, env = "LARDER_VERIFY_EVERY", value_name = "SPAN")]
    verify_every: Option<Span>,
    /// How long requests and runs in flight may take to finish when told to stop
    #[arg(long, env = "LARDER_DRAIN", default_value = "30s")]
    drain: Span,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // Before the definitions are read, so that no change is missed.
    let files = DefinitionFiles::watch(&places.features).context("cannot listen to SIGHUP")?;
    let app = App::open(&places.settings()?, files.load()?, Time::SourceDatabase)?;
    let listener = tokio::net::TcpListener::bind(arguments.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; is it in use, or not an address of this machine?",
            arguments.listen
        )
    })?;
    let options = ServeOptions {
        concurrent_runs: usize::from(arguments.concurrent_runs),
        verify_every: arguments.verify_every.map(Span::to_std),
        drain: arguments.drain.to_std(),
    };
    app.serve(listener, Some(files), lifecycle::stop_on_signal()?, options)
        .await?;
    Ok(ExitCode::SUCCESS)
}
