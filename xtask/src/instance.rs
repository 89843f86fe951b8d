//! One running `demo`, `test` or `bench`: its folder, a lock on it, and the processes it has started, which end with it.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    folder, interrupt,
    process::{ProcessId, StopBy},
    say,
};

pub(crate) const NAMES: [&str; 3] = ["demo", "test", "bench"];

/// Dropping it stops what it started, in the reverse order.
pub(crate) struct Instance {
    dir: PathBuf,
    state: State,
    /// Our children, to be waited for. A record of `state` without one here was left by an earlier run.
    children: Vec<Child>,
    _lock: File,
}

/// Kept in `state.json`, so that a later run or `down` finds what a killed run left behind.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// The xtask that runs it.
    owner: Option<ProcessId>,
    started: Vec<Started>,
    /// Ports used last, by service: kept while they are free.
    ports: BTreeMap<String, u16>,
}

#[derive(Serialize, Deserialize)]
struct Started {
    name: String,
    process: ProcessId,
    stop_by: StopBy,
}

/// Where a foreground command's output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Both to the user: for cargo, which shows its own progress.
    Terminal,
    /// Messages to the user, standard output to be read by us.
    MessagesToTerminal,
    /// Messages to a log that is shown when the command fails, standard output to be read by us.
    Log,
}

/// How a foreground command ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// Where its messages are, if the user has not seen them already.
    log: Option<PathBuf>,
    command: String,
}

