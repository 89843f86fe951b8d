//! The program as its users meet it: exit codes, messages, signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

const DEFINITIONS: &str = r#"
format = 1
project = "PROJECT"

[[entity]]
name = "carrier"
join_keys = [{ name = "carrier", type = "string" }]

[[source]]
name = "arrivals"
table = "arrivals"
push_to = "arrivals"
event_timestamp = "event"

[[feature_view]]
name = "newest"
entity = "carrier"
source = "arrivals"
schedule = "1s"
features = [{ name = "delay", type = "float64" }]

[[feature_service]]
name = "delay"
features = ["newest:delay"]
"#;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `cargo xtask test`"))
}

struct Place {
    folder: tempfile::TempDir,
    database: String,
}

impl Place {
    async fn new() -> Self {
        let name = format!("cli{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let admin = variable("LARDER_TEST_DATABASE_URL");
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .unwrap();
        let database = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
        let mut connection = PgConnection::connect(&database).await.unwrap();
        let tables = "CREATE TABLE arrivals (carrier text, event timestamptz, delay float8);
                      INSERT INTO arrivals VALUES ('UA', now() - interval '1 minute', 4.5)";
        sqlx::raw_sql(tables).execute(&mut connection).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.toml"), DEFINITIONS.replace("PROJECT", &name)).unwrap();
        Self { folder, database }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_feature-server"));
        command
            .args(arguments)
            .env("LARDER_FEATURES", self.folder.path())
            .env("DATABASE_URL", &self.database)
            .env("REDIS_URL", variable("LARDER_TEST_REDIS_URL"))
            .env_remove("LARDER_DATABASE_URL")
            .env_remove("LARDER_REDIS_URL");
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        answer(self.command(arguments).output().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// A program that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn answer(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn a_session_from_migrate_to_get() {
    let place = Place::new().await;
    let (code, _, error) = place.run(&["materialize"]);
    assert!(
        code == 1 && error.contains("run `feature-server migrate`"),
        "{code} {error}"
    );
    assert_eq!(place.run(&["migrate"]).0, 0);
    assert_eq!(place.run(&["migrate"]).0, 0, "a second time changes nothing");
    let (code, out, _) = place.run(&["check", "--database"]);
    assert!(
        code == 0 && out.contains("CREATE INDEX ON \"arrivals\" (\"carrier\", \"event\");"),
        "{code} {out}"
    );
    let (code, out, error) = place.run(&["materialize", "--json"]);
    assert_eq!(code, 0, "{error}");
    let runs: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&runs[0]["view"], &runs[0]["written"]), (&"newest".into(), &1.into()));
    let (code, out, _) = place.run(&["get", "delay", "carrier=UA"]);
    assert!(
        code == 0 && out.contains("newest__delay") && out.contains("4.5") && out.contains("PRESENT"),
        "{out}"
    );
    let (code, out, _) = place.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &status[0]["last_run"]["outcome"], &status[0]["entities"]),
        (0, &"done".into(), &1.into())
    );
}

#[tokio::test]
async fn from_a_table_to_its_features_without_an_edit() {
    let place = Place::new().await;
    let dir = place.path("first");
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--features", &dir]].concat();
        place.run(&arguments)
    };
    let init = ["init", "arrivals", "--join-key", "carrier", "--entity", "carrier"];
    let (code, out, error) = run(&init);
    assert!(
        code == 0 && out.contains("wrote ") && out.contains("arrivals.toml"),
        "{out} {error}"
    );
    let commands: Vec<Vec<&str>> = out
        .lines()
        .filter_map(|line| line.trim().strip_prefix("feature-server "))
        .map(|command| command.split(' ').collect())
        .collect();
    assert_eq!(commands.len(), 4, "{out}");
    for mut command in commands {
        for argument in &mut command {
            *argument = if *argument == "carrier=…" {
                "carrier=UA"
            } else {
                *argument
            };
        }
        let (code, out, error) = place.run(&command);
        assert_eq!(code, 0, "{command:?}: {error}");
        if command[0] == "get" {
            assert!(out.contains("arrivals_latest__delay") && out.contains("4.5"), "{out}");
        }
    }
    let (labels, train) = (place.path("labels.csv"), place.path("train.csv"));
    std::fs::write(&labels, "carrier,event_timestamp\nUA,2999-01-01T00:00:00Z\n").unwrap();
    let (code, _, error) = run(&["training-set", "arrivals", "--entities", &labels, "--out", &train]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(
        std::fs::read_to_string(&train).unwrap(),
        "carrier,event_timestamp,arrivals_latest__delay\nUA,2999-01-01T00:00:00Z,4.5\n"
    );
    let (code, _, error) = run(&init);
    assert!(code == 1 && error.contains("is there already"), "{error}");
    let (code, _, error) = run(&["init", "arrival"]);
    assert!(code == 2 && error.contains("the nearest is `arrivals`"), "{error}");
}

