//! What comes through Python: ONNX Runtime's library, the tests' packages and others' programs (by pip, pinned and hash-checked),
//! and the flights.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    folder,
    instance::{Instance, Output},
    say,
};

/// The wheel's Python, whichever one runs here: only the library in it is used.
const WHEEL: [&str; 8] = [
    "--only-binary=:all:",
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
    "--no-deps",
];

/// Where a virtual environment has its Python.
const PYTHON: &str = "bin/python";

/// ONNX Runtime's shared library.
pub(crate) fn onnxruntime(instance: &mut Instance) -> Result<PathBuf> {
    let requirements = folder::workspace().join("xtask/onnxruntime.txt");
    let dir = folder::larder().join("onnxruntime");
    let stamp = read(&requirements)?;
    if let Some(ready) = Ready::find(&dir, &stamp) {
        return library(&ready.0);
    }
    say::step("Getting ONNX Runtime's library (17 MB, once)");
    let part = Ready::begin(&dir)?;
    let mut pip = pip("download");
    pip.args(WHEEL)
        .arg("--platform")
        .arg(platform()?)
        .arg("--dest")
        .arg(&part)
        .arg("-r")
        .arg(&requirements);
    instance
        .run("pip-onnxruntime", pip, Output::Log)?
        .success("getting ONNX Runtime with pip")?;
    let wheel = only_file(&part, ".whl")?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&part);
    instance
        .run("unzip-onnxruntime", unzip, Output::Log)?
        .success("unpacking ONNX Runtime")?;
    fs::rename(library(&part.join("onnxruntime/capi"))?, part.join("libonnxruntime.so"))?;
    fs::remove_dir_all(part.join("onnxruntime"))?;
    fs::remove_file(wheel)?;
    library(&Ready::finish(&dir, &stamp)?.0)
}

/// A folder for PYTHONPATH with the tests' packages.
pub(crate) fn packages(instance: &mut Instance) -> Result<PathBuf> {
    let requirements = folder::workspace().join("xtask/python.txt");
    let dir = folder::larder().join("python");
    let stamp = format!("{}{}", version(instance)?, read(&requirements)?);
    if let Some(ready) = Ready::find(&dir, &stamp) {
        return Ok(ready.0);
    }
    say::step("Getting the tests' Python packages (about 60 MB, once)");
    let part = Ready::begin(&dir)?;
    let mut pip = pip("install");
    pip.args(["--only-binary=:all:", "--no-deps", "--target"])
        .arg(&part)
        .arg("-r")
        .arg(&requirements);
    instance
        .run("pip-python", pip, Output::Log)?
        .success("getting Python packages with pip")?;
    Ok(Ready::finish(&dir, &stamp)?.0)
}

/// Others' programs, each in a virtual environment of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Package {
    /// Feast's SDK.
    Feast,
    /// Triton's client, for HTTP and gRPC.
    Triton,
    /// Feast's feature server.
    FeastServer,
    /// MLServer.
    MlServer,
}

impl Package {
    /// Those that drive our servers.
    pub(crate) const CLIENTS: [Self; 2] = [Self::Feast, Self::Triton];
    /// Those that our servers are compared with.
    pub(crate) const PEERS: [Self; 2] = [Self::FeastServer, Self::MlServer];

    /// The variable that tells the tests, or the benchmark, of its Python.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Feast => "LARDER_TEST_FEAST_PYTHON",
            Self::Triton => "LARDER_TEST_TRITON_PYTHON",
            Self::FeastServer => "LARDER_BENCH_FEAST_PYTHON",
            Self::MlServer => "LARDER_BENCH_MLSERVER_PYTHON",
        }
    }

    /// The name of its folder and of its requirements, and what it is.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Feast => ("feast", "Feast's SDK (130 MB, once)"),
            Self::Triton => ("triton", "Triton's client (40 MB, once)"),
            Self::FeastServer => ("feast_server", "Feast's feature server (150 MB, once)"),
            Self::MlServer => ("mlserver", "MLServer (100 MB, once)"),
        }
    }

    /// What it is made from.
    fn stamp(self) -> Result<String> {
        let own = read(&self.requirements())?;
        // That file names the SDK's.
        let sdk = match self {
            Self::FeastServer => read(&Self::Feast.requirements())?,
            Self::Feast | Self::Triton | Self::MlServer => String::new(),
        };
        Ok(own + &sdk)
    }

    fn requirements(self) -> PathBuf {
        folder::workspace().join(format!("xtask/{}.txt", self.names().0))
    }
}

