//! A private Redis of an instance: on 127.0.0.1, on a free port, behind a password. It starts empty and keeps nothing.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{instance::Instance, machine, process::StopBy};

pub(crate) struct Redis {
    program: PathBuf,
    port: u16,
    password: String,
}

impl Redis {
    pub(crate) fn start(instance: &mut Instance) -> Result<Self> {
        let program = machine::redis_server()?.context("Redis was just found or installed")?;
        let home = instance.dir().join("redis");
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        let port = instance.port("redis", None)?;
        let password = random_password()?;
        let config = home.join("redis.conf");
        // In a file, not in arguments: those are for every user of the machine to see.
        let settings = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {dir}\nsave \"\"\nappendonly no\n\
             maxmemory-policy noeviction\ndaemonize no\n",
            dir = quoted(&home)
        );
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&config)
            .with_context(|| format!("cannot write {}", config.display()))?;
        file.write_all(settings.as_bytes())?;

        let mut command = Command::new(&program);
        command.arg(&config);
        instance.start("redis", command, StopBy::Terminate)?;
        instance.await_ready("redis", || answers(port, &password).unwrap_or(false))?;
        Ok(Self {
            program,
            port,
            password,
        })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}", self.password, self.port)
    }
}

fn answers(port: u16, password: &str) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())?;
    let expected = b"+OK\r\n+PONG\r\n";
    let mut answer = [0; 12];
    connection.read_exact(&mut answer)?;
    Ok(answer == *expected)
}

/// Redis reads its file's words with C's escapes.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// 128 random bits in hexadecimal: needs no escaping in URLs.
pub(crate) fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
