//! The running server: schedules, HTTP and changing definitions, until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::http;
use crate::live::Live;
use crate::reload::{DefinitionFiles, Followers};
use crate::runs::Runs;
use crate::schedule::{Scheduler, Schedules, keep_gauges};
use crate::verify;

/// What an operator decides about a running server.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Scheduled runs at a time, and as many that are asked for over HTTP.
    pub concurrent_runs: usize,
    /// How often every view is verified; never, if `None`.
    pub verify_every: Option<Duration>,
    /// How long requests and runs in flight may take to finish when told to stop.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            concurrent_runs: 2,
            verify_every: None,
            drain: Duration::from_secs(30),
        }
    }
}

impl App {
    /// Runs schedules and answers HTTP until `stop`, then lets runs and requests in flight finish. Takes up the definitions
    /// anew when their files change, if it is told where they are.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        files: Option<DefinitionFiles>,
        stop: CancellationToken,
        options: ServeOptions,
    ) -> std::io::Result<()> {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(
                "feature server of project {} at http://{address}",
                self.definitions().project
            );
        }
        let schedules = Arc::new(Schedules::default());
        let live = Live::new(Arc::clone(self));
        let runs = Arc::new(Runs::new(options.concurrent_runs, stop.clone()));
        let router = http::router(&live, &schedules, &runs);
        let tasks = TaskTracker::new();
        let scheduler = Scheduler::new(&schedules, options.concurrent_runs, &tasks, &stop);
        tasks.spawn(Followers::new(&live, scheduler, &tasks, &stop).follow(files));
        tasks.spawn(keep_gauges(Arc::clone(&live), stop.clone()));
        if let Some(every) = options.verify_every {
            tasks.spawn(verify::watch(live, every, stop.clone()));
        }
        let served = service::server::serve_here(listener, router, stop.clone(), options.drain).await;
        // Also when the listener failed.
        stop.cancel();
        tasks.close();
        let finished = async { tokio::join!(tasks.wait(), runs.wait()) };
        if tokio::time::timeout(options.drain, finished).await.is_err() {
            tracing::warn!(
                "stopped with runs unfinished after {} s; running again covers their ground",
                options.drain.as_secs()
            );
        }
        served
    }
}
