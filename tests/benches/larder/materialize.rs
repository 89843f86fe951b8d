//! Materialization: full runs beside `COPY` to nowhere and `COPY`, packing and plain `SET`s of the same bytes; what readers notice;
//! and what a value takes in Redis.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use feature_defs::codec::{Body, Field, Header, Schema, encode};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};
use futures_util::{StreamExt, TryStreamExt};
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use sqlx::{Connection, PgConnection};

use crate::arm::mget;
use crate::load::Load;
use crate::process::{cpu_seconds, peak_memory};
use crate::report::{Table, median};
use crate::stand::{FEATURES, Stand};

/// The view that is materialized: all features of a user in one value.
const VIEW: &str = "v1_0";
/// `SET`s that are sent together, and how many such batches are on their way.
const SETS: usize = 500;
const IN_FLIGHT: usize = 4;

/// What one way to bring all values into Redis took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) cpu: Option<f64>,
    pub(crate) redis_cpu: f64,
    pub(crate) memory: Option<u64>,
}

/// All tables about materialization.
pub(crate) async fn tables(stand: &Stand, rounds: usize) -> Result<Vec<Table>> {
    Ok(vec![
        runs(stand, rounds).await?,
        readers(stand, rounds).await?,
        memory(stand).await?,
    ])
}

async fn runs(stand: &Stand, rounds: usize) -> Result<Table> {
    let names = [
        "COPY to nowhere",
        "COPY, pack, SET: empty store",
        "COPY, pack, SET: overwriting",
        "materialize: empty store",
        "materialize: nothing newer",
        "materialize: overwriting",
    ];
    let yardsticks = [None, None, None, Some(1), Some(2), Some(2)];
    let mut taken: [Vec<Run>; 6] = Default::default();
    for _ in 0..rounds {
        stand.flush().await?;
        taken[0].push(ours(stand, false).await?);
        taken[1].push(ours(stand, true).await?);
        taken[2].push(ours(stand, true).await?);
        stand.flush().await?;
        taken[3].push(run(stand, &[VIEW]).await?);
        taken[4].push(run(stand, &[VIEW]).await?);
        stand.move_on().await?;
        taken[5].push(run(stand, &[VIEW]).await?);
    }
    let columns = [
        "rows/s",
        "of its yardstick",
        "CPU µs/row",
        "Redis CPU µs/row",
        "peak MB",
    ];
    let mut table = Table::new(
        &format!("Full materialization of {} rows of {FEATURES} float32", stand.users),
        &columns,
    );
    let rows = stand.users as f64;
    for ((name, own), yardstick) in names.into_iter().zip(&taken).zip(yardsticks) {
        let of = |figure: &dyn Fn(&Run) -> f64| median(own.iter().map(figure).collect());
        let relation = yardstick.map(|other: usize| {
            let pairs = own.iter().zip(&taken[other]);
            median(pairs.map(|(own, other)| other.seconds / own.seconds).collect())
        });
        table.line(
            name,
            [
                Some(of(&|run| rows / run.seconds)),
                relation,
                own[0].cpu.map(|_| of(&|run| run.cpu.unwrap_or_default() * 1e6 / rows)),
                Some(of(&|run| run.redis_cpu * 1e6 / rows)),
                own[0]
                    .memory
                    .map(|_| of(&|run| run.memory.unwrap_or_default() as f64 / 1e6)),
            ],
        );
    }
    print!("{}", table.text());
    Ok(table)
}

/// What readers of five values notice of a run, and of plain `SET`s.
async fn readers(stand: &Stand, rounds: usize) -> Result<Table> {
    stand.feature_server(&["materialize"])?;
    let connection = stand.connection().await?;
    let keys = stand.keys(5);
    let names = ["quiet", "while plain SETs overwrite", "while a full run overwrites"];
    let mut table = Table::new(
        "MGETs of 5 values meanwhile",
        &["clients", "reads/s", "p50 µs", "p99 µs", "p99, of quiet"],
    );
    for clients in [1, 16] {
        let mut taken: [Vec<Load>; 3] = Default::default();
        for _ in 0..rounds {
            taken[0].push(mget(&connection, clients, Duration::from_secs(1), &keys).await?);
            let (load, wrote) = tokio::join!(
                mget(&connection, clients, Duration::from_secs(1), &keys),
                ours(stand, true)
            );
            wrote?;
            taken[1].push(load?);
            stand.move_on().await?;
            let mut child = stand.command("feature-server").args(["materialize", VIEW]).spawn()?;
            // It is reading from Postgres at first.
            let load = mget(&connection, clients, Duration::from_secs(1), &keys).await?;
            ensure!(child.wait()?.success(), "materialize failed");
            taken[2].push(load);
        }
        let p99 = |load: &Load| load.percentile(0.99);
        for (name, own) in names.into_iter().zip(&taken) {
            let of = |figure: &dyn Fn(&Load) -> f64| median(own.iter().map(figure).collect());
            let ratio = median(
                own.iter()
                    .zip(&taken[0])
                    .map(|(own, quiet)| p99(own) / p99(quiet))
                    .collect(),
            );
            table.line(
                name,
                [
                    Some(clients as f64),
                    Some(of(&Load::rate)),
                    Some(of(&|load| load.percentile(0.5))),
                    Some(of(&p99)),
                    Some(ratio),
                ],
            );
        }
    }
    print!("{}", table.text());
    Ok(table)
}