impl Instance {
    /// Takes the folder for this process, and stops what a run that was killed left behind.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let dir = folder::larder().join(name);
        let lock_path = dir.join("lock");
        let lock = folder::open_lock(&lock_path)?;
        let mut state = State::load(&dir)?;
        if !folder::try_lock(&lock, &lock_path)? {
            let who = state
                .owner
                .map(|owner| format!(" (process {})", owner.pid()))
                .unwrap_or_default();
            bail!(
                "`cargo xtask {name}` is already running in this folder{who}. \
                 Stop it with Ctrl-C where it runs, or with `cargo xtask down`."
            );
        }
        stop_all(&mut state.started, &mut Vec::new());
        state.owner = i32::try_from(std::process::id()).ok().and_then(ProcessId::of);
        fs::create_dir_all(dir.join("log")).with_context(|| format!("cannot create {}/log", dir.display()))?;
        state.save(&dir)?;
        Ok(Self {
            dir,
            state,
            children: Vec::new(),
            _lock: lock,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// A free port on 127.0.0.1: the one `service` used last if it still is, else the preferred, else any.
    pub(crate) fn port(&mut self, service: &str, preferred: Option<u16>) -> Result<u16> {
        let known = self.state.ports.get(service).copied();
        let listener = known
            .into_iter()
            .chain(preferred)
            .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok)
            .context("no free port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        self.state.ports.insert(service.to_owned(), port);
        self.state.save(&self.dir)?;
        Ok(port)
    }

    /// Starts a service that runs until this instance ends. Its output goes to `log(name)`.
    pub(crate) fn start(&mut self, name: &str, mut command: Command, stop_by: StopBy) -> Result<()> {
        interrupt::check()?;
        let log = create(&self.log(name))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.spawn(name, &mut command, stop_by)?;
        Ok(())
    }

    /// Waits until a service that was started answers, as `ready` tells.
    pub(crate) fn await_ready(&mut self, name: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        while !ready() {
            self.check_running(name)?;
            interrupt::pause()?;
        }
        Ok(())
    }

    /// An error, with the end of its log, if the service has ended.
    pub(crate) fn check_running(&mut self, name: &str) -> Result<()> {
        let Some(at) = self.state.started.iter().position(|started| started.name == name) else {
            return Ok(());
        };
        if let Some(status) = self.children[at].try_wait()? {
            bail!("{name} has stopped ({status}). {}", say::log_tail(&self.log(name)));
        }
        Ok(())
    }

    /// Runs a command to its end, or to Ctrl-C, which ends it and its children.
    pub(crate) fn run(&mut self, name: &str, mut command: Command, output: Output) -> Result<Finished> {
        interrupt::check()?;
        let log = self.log(name);
        let out_path = self.dir.join("log").join(format!("{name}.out"));
        command.stdin(Stdio::null());
        if output == Output::Log {
            command.stderr(create(&log)?);
        }
        if output != Output::Terminal {
            command.stdout(create(&out_path)?);
        }
        self.spawn(name, &mut command, StopBy::TerminateGroup)?;
        let waited = self.wait_for_last();
        if waited.is_err() {
            stop_all(
                &mut self.state.started.split_off(self.state.started.len() - 1),
                &mut self.children,
            );
        } else {
            self.state.started.pop();
            self.children.pop();
        }
        self.state.save(&self.dir)?;
        let stdout = if output == Output::Terminal {
            String::new()
        } else {
            String::from_utf8_lossy(&fs::read(&out_path).unwrap_or_default()).into_owned()
        };
        let log = (output == Output::Log).then_some(log);
        Ok(Finished {
            status: waited?,
            stdout,
            log,
            command: described(&command),
        })
    }

    fn spawn(&mut self, name: &str, command: &mut Command, stop_by: StopBy) -> Result<()> {
        hide_settings(command);
        // A group of its own: Ctrl-C in the terminal reaches only us, and we end the others in order.
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let pid = i32::try_from(child.id()).context("a pid fits in 31 bits")?;
        self.children.push(child);
        // One that has ended already is still ours to wait for, under an identity that no longer runs.
        let process = ProcessId::of(pid).unwrap_or_else(|| ProcessId::ended(pid));
        self.state.started.push(Started {
            name: name.to_owned(),
            process,
            stop_by,
        });
        self.state.save(&self.dir)
    }

    fn wait_for_last(&mut self) -> Result<ExitStatus> {
        let child = self.children.last_mut().context("the command was started")?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            interrupt::pause()?;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        stop_all(&mut self.state.started, &mut self.children);
        self.state.owner = None;
        // If this fails the next run finds processes that no longer run: no harm.
        let _ = self.state.save(&self.dir);
    }
}

impl Finished {
    /// The standard output of a command that succeeded.
    pub(crate) fn success(self, what: &str) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let ending = self.log.map(|log| say::log_tail(&log)).unwrap_or_default();
        bail!("{what} failed ({}): {}\n{ending}", self.status, self.command);
    }
}

impl State {
    fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("state.json");
        match fs::read(&path) {
            // A file that is no state is of another version of this program: nothing in it can be trusted.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join("state.json");
        let part = dir.join("state.json.part");
        let written = fs::write(&part, serde_json::to_vec_pretty(self)?).and_then(|()| fs::rename(&part, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What was stopped for `down`, in words: the xtask that ran, or what a killed one left.
pub(crate) fn stop(name: &str) -> Result<Vec<String>> {
    let dir = folder::larder().join(name);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let lock_path = dir.join("lock");
    let lock = folder::open_lock(&lock_path)?;
    let mut stopped = Vec::new();
    while !folder::try_lock(&lock, &lock_path)? {
        // It stops its own services, then releases the lock.
        if let Some(owner) = State::load(&dir)?.owner
            && stopped.is_empty()
        {
            stopped.push(format!("cargo xtask {name} (process {})", owner.pid()));
            owner.stop(StopBy::Terminate)?;
        }
        interrupt::pause()?;
    }
    let mut state = State::load(&dir)?;
    let left = state.started.iter().filter(|started| started.process.is_running());
    stopped.extend(left.map(|started| format!("{} (process {})", started.name, started.process.pid())));
    stop_all(&mut state.started, &mut Vec::new());
    state.owner = None;
    state.save(&dir)?;
    Ok(stopped)
}

fn stop_all(started: &mut Vec<Started>, children: &mut Vec<Child>) {
    while let Some(Started { name, process, stop_by }) = started.pop() {
        if let Err(error) = process.stop(stop_by) {
            say::note(&format!("{name}: {error}"));
        }
        if let Some(mut child) = children.pop() {
            // It has ended: this only takes note of it.
            let _ = child.wait();
        }
    }
}

/// Hides what the user has set for another Larder, Postgres or Redis from a program, unless the caller set it for this one.
fn hide_settings(command: &mut Command) {
    let set: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours =
            text.starts_with("LARDER_") || text.starts_with("PG") || text == "DATABASE_URL" || text == "REDIS_URL";
        if ours && !set.contains(&name) {
            command.env_remove(&name);
        }
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Program and arguments. Not `Debug`, which would show the environment and with it passwords.
pub(crate) fn described(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
