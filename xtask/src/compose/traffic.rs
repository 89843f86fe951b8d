//! Predictions asked for one after another while something else happens, and what came of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Server},
    interrupt,
};

pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

/// What came of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u32,
    /// Of the answered, those that say so.
    pub(crate) degraded: u32,
    /// The server could not be reached, or its container went before it answered.
    pub(crate) unreached: u32,
    /// Answers that are no predictions.
    pub(crate) refused: Vec<String>,
    pub(crate) slowest: Duration,
    /// The longest time without an answer.
    pub(crate) gap: Duration,
}

impl Traffic {
    pub(crate) fn start(server: &Server, path: &'static str, body: Value) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, server) = (Arc::clone(&stop), server.clone());
        let thread = thread::spawn(move || {
            let mut tally = Tally::default();
            let mut last_answer = Instant::now();
            while !stopped.load(Ordering::Relaxed) && interrupt::pause().is_ok() {
                let asked = Instant::now();
                match server.ask(path, &body) {
                    Ok(answer) => tally.count(&answer, asked.elapsed()),
                    Err(_) => {
                        tally.unreached += 1;
                        continue;
                    }
                }
                tally.gap = tally.gap.max(last_answer.elapsed());
                last_answer = Instant::now();
            }
            tally
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread that asked for predictions panicked"))
    }
}

impl Tally {
    fn count(&mut self, answer: &Answer, took: Duration) {
        self.slowest = self.slowest.max(took);
        if answer.status != 200 || answer.body["predictions"][0].is_null() {
            self.refused.push(format!("{}: {}", answer.status, answer.body));
            return;
        }
        self.answered += 1;
        if answer.body["rows"][0]["degraded"] != json!([]) {
            self.degraded += 1;
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} predictions, the slowest in {} ms, {} of them flagged degraded; {} requests not answered, {} refused; \
             at most {} ms without an answer",
            self.answered,
            self.slowest.as_millis(),
            self.degraded,
            self.unreached,
            self.refused.len(),
            self.gap.as_millis()
        )
    }
}