/// Bytes of Redis's memory that an entity takes, keys and the server's own bookkeeping included.
async fn memory(stand: &Stand) -> Result<Table> {
    let mut table = Table::new(
        "Redis's memory, an entity of 30 float32",
        &["values", "bytes an entity", "bytes beside the floats, a value"],
    );
    for views in [1, 3] {
        stand.flush().await?;
        let before = stand.used_memory().await?;
        let names: Vec<String> = (0..views).map(|view| format!("v{views}_{view}")).collect();
        let mut args = vec!["materialize"];
        args.extend(names.iter().map(String::as_str));
        stand.feature_server(&args)?;
        let entity = (stand.used_memory().await? - before) / stand.users as f64;
        let floats = (FEATURES * size_of::<f32>()) as f64;
        table.line(
            format!("in {views} view(s)"),
            [Some(views as f64), Some(entity), Some((entity - floats) / views as f64)],
        );
    }
    print!("{}", table.text());
    Ok(table)
}

/// A full run of the feature server's, as a process of its own.
pub(crate) async fn run(stand: &Stand, views: &[&str]) -> Result<Run> {
    let redis = stand.redis.id();
    let (started, redis_before) = (Instant::now(), cpu_seconds(redis)?);
    let mut child = stand.command("feature-server").arg("materialize").args(views).spawn()?;
    let (cpu, memory) = watched(&mut child).await?;
    Ok(Run {
        seconds: started.elapsed().as_secs_f64(),
        cpu: Some(cpu),
        redis_cpu: cpu_seconds(redis)? - redis_before,
        memory: Some(memory),
    })
}

/// Waits for a process; the CPU and the memory that it took, as last seen.
async fn watched(child: &mut Child) -> Result<(f64, u64)> {
    let mut last = (0.0, 0);
    loop {
        // What has ended is a zombie until it is waited for: it has its times still, and no memory.
        let seen = (cpu_seconds(child.id()), peak_memory(child.id()));
        last = (seen.0.unwrap_or(last.0), seen.1.unwrap_or(last.1));
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "materialize failed: {status}");
            return Ok(last);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same rows by `COPY`, and, if `set`, packed as values and written by plain `SET`s.
async fn ours(stand: &Stand, set: bool) -> Result<Run> {
    let redis = stand.redis.id();
    let (started, redis_before) = (Instant::now(), cpu_seconds(redis)?);
    let mut database = PgConnection::connect(&stand.database.url).await?;
    let columns: Vec<String> = (0..FEATURES).map(|i| format!("f{i}")).collect();
    let select = format!(
        "COPY (SELECT user_id, happened_at, created_at, {} FROM events) TO STDOUT (FORMAT binary)",
        columns.join(", ")
    );
    let mut rows = database.copy_out_raw(&select).await?;
    let connection = stand.connection().await?;
    let schema = Schema::new(columns.iter().map(|name| field(name)).collect::<Result<_>>()?);
    let mut count = 0;
    let mut sets = Pipeline::with_capacity(SETS);
    let mut sending = futures_util::stream::FuturesUnordered::new();
    while let Some(chunk) = rows.try_next().await? {
        // The first chunk begins with the stream's head, and the last one is its end.
        let row = chunk
            .strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")
            .unwrap_or(&chunk);
        if row.len() < 4 {
            continue;
        }
        count += 1;
        if set {
            let (key, value) = packed(row, &schema).context("a row of COPY")?;
            sets.cmd("SET").arg(key).arg(value);
        }
        if sets.len() == SETS {
            let full = std::mem::replace(&mut sets, Pipeline::with_capacity(SETS));
            sending.push(send(connection.clone(), full));
            if sending.len() == IN_FLIGHT {
                sending.next().await.transpose()?;
            }
        }
    }
    sending.push(send(connection, sets));
    sending.try_collect::<Vec<()>>().await?;
    ensure!(count == stand.users, "{count} rows of {}", stand.users);
    Ok(Run {
        seconds: started.elapsed().as_secs_f64(),
        cpu: None,
        redis_cpu: cpu_seconds(redis)? - redis_before,
        memory: None,
    })
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
    let value = |_| Some(Some(Value::Float32(f32::from_be_bytes(next()?.try_into().ok()?))));
    let values = (0..FEATURES).map(value).collect::<Option<_>>()?;
    let mut blob = Vec::with_capacity(200);
    encode(schema, header, &Body::Values(values), &mut blob);
    Some((format!("larder:bench:{VIEW}:{{user_id={user}}}"), blob))
}

impl Stand {
    /// Forgets what is in Redis.
    pub(crate) async fn flush(&self) -> Result<()> {
        redis::cmd("FLUSHALL")
            .query_async::<()>(&mut self.connection().await?)
            .await?;
        Ok(())
    }

    /// Every row is newer than it was.
    async fn move_on(&self) -> Result<()> {
        let moved = "UPDATE events SET happened_at = happened_at + interval '1 ms', created_at = now()";
        sqlx::query(moved).execute(&self.database.pool).await?;
        sqlx::query("VACUUM events").execute(&self.database.pool).await?;
        Ok(())
    }

    async fn used_memory(&self) -> Result<f64> {
        let info: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(&mut self.connection().await?)
            .await?;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(line.context("INFO tells used_memory")?.trim().parse()?)
    }
}
