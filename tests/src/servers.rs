//! The two servers as programs, each at a port of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::env::program;

/// Longer than any machine takes to start one.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running server, killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:…`
    pub base: String,
}

/// A port that nobody listens at.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(free.local_addr()?.port())
}

/// Whether somebody listens at a port.
pub async fn is_open(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

/// Waits until a program that was started is up.
///
/// # Errors
/// It ends, or is not up in time.
pub async fn until_up(name: &str, child: &mut Child, mut is_up: impl AsyncFnMut() -> bool) -> Result<()> {
    let give_up = Instant::now() + STARTS_WITHIN;
    while !is_up().await {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended at its start: {status}");
        }
        if Instant::now() > give_up {
            bail!("{name} does not answer");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

impl Server {
    /// Starts `PROGRAM serve` with these variables, and waits until it answers.
    ///
    /// # Errors
    /// It ends, or does not answer in time.
    pub async fn start(name: &str, folder: &Path, variables: &[(&str, String)]) -> Result<Self> {
        let port = free_port()?;
        let child = Command::new(program(name))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .current_dir(folder)
            // Nobody else's port either; a test that wants gRPC says where.
            .env("LARDER_GRPC_LISTEN", "off")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut server = Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
        };
        until_up(name, &mut server.child, async || is_open(port).await).await?;
        Ok(server)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `HUP`.
    ///
    /// # Errors
    /// There is no `kill`, or no such process.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status()?;
        anyhow::ensure!(sent.success(), "kill -{signal}: {sent}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
