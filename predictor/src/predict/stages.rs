//! Where the time of one prediction went.

use std::time::Duration;

/// How long each stage of one request took; `None` where it was not needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// Reading and checking the request.
    pub validate: Duration,
    /// Reading stored features.
    pub feature_read: Option<Duration>,
    /// Looking into the prediction cache, waiting for runs of others included.
    pub cache: Option<Duration>,
    /// Waiting for a session.
    pub queue: Option<Duration>,
    /// The model itself.
    pub model_run: Option<Duration>,
    /// All of it.
    pub total: Duration,
}

impl Stages {
    /// Adds `took` to a stage.
    pub fn add(stage: &mut Option<Duration>, took: Duration) {
        *stage = Some(stage.unwrap_or_default() + took);
    }
}
