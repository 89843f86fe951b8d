//! Runs killed at any moment, and gone on with until they are done, leave what an undisturbed run leaves: every byte.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use end_to_end::env::program;
use end_to_end::postgres::{self, Database};
use end_to_end::redis_server::RedisServer;
use feature_defs::codec::AS_OF_OFFSET;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

const ENTITIES: u32 = 120_000;
const KILLS: usize = 50;
/// So many of the kills must hit after a checkpoint was recorded, or the test has not seen what it is about.
const FROM_CHECKPOINTS: usize = 15;

const DEFINITIONS: &str = r#"
[[entity]]
name = "thing"
join_keys = [{ name = "name", type = "string" }, { name = "id", type = "int64" }]

[[source]]
name = "events"
table = "events"
event_timestamp = "event"
created_timestamp = "created"

[[source]]
name = "keyed"
table = "events"
event_timestamp = "event"
created_timestamp = "created"
key = ["number"]
deleted = "deleted"

[[feature_view]]
name = "rows"
entity = "thing"
source = "events"
features = [{ name = "amount", type = "float64" }, { name = "text", type = "string" }]

[[feature_view]]
name = "corrected"
entity = "thing"
source = "keyed"
features = [{ name = "amount", type = "float64" }]

[[feature_view]]
name = "windows"
entity = "thing"
source = "events"
aggregate = [
  { name = "amount", function = "sum", column = "amount", type = "float64", windows = ["1h", "1d"] },
  { name = "n", function = "count", windows = ["1h", "1d"] },
]
"#;

