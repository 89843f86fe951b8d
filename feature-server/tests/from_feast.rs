//! docs/from-feast.md does what it says: its repository is imported as shown, its types are what they become, and its steps
//! run on real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use feature_defs::definitions;
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/from-feast.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced blocks of this language, without the indentation of the list that they may stand in.
fn blocks(language: &str) -> Vec<String> {
    let text = documentation();
    let unindented: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("   ").unwrap_or(line))
        .collect();
    let (mut blocks, mut open) = (Vec::new(), None);
    // Indentation within a block counts, unless the block itself is indented.
    for (line, unindented) in text.lines().zip(unindented) {
        open = match (open, unindented.strip_prefix("```")) {
            (None, Some(found)) => Some((found == language, line != unindented, String::new())),
            (None, None) => None,
            (Some((is_wanted, _, block)), Some(_)) => {
                if is_wanted {
                    blocks.push(block);
                }
                None
            }
            (Some((is_wanted, is_indented, block)), None) => {
                let line = if is_indented { unindented } else { line };
                Some((is_wanted, is_indented, block + line + "\n"))
            }
        };
    }
    blocks
}

fn block(language: &str) -> String {
    let mut blocks = blocks(language);
    assert_eq!(blocks.len(), 1, "{language}");
    blocks.remove(0)
}

/// A directory with the page's repository in it.
fn place(yaml: &str, python: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("my_feast_repo");
    std::fs::create_dir(&repository).unwrap();
    std::fs::write(repository.join("feature_store.yaml"), yaml).unwrap();
    std::fs::write(repository.join("payments.py"), python).unwrap();
    dir
}

/// Runs lines of the page as a shell does: what they print.
fn shell(dir: &Path, lines: &str, variables: &[(&str, &str)]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_feature-server")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LARDER_")) {
        command.env_remove(name);
    }
    command.args(["-euc", lines]).current_dir(dir).env("PATH", path);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{lines}\n{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_repository_is_carried_over_as_shown() {
    let dir = place(&block("yaml"), &block("python"));
    assert_eq!(shell(dir.path(), &block("sh"), &[]), block("text"));
    let written = std::fs::read_to_string(dir.path().join("features/payments.toml")).unwrap();
    assert_eq!(written, block("toml"));
}

#[test]
fn every_type_becomes_what_the_table_says() {
    let text = documentation();
    let (_, table) = text.split_once("Types:\n\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut rows = 0;
    for line in table.lines().skip(2) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        for feast in cells[1].split(", ").map(|name| name.trim_matches('`')) {
            let schema = format!("schema=[Field(name=\"x\", dtype=Bool), Field(name=\"wanted\", dtype={feast}), ");
            let python = block("python").replace(
                "schema=[Field(name=\"segment\"",
                &format!("{schema}Field(name=\"segment\""),
            );
            let python = python.replace("from feast.types import Float64, String", "from feast.types import *");
            let dir = place(&block("yaml"), &python);
            shell(dir.path(), &block("sh"), &[]);
            let definitions = definitions::load(&dir.path().join("features")).unwrap();
            let fields = definitions.view("credit").unwrap().fields().iter();
            let found = fields
                .filter(|field| field.name.as_str() == "wanted")
                .map(|field| field.value_type.name());
            let found: Vec<String> = found.map(|name| format!("`{name}`")).collect();
            assert_eq!(found.first().map_or("none", String::as_str), cells[2], "{feast}");
            rows += 1;
        }
    }
    assert_eq!(rows, 18);
}

#[test]
fn the_sdk_is_pointed_at_the_usual_address() {
    let settings = block("yaml sdk");
    let (_, address) = settings.split_once("path: http://localhost:").unwrap();
    let help = shell(Path::new("."), "feature-server serve --help", &[]);
    assert!(
        help.contains(&format!("[default: 127.0.0.1:{}]", address.trim())),
        "{help}"
    );
    assert!(settings.contains("type: remote\n"));
}

/// A database of the page's table.
async fn database() -> String {
    let name = format!("feast{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
    let admin = variable("LARDER_TEST_DATABASE_URL");
    let mut connection = PgConnection::connect(&admin).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    let database = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
    let mut connection = PgConnection::connect(&database).await.unwrap();
    let table = "CREATE TABLE limits (customer_id bigint, segment text, limit_left float8, updated_at timestamptz, loaded_at timestamptz);
                 INSERT INTO limits VALUES (7, 'gold', 300, now() - interval '2 days', now() - interval '2 days'),
                   (7, 'gold', 200, now() - interval '1 day', now() - interval '1 day')";
    sqlx::raw_sql(table).execute(&mut connection).await.unwrap();
    database
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

#[tokio::test]
async fn the_steps_lead_to_the_same_features() {
    let (database, redis) = (database().await, variable("LARDER_TEST_REDIS_URL"));
    let project = database.rsplit_once('/').unwrap().1;
    let yaml = block("yaml").replace("project: shop", &format!("project: {project}"));
    let dir = place(&yaml, &block("python"));
    shell(dir.path(), &block("sh"), &[]);

    let file = dir.path().join("features/payments.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let inputs = written.replace(
        "  \"credit:limit_left\",\n]",
        "  \"credit:limit_left\",\n  \"derived:share_of_limit\",\n]",
    );
    std::fs::write(&file, format!("{inputs}\n{}", block("toml derived"))).unwrap();

    let variables = [("DATABASE_URL", database.as_str()), ("REDIS_URL", redis.as_str())];
    let steps: Vec<String> = blocks("sh steps")
        .iter()
        .map(|step| shell(dir.path(), step, &variables))
        .collect();
    assert!(steps[0].contains("the database fits the definitions"), "{}", steps[0]);
    assert!(
        steps[1].contains("share_of_limit") && steps[1].contains("0.25"),
        "{}",
        steps[1]
    );
    let training_set = std::fs::read_to_string(dir.path().join("train.csv")).unwrap();
    assert!(training_set.contains("share_of_limit"), "{training_set}");
    assert_eq!(answer(dir.path(), &variables).await, shown());
}

/// What the page says is answered over HTTP.
fn shown() -> Json {
    serde_json::from_str(&block("json http")).unwrap()
}

/// What a server answers to the page's request, without moments and what else varies.
async fn answer(dir: &Path, variables: &[(&str, &str)]) -> Json {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_feature-server"));
    command.args(["serve", "--listen", &address]).current_dir(dir);
    let server = command
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Running(server.spawn().unwrap());
    let client = reqwest::Client::new();
    let ready = format!("http://{address}/health/ready");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !client
        .get(&ready)
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
    {
        assert!(Instant::now() < deadline, "the server is not ready");
        tokio::task::yield_now().await;
    }
    let request = block("sh http");
    let (command, body) = request.trim().split_once(" -d ").unwrap();
    let (_, path) = command.split_once("localhost:8090").unwrap();
    let body = body.trim_matches('\'').to_owned();
    let answer = client
        .post(format!("http://{address}{path}"))
        .body(body)
        .send()
        .await
        .unwrap();
    let answer: Json = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let results = answer["results"].as_array().unwrap().iter();
    let results: Vec<Json> = results
        .map(|result| json!({"values": result["values"], "statuses": result["statuses"]}))
        .collect();
    json!({"metadata": {"feature_names": answer["metadata"]["feature_names"]}, "results": results})
}

/// A server that does not outlive its test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}