#[tokio::test]
async fn mistakes_of_the_caller_exit_2_and_name_what_there_is() {
    let place = Place::new().await;
    let unwritten = place.path("train.csv");
    for (arguments, expected) in [
        (&["materialize", "nonsense"][..], "newest"),
        (&["get", "nonsense"], "delay"),
        (&["get", "delay"], "carrier"),
        (&["get", "delay", "carrier=UA", "colour=red"], "colour"),
        (
            &["get", "delay", "carrier=UA", "carrier=AA"],
            "`carrier` is given twice",
        ),
        (
            &[
                "training-set",
                "nonsense",
                "--entities",
                "/dev/null",
                "--out",
                &unwritten,
            ],
            "delay",
        ),
        (&["materialize", "--as-of", "yesterday"], "RFC 3339"),
        (&["frobnicate"], "Usage"),
    ] {
        let (code, _, error) = place.run(arguments);
        assert!(code == 2 && error.contains(expected), "{arguments:?}: {code} {error}");
    }
}

#[tokio::test]
async fn flags_are_set_by_variables_too() {
    let place = Place::new().await;
    for (value, json) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("false", false),
    ] {
        let (code, out, error) = answer(place.command(&["check"]).env("LARDER_JSON", value).output().unwrap());
        assert_eq!((code, out.starts_with('{')), (0, json), "{value}: {out} {error}");
    }
    let database = place.command(&["check"]).env("LARDER_CHECK_DATABASE", "1").output();
    let (code, out, _) = answer(database.unwrap());
    assert!(code == 0 && out.contains("the database fits"), "{out}");
    let incremental = place
        .command(&["materialize", "nonsense"])
        .env("LARDER_INCREMENTAL", "1")
        .output();
    let (code, _, error) = answer(incremental.unwrap());
    assert!(code == 2 && error.contains("newest"), "{error}");
}

#[tokio::test]
async fn broken_definitions_are_shown_where_they_are_broken() {
    let place = Place::new().await;
    std::fs::write(
        place.path("all.toml"),
        DEFINITIONS.replace("newest:delay", "newest:dela"),
    )
    .unwrap();
    let (code, _, error) = place.run(&["check"]);
    assert!(
        code == 1 && error.starts_with("error: ") && !error.contains("error: error"),
        "{error}"
    );
    assert!(error.contains("all.toml:") && error.contains("`delay`"), "{error}");
}

