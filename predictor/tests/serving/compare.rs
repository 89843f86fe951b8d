//! Two versions of a model compared on a file, from the shell.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT};
use crate::commands::{predictor, told};

/// `version.toml` of model `variants`, whose outputs are these tensors.
fn variant(outputs: &[(&str, &str)]) -> String {
    let output = |(name, tensor): &(&str, &str)| format!("{name} = {{ tensor = \"{tensor}\" }}");
    let outputs: Vec<String> = outputs.iter().map(output).collect();
    format!(
        "feature_service = \"number\"\ninputs = {{ x = \"float32\" }}\noutputs = {{ {} }}\n",
        outputs.join(", ")
    )
}

fn compare(bench: &Bench, rows: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = predictor(bench);
    command
        .args(["compare", "v", "1", "2", "--log", "error", "--in"])
        .arg(rows);
    told(&command.args(arguments).output().unwrap())
}

fn compared(bench: &Bench, rows: &Path, arguments: &[&str]) -> Json {
    let (code, said, err) = compare(bench, rows, &[arguments, &["--json"]].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    serde_json::from_str(&said).unwrap()
}

fn close(json: &Json, expected: f64) {
    let got = json.as_f64().unwrap_or(f64::NAN);
    assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
}

fn bench(one: &[(&str, &str)], other: &[(&str, &str)]) -> Bench {
    // Only one of the versions gets traffic.
    let model = format!("{PATIENT}serve = \"1\"\n");
    let bench = Bench::new().model("v", "variants", &model, &variant(one));
    bench.add_version("v", "2", "variants", &variant(other));
    bench
}

fn csv(dir: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
    let path = dir.path().join("rows.csv");
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn differences_are_those_that_one_finds_by_hand() {
    let bench = bench(
        &[
            ("chance", "same"),
            ("label", "high"),
            ("gone", "same"),
            ("kind", "same"),
        ],
        &[("label", "higher"), ("chance", "off"), ("new", "off"), ("kind", "high")],
    );
    let dir = tempfile::tempdir().unwrap();
    // p: 1 - 2x is how much they differ; label: 0.6 is high, but not higher.
    let rows = csv(&dir, "x\n0.5\n0.6\n0.2\n0.9\n0.9\n0.5000001\n");
    let comparison = compared(&bench, &rows, &[]);
    assert_eq!(comparison["versions"], json!(["1", "2"]));
    assert_eq!(comparison["features"], "as of now, read once for both versions");
    assert_eq!((&comparison["rows"], &comparison["compared"]), (&json!(6), &json!(6)));
    let bytes = fs::metadata(bench.models().join("v/1/model.onnx")).unwrap().len();
    assert_eq!(comparison["size_bytes"], json!([bytes, bytes]));
    let outputs = comparison["outputs"].as_array().unwrap();
    let names: Vec<&str> = outputs.iter().filter_map(|output| output["output"].as_str()).collect();
    assert_eq!(names, ["chance", "label"]);
    let p = &outputs[0];
    close(&p["same"], 2.0 / 6.0);
    close(&p["near"], 2.0 / 6.0);
    close(&p["largest_difference"], 0.8);
    close(&p["mean_difference"], (0.2 + 0.6 + 0.8 + 0.8 + 0.000_000_2) / 6.0);
    let differing: Vec<&str> = p["differing"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|d| d["row"].as_str())
        .collect();
    assert_eq!(differing, ["line 5", "line 6", "line 4", "line 3", "line 7"]);
    let label = &outputs[1];
    close(&label["same"], 4.0 / 6.0);
    assert_eq!(label["near"], Json::Null);
    assert_eq!(label["largest_difference"], Json::Null);
    assert_eq!(
        label["differing"],
        json!([
            { "row": "line 3", "values": ["high", "low"], "difference": null },
            { "row": "line 7", "values": ["high", "low"], "difference": null },
        ])
    );
    assert_eq!(
        comparison["not_compared"],
        json!([
            "the second version has no output `gone`",
            "output `kind` is float32 and string: one cannot be told from the other",
            "the first version has no output `new`",
        ])
    );
    // Single rows; of five distinct ones no batch can be made that is more.
    let latency = comparison["latency"].as_array().unwrap();
    assert_eq!(latency.len(), 1);
    assert_eq!((&latency[0]["rows"], &latency[0]["runs"]), (&json!(1), &json!(5)));
    for of in ["p50", "p99"] {
        let us = |side: usize| latency[0][format!("{of}_us")][side].as_f64().unwrap();
        assert!(us(0) > 0.0 && us(1) > 0.0, "{latency:?}");
        close(&latency[0][format!("{of}_ratio")], us(1) / us(0));
    }
}

#[tokio::test]
async fn quality_is_measured_as_the_label_and_the_output_want_it() {
    let bench = bench(
        &[("chance", "same"), ("name", "high"), ("tenths", "tenths")],
        &[("chance", "off"), ("name", "higher"), ("tenths", "tenths")],
    );
    let dir = tempfile::tempdir().unwrap();
    let rows = csv(
        &dir,
        "x,late,name,tenths,seconds\n0.8,1,high,8,1.5\n0.6,0,low,7,0.5\n0.4,true,low,4,0\n0.2,false,,1,0.5\n0.9,,low,9,\n",
    );
    let quality = |label: &str| {
        let comparison = compared(&bench, &rows, &["--label", label]);
        let outputs = comparison["outputs"].as_array().unwrap().clone();
        let measures = outputs.into_iter().flat_map(|output| {
            let name = output["output"].clone();
            let measures = output["quality"].as_array().unwrap().clone();
            measures.into_iter().map(move |measure| (name.clone(), measure))
        });
        measures
            .map(|(name, measure)| {
                let text = |json: &Json| json.as_str().unwrap().to_owned();
                let value = |side: usize| measure["values"][side].as_f64().unwrap();
                let rows = measure["rows"].as_u64().unwrap();
                (text(&name), text(&measure["measure"]), rows, [value(0), value(1)])
            })
            .collect::<Vec<_>>()
    };
    let check = |got: &[(String, String, u64, [f64; 2])], expected: &[(&str, &str, u64, [f64; 2])]| {
        assert_eq!(got.len(), expected.len(), "{got:?}");
        for (got, expected) in got.iter().zip(expected) {
            assert_eq!(
                (got.0.as_str(), got.1.as_str(), got.2),
                (expected.0, expected.1, expected.2)
            );
            for (got, expected) in got.3.iter().zip(expected.3) {
                assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
            }
        }
    };
    let ln = f64::ln;
    check(
        &quality("late"),
        &[
            ("chance", "auc", 4, [0.75, 0.25]),
            (
                "chance",
                "log_loss",
                4,
                [
                    -(ln(0.8) + ln(0.4) + ln(0.4) + ln(0.8)) / 4.0,
                    -(ln(0.2) + ln(0.6) + ln(0.6) + ln(0.2)) / 4.0,
                ],
            ),
            // A name is no 0 or 1.
            ("name", "accuracy", 4, [0.0, 0.0]),
            ("tenths", "accuracy", 4, [0.0, 0.0]),
        ],
    );
    check(&quality("name"), &[("name", "accuracy", 4, [0.5, 0.75])]);
    check(
        &quality("tenths"),
        &[
            (
                "chance",
                "rmse",
                5,
                [
                    ((7.2_f64.powi(2) + 6.4_f64.powi(2) + 3.6_f64.powi(2) + 0.8_f64.powi(2) + 8.1_f64.powi(2)) / 5.0)
                        .sqrt(),
                    ((7.8_f64.powi(2) + 6.6_f64.powi(2) + 3.4_f64.powi(2) + 0.2_f64.powi(2) + 8.9_f64.powi(2)) / 5.0)
                        .sqrt(),
                ],
            ),
            ("name", "accuracy", 5, [0.0, 0.0]),
            ("tenths", "accuracy", 5, [0.6, 0.6]),
        ],
    );
    let off = [0.7_f64, 0.1, 0.4, 0.3].map(|x| x * x).iter().sum::<f64>();
    let other_off = [1.3_f64, 0.1, 0.6, 0.3].map(|x| x * x).iter().sum::<f64>();
    let tenths_off = [6.5_f64, 5.5, 4.0, 1.5].map(|x| x * x).iter().sum::<f64>();
    check(
        &quality("seconds"),
        &[
            ("chance", "rmse", 4, [(off / 4.0).sqrt(), (other_off / 4.0).sqrt()]),
            ("name", "accuracy", 4, [0.0, 0.0]),
            (
                "tenths",
                "rmse",
                4,
                [(tenths_off / 4.0).sqrt(), (tenths_off / 4.0).sqrt()],
            ),
        ],
    );
    let (code, _, err) = compare(&bench, &rows, &["--label", "lat"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("has no column `lat`; did you mean `late`?"), "{err}");
}

#[tokio::test]
async fn rows_that_a_version_fails_on_are_counted_and_left_out() {
    let bench = Bench::new().model("v", "picky", PATIENT, NUMBER);
    bench.add_version("v", "2", "variants", &NUMBER.replace("\"y\"", "\"same\""));
    let dir = tempfile::tempdir().unwrap();
    let rows = csv(&dir, "x\n0\n7\n2\n");
    let comparison = compared(&bench, &rows, &[]);
    assert_eq!((&comparison["rows"], &comparison["compared"]), (&json!(3), &json!(2)));
    assert_eq!(
        (&comparison["failed"][0]["rows"], &comparison["failed"][1]["rows"]),
        (&json!(1), &json!(0))
    );
    let first = comparison["failed"][0]["first"].as_str().unwrap();
    assert!(first.starts_with("line 3: "), "{first}");
    close(&comparison["outputs"][0]["largest_difference"], 0.5);
    close(&comparison["outputs"][0]["mean_difference"], 0.5);
    assert_eq!(comparison["outputs"][0]["rows"], 2);
}

#[tokio::test]
async fn versions_of_different_services_get_the_same_features() {
    let version = LINEAR.replace("\"full\"", "\"defaults\"");
    let rejects = format!("{LINEAR}when_missing = \"reject\"\n");
    let bench = Bench::new().model("v", "linear", PATIENT, &version);
    bench.add_version("v", "2", "linear", &rejects);
    bench.row("UA", 1, Some(0.25), Some(3)).await;
    let dir = tempfile::tempdir().unwrap();
    // Stale rows are null: defaults for one version, -1 for the other. Of nobody there is nothing, which one rejects.
    let lines: String = (0..2_500).map(|minute| format!("UA,{minute}\n")).collect();
    let rows = csv(&dir, &format!("carrier,minute\n{lines}nobody,1\n"));
    let comparison = compared(&bench, &rows, &[]);
    assert_eq!(
        (&comparison["rows"], &comparison["compared"]),
        (&json!(2_501), &json!(2_500))
    );
    assert_eq!(comparison["failed"][1]["rows"], 1);
    close(&comparison["outputs"][0]["largest_difference"], 815.0);
    close(&comparison["outputs"][0]["mean_difference"], 815.0);
    let sizes: Vec<u64> = comparison["latency"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|l| l["rows"].as_u64())
        .collect();
    assert!(sizes.len() == 2 && sizes[0] == 1 && sizes[1] > 1, "{sizes:?}");
}

#[tokio::test]
async fn a_comparison_is_a_table_for_people() {
    let bench = bench(
        &[("chance", "same"), ("name", "high")],
        &[("chance", "off"), ("name", "high")],
    );
    let dir = tempfile::tempdir().unwrap();
    let rows = csv(&dir, "x,late\n0.5,1\n0.75,0\n");
    let (code, said, err) = compare(&bench, &rows, &["--label", "late"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let said = said.replace(&rows.display().to_string(), "rows.csv");
    // What takes time is another number every time.
    let steady: Vec<&str> = said.lines().filter(|line| !line.contains("µs")).collect();
    insta::assert_snapshot!(steady.join("\n"), @r"
    model v, versions 1 and 2: 2 of 2 rows of rows.csv compared
    features: as of now, read once for both versions

                                       1         2   2/1
    file, bytes                      775       775  1.00
    chance: auc on 2 rows       0.000000  1.000000
    chance: log_loss on 2 rows  1.039721  0.490415
    name: accuracy on 2 rows    0.000000  0.000000
    failed rows                        0         0

    output chance: within 1e-6 on 50.00%, within 1e-3 on 50.00% of the rows; largest difference 0.500000, mean 0.250000
      line 3: 0.75 and 0.25

    output name: the same on 100.00% of the rows
    ");
    let measured: Vec<&str> = said.lines().filter(|line| line.contains("µs")).collect();
    assert_eq!(measured.len(), 2, "{said}");
    assert!(measured[0].starts_with("1 row, p50 of 2 runs, µs "), "{said}");
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused() {
    let model = format!("{PATIENT}serve = \"1\"\n");
    let bench = Bench::new().model("v", "linear", &model, LINEAR);
    bench.add_version("v", "2", "linear", &LINEAR.replace("scores", "score"));
    bench.add_version("v", "3", "picky", "");
    let dir = tempfile::tempdir().unwrap();
    let rows = csv(&dir, "carrier,minute\nUA,1\n");
    let refused = |versions: [&str; 2], code: i32, more: &[&str]| {
        let mut command = predictor(&bench);
        command
            .args(["compare", "v"])
            .args(versions)
            .args(["--log", "error", "--in"])
            .arg(&rows)
            .args(more);
        let (got, said, err) = told(&command.output().unwrap());
        assert_eq!((got, said.as_str()), (Some(code), ""), "{err}");
        err
    };
    insta::assert_snapshot!(refused(["1", "2"], 1, &[]), @r"
    error: model `v` cannot be loaded:
      - version 2: output `y` is tensor `score`, but the model gives `scores` (float32 [-1, 2]), `total` (float32 [1])
    ");
    insta::assert_snapshot!(refused(["1", "4"], 2, &[]), @"error: model `v` has no version `4`: it has 1, 2, 3");
    insta::assert_snapshot!(refused(["1", "3"], 2, &[]), @"error: model `v` has no feature service, and takes tensors: a file's columns are the join keys and request features of a service");
    let nobody = format!("redis://127.0.0.1:{}", crate::bench::free_port());
    let err = refused(["1", "1"], 1, &["--redis-url", &nobody]);
    assert!(
        err.contains("line 2 to line 2: stored features could not be read"),
        "{err}"
    );
}
