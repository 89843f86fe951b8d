//! What the machine must have: PostgreSQL, Redis, pip, locale sources and debootstrap, found or installed with apt-get.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{folder, interrupt, say};

/// `DROP DATABASE … WITH (FORCE)` came with it.
const OLDEST_POSTGRES: u32 = 13;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Postgres,
    Redis,
    Pip,
    Locales,
    Debootstrap,
}

impl Need {
    fn is_met(self) -> Result<bool> {
        Ok(match self {
            Self::Postgres => postgres_bin()?.is_some(),
            Self::Redis => redis_server()?.is_some(),
            Self::Pip => has_pip(),
            Self::Debootstrap => find_in_path("debootstrap").is_some(),
            Self::Locales => Path::new("/usr/share/i18n/locales/de_DE").exists(),
        })
    }

    fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Redis => "redis-server",
            Self::Pip => "python3-pip",
            Self::Locales => "locales",
            Self::Debootstrap => "debootstrap",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL 13 or newer (or LARDER_POSTGRES_BIN, the folder of its programs)",
            Self::Redis => "Redis or Valkey (or LARDER_REDIS_SERVER, its program)",
            Self::Pip => "Python 3 with pip",
            Self::Locales => "the C library's locale sources",
            Self::Debootstrap => "debootstrap",
        }
    }
}

/// Makes sure the needs are met: installs as root without asking, and tells anyone else the exact command.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    let missing = unmet(needs)?;
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package()).collect();
    if find_in_path("apt-get").is_none() {
        let list: Vec<String> = missing.iter().map(|need| format!("\n    {}", need.what())).collect();
        bail!(
            "this machine has no apt-get. Install these by its own means, then run this again:{}",
            list.concat()
        );
    }
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !is_root() {
        bail!(
            "this machine lacks {}. Install it, then run this again:\n\n    sudo apt-get update && sudo {install}\n",
            packages.join(", ")
        );
    }
    say::step(&format!("Installing {} with apt-get", packages.join(", ")));
    apt_install(&packages)?;
    if let Some(need) = unmet(needs)?.first() {
        bail!(
            "{} was installed, but still this is missing: {}",
            need.package(),
            need.what()
        );
    }
    Ok(())
}

fn unmet(needs: &[Need]) -> Result<Vec<Need>> {
    let mut unmet = Vec::new();
    for need in needs {
        if !need.is_met()? {
            unmet.push(*need);
        }
    }
    Ok(unmet)
}

/// The folder of PostgreSQL's programs.
pub(crate) fn postgres_bin() -> Result<Option<PathBuf>> {
    if let Some(bin) = env::var_os("LARDER_POSTGRES_BIN").map(PathBuf::from) {
        return match postgres_version(&bin) {
            Some(OLDEST_POSTGRES..) => Ok(Some(bin)),
            _ => bail!(
                "LARDER_POSTGRES_BIN={} does not hold the programs of PostgreSQL {OLDEST_POSTGRES} or newer",
                bin.display()
            ),
        };
    }
    let in_path = find_in_path("postgres").and_then(|program| Some(program.parent()?.to_owned()));
    // Debian keeps them out of PATH, one folder for each major version.
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let candidates = in_path
        .into_iter()
        .chain(installed.map(|version| version.path().join("bin")));
    let usable = candidates.filter_map(|bin| Some((postgres_version(&bin)?, bin)));
    let newest = usable
        .filter(|(version, _)| *version >= OLDEST_POSTGRES)
        .max_by_key(|(version, _)| *version);
    Ok(newest.map(|(_, bin)| bin))
}

/// The major version, if the folder holds all the programs that are used.
pub(crate) fn postgres_version(bin: &Path) -> Option<u32> {
    if !["postgres", "initdb", "pg_isready", "psql"]
        .iter()
        .all(|program| bin.join(program).exists())
    {
        return None;
    }
    let output = Command::new(bin.join("postgres"))
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

pub(crate) fn redis_server() -> Result<Option<PathBuf>> {
    if let Some(program) = env::var_os("LARDER_REDIS_SERVER").map(PathBuf::from) {
        if !program.is_file() {
            bail!("LARDER_REDIS_SERVER={} is not a file", program.display());
        }
        return Ok(Some(program));
    }
    Ok(find_in_path("redis-server").or_else(|| find_in_path("valkey-server")))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn has_pip() -> bool {
    let pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .output();
    pip.is_ok_and(|output| output.status.success())
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Not in the list of what Ctrl-C stops: half-installed packages are worse than a moment of waiting.
fn apt_install(packages: &[&str]) -> Result<()> {
    let _quiet = QuietPackages::new()?;
    let log_path = folder::larder().join("apt-get.log");
    let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let install = ["install", "-y", "--no-install-recommends"];
    for args in [vec!["update"], [&install, packages].concat()] {
        say::note(&format!("apt-get {}", args.join(" ")));
        let mut command = Command::new("apt-get");
        command
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let status = command.status().context("cannot start apt-get")?;
        interrupt::check()?;
        if !status.success() {
            bail!("apt-get failed ({status}). {}", say::log_tail(&log_path));
        }
    }
    Ok(())
}

/// While it lives, packages neither start their services nor create a database cluster: the standard ports stay as they are.
struct QuietPackages {
    written: Vec<PathBuf>,
}

const MARK: &str = "# Written by Larder's `cargo xtask` while it installs packages, and removed afterwards.";

impl QuietPackages {
    fn new() -> Result<Self> {
        let mut quiet = Self { written: Vec::new() };
        // 101: "action forbidden by policy", see invoke-rc.d(8).
        quiet.write(
            "/usr/sbin/policy-rc.d",
            &format!("#!/bin/sh\n{MARK}\nexit 101\n"),
            0o755,
        )?;
        quiet.write(
            "/etc/postgresql-common/createcluster.d/larder.conf",
            &format!("{MARK}\ncreate_main_cluster = false\n"),
            0o644,
        )?;
        Ok(quiet)
    }

    /// A file that is there already is the machine's own, unless it bears our mark: then a killed run has left it.
    fn write(&mut self, path: &str, text: &str, mode: u32) -> Result<()> {
        let path = PathBuf::from(path);
        if fs::read_to_string(&path).is_ok_and(|present| !present.contains(MARK)) {
            return Ok(());
        }
        let parent = path.parent().context("an absolute path has a parent")?;
        let written = fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        self.written.push(path);
        Ok(())
    }
}

impl Drop for QuietPackages {
    fn drop(&mut self) {
        for path in &self.written {
            if let Err(error) = fs::remove_file(path) {
                say::note(&format!(
                    "Could not remove {}: {error}. Please remove it.",
                    path.display()
                ));
            }
        }
    }
}
