//! Load: clients that each ask, wait for the answer, and ask again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// What came of some clients' asking for some time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// How long each answer took, in microseconds, sorted.
    micros: Vec<f64>,
    /// How long all took.
    seconds: f64,
}

impl Load {
    /// One caller that does one thing after another, on this thread, for some time.
    pub(crate) fn of(lasts: Duration, mut thing: impl FnMut(usize) -> Result<()>) -> Result<Self> {
        let started = Instant::now();
        let mut micros = Vec::new();
        while started.elapsed() < lasts {
            let begun = Instant::now();
            thing(micros.len())?;
            micros.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(Self::new(micros, started.elapsed()))
    }

    /// Clients that ask at the same time, each until it gives how long its answers took.
    pub(crate) async fn of_clients(
        clients: impl Iterator<Item = impl Future<Output = Result<Vec<f64>>> + Send + 'static>,
    ) -> Result<Self> {
        let started = Instant::now();
        let asking: Vec<_> = clients.map(tokio::spawn).collect();
        let mut micros = Vec::new();
        for client in asking {
            micros.extend(client.await??);
        }
        Ok(Self::new(micros, started.elapsed()))
    }

    fn new(mut micros: Vec<f64>, lasted: Duration) -> Self {
        micros.sort_by(f64::total_cmp);
        Self {
            micros,
            seconds: lasted.as_secs_f64(),
        }
    }

    /// How many were answered.
    pub(crate) fn answers(&self) -> usize {
        self.micros.len()
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers() as f64 / self.seconds
    }

    /// The latency that so many of a hundred answers did not exceed, in microseconds.
    pub(crate) fn percentile(&self, of_hundred: usize) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        self.micros.get(last * of_hundred / 100).copied().unwrap_or(f64::NAN)
    }
}

/// When a load ends.
#[derive(Debug, Clone)]
pub(crate) struct Until {
    at: Instant,
    stop: CancellationToken,
}

impl Until {
    /// After this time.
    pub(crate) fn after(lasts: Duration) -> Self {
        Self {
            at: Instant::now() + lasts,
            stop: CancellationToken::new(),
        }
    }

    /// When it is told to.
    pub(crate) fn stopped(stop: &CancellationToken) -> Self {
        Self {
            at: Instant::now() + Duration::from_secs(3_600),
            stop: stop.clone(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.at
    }
}

/// Requests of HTTP/1.1, in whole, that clients send one after the other.
#[derive(Debug)]
pub(crate) struct Requests(Vec<Vec<u8>>);

impl Requests {
    /// A path that is got.
    pub(crate) fn get(path: &str) -> Arc<Self> {
        Arc::new(Self(vec![
            format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes(),
        ]))
    }

    /// These bodies, posted to a path.
    pub(crate) fn post(path: &str, bodies: impl IntoIterator<Item = String>) -> Arc<Self> {
        let request = |body: String| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            (head + &body).into_bytes()
        };
        Arc::new(Self(bodies.into_iter().map(request).collect()))
    }
}

/// Connections of so many clients to these servers in turn.
pub(crate) async fn connect(servers: &[SocketAddr], clients: usize, requests: &Requests) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(clients);
    for client in 0..clients {
        let mut connection = Connection::open(servers[client % servers.len()]).await?;
        // A connection's first request pays for what the others do not.
        connection.ask(&requests.0[client % requests.0.len()]).await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// Clients that each ask on a connection of their own for some time. Each has sent so many requests before.
pub(crate) async fn http(
    connections: Vec<Connection>,
    (lasts, sent): (Duration, usize),
    requests: &Arc<Requests>,
) -> Result<Load> {
    let clients = connections.len();
    let until = Until::after(lasts);
    let asking = connections.into_iter().enumerate().map(|(client, mut connection)| {
        let (requests, until) = (Arc::clone(requests), until.clone());
        async move {
            let all = requests.0.len();
            let mut micros = Vec::new();
            // Far from each other, so that no two ask for the same at the same time.
            let mut next = client * all / clients + sent;
            while !until.is_over() {
                next = (next + 1) % all;
                let begun = Instant::now();
                connection.ask(&requests.0[next]).await?;
                micros.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Ok(micros)
        }
    });
    Load::of_clients(asking).await
}

/// The body of the last answer, after all requests have been sent once.
pub(crate) async fn ask_all(server: SocketAddr, requests: &Requests) -> Result<Vec<u8>> {
    let mut connection = Connection::open(server).await?;
    for request in &requests.0 {
        connection.ask(request).await?;
    }
    Ok(connection.body)
}

/// The body of the first answer.
pub(crate) async fn ask_once(server: SocketAddr, requests: &Requests) -> Result<Vec<u8>> {
    let mut connection = Connection::open(server).await?;
    connection.ask(&requests.0[0]).await?;
    Ok(connection.body)
}

/// A client's connection. Not a client library, whose own work would take from the server's cores what is measured.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    async fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server)
            .await
            .with_context(|| format!("no connection to {server}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(64 << 10),
            body: Vec::new(),
        })
    }

    /// Sends a request, and reads its answer to the end.
    async fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let (head, length) = loop {
            ensure!(
                self.stream.read_buf(&mut self.read).await? > 0,
                "the server closed the connection"
            );
            if let Some(found) = head_of(&self.read)? {
                break found;
            }
        };
        while self.read.len() < head + length {
            ensure!(
                self.stream.read_buf(&mut self.read).await? > 0,
                "the server closed the connection"
            );
        }
        if !self.read.starts_with(b"HTTP/1.1 200") {
            bail!("the server answered {}", String::from_utf8_lossy(&self.read));
        }
        self.body.clear();
        self.body.extend_from_slice(&self.read[head..]);
        Ok(())
    }
}

/// Where an answer's body begins, and how long it is; `None` if its head is not there in whole.
fn head_of(read: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&read[..end]).context("a head is ASCII")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse())
    });
    Ok(Some((end + 4, length.context("the answer has no content-length")??)))
}