#[tokio::test]
async fn definitions_are_planned_applied_and_pruned() {
    let place = Place::new().await;
    assert_eq!(place.run(&["migrate"]).0, 0);
    let (code, _, error) = place.run(&["prune"]);
    assert!(
        code == 1 && error.contains("no definitions were ever applied"),
        "{error}"
    );
    let json = |arguments: &[&str]| -> serde_json::Value {
        let (code, out, error) = place.run(&[arguments, &["--json"]].concat());
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&out).unwrap()
    };
    let plan = json(&["plan"]);
    assert_eq!(plan["last_applied"], serde_json::Value::Null);
    assert_eq!(plan["changes"][2]["full_run"], true, "{plan}");
    assert_eq!(json(&["apply"]), plan);
    assert_eq!(json(&["apply"])["changes"], serde_json::json!([]));
    assert_eq!(place.run(&["materialize"]).0, 0);
    let (code, _, error) = place.run(&["plan", "--models", &place.path("nowhere")]);
    assert!(code == 1 && error.contains("nowhere"), "{error}");

    let text = std::fs::read_to_string(place.path("all.toml")).unwrap();
    let renamed = text.replace("\"newest", "\"latest");
    std::fs::write(place.path("all.toml"), renamed.replace("latest:delay", "latest:dela")).unwrap();
    let (code, _, error) = place.run(&["apply"]);
    assert!(code == 1 && error.contains("did you mean"), "{error}");
    std::fs::write(place.path("all.toml"), renamed).unwrap();
    let (code, _, error) = place.run(&["materialize"]);
    assert!(code == 1 && error.contains("was never applied"), "{error}");
    assert_eq!(place.run(&["apply"]).0, 0);
    assert_eq!(place.run(&["materialize"]).0, 0);
    // One that still has what is retired.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("all.toml"), text).unwrap();
    let (code, out, error) = place.run(&["prune", "--json", "--features", elsewhere.path().to_str().unwrap()]);
    let out: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && error.contains("the definitions here have it"), "{error}");
    assert_eq!(
        (&out["pruned"], &out["left"][0]["view"]),
        (&serde_json::json!([]), &"newest".into())
    );
    assert_eq!(
        json(&["prune"])["pruned"],
        serde_json::json!([{"view": "newest", "values": 1}])
    );
    assert_eq!(place.run(&["prune"]).1, "nothing is left of retired views\n");
}

#[tokio::test]
async fn stores_that_are_away_are_named_without_their_passwords() {
    let place = Place::new().await;
    assert_eq!(place.run(&["migrate"]).0, 0);
    let (code, _, error) = answer(
        place
            .command(&["migrate"])
            .env("DATABASE_URL", "postgres://ann:s3cret@127.0.0.1:1/shop")
            .output()
            .unwrap(),
    );
    assert!(
        code == 1 && error.contains("postgres://ann@127.0.0.1:1/shop") && !error.contains("s3cret"),
        "{error}"
    );
    for arguments in [&["status"][..], &["materialize"], &["get", "delay", "carrier=UA"]] {
        let away = "postgres://ann:s3cret@127.0.0.1:1/shop";
        let (code, _, error) = answer(place.command(arguments).env("DATABASE_URL", away).output().unwrap());
        assert!(
            code == 1 && error.contains("refused") && !error.contains("s3cret"),
            "{error}"
        );
    }
    let (code, _, error) = answer(
        place
            .command(&["materialize"])
            .env("REDIS_URL", "redis://:s3cret@127.0.0.1:1")
            .output()
            .unwrap(),
    );
    assert!(
        code == 1 && error.contains("redis://127.0.0.1:1") && !error.contains("s3cret"),
        "{error}"
    );
    let (code, _, error) = answer(
        place
            .command(&["migrate"])
            .env("DATABASE_URL", "s3cret")
            .output()
            .unwrap(),
    );
    assert!(
        code == 1 && error.contains("postgres://user:password@host") && !error.contains("s3cret"),
        "{error}"
    );
    let (code, _, error) = answer(place.command(&["migrate"]).env_remove("DATABASE_URL").output().unwrap());
    assert!(code == 1 && error.contains("DATABASE_URL"), "{error}");
}

