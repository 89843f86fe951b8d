//! The same work by Feast and MLServer, as fast as their own settings make them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use end_to_end::env::{required, root};
use end_to_end::redis_server::RedisServer;
use end_to_end::servers::{Server, free_port, until_up};
use serde_json::{Value, json};

use crate::arm::{Arm, Rounds, measure};
use crate::load::{Requests, ask_once};
use crate::materialize;
use crate::report::{Table, median};
use crate::serving::{DISTINCT, http, inferences};
use crate::stand::{FEATURES, Stand, address};

/// Each of the servers answers on one thread, so that rates tell of one core.
const WORKERS: &str = "1";

pub(crate) async fn tables(stand: &Stand, rounds: Rounds) -> Result<Vec<Table>> {
    let theirs = RedisServer::start()?;
    let folder = stand.dir.path().join("feast");
    let feast = |args: &[&str]| script("bench_feast.py", "LARDER_BENCH_FEAST_PYTHON", args);
    let store = theirs.url().trim_start_matches("redis://").to_owned();
    let prepared = feast(&[
        "prepare",
        "--database",
        &stand.database.url,
        "--redis",
        &store,
        "--folder",
        &folder.display().to_string(),
        "--views",
        "3",
    ])?;
    let mut runs = Vec::new();
    for _ in 0..rounds.count.div_ceil(2) {
        redis::cmd("FLUSHALL")
            .query_async::<()>(&mut crate::stand::connection_to(&theirs.url()).await?)
            .await?;
        stand.flush().await?;
        let run = feast(&["materialize", "--folder", &folder.display().to_string()])?;
        runs.push((run, materialize::run(stand, &["v3_0", "v3_1", "v3_2"]).await?));
    }
    Ok(vec![
        materialized(stand, &runs)?,
        looked_up(stand, &theirs, &folder, &prepared, rounds).await?,
        inferred(stand, rounds).await?,
    ])
}

fn materialized(stand: &Stand, runs: &[(Value, materialize::Run)]) -> Result<Table> {
    let rows = (3 * stand.users) as f64;
    let of = |figure: &dyn Fn(&Value, &materialize::Run) -> f64| {
        median(runs.iter().map(|(theirs, ours)| figure(theirs, ours)).collect())
    };
    let told = |theirs: &Value, name: &str| theirs[name].as_f64().unwrap_or(f64::NAN);
    let cpu = |ours: &materialize::Run| ours.cpu;
    let memory = |ours: &materialize::Run| ours.memory as f64;
    ensure!(
        runs.iter().all(|(theirs, _)| told(theirs, "rows") == rows),
        "Feast wrote another number of rows: {runs:?}"
    );
    let title = format!("Materialization of {} users in 3 views, beside Feast", stand.users);
    let mut table = Table::new(&title, &["rows/s", "rows a CPU second", "peak MB"]);
    table.line(
        "Feast",
        [
            Some(of(&|theirs, _| rows / told(theirs, "seconds"))),
            Some(of(&|theirs, _| rows / told(theirs, "cpu_seconds"))),
            Some(of(&|theirs, _| told(theirs, "max_rss_bytes") / 1e6)),
        ],
    );
    table.line(
        "Larder",
        [
            Some(of(&|_, ours| rows / ours.seconds)),
            Some(of(&|_, ours| rows / cpu(ours))),
            Some(of(&|_, ours| memory(ours) / 1e6)),
        ],
    );
    table.line(
        "times",
        [
            Some(of(&|theirs, ours| told(theirs, "seconds") / ours.seconds)),
            Some(of(&|theirs, ours| told(theirs, "cpu_seconds") / cpu(ours))),
            Some(of(&|theirs, ours| memory(ours) / told(theirs, "max_rss_bytes"))),
        ],
    );
    print!("{}", table.text());
    Ok(table)
}

