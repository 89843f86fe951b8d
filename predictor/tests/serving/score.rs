//! Files of rows, scored from the shell.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use feature_defs::value::{Value, ValueType};
use serde_json::Value as Json;
use table_files::{Cell, Column, ColumnType, Format, TableOutput, TableReader, TableWriter};

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY};
use crate::commands::{predictor, told};

const DEFAULTS: &str = r#"
feature_service = "defaults"
inputs = { features = "float32" }
outputs = { y = { tensor = "scores", column = 1 } }
when_stale = "serve"
"#;

fn column(name: &str, column_type: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        column_type,
    }
}

/// A folder of a test's own with a file in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn csv(&self, text: &str) -> PathBuf {
        let path = self.path("rows.csv");
        fs::write(&path, text).unwrap();
        path
    }

    fn parquet(&self, columns: Vec<Column>, rows: &[Vec<Cell>]) -> PathBuf {
        let path = self.path("rows.parquet");
        let output = TableOutput {
            format: Format::Parquet,
            to: BufWriter::new(fs::File::create(&path).unwrap()),
        };
        let mut writer = TableWriter::new(output, columns).unwrap();
        rows.iter().for_each(|row| writer.row(row).unwrap());
        writer.finish().unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(self.0.path()).unwrap().map(name).collect();
        names.sort();
        names
    }
}

fn score(bench: &Bench, model: &str, (rows, out): (&Path, &Path)) -> Command {
    let mut command = predictor(bench);
    command
        .args(["score", model, "--in"])
        .arg(rows)
        .arg("--out")
        .arg(out)
        .env("LARDER_LOG", "warn");
    command
}

fn read(path: &Path) -> (Vec<Column>, Vec<Vec<Cell>>) {
    let mut reader = TableReader::open(path).unwrap();
    let columns = reader.columns().to_vec();
    let rows = std::iter::from_fn(|| reader.next_row().unwrap()).map(|row| row.cells);
    (columns, rows.collect())
}