#[tokio::test]
async fn rows_are_pushed_from_a_file_or_standard_input() {
    let place = Place::new().await;
    assert_eq!(place.run(&["migrate"]).0, 0);
    let file = place.path("rows.ndjson");
    let good = r#"{"carrier": "AA", "event": "2024-05-01T12:00:00", "delay": 7}"#;
    std::fs::write(&file, format!("{good}\n\n{}\n", good.replace("2024", "2999"))).unwrap();
    let (code, out, error) = place.run(&["push", "newest", &file, "--json"]);
    assert_eq!(code, 0, "{error}");
    insta::assert_snapshot!(out.split_whitespace().collect::<String>(), @r#"{"appended":2,"views":{"newest":{"written":1,"older":0}},"future":{"rows":1,"lines":[3]},"refused":{"rows":0,"lines":[]},"not_online":null}"#);
    let (_, out, _) = place.run(&["get", "delay", "carrier=AA"]);
    assert!(out.contains("7.0"), "{out}");

    let bad = format!("{good}\nnonsense\n{}\n", good.replace("delay", "dely"));
    std::fs::write(&file, &bad).unwrap();
    let (code, _, error) = place.run(&["push", "arrivals", &file]);
    let told = "nothing is appended: 1 line is wrong:\n  line 2: no JSON object, by column ";
    assert!(code == 1 && error.contains(told), "{code} {error}");
    let (code, out, error) = place.run(&["push", "arrivals", &file, "--partial"]);
    assert!(code == 1 && out.starts_with("1 row appended\n"), "{code} {out} {error}");
    assert!(
        error.contains("line 2: no JSON object")
            && error.contains("line 3: arrivals has no column `dely`; did you mean `delay`?"),
        "{error}"
    );
    // A thousand rows at a time: of a file whose last row is wrong, the first thousand are there.
    let rows = std::iter::repeat_n(format!("{good}\n"), 1_500);
    std::fs::write(&file, rows.chain([bad]).collect::<String>()).unwrap();
    let (code, _, error) = place.run(&["push", "arrivals", &file]);
    assert!(
        code == 1 && error.contains("1000 rows before line 1001 are appended"),
        "{code} {error}"
    );

    let mut command = place.command(&["push", "newest", "-"]);
    let mut pushing = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = pushing.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, good.as_bytes()).unwrap();
    drop(stdin);
    let (code, out, _) = answer(pushing.wait_with_output().unwrap());
    assert!(code == 0 && out.starts_with("1 row appended\n"), "{code} {out}");

    for (arguments, wrong, told) in [
        (
            ["push", "newst", file.as_str()],
            2,
            "there is no view or source `newst`; did you mean `newest`?",
        ),
        (["push", "newest", "absent.ndjson"], 1, "absent.ndjson cannot be read"),
    ] {
        std::fs::write(&file, "").unwrap();
        let (code, _, error) = place.run(&arguments);
        assert!(code == wrong && error.contains(told), "{code} {error}");
    }
}