async fn looked_up(
    stand: &Stand,
    theirs: &RedisServer,
    folder: &Path,
    prepared: &Value,
    rounds: Rounds,
) -> Result<Table> {
    let port = free_port()?;
    let mut command = Command::new(required("LARDER_BENCH_FEAST_PYTHON"));
    // Not by its script, which has the path that the environment was made at.
    command
        .args(["-c", "from feast.cli.cli import cli; cli()", "-c"])
        .arg(folder)
        .args(["serve", "-h", "127.0.0.1", "-p", &port.to_string(), "-w", WORKERS]);
    command.args(["--no-access-log", "--max-requests", "0", "--registry_ttl_sec", "3600"]);
    let feast = Peer::start("feast", command, port, "/health").await?;
    let (larder, predictor) = (
        on_one_thread(stand, "feature-server").await?,
        on_one_thread(stand, "predictor").await?,
    );
    let users = || (0..DISTINCT).map(|i| i % stand.users + 1);
    let asking = |by: &str, what: Value| {
        let body = |user: usize| json!({ by: what, "entities": { "user_id": [user] } }).to_string();
        Requests::post("/get-online-features", users().map(body))
    };
    let names: Vec<String> = (0..FEATURES).map(|i| format!("v3_{}:f{i}", i * 3 / FEATURES)).collect();
    let by_list = (
        asking("features", prepared["features"].clone()),
        asking("features", json!(names)),
    );
    let by_service = (
        asking("feature_service", json!("all")),
        asking("feature_service", json!("s3")),
    );
    let predicted = crate::serving::of_rows("gbdt_3", 1, stand.users);
    let (theirs_at, ours_at) = ((feast.address, feast.worker()?), (address(&larder)?, larder.id()));
    let mut arms = Vec::new();
    for clients in [1, 8] {
        let at = arms.len();
        for (by, (theirs_asked, ours_asked)) in [("list", &by_list), ("service", &by_service)] {
            let beside = arms.len();
            let name = |whose: &str| format!("{whose}: /get-online-features, by {by}");
            let feast = http(&name("Feast"), clients, &[theirs_at], theirs_asked, None);
            let larder = http(&name("Larder"), clients, &[ours_at], ours_asked, Some(beside));
            arms.extend([feast.asking(theirs.id()), larder.asking(stand.redis.id())]);
        }
        arms.push(
            http(
                "Larder: :predict of the same features",
                clients,
                &[(address(&predictor)?, predictor.id())],
                &predicted,
                Some(at),
            )
            .asking(stand.redis.id()),
        );
    }
    measure("30 features in 3 views, beside Feast", &mut arms, rounds).await
}

async fn inferred(stand: &Stand, rounds: Rounds) -> Result<Table> {
    let (folder, port) = (stand.dir.path().join("mlserver"), free_port()?);
    let model = stand.dir.path().join("gbdt.onnx");
    script(
        "bench_mlserver.py",
        "LARDER_BENCH_MLSERVER_PYTHON",
        &[
            "write",
            "--folder",
            &folder.display().to_string(),
            "--model",
            &model.display().to_string(),
            "--port",
            &port.to_string(),
        ],
    )?;
    let mut command = Command::new(required("LARDER_BENCH_MLSERVER_PYTHON"));
    command
        .args(["-c", "from mlserver.cli import main; main()", "start"])
        .arg(&folder);
    let peer = Peer::start("mlserver", command, port, "/v2/models/bench/ready").await?;
    let predictor = on_one_thread(stand, "predictor").await?;
    let (theirs, ours): (Arc<Requests>, Arc<Requests>) = (inferences("bench"), inferences("gbdt_tensors"));
    let mut arms: Vec<Arm> = Vec::new();
    for clients in [1, 8] {
        let at = arms.len();
        arms.push(http(
            "MLServer",
            clients,
            &[(peer.address, peer.worker()?)],
            &theirs,
            None,
        ));
        arms.push(http(
            "Larder",
            clients,
            &[(address(&predictor)?, predictor.id())],
            &ours,
            Some(at),
        ));
    }
    measure(
        "/v2/models/…/infer of the same GBDT, beside MLServer",
        &mut arms,
        rounds,
    )
    .await
}

/// A server of ours that has one worker, too.
async fn on_one_thread(stand: &Stand, name: &str) -> Result<Server> {
    let mut variables = stand.variables(&stand.redis).to_vec();
    variables.extend(["LARDER_THREADS", "TOKIO_WORKER_THREADS"].map(|name| (name, WORKERS.to_owned())));
    Server::start(name, stand.dir.path(), &variables).await
}

/// What a script in `tests/python` says, run by the Python that a variable names.
fn script(name: &str, python: &str, args: &[&str]) -> Result<Value> {
    let output = Command::new(required(python))
        .arg(root().join("tests/python").join(name))
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{name} starts"))?;
    ensure!(output.status.success(), "{name}: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{name} says JSON"))
}

/// Another server, ended when it is dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    async fn start(name: &str, mut command: Command, port: u16, ready: &str) -> Result<Self> {
        let ready = Requests::get(ready);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut peer = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        // Its port may be open before its model or its worker is there.
        let (child, address) = (&mut peer.child, peer.address);
        until_up(name, child, async || ask_once(address, &ready).await.is_ok()).await?;
        Ok(peer)
    }

    /// The process that answers: its only worker, or itself.
    fn worker(&self) -> Result<u32> {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id()))?;
        Ok(match children.split_whitespace().last() {
            Some(worker) => worker.parse()?,
            None => self.child.id(),
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // What it started ends with it, if it is asked.
        let _sent = Command::new("kill").arg(self.child.id().to_string()).status();
        let _reaped = self.child.wait();
    }
}
