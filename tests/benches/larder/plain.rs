//! The yardstick of materialization: `COPY`, packing and plain `SET`s of the same bytes, in a process of its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use end_to_end::env::required;
use feature_defs::codec::{Field, Header, Schema, encode_values};
use feature_defs::time::Timestamp;
use feature_defs::value::{ValueRef, ValueType};
use futures_util::TryStreamExt;
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::materialize::VIEW;
use crate::stand::{FEATURES, Stand, connection_to};

/// `SET`s that are sent together, and how many such batches are on their way.
const SETS: usize = 500;
const IN_FLIGHT: usize = 4;

/// How far the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Out of Postgres, and nowhere.
    Copy,
    /// Into Redis.
    Set,
    /// The newest row of each user, by `DISTINCT ON`, into Redis.
    Newest,
}

impl Way {
    /// The process that goes it.
    pub(crate) fn command(self, stand: &Stand) -> Result<Command> {
        let way = self.to_possible_value().context("every way has a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--plain", way.get_name()])
            .args(["--users", &stand.users.to_string()])
            .envs(stand.variables(&stand.redis))
            .stdin(Stdio::null());
        Ok(command)
    }

    /// What that process does.
    pub(crate) fn go(self, users: usize) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut database = PgConnection::connect(&required("DATABASE_URL")).await?;
            let redis = connection_to(&required("REDIS_URL")).await?;
            self.copy(&mut database, &redis, users).await
        })
    }

    async fn copy(self, database: &mut PgConnection, redis: &MultiplexedConnection, users: usize) -> Result<()> {
        let columns: Vec<String> = (0..FEATURES).map(|i| format!("f{i}")).collect();
        let (distinct, order) = match self {
            Self::Copy | Self::Set => ("", ""),
            Self::Newest => (
                "DISTINCT ON (user_id)",
                "ORDER BY user_id, happened_at DESC, created_at DESC",
            ),
        };
        let select = format!(
            "COPY (SELECT {distinct} user_id, happened_at, created_at, {} FROM events {order}) TO STDOUT (FORMAT binary)",
            columns.join(", ")
        );
        let schema = Schema::new(columns.iter().map(|name| field(name)).collect::<Result<_>>()?);
        let mut rows = database.copy_out_raw(&select).await?;
        let (mut count, mut sets, mut sending) = (0, Pipeline::with_capacity(SETS), JoinSet::new());
        while let Some(chunk) = rows.try_next().await? {
            // The first chunk begins with the stream's head, and the last one is its end.
            let row = chunk
                .strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")
                .unwrap_or(&chunk);
            if row.len() < 4 {
                continue;
            }
            count += 1;
            if self == Self::Copy {
                continue;
            }
            let (key, value) = packed(row, &schema).context("a row of COPY")?;
            sets.cmd("SET").arg(key).arg(value);
            if sets.len() == SETS {
                let full = std::mem::replace(&mut sets, Pipeline::with_capacity(SETS));
                sending.spawn(send(redis.clone(), full));
                if sending.len() == IN_FLIGHT {
                    sending.join_next().await.transpose()?.transpose()?;
                }
            }
        }
        sending.spawn(send(redis.clone(), sets));
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        ensure!(count == users, "{count} rows of {users}");
        Ok(())
    }
}

async fn send(mut connection: MultiplexedConnection, sets: Pipeline) -> Result<()> {
    match sets.is_empty() {
        true => Ok(()),
        false => Ok(sets.query_async::<()>(&mut connection).await?),
    }
}

fn field(name: &str) -> Result<Field> {
    Ok(Field {
        name: name.parse().map_err(|error| anyhow::anyhow!("{name}: {error}"))?,
        value_type: ValueType::Float32,
    })
}

/// The key and the stored bytes of a row of binary `COPY`; `None` if it is cut short.
fn packed(row: &[u8], schema: &Schema) -> Option<(String, Vec<u8>)> {
    let mut rest = row.get(2..)?;
    let mut next = || {
        let (length, tail) = rest.split_first_chunk()?;
        let (field, tail) = tail.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
        rest = tail;
        Some(field)
    };
    let user = i64::from_be_bytes(next()?.try_into().ok()?);
    let mut time = || Some(Timestamp::from_micros(i64::from_be_bytes(next()?.try_into().ok()?)));
    let (event, created) = (time()?, time());
    let header = Header {
        event,
        created,
        as_of: event,
    };
    let mut blob = Vec::with_capacity(200);
    let mut value = || Some(ValueRef::Float32(f32::from_be_bytes(next()?.try_into().ok()?)));
    encode_values(schema, header, &mut blob, |slot| {
        value().map(|value| slot.put(value)).ok_or(())
    })
    .ok()?;
    Some((format!("larder:bench:{VIEW}:{{user_id={user}}}"), blob))
}
