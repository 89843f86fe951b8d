//! Materialization: full runs beside `COPY` to nowhere and `COPY`, packing and plain `SET`s of the same bytes; what readers notice;
//! and what a value takes in Redis.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio_util::sync::CancellationToken;

use crate::arm::mget;
use crate::load::{Load, Until};
use crate::plain::Way;
use crate::process::{cpu_seconds, peak_memory};
use crate::report::{Table, median};
use crate::stand::{FEATURES, MEANS, Stand};

/// The view that is materialized: all features of a user in one value.
pub(crate) const VIEW: &str = "v1_0";
/// So many bytes have come to Redis when writing has begun.
const FIRST_WRITES: u64 = 64 << 10;

/// What one way to bring all values into Redis took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) redis_cpu: f64,
    pub(crate) memory: u64,
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
    // Each beside the arm that its rate is set in relation to.
    let arms = [
        ("COPY to nowhere", None),
        ("COPY, pack, SET: empty store", None),
        ("COPY, pack, SET: overwriting", None),
        ("COPY of newest rows, pack, SET: empty store", None),
        ("COPY of newest rows, pack, SET: overwriting", None),
        ("materialize: empty store", Some(3)),
        ("materialize: the same moment again", Some(4)),
        ("materialize: a later moment, overwriting", Some(4)),
        ("materialize 30 means of 30 days: empty store", Some(3)),
        ("materialize 30 means of 30 days: a later moment, overwriting", Some(4)),
    ];
    let mut taken: [Vec<Run>; 10] = Default::default();
    for _ in 0..rounds {
        stand.flush().await?;
        taken[0].push(watched(stand, Way::Copy.command(stand)?).await?);
        taken[1].push(watched(stand, Way::Set.command(stand)?).await?);
        taken[2].push(watched(stand, Way::Set.command(stand)?).await?);
        stand.flush().await?;
        taken[3].push(watched(stand, Way::Newest.command(stand)?).await?);
        taken[4].push(watched(stand, Way::Newest.command(stand)?).await?);
        stand.flush().await?;
        let moment = stand.moment().await?;
        let as_of = [VIEW, "--as-of", &moment];
        taken[5].push(run(stand, &as_of).await?);
        taken[6].push(run(stand, &as_of).await?);
        taken[8].push(run(stand, &[MEANS]).await?);
        stand.move_on().await?;
        taken[7].push(run(stand, &[VIEW]).await?);
        taken[9].push(run(stand, &[MEANS]).await?);
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
    for ((name, yardstick), own) in arms.into_iter().zip(&taken) {
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
                Some(of(&|run| run.cpu * 1e6 / rows)),
                Some(of(&|run| run.redis_cpu * 1e6 / rows)),
                Some(of(&|run| run.memory as f64 / 1e6)),
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
        "MGETs of 5 values, from the first write to the last",
        &["clients", "reads/s", "p50 µs", "p99 µs", "p99, of quiet"],
    );
    for clients in [1, 16] {
        let mut taken: [Vec<Load>; 3] = Default::default();
        for _ in 0..rounds {
            taken[0].push(mget(&connection, clients, Until::after(Duration::from_secs(1)), &keys).await?);
            taken[1].push(reads_while(stand, Way::Set.command(stand)?, clients).await?);
            stand.move_on().await?;
            let mut command = stand.command("feature-server");
            command.args(["materialize", VIEW]);
            taken[2].push(reads_while(stand, command, clients).await?);
        }
        let p99 = |load: &Load| load.percentile(99);
        for (name, own) in names.into_iter().zip(&taken) {
            let of = |figure: &dyn Fn(&Load) -> f64| median(own.iter().map(figure).collect());
            let ratio = median(
                own.iter()
                    .zip(&taken[0])
                    .map(|(own, quiet)| p99(own) / p99(quiet))
                    .collect(),
            );
            table.line(
                format!("{name}, {clients} client(s)"),
                [
                    Some(clients as f64),
                    Some(of(&Load::rate)),
                    Some(of(&|load| load.percentile(50))),
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

/// A full run of the feature server's.
pub(crate) async fn run(stand: &Stand, views: &[&str]) -> Result<Run> {
    let mut command = stand.command("feature-server");
    command.arg("materialize").args(views);
    watched(stand, command).await
}

/// What a process takes until it ends.
async fn watched(stand: &Stand, mut command: Command) -> Result<Run> {
    let redis = stand.redis.id();
    let (started, redis_before) = (Instant::now(), cpu_seconds(redis)?);
    let mut child = command.spawn()?;
    let (mut cpu, mut memory) = (0.0, 0);
    loop {
        // What has ended is a zombie until it is waited for: it has its times still, and no memory.
        cpu = cpu_seconds(child.id()).unwrap_or(cpu);
        memory = peak_memory(child.id()).unwrap_or(memory);
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{}: {status}", command.get_program().display());
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Run {
        seconds: started.elapsed().as_secs_f64(),
        cpu,
        redis_cpu: cpu_seconds(redis)? - redis_before,
        memory,
    })
}

/// Reads while a process writes, from its first write to its end.
async fn reads_while(stand: &Stand, command: Command, clients: usize) -> Result<Load> {
    let (connection, keys) = (stand.connection().await?, stand.keys(5));
    let before = stand.bytes_received().await?;
    let program = command.get_program().to_owned();
    let mut child = tokio::process::Command::from(command).spawn()?;
    while stand.bytes_received().await? < before + FIRST_WRITES {
        ensure!(
            child.try_wait()?.is_none(),
            "{} ended before anybody could read meanwhile: take more --users",
            program.display()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stop = CancellationToken::new();
    let ended = async {
        let status = child.wait().await;
        stop.cancel();
        let status = status?;
        ensure!(status.success(), "{}: {status}", program.display());
        Ok(())
    };
    let (load, ended) = tokio::join!(mget(&connection, clients, Until::stopped(&stop), &keys), ended);
    ended?;
    load
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

    /// The database's clock.
    async fn moment(&self) -> Result<String> {
        let select = r#"SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
        Ok(sqlx::query_scalar(select).fetch_one(&self.database.pool).await?)
    }

    async fn bytes_received(&self) -> Result<u64> {
        let info: String = redis::cmd("INFO")
            .arg("stats")
            .query_async(&mut self.connection().await?)
            .await?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("total_net_input_bytes:"));
        Ok(line.context("INFO tells total_net_input_bytes")?.trim().parse()?)
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
