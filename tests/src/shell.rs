//! A user's shell: a folder, a database and a Redis of its own, and the programs on the `PATH`.

use std::process::Command;

use anyhow::Result;

use crate::env::{program, required};
use crate::postgres::{self, Database};
use crate::redis_server::RedisServer;

/// A shell whose user has set `DATABASE_URL`, `REDIS_URL` and `LARDER_ONNXRUNTIME`.
#[derive(Debug)]
pub struct Shell {
    /// Where it is.
    pub dir: tempfile::TempDir,
    /// Its database.
    pub database: Database,
    /// Its Redis.
    pub redis: RedisServer,
    /// What else its user has set.
    pub variables: Vec<(&'static str, String)>,
}

impl Shell {
    /// A shell in an empty folder.
    ///
    /// # Errors
    /// If a server is missing.
    pub async fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            database: postgres::empty().await?,
            redis: RedisServer::start()?,
            variables: Vec::new(),
        })
    }

    /// Writes a file, and the folders it is in.
    ///
    /// # Panics
    /// If that cannot be.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        let folder = path.parent().expect("it is in the shell's folder");
        std::fs::create_dir_all(folder).expect("a temporary folder can be written to");
        std::fs::write(path, text).expect("a temporary folder can be written to");
    }

    /// Runs commands, and gives what they print.
    ///
    /// # Panics
    /// If one fails.
    pub fn sh(&self, commands: &str) -> String {
        let mut path = program("feature-server")
            .parent()
            .expect("it is in a folder")
            .as_os_str()
            .to_owned();
        let ours = std::env::var_os("PATH").unwrap_or_default();
        for more in [required("LARDER_TEST_POSTGRES_BIN").into(), ours] {
            path.push(":");
            path.push(more);
        }
        let output = Command::new("sh")
            .args(["-ec", commands])
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("DATABASE_URL", &self.database.url)
            .env("REDIS_URL", self.redis.url())
            .env("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME"))
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .output()
            .expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{said}{complained}");
        said
    }
}
