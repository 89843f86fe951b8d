//! What the feature server has recorded of its runs: whether it goes on, and whether the stores have kept what they had.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::stack::{self, Stack};

/// The runs that have computed a whole view.
pub(crate) struct Runs {
    full: BTreeSet<String>,
}

impl Runs {
    /// Waits until each view has been computed as a whole.
    pub(crate) fn await_full(stack: &Stack) -> Result<Self> {
        let views = stack.feature_server.get("/v1/views")?;
        let views = views["views"].as_array().context("/v1/views lists views")?.len();
        let mut full = BTreeSet::new();
        let done = stack::await_that(|| {
            full = recorded(stack).map(|runs| done(&runs, "full")).unwrap_or_default();
            full.len() >= views
        })?;
        ensure!(done, "{} of {views} views were computed", full.len());
        Ok(Self { full })
    }

    /// Waits for a run that begins from now on and is done.
    pub(crate) fn await_another(stack: &Stack) -> Result<()> {
        let mut before = None;
        let went_on = stack::await_that(|| {
            let Ok(now) = recorded(stack) else { return false };
            let now = done(&now, "incremental");
            let before = before.get_or_insert_with(|| now.clone());
            !now.is_subset(before)
        })?;
        ensure!(went_on, "the feature server has not gone on with its runs");
        Ok(())
    }

    /// Had Redis or Postgres lost something, views would have been computed as a whole again.
    pub(crate) fn check_none_is_lost(&self, stack: &Stack) -> Result<()> {
        let runs = recorded(stack)?;
        let full = done(&runs, "full");
        ensure!(
            full == self.full,
            "full runs were {:?}, and are {full:?}: a store has lost what it had",
            self.full
        );
        Ok(())
    }
}

fn recorded(stack: &Stack) -> Result<Vec<Value>> {
    let answer = stack.feature_server.get("/v1/runs?limit=1000")?;
    Ok(answer["runs"].as_array().context("/v1/runs lists runs")?.clone())
}

/// The ids of those of a kind that are done.
fn done(runs: &[Value], kind: &str) -> BTreeSet<String> {
    runs.iter()
        .filter(|run| run["kind"] == kind && run["outcome"] == "done")
        .filter_map(|run| run["id"].as_str().map(str::to_owned))
        .collect()
}
