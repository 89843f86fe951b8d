//! The yardstick of every server here: axum, which reads a body as JSON and answers with another one. A process of its own, as the
//! others are.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::serve::ListenerExt;
use axum::{Json, routing::post};
use end_to_end::servers::{free_port, is_open, until_up};
use serde_json::Value;

/// A running echo, killed when it is dropped.
pub(crate) struct Echo {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Echo {
    /// Starts one that answers with `answer`.
    pub(crate) async fn start(folder: &Path, name: &str, answer: &[u8]) -> Result<Self> {
        let path = folder.join(format!("{name}.answer"));
        std::fs::write(&path, answer)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let child = Command::new(std::env::current_exe()?)
            .args(["--echo", &address.to_string(), "--answer"])
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .context("starting the echo")?;
        let mut echo = Self { child, address };
        until_up("the echo", &mut echo.child, async || is_open(address.port()).await).await?;
        Ok(echo)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What the other process does, until it is killed.
pub(crate) fn serve(address: SocketAddr, answer: &Path) -> Result<()> {
    let answer = Bytes::from(std::fs::read(answer)?);
    let echo = post(move |Json(_body): Json<Value>| {
        let answer = answer.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], answer) }
    });
    let router = Router::new().route("/{*path}", echo);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
        Ok(axum::serve(listener, router).await?)
    })
}
