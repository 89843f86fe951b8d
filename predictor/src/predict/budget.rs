//! The time a request may take, handed down to everything that waits.

use std::time::{Duration, Instant};

/// When a request began and when its answer is due.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    started: Instant,
    total: Duration,
}

impl Budget {
    /// Begins now.
    pub fn start(total: Duration) -> Self {
        Self {
            started: Instant::now(),
            total,
        }
    }

    /// The moment the answer is due.
    pub fn deadline(&self) -> Instant {
        self.started + self.total
    }

    /// How long it is in whole.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the answer is overdue.
    pub fn is_over(&self) -> bool {
        self.elapsed() > self.total
    }

    /// For reading stored features: half of the whole, so that the other half is there for the model or its fallback.
    pub fn for_features(&self) -> Duration {
        (self.total / 2).saturating_sub(self.elapsed())
    }

    /// For the cache that predictors share: a tenth of the whole, 10 ms at most. Without it the model runs, that's all.
    pub fn for_cache(&self) -> Duration {
        (self.total / 10)
            .min(Duration::from_millis(10))
            .min(self.total.saturating_sub(self.elapsed()))
    }
}
