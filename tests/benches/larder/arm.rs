//! What is measured side by side: arms that take turns, some rounds long, so that a machine's moods are shared by all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ort::session::Session;
use ort::value::TensorRef;
use redis::aio::MultiplexedConnection;

use crate::load::{Connection, Load, Requests, Until, connect, http};
use crate::process::cpu_seconds;
use crate::report::{Table, median};

/// One thing to measure.
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) clients: usize,
    pub(crate) work: Work,
    /// The arm that its rate is set in relation to.
    pub(crate) beside: Option<usize>,
    /// The process of the Redis that it asks.
    pub(crate) redis: Option<u32>,
    /// How many requests each client has sent: the next turn goes on behind them.
    pub(crate) sent: usize,
}

/// What is asked, and whom.
pub(crate) enum Work {
    /// Requests at servers, in turn, which are these processes.
    Http {
        servers: Vec<(SocketAddr, u32)>,
        requests: Arc<Requests>,
    },
    /// An `MGET` of the keys of one entity after the other.
    Mget {
        connection: MultiplexedConnection,
        keys: Arc<Vec<Vec<String>>>,
    },
    /// A model, on this thread, on one row after the other.
    Model {
        session: Box<Session>,
        rows: Arc<Vec<f32>>,
        width: usize,
    },
}

/// How long, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    pub(crate) lasts: Duration,
}

/// What one turn of an arm gave.
struct Turn {
    load: Load,
    server_micros: Option<f64>,
    redis_micros: Option<f64>,
}

/// The columns of [`measure`]'s lines, but for the first.
const COLUMNS: [&str; 7] = [
    "clients",
    "answers/s",
    "of its yardstick",
    "p50 µs",
    "p99 µs",
    "server CPU µs",
    "Redis CPU µs",
];

/// A table of the arms' medians; each is also set in relation to another, in each round by itself.
pub(crate) async fn measure(title: &str, arms: &mut [Arm], rounds: Rounds) -> Result<Table> {
    let mut turns: Vec<Vec<Turn>> = arms.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds.count {
        for (arm, turns) in arms.iter_mut().zip(&mut turns) {
            let turn = arm.turn(rounds.lasts).await;
            turns.push(turn.with_context(|| format!("{title}: {}, {} client(s)", arm.name, arm.clients))?);
        }
    }
    let mut table = Table::new(title, &COLUMNS);
    for (arm, own) in arms.iter().zip(&turns) {
        let of = |figure: &dyn Fn(&Turn) -> f64| median(own.iter().map(figure).collect());
        let optional = |figure: &dyn Fn(&Turn) -> Option<f64>| -> Option<f64> {
            own.iter().map(figure).collect::<Option<Vec<f64>>>().map(median)
        };
        let relation = arm.beside.map(|beside| {
            let pairs = own.iter().zip(&turns[beside]);
            median(pairs.map(|(own, other)| own.load.rate() / other.load.rate()).collect())
        });
        table.line(
            format!("{}, {} client(s)", arm.name, arm.clients),
            [
                Some(arm.clients as f64),
                Some(of(&|turn| turn.load.rate())),
                relation,
                Some(of(&|turn| turn.load.percentile(50))),
                Some(of(&|turn| turn.load.percentile(99))),
                optional(&|turn| turn.server_micros),
                optional(&|turn| turn.redis_micros),
            ],
        );
    }
    print!("{}", table.text());
    Ok(table)
}

impl Arm {
    /// The same, which asks a Redis that is this process.
    pub(crate) fn asking(self, redis: u32) -> Self {
        Self {
            redis: Some(redis),
            ..self
        }
    }

    async fn turn(&mut self, lasts: Duration) -> Result<Turn> {
        let servers: Vec<u32> = match &self.work {
            Work::Http { servers, .. } => servers.iter().map(|(_, pid)| *pid).collect(),
            Work::Mget { .. } | Work::Model { .. } => Vec::new(),
        };
        let used = || -> Result<(f64, f64)> {
            let all = servers.iter().map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>()?;
            Ok((all, self.redis.map_or(Ok(0.0), cpu_seconds)?))
        };
        // What connecting costs is no part of what answers cost.
        let connections = self.work.connections(self.clients).await?;
        let before = used()?;
        let load = self.work.run(connections, self.clients, (lasts, self.sent)).await?;
        let after = used()?;
        let micros = |seconds: f64| seconds * 1e6 / load.answers() as f64;
        self.sent += load.answers().div_ceil(self.clients);
        Ok(Turn {
            server_micros: (!servers.is_empty()).then(|| micros(after.0 - before.0)),
            redis_micros: self.redis.map(|_| micros(after.1 - before.1)),
            load,
        })
    }
}

impl Work {
    /// The connections of those who ask servers.
    async fn connections(&self, clients: usize) -> Result<Vec<Connection>> {
        let Self::Http { servers, requests } = self else {
            return Ok(Vec::new());
        };
        let servers: Vec<SocketAddr> = servers.iter().map(|(address, _)| *address).collect();
        connect(&servers, clients, requests).await
    }

    async fn run(
        &mut self,
        connections: Vec<Connection>,
        clients: usize,
        (lasts, sent): (Duration, usize),
    ) -> Result<Load> {
        match self {
            Self::Http { requests, .. } => http(connections, (lasts, sent), requests).await,
            Self::Mget { connection, keys } => mget(connection, clients, Until::after(lasts), keys).await,
            Self::Model { session, rows, width } => {
                let count = rows.len() / *width;
                Load::of(lasts, |i| {
                    let at = i % count * *width;
                    let row = TensorRef::from_array_view(([1, *width], &rows[at..at + *width]))?;
                    session.run(ort::inputs![row])?;
                    Ok(())
                })
            }
        }
    }
}

pub(crate) async fn mget(
    connection: &MultiplexedConnection,
    clients: usize,
    until: Until,
    keys: &Arc<Vec<Vec<String>>>,
) -> Result<Load> {
    let asking = (0..clients).map(|client| {
        let (mut connection, keys, until) = (connection.clone(), Arc::clone(keys), until.clone());
        async move {
            let mut next = client * keys.len() / clients;
            let mut micros = Vec::new();
            while !until.is_over() {
                next = (next + 1) % keys.len();
                let begun = Instant::now();
                let values: Vec<Vec<u8>> = redis::cmd("MGET").arg(&keys[next]).query_async(&mut connection).await?;
                anyhow::ensure!(values.iter().all(|value| !value.is_empty()), "a value is missing");
                micros.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Ok(micros)
        }
    });
    Load::of_clients(asking).await
}