#[tokio::test]
async fn every_row_of_a_csv_file_is_predicted_and_further_columns_are_carried() {
    let bench = Bench::new().model("m", "linear", PATIENT, DEFAULTS);
    // Of 2013, and so stale today.
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let folder = Folder::new();
    let rows = folder.csv("note,carrier,minute\n\"a, b\",UA,1\nx,nobody,\n,,3\n");
    let out = folder.path("scored.csv");
    let (code, said, err) = told(&score(&bench, "m", (&rows, &out)).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(fs::read_to_string(&out).unwrap(), @r#"
    note,carrier,minute,y,prediction_error,degraded
    "a, b",UA,1,603.5,,stale_served
    x,nobody,,704.0,,
    ,,3,708.0,,
    "#);
    assert!(
        said.starts_with("model m version 1: 3 rows, 0 failed, 1 degraded, 0 cache hits, ")
            && said.trim_end().ends_with(&format!("rows/s: {}", out.display())),
        "{said}"
    );
    assert_eq!(folder.names(), ["rows.csv", "scored.csv"]);
}

#[tokio::test]
async fn rows_come_out_in_order_however_many_there_are() {
    let bench = Bench::new().model("base", "request_only", PATIENT, REQUEST_ONLY);
    let folder = Folder::new();
    let minutes: Vec<i64> = (0..5_500).map(|i| i % 1_300).collect();
    let lines: String = minutes.iter().map(|minute| format!("{minute}\n")).collect();
    let rows = folder.csv(&format!("minute\n{lines}"));
    let out = folder.path("scored.csv");
    let output = score(&bench, "base", (&rows, &out)).arg("--json").output().unwrap();
    let (code, said, err) = told(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let summary: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (
            &summary["model"],
            &summary["version"],
            &summary["rows"],
            &summary["failed"]
        ),
        (&"base".into(), &"1".into(), &5_500.into(), &0.into())
    );
    // At most four batches are on their way, so that the last rows find what the first were.
    assert!(summary["cache_hits"].as_u64().unwrap() > 0, "{summary}");
    let text = |x: f64| Some(Value::String(Value::Float64(x).to_text()));
    let (_, scored) = read(&out);
    assert_eq!(scored.len(), minutes.len());
    for (minute, row) in minutes.iter().zip(&scored) {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = text(-(*minute as f64));
        assert_eq!(row[1], expected, "{minute}");
    }
}

#[tokio::test]
async fn a_row_that_the_model_fails_on_says_so_and_the_others_are_predicted() {
    let bench = Bench::new().model("p", "picky", PATIENT, NUMBER);
    let folder = Folder::new();
    let unsigned = ColumnType::Integer {
        bits: 16,
        signed: false,
    };
    let float = ColumnType::Value(ValueType::Float64);
    let columns = vec![
        column("id", unsigned),
        column("x", float),
        column("day", ColumnType::Date),
    ];
    let row = |id: i64, x: Option<f64>, day: Option<i64>| {
        vec![Some(Value::Int64(id)), x.map(Value::Float64), day.map(Value::Int64)]
    };
    let given = [
        row(1, Some(2.0), None),
        row(2, Some(9.0), Some(7)),
        row(65_535, Some(0.0), Some(-1)),
    ];
    let rows = folder.parquet(columns.clone(), &given);
    let out = folder.path("scored.parquet");
    let (code, said, err) = told(
        &score(&bench, "p", (&rows, &out))
            .env("LARDER_LOG", "error")
            .output()
            .unwrap(),
    );
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(said.contains("3 rows, 1 failed, 0 degraded"), "{said}");
    let (scored_columns, scored) = read(&out);
    let text = ColumnType::Value(ValueType::String);
    let added = [
        column("y", ColumnType::Value(ValueType::Float32)),
        column("prediction_error", text),
        column("degraded", text),
    ];
    assert_eq!(scored_columns, [columns, added.to_vec()].concat());
    let y = |row: usize| scored[row][3].clone();
    assert_eq!(
        [y(0), y(1), y(2)],
        [Some(Value::Float32(2.5)), None, Some(Value::Float32(0.5))]
    );
    for (given, scored) in given.iter().zip(&scored) {
        assert_eq!(given[..], scored[..3]);
        assert_eq!(scored[4].is_some(), scored[3].is_none(), "{scored:?}");
        assert_eq!(scored[5], None);
    }
}

#[tokio::test]
async fn texts_that_were_read_as_numbers_are_numbers_in_a_file_that_has_types() {
    let bench = Bench::new().model("m", "linear", PATIENT, DEFAULTS);
    let folder = Folder::new();
    let rows = folder.csv("carrier,minute,note\n7,4,5\n,,\n");
    let out = folder.path("scored.parquet");
    let (code, _, err) = told(&score(&bench, "m", (&rows, &out)).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let (columns, scored) = read(&out);
    let types: Vec<ColumnType> = columns.iter().map(|column| column.column_type).collect();
    let text = ColumnType::Value(ValueType::String);
    let (whole, single) = (
        ColumnType::Value(ValueType::Int64),
        ColumnType::Value(ValueType::Float32),
    );
    assert_eq!(types, [text, whole, text, single, text, text]);
    let string = |text: &str| Some(Value::String(text.to_owned()));
    assert_eq!(
        scored,
        [
            vec![
                string("7"),
                Some(Value::Int64(4)),
                string("5"),
                Some(Value::Float32(709.0)),
                None,
                None
            ],
            vec![None, None, None, Some(Value::Float32(704.0)), None, None],
        ]
    );
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_told_with_row_and_column_before_anything_is_predicted() {
    let bench = Bench::new()
        .model("m", "linear", PATIENT, DEFAULTS)
        .model("p", "picky", PATIENT, NUMBER);
    let folder = Folder::new();
    let out = folder.path("scored.csv");
    let refused = |model: &str, rows: &Path| {
        let (code, said, err) = told(&score(&bench, model, (rows, &out)).output().unwrap());
        assert_eq!((code, said.as_str()), (Some(1), ""), "{err}");
        assert!(!out.exists());
        err.replace(&rows.display().to_string(), "FILE")
    };
    let rows = folder.csv("carrier,minute\nUA,1\nUA,soon\nUA\nUA,4\nUA,1.5\n");
    insta::assert_snapshot!(refused("m", &rows), @r#"
    error: FILE has 3 problems:
      line 3, column `minute`: expected int64, got "soon"
      line 4: 1 cells, the header has 2
      line 6, column `minute`: expected int64, got "1.5"
    "#);
    let rows = folder.csv("carier,minute,y,degraded,minute\n");
    insta::assert_snapshot!(refused("m", &rows), @r"
    error: FILE has 4 problems:
      column `y` has the name of one that is added: rename it, or leave it out
      column `degraded` has the name of one that is added: rename it, or leave it out
      column `minute` is there twice
      there is no column `carrier` (a join key, string); did you mean `carier`?
    ");
    let rows = folder.csv("x\n1e39\n0\n");
    insta::assert_snapshot!(refused("p", &rows), @r"
    error: FILE has 1 problem:
      line 2, column `x`: too large for a float32 tensor
    ");
    let columns = vec![column("x", ColumnType::Value(ValueType::Bool))];
    let rows = folder.parquet(columns, &[vec![Some(Value::Bool(true))]]);
    insta::assert_snapshot!(refused("p", &rows), @r"
    error: FILE has 1 problem:
      column `x` (a request feature) holds bool, expected float64: write it as float64
    ");
    let columns = vec![column("x", ColumnType::Value(ValueType::Float64))];
    let rows = folder.parquet(columns, &[vec![None], vec![Some(Value::Float64(f64::INFINITY))]]);
    insta::assert_snapshot!(refused("p", &rows), @r"
    error: FILE has 1 problem:
      row 2, column `x`: expected float64, got inf
    ");
    assert_eq!(folder.names(), ["rows.csv", "rows.parquet"]);
}

#[tokio::test]
async fn a_version_can_be_asked_for_that_gets_no_traffic() {
    let model = format!("{PATIENT}serve = \"1\"\nshadow = \"2\"\n");
    let bench = Bench::new().model("p", "picky", &model, NUMBER);
    bench.add_version("p", "2", "variants", &NUMBER.replace("\"y\"", "\"off\""));
    let folder = Folder::new();
    let rows = folder.csv("x\n1\n");
    let out = folder.path("scored.csv");
    let scored = |version: &[&str]| {
        let (code, said, err) = told(&score(&bench, "p", (&rows, &out)).args(version).output().unwrap());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        (said.split(':').next().unwrap().to_owned(), read(&out).1[0][1].clone())
    };
    let text = |text: &str| Some(Value::String(text.to_owned()));
    assert_eq!(scored(&[]), ("model p version 1".to_owned(), text("1.5")));
    assert_eq!(
        scored(&["--version", "2"]),
        ("model p version 2".to_owned(), text("0.0"))
    );
    bench.add_version("p", "3", "variants", &NUMBER.replace("\"y\"", "\"of\""));
    let output = score(&bench, "p", (&rows, &out))
        .args(["--version", "3"])
        .output()
        .unwrap();
    let (code, _, err) = told(&output);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(err, @r"
    error: model `p` cannot be loaded:
      - output `y` is tensor `of`, but the model gives `same` (float32 [-1, 1]), `off` (float32 [-1, 1]), `high` (string [-1, 1]), `higher` (string [-1, 1]), `tenths` (int64 [-1, 1])
    ");
}

#[tokio::test]
async fn wrong_usage_of_score_is_told_and_exits_with_2() {
    let bench = Bench::new()
        .model("p", "picky", PATIENT, NUMBER)
        .model("tensors", "picky", PATIENT, "");
    let folder = Folder::new();
    let rows = folder.csv("x\n1\n");
    for (model, (rows, out), more, mention) in [
        ("p", (rows.clone(), rows.clone()), &[][..], "the rows would be lost"),
        ("p", (rows.clone(), folder.path("scored.txt")), &[], ".csv or .parquet"),
        (
            "p",
            (folder.path("rows"), folder.path("scored.csv")),
            &[],
            ".csv or .parquet",
        ),
        (
            "nosuch",
            (rows.clone(), folder.path("scored.csv")),
            &[],
            "it has p, tensors",
        ),
        (
            "p",
            (rows.clone(), folder.path("scored.csv")),
            &["--version", "9"],
            "no version `9`: it has 1",
        ),
        (
            "tensors",
            (rows, folder.path("scored.csv")),
            &[],
            "has no feature service",
        ),
    ] {
        let output = score(&bench, model, (&rows, &out)).args(more).output().unwrap();
        let (code, said, err) = told(&output);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(mention), "{mention}: {err}");
    }
    assert_eq!(folder.names(), ["rows.csv"]);
}

#[tokio::test]
async fn what_is_broken_off_leaves_nothing_behind() {
    // So that a batch is one row: there is time to break off.
    let bench = Bench::new().model("s", "slow", "batching = { max_rows = 1 }\n", NUMBER);
    let folder = Folder::new();
    let lines: String = (0..500).map(|x| format!("{x}\n")).collect();
    let rows = folder.csv(&format!("x\n{lines}"));
    let out = folder.path("scored.csv");
    let mut process = score(&bench, "s", (&rows, &out))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    while !folder.path("scored.csv.unfinished").exists() {
        assert!(process.try_wait().unwrap().is_none() && Instant::now() < give_up);
        tokio::task::yield_now().await;
    }
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(process.wait().unwrap().code(), Some(1));
    assert_eq!(folder.names(), ["rows.csv"]);

    let late = score(&bench, "s", (&rows, &out))
        .args(["--deadline", "1ms"])
        .output()
        .unwrap();
    let (code, _, err) = told(&late);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("line 2 to line 501: not predicted within 1ms: give a batch longer with --deadline"),
        "{err}"
    );
    assert_eq!(folder.names(), ["rows.csv"]);
}

#[tokio::test]
async fn a_store_that_is_away_is_said_of_each_row() {
    let bench = Bench::new().model("m", "linear", PATIENT, DEFAULTS);
    let folder = Folder::new();
    let rows = folder.csv("carrier,minute\nUA,1\n");
    let out = folder.path("scored.csv");
    let nobody = format!("redis://127.0.0.1:{}", crate::bench::free_port());
    let output = score(&bench, "m", (&rows, &out))
        .args(["--redis-url", &nobody])
        .output()
        .unwrap();
    let (code, said, err) = told(&output);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("stored features cannot be read"), "{err}");
    assert!(said.contains("1 rows, 0 failed, 1 degraded"), "{said}");
    let scored = fs::read_to_string(&out).unwrap();
    assert_eq!(scored.lines().nth(1), Some("UA,1,706.0,,store_unavailable"));

    let rejects = DEFAULTS.replace("when_stale = \"serve\"", "when_unavailable = \"reject\"");
    bench.write("m/1/version.toml", rejects.as_bytes());
    fs::remove_file(&out).unwrap();
    let output = score(&bench, "m", (&rows, &out))
        .args(["--redis-url", &nobody])
        .output()
        .unwrap();
    let (code, _, err) = told(&output);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("line 2 to line 2: stored features could not be read"),
        "{err}"
    );
    assert_eq!(folder.names(), ["rows.csv"]);
}

/// Of `LINEAR` with the policy of a model that must not guess.
#[tokio::test]
async fn a_row_that_a_policy_rejects_says_why() {
    let version = format!(
        "{}when_missing = \"reject\"\n",
        LINEAR.replace("\"full\"", "\"defaults\"")
    );
    let bench = Bench::new().model("m", "linear", PATIENT, &version);
    let folder = Folder::new();
    let rows = folder.csv("carrier,minute\nnobody,1\n");
    let out = folder.path("scored.csv");
    let (code, said, err) = told(&score(&bench, "m", (&rows, &out)).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(said.contains("1 rows, 1 failed"), "{said}");
    let scored = fs::read_to_string(&out).unwrap();
    assert!(
        scored.contains("nobody,1,,\"view `ops` has no row for this instance, and"),
        "{scored}"
    );
}
