//! Answering HTTP until told to stop: on the runtime that is here, or on threads that each have one of their own, with connections
//! dealt among them.
//!
//! On such a thread a request begins, waits and ends, so nobody is woken on another for it; and what is ready there at one
//! moment goes on together: what its requests ask of Redis leaves in one write.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, net, thread};

use axum::Router;
use axum::serve::{Listener, ListenerExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Serves `router` on the runtime that is here until `stop`, then lets requests in flight finish, for at most `drain`. For
/// those whose work belongs to that runtime, as connections to a database do.
///
/// # Errors
/// If the listener fails.
pub async fn serve_here(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let serving = axum::serve(prompt(listener), router)
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    within(serving, stop, drain).await
}

/// Serves `router` on so many threads until `stop`, then lets requests in flight finish, for at most `drain`.
///
/// # Errors
/// If the threads cannot be started, or one of them ends.
pub async fn serve_on_threads(
    listener: TcpListener,
    router: Router,
    threads: NonZero<usize>,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    // Threads end with this, however it ends: they stop with `stop`, and go when all of them have.
    let (stopping, all_done) = (stop.child_token(), CancellationToken::new());
    let _guards = (stopping.clone().drop_guard(), all_done.clone().drop_guard());
    let start = |number| Worker::start(number, address, router.clone(), (stopping.clone(), all_done.clone()));
    let mut workers = (0..threads.get()).map(start).collect::<io::Result<Vec<_>>>()?;
    let serving = async {
        // A worker that has stopped before the dealer has is no failure.
        match stopping.run_until_cancelled(deal(listener, &workers)).await {
            Some(Err(error)) if !stopping.is_cancelled() => return Err(error),
            _ => {}
        }
        for worker in &mut workers {
            (&mut worker.done).await.map_err(|_| ended())??;
        }
        all_done.cancel();
        for worker in workers {
            // An error is what is waited for: the sender is dropped when the thread has ended.
            let _gone = worker.gone.await;
        }
        Ok(())
    };
    within(serving, stop, drain).await
}

/// Connections that wait for a thread to take them up.
const DEALT: usize = 256;

/// Gives each connection to the worker that has the fewest.
async fn deal(listener: TcpListener, workers: &[Worker]) -> io::Result<Infallible> {
    let mut listener = prompt(listener);
    loop {
        let (stream, _) = listener.accept().await;
        let fewest = workers.iter().min_by_key(|worker| Arc::strong_count(&worker.open));
        let worker = fewest.ok_or_else(ended)?;
        match stream.into_std() {
            Ok(stream) => {
                let dealt = (stream, Arc::clone(&worker.open));
                worker.hand.send(dealt).await.map_err(|_| ended())?;
            }
            Err(error) => lost(&error),
        }
    }
}

/// Small answers must not wait for the acknowledgement of the ones before.
fn prompt(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = net::SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("could not set TCP_NODELAY: {error}");
        }
    })
}

fn lost(error: &io::Error) {
    tracing::debug!("a connection was lost before it was served: {error}");
}

fn ended() -> io::Error {
    io::Error::other("a thread that answers requests has ended")
}

/// A thread that answers.
struct Worker {
    hand: mpsc::Sender<(net::TcpStream, Open)>,
    open: Open,
    /// What came of its serving.
    done: oneshot::Receiver<io::Result<()>>,
    /// Closed when its thread has ended.
    gone: oneshot::Receiver<Infallible>,
}

/// Held once by a worker, and once by each connection that it has.
type Open = Arc<()>;

impl Worker {
    fn start(
        number: usize,
        address: net::SocketAddr,
        router: Router,
        (stop, all_done): (CancellationToken, CancellationToken),
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (hand, connections) = mpsc::channel(DEALT);
        let (told, done) = oneshot::channel();
        let (going, gone) = oneshot::channel();
        let serve = move || {
            let _going = going;
            let dealt = Dealt { connections, address };
            let serving = axum::serve(dealt, router).with_graceful_shutdown(stop.cancelled_owned());
            runtime.block_on(async {
                // Who waits no longer, because it took too long, is gone.
                let _unheard = told.send(serving.into_future().await);
                // Requests on other threads may wait for what was begun on this one.
                all_done.cancelled().await;
            });
            // Waits for what is at work, such as a model.
            drop(runtime);
        };
        thread::Builder::new().name(format!("http-{number}")).spawn(serve)?;
        Ok(Self {
            hand,
            open: Open::default(),
            done,
            gone,
        })
    }
}

