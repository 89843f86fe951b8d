//! A private Postgres of an instance: on 127.0.0.1, on a free port, behind a password, with its data in the instance's folder.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    folder,
    instance::{Instance, Output},
    machine,
    process::{ProcessId, StopBy},
};

const SUPERUSER: &str = "larder";

pub(crate) struct Postgres {
    bin: PathBuf,
    port: u16,
    password: String,
}

/// What a crash of the machine may cost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Normal,
    /// Data that nobody misses: fast.
    None,
}

impl Postgres {
    pub(crate) fn start(instance: &mut Instance, durability: Durability) -> Result<Self> {
        let bin = machine::postgres_bin()?.context("PostgreSQL was just found or installed")?;
        let home = instance.dir().join("postgres");
        let account = Account::choose(&home)?;
        let data = home.join("data");
        let password = create_cluster(instance, &bin, &home, &account)?;
        clear_leftover(&data)?;

        let port = instance.port("postgres", None)?;
        let mut command = account.command(&bin.join("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            // No socket: a shared folder for it would be open to others, and ours may have too long a path.
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=256MB",
            // Containers have a small /dev/shm, too small for parallel queries.
            "dynamic_shared_memory_type=mmap",
        ] {
            command.args(["-c", setting]);
        }
        if durability == Durability::None {
            command.args([
                "-c",
                "fsync=off",
                "-c",
                "full_page_writes=off",
                "-c",
                "synchronous_commit=off",
            ]);
        }
        instance.start("postgres", command, StopBy::Interrupt)?;
        let isready = bin.join("pg_isready");
        instance.await_ready("postgres", || {
            let mut probe = Command::new(&isready);
            probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            probe.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
        })?;
        Ok(Self { bin, port, password })
    }

    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// An empty database of that name, whatever it held before.
    pub(crate) fn recreate(&self, instance: &mut Instance, database: &str) -> Result<()> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]);
        psql.args(["-c", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")]);
        psql.args(["-c", &format!("CREATE DATABASE {database}")]);
        psql.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        psql.env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", &self.password)
            .env("PGOPTIONS", "-c client_min_messages=warning");
        instance
            .run("psql", psql, Output::Log)?
            .success("emptying the database")?;
        Ok(())
    }
}

/// Makes the cluster unless it is there, and returns its password.
fn create_cluster(instance: &mut Instance, bin: &Path, home: &Path, account: &Account) -> Result<String> {
    let data = home.join("data");
    let password_file = home.join("password");
    let version = machine::postgres_version(bin).context("its version was just read")?;
    let found = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
    if found.trim() == version.to_string()
        && let Ok(password) = fs::read_to_string(&password_file)
    {
        return Ok(password);
    }
    // Of another version, or without its password: the data is ours to make again. One that was cut short bears another name.
    let half_made = home.join("data.part");
    for dir in [&data, &half_made] {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }
    account.create_dir(home)?;
    account.create_dir(&half_made)?;
    let password = crate::redis::random_password()?;
    fs::write(&password_file, &password).with_context(|| format!("cannot write {}", password_file.display()))?;
    fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
    account.own(&password_file)?;

    let mut initdb = account.command(&bin.join("initdb"));
    initdb.arg("-D").arg(&half_made).arg("--pwfile").arg(&password_file);
    initdb.args([
        "-U",
        SUPERUSER,
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    instance
        .run("initdb", initdb, Output::Log)?
        .success("creating the database cluster")?;
    fs::rename(&half_made, &data).with_context(|| format!("cannot create {}", data.display()))?;
    Ok(password)
}

/// A Postgres on these data that the state file does not know (its xtask was killed while starting it) is stopped; a stale
/// pid file is removed, because its pid may have gone to someone else, which Postgres would take for a running server.
fn clear_leftover(data: &Path) -> Result<()> {
    let pid_file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    if let Some(process) = text
        .lines()
        .next()
        .and_then(|pid| ProcessId::of(pid.trim().parse().ok()?))
    {
        let arguments = fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap_or_default();
        if arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == data.as_os_str().as_encoded_bytes())
        {
            process.stop(StopBy::Interrupt)?;
        }
    }
    match fs::remove_file(&pid_file) {
        Err(error) if pid_file.exists() => Err(error).with_context(|| format!("cannot remove {}", pid_file.display())),
        _ => Ok(()),
    }
}

/// Who runs Postgres: it refuses to run as root.
enum Account {
    Mine,
    Other {
        user: u32,
        group: u32,
        /// The workspace may lie in a folder that only root enters, such as /root.
        may_enter: bool,
    },
}

impl Account {
    fn choose(home: &Path) -> Result<Self> {
        if !machine::is_root() {
            return Ok(Self::Mine);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let account = |name: &str| {
            let line = passwd
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let mut fields = line.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let Some((user, group)) = account("postgres").or_else(|| account("nobody")) else {
            bail!(
                "Postgres refuses to run as root, and this machine has neither a user `postgres` nor `nobody` to run it as"
            );
        };
        let plain = Self::Other {
            user,
            group,
            may_enter: true,
        };
        fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
        plain.own(home)?;
        let mut probe = plain.command(Path::new("test"));
        let entered = probe
            .arg("-d")
            .arg(home.join("."))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let may_enter = entered.context("cannot start setpriv (of util-linux)")?.success();
        Ok(Self::Other { user, group, may_enter })
    }

    fn command(&self, program: &Path) -> Command {
        let Self::Other { user, group, may_enter } = self else {
            return Command::new(program);
        };
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            &user.to_string(),
            "--regid",
            &group.to_string(),
            "--clear-groups",
        ]);
        if !may_enter {
            command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
        }
        command.arg("--").arg(program).current_dir("/");
        command
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Self::Other { user, group, .. } = self else {
            return Ok(());
        };
        chown(path, Some(*user), Some(*group)).with_context(|| format!("cannot give {} to Postgres", path.display()))
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        self.own(dir)
    }
}

/// For people: where it is.
pub(crate) fn describe(postgres: &Postgres, instance: &Instance) -> String {
    let data = instance.dir().join("postgres/data");
    let shown = data
        .strip_prefix(folder::workspace())
        .map(Path::to_owned)
        .unwrap_or(data);
    format!(
        "PostgreSQL on 127.0.0.1:{}, its data in {}",
        postgres.port(),
        shown.display()
    )
}
