//! For tests: many entities, runs that end in the middle, and everything that stands online after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_defs::key::ValueKeys;
use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::materialize::Backfill;
use crate::store::RunRecord;
use crate::testing::Ground;
use crate::{App, Progress, RunError, RunRequest, RunSummary};

/// More than the batches that are on their way at a time, so that a run has a middle.
pub(super) const ENTITIES: u64 = 12_000;
/// What a run sends of these before it stalls: about a quarter of them.
const STALL_AFTER_BYTES: usize = 350_000;

/// A way to Redis that can be shut.
pub(super) struct Way {
    pub(super) url: String,
    bytes: Arc<Semaphore>,
}

impl Way {
    /// One that lets so many bytes pass to Redis, and then holds up what follows.
    pub(super) async fn open_for(bytes: usize, redis: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = redis.strip_prefix("redis://").unwrap();
        let (server, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = server.rsplit_once('@').unwrap_or(("", server));
        let host = host.to_owned();
        let bytes = Arc::new(Semaphore::new(bytes));
        let left = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, host.clone(), Arc::clone(&left)));
            }
        });
        Self {
            url: format!("redis://{user}@127.0.0.1:{port}/{database}"),
            bytes,
        }
    }

    /// From now on what comes is refused: Redis is away.
    pub(super) fn shut(&self) {
        self.bytes.close();
    }
}

async fn carry(client: TcpStream, host: String, left: Arc<Semaphore>) {
    let server = TcpStream::connect(host).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = [0; 1 << 14];
    while let Ok(read) = from_client.read(&mut buffer).await {
        let pass = left.acquire_many(u32::try_from(read).unwrap()).await;
        if read == 0 || pass.is_err() {
            break;
        }
        pass.unwrap().forget();
        to_server.write_all(&buffer[..read]).await.unwrap();
    }
    answers.abort();
}

/// How a run ends in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its process is gone, as after a crash.
    Crash,
    /// Redis is.
    RedisAway,
}

/// Begins a run whose Redis stops answering midway, and ends it once a checkpoint is recorded. Gives what is recorded of it
/// then.
pub(super) async fn end_midway(ground: &mut Ground, ending: (&str, End), request: RunRequest) -> RunRecord {
    let view = ending.0.to_owned();
    let run =
        move |app: Arc<App>| async move { app.materialize(&view, &request, &Progress::hidden()).await.map(|_| ()) };
    end(ground, ending, run).await
}

/// The same of a backfill.
pub(super) async fn end_backfill_midway(ground: &mut Ground, ending: (&str, End), backfill: Backfill) -> RunRecord {
    let view = ending.0.to_owned();
    let run = move |app: Arc<App>| async move { app.backfill(&view, &backfill, &Progress::hidden()).await.map(|_| ()) };
    end(ground, ending, run).await
}

async fn end<F>(ground: &mut Ground, (view, end): (&str, End), run: impl FnOnce(Arc<App>) -> F) -> RunRecord
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let direct = ground.settings.redis.clone();
    let written = |run: &RunRecord| (run.id, run.rows_written);
    let before = ground.app.store().runs(Some(view), 1).await.unwrap().pop();
    let before = before.as_ref().map(written);
    let way = Way::open_for(STALL_AFTER_BYTES, &redis_url()).await;
    ground.settings.redis = way.url.parse().unwrap();
    ground.reopen();
    let run = tokio::spawn(run(Arc::clone(&ground.app)));
    loop {
        assert!(!run.is_finished(), "it is to stall before its end");
        let newest = ground.app.store().runs(Some(view), 1).await.unwrap().pop();
        let moved = |run: &RunRecord| run.rows_written > 0 && Some(written(run)) != before;
        if newest.is_some_and(|run| run.outcome == "running" && moved(&run)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    match end {
        End::Crash => run.abort(),
        End::RedisAway => way.shut(),
    }
    let ended = run.await;
    assert!(!matches!(ended, Ok(Ok(_))), "{ended:?}");
    ground.settings.redis = direct;
    ground.reopen();
    let outcome = match end {
        End::Crash => "interrupted",
        End::RedisAway => "failed",
    };
    until_outcome(ground, view, outcome).await
}

/// Waits until the view's last run stands like this, and gives it.
pub(super) async fn until_outcome(ground: &Ground, view: &str, outcome: &str) -> RunRecord {
    loop {
        let newest = ground.app.store().runs(Some(view), 1).await.unwrap().pop();
        if let Some(run) = newest.filter(|run| run.outcome == outcome) {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) fn redis_url() -> String {
    std::env::var("LARDER_TEST_REDIS_URL").unwrap()
}

/// Runs a view as it is asked for, at a time of the day.
pub(super) async fn ask(ground: &Ground, view: &str, request: RunRequest, time: &str) -> Result<RunSummary, RunError> {
    ground.clock.set(crate::testing::at(time));
    ground.app.materialize(view, &request, &Progress::hidden()).await
}

/// Every value of a view online: entity and bytes.
pub(super) async fn content(ground: &Ground, view: &str) -> BTreeMap<String, Vec<u8>> {
    let view_keys = ValueKeys::new(&ground.app.definitions().project, &view.parse().unwrap());
    let client = redis::Client::open(redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut keys: Vec<String> = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(view_keys.pattern())
            .arg("COUNT")
            .arg(10_000);
        let (next, found): (u64, Vec<String>) = scan.query_async(&mut connection).await.unwrap();
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    keys.sort();
    keys.dedup();
    let mut content = BTreeMap::new();
    for some in keys.chunks(1_000) {
        let values: Vec<Vec<u8>> = connection.mget(some).await.unwrap();
        let entities = some
            .iter()
            .map(|key| view_keys.entity(key.as_bytes()).unwrap().to_owned());
        content.extend(entities.zip(values));
    }
    content
}