#[tokio::test]
async fn a_training_set_is_whole_or_not_there() {
    let place = Place::new().await;
    let (labels, out) = (place.path("labels.csv"), place.path("train.csv"));
    let arguments = ["training-set", "delay", "--entities", &labels, "--out", &out];
    std::fs::write(&labels, "carrier,event_timestamp\nUA,soon\n").unwrap();
    let (code, _, error) = place.run(&arguments);
    assert!(code == 1 && error.contains("line 2"), "{error}");
    assert!(
        std::fs::read_dir(place.folder.path())
            .unwrap()
            .all(|f| f.unwrap().file_name() != "train.csv.unfinished")
    );
    assert!(!Path::new(&out).exists());
    std::fs::write(&labels, "carrier,event_timestamp\nUA,2999-01-01T00:00:00Z\n").unwrap();
    assert_eq!(place.run(&arguments).0, 0);
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "carrier,event_timestamp,newest__delay\nUA,2999-01-01T00:00:00Z,4.5\n"
    );
    let parquet = place.path("train.parquet");
    let (code, said, error) = place.run(&["training-set", "delay", "--entities", &labels, "--out", &parquet]);
    assert!(code == 0 && said.contains("1 rows, 3 columns"), "{said}{error}");
    // It is read again, by its types.
    let wrong = ["training-set", "delay", "--entities", &parquet, "--out", &out];
    let (code, _, error) = place.run(&wrong);
    let computed = "train.parquet has 1 problem:\n  column `newest__delay` has the name of an input that is computed";
    assert!(code == 1 && error.contains(computed), "{error}");
    for (file, wrong, expected) in [
        ("labels.txt", 2, "ends in .csv or .parquet"),
        ("absent.csv", 1, "cannot be opened"),
    ] {
        let file = place.path(file);
        let (code, _, error) = place.run(&["training-set", "delay", "--entities", &file, "--out", &out]);
        assert!(
            code == wrong && error.contains(&file) && error.contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_training_set_is_explained_and_not_written() {
    let place = Place::new().await;
    let labels = place.path("labels.csv");
    std::fs::write(&labels, "carrier,event_timestamp\nUA,2999-01-01T00:00:00Z\n").unwrap();
    let (code, said, error) = place.run(&["training-set", "delay", "--entities", &labels, "--explain"]);
    assert!(
        code == 0 && said.contains("SELECT") && said.contains("(cost="),
        "{said}{error}"
    );
    let (code, _, error) = place.run(&["training-set", "delay", "--entities", &labels]);
    assert!(code == 2 && error.contains("--out <FILE>"), "{error}");
    let (code, _, error) = place.run(&["training-set", "delay", "--explain"]);
    assert!(code == 2 && error.contains("--entities <FILE>"), "{error}");
    let text = place.path("train.txt");
    let (code, _, error) = place.run(&["training-set", "delay", "--entities", &labels, "--out", &text]);
    assert!(
        code == 2 && error.contains("train.txt: a file's name ends in"),
        "{error}"
    );
}

#[tokio::test]
async fn serve_runs_schedules_answers_and_stops_when_told() {
    let place = Place::new().await;
    assert_eq!(place.run(&["migrate"]).0, 0);
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let server = place
        .command(&["serve", "--listen", &format!("127.0.0.1:{port}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Running(server);
    let get = |path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        async move {
            let response = reqwest::get(url).await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.text().await.unwrap()))
        }
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let view = loop {
        assert!(std::time::Instant::now() < deadline, "no second run of the schedule");
        if let Some((200, runs)) = get("/v1/runs?view=newest").await {
            let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
            if runs["runs"].as_array().unwrap().len() > 1 && runs["runs"][0]["outcome"] == "done" {
                break get("/v1/views/newest").await.unwrap().1;
            }
        }
        tokio::task::yield_now().await;
    };
    let view: serde_json::Value = serde_json::from_str(&view).unwrap();
    assert_eq!(
        (&view["kind"], &view["freshness"]["entities"], &view["problem"]),
        (&"row".into(), &1.into(), &serde_json::Value::Null)
    );
    assert!(
        view["next_run"].is_string() && view["freshness"]["lag_ms"].is_i64(),
        "{view}"
    );
    assert_eq!(get("/health/live").await.unwrap().0, 200);
    assert_eq!(get("/health/ready").await.unwrap().0, 200);
    let (status, error) = get("/v1/views/nonsense").await.unwrap();
    assert!(
        status == 404 && error.contains("unknown_view") && error.contains("newest"),
        "{error}"
    );
    let (status, error) = get("/v1/views/%FF").await.unwrap();
    assert!(
        status == 400 && error.contains("\"code\":\"invalid_path\"") && error.contains("request_id"),
        "{error}"
    );
    for bad in ["/v1/runs?limit=0", "/v1/runs?limit=x", "/v1/runs?colour=red"] {
        assert_eq!(get(bad).await.unwrap().0, 400, "{bad}");
    }
    for name in [
        "larder_view_lag_seconds{view=\"newest\"}",
        "larder_materialization_runs_total{view=\"newest\",outcome=\"done\"}",
    ] {
        while !get("/metrics").await.unwrap().1.contains(name) {
            assert!(std::time::Instant::now() < deadline, "{name} never shows");
        }
    }
    let stopped = Command::new("kill")
        .args(["-TERM", &server.0.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}
