//! Whether a run must compute everything, and whether it writes whatever stands there.

use crate::world::Mode;

/// Whether the next incremental run must be a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    No,
    /// A run was interrupted, perhaps between its last two steps.
    Perhaps,
    Yes,
}

/// Whether a run writes every value, whatever stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complete {
    No,
    Perhaps,
    Yes,
}

pub(super) fn complete(mode: Mode, was_forced: bool, forced: Forced) -> Complete {
    match (mode, forced) {
        (Mode::Replace, _) => Complete::Yes,
        _ if was_forced => Complete::Yes,
        (Mode::Full | Mode::Incremental, Forced::Yes) => Complete::Yes,
        (Mode::Full | Mode::Incremental, Forced::Perhaps) => Complete::Perhaps,
        (Mode::Full | Mode::Incremental, Forced::No) => Complete::No,
    }
}
