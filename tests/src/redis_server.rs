//! A Redis server of the test's own, to be paused, killed and started again.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A running Redis server with nothing in it; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    dir: tempfile::TempDir,
    child: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Self {
            port,
            dir: tempfile::tempdir()?,
            child: Mutex::new(None),
        };
        server.restart()?;
        Ok(server)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    ///
    /// # Panics
    /// If it was killed.
    pub fn id(&self) -> u32 {
        self.child().as_ref().expect("it runs").id()
    }

    /// Kills it as a crash would, its data lost.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            // Both fail only if it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it from running without ending it: it takes connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it run on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child().as_ref().expect("it runs").id();
        let status = Command::new("kill").args([signal, &id.to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill {signal}");
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    /// If it does not come up within ten seconds.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.kill();
        let program = std::env::var("LARDER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let child = Command::new(program)
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .spawn()?;
        *self.child() = Some(child);
        let give_up = Instant::now() + Duration::from_secs(10);
        let client = redis::Client::open(self.url())?;
        loop {
            let pinged = client
                .get_connection()
                .and_then(|mut c| redis::cmd("PING").query::<String>(&mut c));
            match pinged {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > give_up => return Err(error.into()),
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
