//! `cargo xtask down`: stops what `demo`, `test` and `bench` have started here, whether they still run or were killed.

use anyhow::Result;

use crate::{compose, instance, say};

pub(crate) fn run() -> Result<()> {
    let mut stopped = Vec::new();
    for name in instance::NAMES {
        stopped.extend(instance::stop(name)?);
    }
    stopped.extend(compose::stop()?);
    match stopped.as_slice() {
        [] => say::title("Nothing was running."),
        stopped => say::title(&format!("Stopped: {}.", stopped.join(", "))),
    }
    Ok(())
}