/// Two events of each entity, of which the second corrects or deletes the first of some.
const EVENTS: &str = r"
CREATE TABLE events (name text, id int8, number int8, event timestamptz, created timestamptz, deleted bool, amount float8, text text);
INSERT INTO events
SELECT (ARRAY['', '''', 'ä', 'B', 'a,b'])[i % 5 + 1], i - 20000, CASE WHEN i % 3 = 0 THEN i ELSE 2 * i + second + 1000000 END,
       '2024-01-01 10:00+00'::timestamptz + (i % 7 + second * 5) * interval '10 minutes',
       '2024-01-01 12:00+00'::timestamptz + second * interval '1 minute', second = 1 AND i % 11 = 0, i + second, repeat('x', i % 40)
FROM generate_series(1, $ENTITIES) AS i, generate_series(0, 1) AS second;
CREATE INDEX ON events (name, id, event);
CREATE INDEX ON events (event);
CREATE INDEX ON events (created);
CREATE INDEX ON events (number);
ANALYZE events;
";

/// What is done, undisturbed and killed.
#[derive(Debug, Clone, Copy)]
struct Job {
    arguments: &'static [&'static str],
    /// Whether values are as of when the command was given, which no two runs have in common.
    as_of_now: bool,
}

const AS_OF: &str = "2024-01-01T12:30:00Z";
const JOBS: [Job; 5] = [
    Job {
        arguments: &["materialize", "rows", "--as-of", AS_OF],
        as_of_now: false,
    },
    Job {
        arguments: &["materialize", "windows", "--as-of", AS_OF],
        as_of_now: false,
    },
    Job {
        arguments: &["materialize", "corrected", "--incremental", "--as-of", AS_OF],
        as_of_now: false,
    },
    Job {
        arguments: &[
            "backfill",
            "rows",
            "--start",
            "2024-01-01T09:00:00Z",
            "--end",
            "2024-01-01T12:30:00Z",
            "--every",
            "1h",
        ],
        as_of_now: true,
    },
    Job {
        arguments: &[
            "backfill",
            "windows",
            "--start",
            "2024-01-01T10:00:00Z",
            "--end",
            "2024-01-01T12:30:00Z",
            "--every",
            "90m",
            "--all-steps",
        ],
        as_of_now: false,
    },
];

/// One source and one Redis, in which every project is by itself.
struct World {
    database: Database,
    redis: RedisServer,
}

/// A project with no run yet.
struct Project {
    name: String,
    definitions: TempDir,
}

/// How a process ended.
enum Ended {
    Done(String),
    Failed(String),
    Killed,
}

impl World {
    async fn new() -> Self {
        let database = postgres::empty().await.unwrap();
        let redis = RedisServer::start().unwrap();
        let world = Self { database, redis };
        let events = EVENTS.replace("$ENTITIES", &ENTITIES.to_string());
        sqlx::raw_sql(AssertSqlSafe(events))
            .execute(&world.database.pool)
            .await
            .unwrap();
        let nowhere = tempfile::tempdir().unwrap();
        let migrated = world.feature_server(nowhere.path(), &["migrate"], pending()).await;
        assert!(matches!(migrated, Ended::Done(_)));
        world
    }

    /// Runs the program, and kills it when told so.
    async fn feature_server(&self, features: &Path, arguments: &[&str], kill: impl Future<Output = ()>) -> Ended {
        let mut process = Command::new(program("feature-server"))
            .args(arguments)
            .env("LARDER_FEATURES", features)
            .env("LARDER_DATABASE_URL", &self.database.url)
            .env("LARDER_REDIS_URL", self.redis.url())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut stdout, mut stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        let (mut out, mut err) = (String::new(), String::new());
        let told = async {
            let (one, other) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
            one.and(other).unwrap();
        };
        tokio::select! {
            () = told => {}
            () = kill => {
                process.kill().await.unwrap();
                return Ended::Killed;
            }
        }
        if process.wait().await.unwrap().success() {
            Ended::Done(out)
        } else {
            Ended::Failed(err)
        }
    }

    /// The id of the project's newest run, if that has not ended and has left a checkpoint, or a step, to go on from.
    async fn checkpoint(&self, project: &Project) -> Option<String> {
        sqlx::query_scalar(
            "SELECT r.id::text
             FROM larder.materialization_runs r JOIN larder.run_shards s ON s.run = r.id
             WHERE r.project = $1 AND r.outcome = 'running' AND (s.checkpoint IS NOT NULL OR s.step IS NOT NULL)
             ORDER BY r.started_at DESC LIMIT 1",
        )
        .bind(&project.name)
        .fetch_optional(&self.database.pool)
        .await
        .unwrap()
    }

    /// Everything of a project in Redis, by key without the project's name: but for the names of runs, and where values are
    /// as of "now", for that.
    fn contents(&self, project: &Project, as_of_now: bool) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let mut connection = redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap();
        let prefix = format!("larder:{}:", project.name);
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{prefix}*"))
            .query(&mut connection)
            .unwrap();
        let mut contents = BTreeMap::new();
        let (records, values): (Vec<String>, Vec<String>) = keys.into_iter().partition(|key| key.contains(":@"));
        for key in records {
            let mut fields: BTreeMap<String, Vec<u8>> = redis::cmd("HGETALL").arg(&key).query(&mut connection).unwrap();
            fields.remove("run");
            if let Some(json) = fields.get_mut("json") {
                let mut marker: Value = serde_json::from_slice(json).unwrap();
                marker["run"].take();
                *json = marker.to_string().into_bytes();
            }
            contents.insert(key[prefix.len()..].to_owned(), fields);
        }
        for keys in values.chunks(5_000) {
            let blobs: Vec<Vec<u8>> = redis::cmd("MGET").arg(keys).query(&mut connection).unwrap();
            for (key, mut blob) in keys.iter().zip(blobs) {
                if as_of_now {
                    blob[AS_OF_OFFSET..AS_OF_OFFSET + 8].fill(0);
                }
                contents.insert(key[prefix.len()..].to_owned(), BTreeMap::from([(String::new(), blob)]));
            }
        }
        contents
    }
}

impl Project {
    fn new() -> Self {
        let name = postgres::unique("k");
        let definitions = tempfile::tempdir().unwrap();
        let toml = format!("format = 1\nproject = \"{name}\"\n{DEFINITIONS}");
        std::fs::write(definitions.path().join("project.toml"), toml).unwrap();
        Self { name, definitions }
    }
}

/// What has been seen in all.
#[derive(Debug, Default)]
struct Seen {
    kills: usize,
    /// So many kills are enough for the moment.
    until: usize,
    /// Kills that left a checkpoint.
    checkpoints: usize,
    /// Of these, those whose run was gone on with under its own name.
    gone_on: usize,
}

/// Does a job in a new project, killed again and again: at random moments of as long as it takes undisturbed, and, for a
/// run is mostly its beginning where it is short, soon after there is a checkpoint.
async fn do_killed(world: &World, job: Job, takes: Duration, (random, seen): (&mut TestRng, &mut Seen)) -> Project {
    let project = Project::new();
    let arguments = [job.arguments, &["--resume", "--json"]].concat();
    let mut left: Option<String> = None;
    loop {
        let (enough, at_random, share) = (seen.kills >= seen.until, random.next_u32() % 2 == 0, share(random));
        let kill = async {
            match at_random {
                _ if enough => pending().await,
                true => tokio::time::sleep(takes.mul_f64(share)).await,
                false => {
                    while world.checkpoint(&project).await.is_none() {
                        tokio::task::yield_now().await;
                    }
                    tokio::time::sleep(takes.mul_f64(share / 4.0)).await;
                }
            }
        };
        match world.feature_server(project.definitions.path(), &arguments, kill).await {
            Ended::Killed => {
                seen.kills += 1;
                let now = world.checkpoint(&project).await;
                seen.checkpoints += usize::from(now.is_some());
                seen.gone_on += usize::from(left.is_some() && now == left);
                left = now;
            }
            Ended::Done(told) => {
                seen.gone_on += usize::from(left.is_some_and(|run| told.contains(&run)));
                return project;
            }
            // Postgres has not noticed yet that the process before is gone.
            Ended::Failed(why) if why.contains("is being materialized already") => tokio::task::yield_now().await,
            Ended::Failed(why) => panic!("{job:?}: {why}"),
        }
    }
}

/// From nothing to all.
fn share(random: &mut TestRng) -> f64 {
    f64::from(random.next_u32()) / f64::from(u32::MAX)
}

#[tokio::test]
async fn what_is_killed_at_any_moment_and_gone_on_with_is_as_if_it_never_was() {
    let seed = std::env::var("LARDER_TEST_SEED")
        .map_or_else(|_| uuid::Uuid::new_v4().as_u64_pair().0, |seed| seed.parse().unwrap());
    println!("LARDER_TEST_SEED={seed} repeats this test");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let world = World::new().await;
    let mut seen = Seen::default();
    for (i, job) in JOBS.into_iter().enumerate() {
        let undisturbed = Project::new();
        let started = Instant::now();
        let done = world
            .feature_server(undisturbed.definitions.path(), job.arguments, pending())
            .await;
        let takes = started.elapsed();
        if let Ended::Failed(why) = done {
            panic!("{job:?}: {why}");
        }
        let expected = world.contents(&undisturbed, job.as_of_now);
        assert!(
            expected.len() > ENTITIES as usize * 9 / 10,
            "{job:?}: {}",
            expected.len()
        );
        seen.until = KILLS * (i + 1) / JOBS.len();
        while seen.kills < seen.until {
            let project = do_killed(&world, job, takes, (&mut random, &mut seen)).await;
            let found = world.contents(&project, job.as_of_now);
            let wrong = expected.iter().find(|(key, value)| found.get(*key) != Some(value));
            assert!(
                wrong.is_none(),
                "{job:?}: {wrong:?} is {:?}",
                wrong.and_then(|(key, _)| found.get(key))
            );
            assert_eq!(found.len(), expected.len(), "{job:?}");
        }
        println!("{} took {takes:?}: {seen:?}", job.arguments.join(" "));
    }
    assert!(seen.gone_on >= FROM_CHECKPOINTS, "{seen:?}");
}
