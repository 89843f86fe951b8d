//! Materializing five million rows takes no more memory than materializing few.

use std::process::Stdio;
use std::time::Duration;

use end_to_end::env::program;
use end_to_end::postgres;
use end_to_end::redis_server::RedisServer;
use sqlx::AssertSqlSafe;

const ROWS: u32 = 5_000_000;
const LIMIT_KIB: u64 = 200 * 1024;

const DEFINITIONS: &str = r#"
format = 1
project = "memory"

[[entity]]
name = "user"
join_keys = [{ name = "user_id", type = "int64" }]

[[source]]
name = "profiles"
table = "profiles"
event_timestamp = "updated_at"

[[feature_view]]
name = "profile"
entity = "user"
source = "profiles"
features = [{ name = "score", type = "float64" }, { name = "visits", type = "int64" }, { name = "segment", type = "string" }]
"#;

#[tokio::test]
async fn materializing_five_million_rows_stays_below_200_mib() {
    let database = postgres::empty().await.unwrap();
    let redis = RedisServer::start().unwrap();
    let features = tempfile::tempdir().unwrap();
    std::fs::write(features.path().join("memory.toml"), DEFINITIONS).unwrap();
    let fill = format!(
        "CREATE UNLOGGED TABLE profiles AS SELECT i AS user_id, i * 0.5::float8 AS score, (i % 1000)::int8 AS visits, \
         'segment-' || i % 50 AS segment, timestamptz '2024-01-01' + i * interval '1 second' AS updated_at \
         FROM generate_series(1, {ROWS}::int8) AS i"
    );
    sqlx::query(AssertSqlSafe(fill)).execute(&database.pool).await.unwrap();

    let command = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(program("feature-server"));
        command
            .args(arguments)
            .env("LARDER_FEATURES", features.path())
            .env("DATABASE_URL", &database.url);
        command
            .env("REDIS_URL", redis.url())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    };
    assert!(command(&["migrate"]).status().await.unwrap().success());
    let mut run = command(&["materialize"]).spawn().unwrap();
    let status_file = format!("/proc/{}/status", run.id().unwrap());
    let mut peak_kib = 0;
    let mut sample = tokio::time::interval(Duration::from_millis(20));
    let status = loop {
        tokio::select! {
            status = run.wait() => break status.unwrap(),
            _ = sample.tick() => peak_kib = peak_kib.max(high_water_kib(&status_file)),
        }
    };
    assert!(status.success());
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    assert!(keys >= u64::from(ROWS), "{keys} keys");
    println!("{ROWS} rows: peak {} MiB", peak_kib / 1024);
    assert!(
        peak_kib > 0 && peak_kib <= LIMIT_KIB,
        "peak resident memory was {} MiB",
        peak_kib / 1024
    );
}

/// The kernel's own record of the most memory the process ever held; 0 once it is gone.
fn high_water_kib(status_file: &str) -> u64 {
    let status = std::fs::read_to_string(status_file).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}
