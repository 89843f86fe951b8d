//! Redis as tests see it: everything that stands online, and a way there that can be shut.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use feature_defs::key::ValueKeys;
use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use super::Ground;

/// A way to Redis that can be shut.
pub(crate) struct Way {
    pub(crate) url: String,
    gate: Arc<Gate>,
}

struct Gate {
    /// How many bytes may pass.
    bytes: Semaphore,
    /// What no byte passes with, or after, until the way is cleared.
    before: Mutex<Option<&'static [u8]>>,
    reached: Notify,
}

impl Way {
    /// One that lets so many bytes pass to Redis, and then holds up what follows.
    pub(crate) async fn open_for(bytes: usize, redis: &str) -> Self {
        Self::open(bytes, None, redis).await
    }

    /// One that holds up what comes with this word in it, and what follows.
    pub(crate) async fn open_before(word: &'static str, redis: &str) -> Self {
        Self::open(1 << 28, Some(word.as_bytes()), redis).await
    }

    async fn open(bytes: usize, before: Option<&'static [u8]>, redis: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = redis.strip_prefix("redis://").unwrap();
        let (server, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = server.rsplit_once('@').unwrap_or(("", server));
        let host = host.to_owned();
        let gate = Arc::new(Gate {
            bytes: Semaphore::new(bytes),
            before: Mutex::new(before),
            reached: Notify::new(),
        });
        let passing = Arc::clone(&gate);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, host.clone(), Arc::clone(&passing)));
            }
        });
        Self {
            url: format!("redis://{user}@127.0.0.1:{port}/{database}"),
            gate,
        }
    }

    /// Waits until the word has come.
    pub(crate) async fn reached(&self) {
        self.gate.reached.notified().await;
    }

    /// Lets everything pass from now on.
    pub(crate) fn clear(&self) {
        *self.gate.before.lock().unwrap() = None;
        self.gate.bytes.add_permits(1 << 28);
    }

    /// From now on what comes is refused: Redis is away.
    pub(crate) fn shut(&self) {
        self.gate.bytes.close();
    }
}

impl Gate {
    fn look(&self, bytes: &[u8]) {
        let before = self.before.lock().unwrap();
        if before.is_some_and(|word| bytes.windows(word.len()).any(|found| found == word)) {
            self.bytes.forget_permits(1 << 28);
            self.reached.notify_one();
        }
    }
}

async fn carry(client: TcpStream, host: String, gate: Arc<Gate>) {
    let server = TcpStream::connect(host).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = [0; 1 << 14];
    while let Ok(read) = from_client.read(&mut buffer).await {
        gate.look(&buffer[..read]);
        let pass = gate.bytes.acquire_many(u32::try_from(read).unwrap()).await;
        if read == 0 || pass.is_err() {
            break;
        }
        pass.unwrap().forget();
        to_server.write_all(&buffer[..read]).await.unwrap();
    }
    answers.abort();
}

pub(crate) fn redis_url() -> String {
    std::env::var("LARDER_TEST_REDIS_URL").unwrap()
}

/// Every value of a view online: entity and bytes.
pub(crate) async fn content(ground: &Ground, view: &str) -> BTreeMap<String, Vec<u8>> {
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
