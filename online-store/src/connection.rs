//! One multiplexed connection that many tasks share: made when first needed, replaced when lost.
//!
//! One a runtime: where a thread has a runtime of its own, what it asks and what it is answered stays on that thread, and
//! commands of one moment leave in one write.
//!
//! Not redis's `ConnectionManager`: that one makes callers wait for its retries while Redis is down, and stays broken for
//! good when Redis answers the first greeting with an error, as it does when it has too many clients.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, Value};
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::error::StoreError;
use crate::url::RedisUrl;

/// An attempt to connect, greeting included, may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// After a failed attempt, callers are refused for this long, twice as long after the next, and so on …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this long. So recovery is never later than this after Redis is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection to one Redis for each runtime, shared by clones. No I/O before the first command; while Redis is down, commands fail at
/// once but for one attempt to connect now and then; when it is back, they succeed.
#[derive(Clone)]
pub struct SharedConnection(Arc<Inner>);

struct Inner {
    url: RedisUrl,
    client: Client,
    /// By the runtime that the connection is driven by.
    states: Mutex<HashMap<Id, State>>,
}

#[derive(Default)]
enum State {
    /// Not connected, and nobody is trying.
    #[default]
    Idle,
    /// Someone is trying; the channel closes when the state has changed.
    Connecting(watch::Receiver<()>),
    Connected(Live),
    /// The last attempts failed.
    Failed {
        error: StoreError,
        attempts: u32,
        until: Instant,
    },
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Tells this connection from the one that replaced it.
    since: Instant,
}

/// When several commands must be done together, and the time that they were given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    within: Duration,
}

impl Deadline {
    pub(crate) fn after(within: Duration) -> Self {
        Self {
            at: Instant::now() + within,
            within,
        }
    }
}

impl SharedConnection {
    /// A connection that is made when first used.
    ///
    /// # Errors
    /// A URL of a kind that this build does not speak.
    pub fn open(url: &RedisUrl) -> Result<Self, StoreError> {
        if url.is_tls() {
            // rustls panics where it has no provider. An error only says that the process has one already.
            let _installed = rustls::crypto::ring::default_provider().install_default();
        }
        let client = Client::open(url.connection_info()).map_err(|error| StoreError::unreachable(url, &error))?;
        Ok(Self(Arc::new(Inner {
            url: url.clone(),
            client,
            states: Mutex::default(),
        })))
    }

