//! What processes cost: the time of the CPU, and memory.

use std::fs;

use anyhow::{Context, Result};

/// The kernel counts in hundredths of a second wherever Linux runs today.
const TICKS_A_SECOND: f64 = 100.0;

/// The seconds of CPU that a process has used, its threads included.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is not there"))?;
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat has a name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| -> Result<f64> { Ok(fields.get(field).context("/proc/PID/stat is short")?.parse()?) };
    // utime and stime, the 14th and 15th of all.
    Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

/// The most memory that a process has had, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is not there"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM is not told")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