/// The connections that a worker was dealt.
struct Dealt {
    connections: mpsc::Receiver<(net::TcpStream, Open)>,
    address: net::SocketAddr,
}

impl Listener for Dealt {
    type Io = Connection;
    type Addr = net::SocketAddr;

    async fn accept(&mut self) -> (Connection, net::SocketAddr) {
        loop {
            let Some((stream, open)) = self.connections.recv().await else {
                return std::future::pending().await;
            };
            let peer = stream.peer_addr();
            match peer.and_then(|peer| Ok((TcpStream::from_std(stream)?, peer))) {
                Ok((stream, peer)) => return (Connection { stream, _open: open }, peer),
                Err(error) => lost(&error),
            }
        }
    }

    fn local_addr(&self) -> io::Result<net::SocketAddr> {
        Ok(self.address)
    }
}

/// A connection that counts as its worker's until it is dropped.
struct Connection {
    stream: TcpStream,
    _open: Open,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Awaits a server that stops at `stop` by itself, for at most `drain` after that.
///
/// # Errors
/// What the server says.
pub async fn within(
    serving: impl Future<Output = io::Result<()>>,
    stop: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        done = serving => done,
        () = too_late => {
            tracing::warn!("stopped with requests unfinished after {} s", drain.as_secs());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::finished;

    /// The answer to a request on a connection of its own.
    async fn ask(address: net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn stopping_waits_for_requests_in_flight() {
        let (entered, mut has_entered) = tokio::sync::mpsc::channel(1);
        let release = CancellationToken::new();
        let released = release.clone();
        let slow = move || {
            let (entered, released) = (entered.clone(), released.clone());
            async move {
                entered.send(()).await.expect("the test waits for this");
                released.cancelled().await;
                "done"
            }
        };
        let router = finished(Router::new().route("/slow", get(slow)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_on_threads(
            listener,
            router,
            NonZero::<usize>::MIN,
            stop.clone(),
            Duration::from_secs(60),
        ));
        let client = tokio::spawn(async move { ask(address, "/slow").await });
        has_entered.recv().await.unwrap();
        stop.cancel();
        release.cancel();
        assert!(client.await.unwrap().ends_with("done"));
        server.await.unwrap().unwrap();
    }

    /// The name of the thread that answers on this connection, which stays open.
    async fn thread_of(connection: &mut TcpStream) -> String {
        let request = b"GET /thread HTTP/1.1\r\nhost: x\r\n\r\n";
        connection.write_all(request).await.unwrap();
        let (mut answer, name_len) = (Vec::new(), "http-0".len());
        loop {
            connection.read_buf(&mut answer).await.unwrap();
            let text = String::from_utf8_lossy(&answer);
            if let Some((_, name)) = text.split_once("\r\n\r\n").filter(|(_, body)| body.len() == name_len) {
                return name.to_owned();
            }
        }
    }

    #[tokio::test]
    async fn connections_go_to_the_thread_that_has_the_fewest() {
        let thread = || async { thread::current().name().unwrap_or_default().to_owned() };
        let router = Router::new().route("/thread", get(thread));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (threads, drain) = (NonZero::new(2).unwrap(), Duration::from_secs(60));
        let server = tokio::spawn(serve_on_threads(listener, router, threads, stop.clone(), drain));
        let mut open = Vec::new();
        for expected in ["http-0", "http-1", "http-0", "http-1"] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            assert_eq!(thread_of(&mut connection).await, expected);
            open.push(connection);
        }
        open.remove(3);
        open.remove(1);
        // It may notice a moment later that they have gone; in turn, no two would come to one thread.
        let both_go_there = async {
            loop {
                let mut one = TcpStream::connect(address).await.unwrap();
                let first = thread_of(&mut one).await;
                let mut other = TcpStream::connect(address).await.unwrap();
                if [first, thread_of(&mut other).await] == ["http-1", "http-1"] {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), both_go_there)
            .await
            .expect("the thread that has none is given both");
        drop(open);
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