    /// The answer to one command. It must be harmless twice: after a lost connection it is sent again.
    ///
    /// # Errors
    /// No answer within that time (connecting included), no connection, or an error as the answer.
    pub async fn query<T: FromRedisValue>(&self, command: Cmd, within: Duration) -> Result<T, StoreError> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let mut answers = self.send(&commands, within).await?;
        let answer = answers.pop().unwrap_or(Value::Nil);
        self.read(answer)
    }

    /// The answers to commands that are sent together, one each, in order; an answer may be a `Value::ServerError`.
    /// They must be harmless twice: after a lost connection they are sent again.
    ///
    /// # Errors
    /// No answer within that time (connecting included), or no connection.
    pub async fn send(&self, commands: &Pipeline, within: Duration) -> Result<Vec<Value>, StoreError> {
        self.send_by(commands, Deadline::after(within)).await
    }

    pub(crate) async fn send_by(&self, commands: &Pipeline, deadline: Deadline) -> Result<Vec<Value>, StoreError> {
        timeout_at(deadline.at, self.send_and_again(commands))
            .await
            .unwrap_or_else(|_| {
                Err(StoreError::Timeout {
                    url: self.0.url.clone(),
                    after: deadline.within,
                })
            })
    }

    /// An answer as the type it should be of.
    ///
    /// # Errors
    /// The server's error, or an answer of another type.
    pub fn read<T: FromRedisValue>(&self, answer: Value) -> Result<T, StoreError> {
        answer
            .extract_error()
            .and_then(|answer| T::from_redis_value(answer).map_err(RedisError::from))
            .map_err(|error| StoreError::refused(&self.0.url, &error))
    }

    /// The error that an answer makes which Redis does not give.
    pub(crate) fn unexpected(&self, what: &'static str) -> StoreError {
        StoreError::refused(
            &self.0.url,
            &RedisError::from((redis::ErrorKind::UnexpectedReturnType, what)),
        )
    }

    async fn send_and_again(&self, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        match self.send_once(commands).await? {
            Ok(answers) => Ok(answers),
            // The connection was lost, perhaps long ago and unnoticed: the next one deserves a try.
            Err(_) => self
                .send_once(commands)
                .await?
                .map_err(|error| StoreError::unreachable(&self.0.url, &error)),
        }
    }

    /// `Ok(Err(…))` if the connection was lost meanwhile.
    async fn send_once(&self, commands: &Pipeline) -> Result<Result<Vec<Value>, RedisError>, StoreError> {
        let mut live = self.connected().await?;
        match live.connection.send_packed_commands(commands, 0, commands.len()).await {
            Ok(answers) => Ok(Ok(answers)),
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                self.lost(live.since);
                Ok(Err(error))
            }
            Err(error) => Err(StoreError::refused(&self.0.url, &error)),
        }
    }

    /// The connection, made first if need be.
    async fn connected(&self) -> Result<Live, StoreError> {
        let mut started = false;
        loop {
            let mut changed = {
                let mut states = self.states();
                let state = states.entry(Handle::current().id()).or_default();
                match state {
                    State::Connected(live) => return Ok(live.clone()),
                    State::Failed { error, until, .. } if Instant::now() < *until => return Err(error.clone()),
                    State::Connecting(changed) if changed.has_changed().is_ok() => changed.clone(),
                    // Closed without an outcome: the attempt died, as with its runtime. One more is fair.
                    State::Connecting(_) if started => return Err(self.no_connection("the attempt was aborted")),
                    State::Failed { attempts, .. } => {
                        let attempts = *attempts;
                        self.start_connecting(attempts, state)
                    }
                    State::Idle | State::Connecting(_) => {
                        started = true;
                        self.start_connecting(0, state)
                    }
                }
            };
            // An error is what is waited for: the sender is dropped when the state has changed.
            let _closed = changed.changed().await;
        }
    }

    /// Connects in a task of its own, so that an attempt outlives the deadline of whoever was first to need it.
    fn start_connecting(&self, failed_attempts: u32, state: &mut State) -> watch::Receiver<()> {
        let (done, changed) = watch::channel(());
        *state = State::Connecting(changed.clone());
        let this = self.clone();
        tokio::spawn(async move {
            let outcome = this.connect().await;
            let state = match outcome {
                Ok(connection) => State::Connected(Live {
                    connection,
                    since: Instant::now(),
                }),
                Err(error) => {
                    let pause = FIRST_PAUSE
                        .saturating_mul(1 << failed_attempts.min(16))
                        .min(LONGEST_PAUSE);
                    State::Failed {
                        error,
                        attempts: failed_attempts + 1,
                        until: Instant::now() + pause,
                    }
                }
            };
            this.states().insert(Handle::current().id(), state);
            drop(done);
        });
        changed
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        // Each call brings its own deadline: a response timeout here would be a second, hidden one.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let attempt = self.0.client.get_multiplexed_async_connection_with_config(&config);
        match timeout_at(Instant::now() + CONNECT_TIMEOUT, attempt).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::unreachable(&self.0.url, &error)),
            Err(_) => Err(self.no_connection(&format!("no answer within {CONNECT_TIMEOUT:?}"))),
        }
    }

    fn no_connection(&self, cause: &str) -> StoreError {
        StoreError::Unreachable {
            url: self.0.url.clone(),
            cause: cause.to_owned(),
            hint: "check the host and port in the Redis URL, and the network",
        }
    }

    fn lost(&self, since: Instant) {
        let mut states = self.states();
        let state = states.entry(Handle::current().id()).or_default();
        if matches!(state, State::Connected(live) if live.since == since) {
            *state = State::Idle;
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Id, State>> {
        // Each assignment under the lock is whole, so poisoned states are still true ones.
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedConnection").field(&self.0.url).finish()
    }
}