/// The Python of a virtual environment that holds others' programs.
pub(crate) fn environment(instance: &mut Instance, package: Package) -> Result<PathBuf> {
    let (name, what) = package.names();
    let dir = folder::larder().join(name);
    let stamp = format!("{}{}", version(instance)?, package.stamp()?);
    if let Some(ready) = Ready::find(&dir, &stamp) {
        return Ok(ready.0.join(PYTHON));
    }
    say::step(&format!("Making a virtual environment with {what}"));
    let part = Ready::begin(&dir)?;
    // The pip that is there installs into it: Debian's Python has none to put inside.
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--without-pip"]).arg(&part);
    instance
        .run(&format!("venv-{name}"), venv, Output::Log)?
        .success("making a virtual environment")?;
    let mut pip = pip_of(Some(&part.join(PYTHON)), "install");
    pip.args(["--only-binary=:all:", "--no-deps", "-r"])
        .arg(package.requirements());
    instance
        .run(&format!("pip-{name}"), pip, Output::Log)?
        .success(&format!("getting {name}.txt's packages with pip"))?;
    Ok(Ready::finish(&dir, &stamp)?.0.join(PYTHON))
}

/// The flights' CSV files.
pub(crate) fn flights(instance: &mut Instance) -> Result<PathBuf> {
    let dir = folder::flights();
    let mut fetch = Command::new("python3");
    fetch
        .arg(folder::workspace().join("examples/flights/fetch.py"))
        .arg(&dir);
    instance
        .run("fetch-flights", fetch, Output::Log)?
        .success("getting the flights")?;
    Ok(dir)
}

/// A folder that is complete: it got its name, and in it the stamp of what it was made from, at the very end.
struct Ready(PathBuf);

impl Ready {
    fn find(dir: &Path, stamp: &str) -> Option<Self> {
        let made_from = fs::read_to_string(dir.join("made-from.txt")).ok()?;
        (made_from == stamp).then(|| Self(dir.to_owned()))
    }

    /// An empty folder to fill.
    fn begin(dir: &Path) -> Result<PathBuf> {
        let part = dir.with_extension("part");
        for stale in [dir, &part] {
            if stale.exists() {
                fs::remove_dir_all(stale).with_context(|| format!("cannot remove {}", stale.display()))?;
            }
        }
        fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        Ok(part)
    }

    fn finish(dir: &Path, stamp: &str) -> Result<Self> {
        let part = dir.with_extension("part");
        let finished = fs::write(part.join("made-from.txt"), stamp).and_then(|()| fs::rename(&part, dir));
        finished.with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir.to_owned()))
    }
}

/// Python's version: what is installed for one is not for another.
fn version(instance: &mut Instance) -> Result<String> {
    let mut version = Command::new("python3");
    version.arg("--version");
    instance
        .run("python-version", version, Output::Log)?
        .success("asking for Python's version")
}

fn pip(command: &str) -> Command {
    pip_of(None, command)
}

/// Pip for the packages of another Python than its own.
fn pip_of(python: Option<&Path>, command: &str) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip"]);
    if let Some(python) = python {
        pip.arg("--python").arg(python);
    }
    pip.args([command, "--no-input", "--disable-pip-version-check", "--require-hashes"]);
    pip
}

/// The wheel's platform tag.
fn platform() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("manylinux_2_27_x86_64"),
        "aarch64" => Ok("manylinux_2_27_aarch64"),
        other => bail!("no ONNX Runtime library is pinned for {other}: see xtask/onnxruntime.txt"),
    }
}

fn library(dir: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
    };
    let found = entries.flatten().map(|entry| entry.path()).find(named);
    found.with_context(|| format!("{} holds no libonnxruntime.so", dir.display()))
}

fn only_file(dir: &Path, ending: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let found = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(ending));
    found.with_context(|| format!("pip left no {ending} file in {}", dir.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
