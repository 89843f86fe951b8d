//! Processes by identity: a pid counts only together with its start time, so that a reused pid is never mistaken for ours.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

/// How long a process may take to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// A process, and nobody else who gets its number later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pid: i32,
    /// In clock ticks since boot, field 22 of `/proc/PID/stat`.
    started: u64,
    /// The boot those ticks count from.
    boot: String,
}

/// How a program is asked to end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum StopBy {
    /// SIGTERM to the whole process group: for programs that have children which would outlive them.
    TerminateGroup,
    /// SIGTERM to the process.
    Terminate,
    /// SIGINT to the process: Postgres then ends its sessions instead of waiting for them.
    Interrupt,
}

impl ProcessId {
    /// `None` if no such process runs.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name, in parentheses, may hold spaces and parentheses of its own.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        // A zombie has ended; its parent has not looked yet.
        if matches!(state, "Z" | "X") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()?
            .trim()
            .to_owned();
        Some(Self { pid, started, boot })
    }

    /// The identity of a child that ended before it could be looked at: no process has it.
    pub(crate) fn ended(pid: i32) -> Self {
        Self {
            pid,
            started: 0,
            boot: String::new(),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn is_running(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Asks, waits, and kills if asking was not enough. Fine if it has already ended.
    pub(crate) fn stop(&self, by: StopBy) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        // A process that ends between the check and the signal is as good as stopped: errors say no more than that.
        let _ = match by {
            StopBy::TerminateGroup => kill_process_group(pid, Signal::TERM),
            StopBy::Terminate => kill_process(pid, Signal::TERM),
            StopBy::Interrupt => kill_process(pid, Signal::INT),
        };
        if self.has_ended_within(PATIENCE) {
            return Ok(());
        }
        // Each program we start leads a group of its own.
        let _ = kill_process_group(pid, Signal::KILL);
        if !self.has_ended_within(PATIENCE) {
            bail!("process {} does not end, not even by SIGKILL", self.pid);
        }
        Ok(())
    }

    /// Not cut short by Ctrl-C: cleaning up is what Ctrl-C asks for.
    fn has_ended_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    #[test]
    fn a_running_process_is_stopped() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(id.is_running());
        id.stop(StopBy::Terminate).unwrap();
        assert!(!id.is_running());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_only_shares_the_pid_is_left_alone() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        let stranger = ProcessId {
            started: id.started + 1,
            ..id.clone()
        };
        assert!(!stranger.is_running());
        stranger.stop(StopBy::TerminateGroup).unwrap();
        assert!(id.is_running());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
