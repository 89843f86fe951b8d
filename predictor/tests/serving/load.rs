//! Models that do not fit are refused with the reason.

use std::fmt::Write;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT, REQUEST_ONLY};

#[tokio::test]
async fn what_does_not_fit_is_said() {
    let each = "inputs = \"each\"\noutputs = { y = { tensor = \"y\" } }\n";
    let cases = [
        ("service", "linear", "", LINEAR.replace("\"full\"", "\"ful\"")),
        ("tensor", "linear", "", LINEAR.replace("features =", "x =")),
        ("width", "linear", "", LINEAR.replace("\"full\"", "\"number\"")),
        ("double", "linear", "", LINEAR.replace("float32", "float64")),
        ("output", "linear", "", LINEAR.replace("scores", "score")),
        ("column", "linear", "", LINEAR.replace("column = 1", "column = 2")),
        ("no_column", "linear", "", LINEAR.replace(", column = 1", "")),
        ("crooked", "crooked", "", NUMBER.to_owned()),
        ("no_defaults", "each", "", format!("feature_service = \"typed_without_defaults\"\n{each}")),
        ("each", "linear", "", format!("feature_service = \"number\"\n{each}")),
        ("digest", "linear", "", format!("{LINEAR}sha256 = \"00\"\n")),
        ("no_fallback", "linear", "", format!("{LINEAR}when_unavailable = \"fallback\"\n")),
        ("unknown_fallback", "linear", "fallback = { model = \"nobody\" }", LINEAR.to_owned()),
        ("stored_fallback", "request_only", "fallback = { model = \"good\" }", REQUEST_ONLY.to_owned()),
        ("wrong_constant", "linear", "fallback = { output = { z = 1, y = \"a\" } }", LINEAR.to_owned()),
        ("typo", "linear", "deadlin = \"1s\"", LINEAR.to_owned()),
        ("not_onnx", "linear", "", LINEAR.to_owned()),
    ];
    let mut bench = Bench::new().model("good", "linear", PATIENT, LINEAR);
    for (name, onnx, model, version) in &cases {
        bench = bench.model(name, onnx, model, version);
    }
    bench.write("not_onnx/1/model.onnx", b"not a model");
    let app = bench.app();
    let mut told = String::new();
    for refused in app.models().refused() {
        writeln!(told, "{refused}").unwrap();
    }
    assert_eq!(app.models().serving().map(|s| s.model.name.as_str()).collect::<Vec<_>>(), ["good"]);
    let told = told.replace(bench.models().to_str().unwrap(), "MODELS");
    insta::assert_snapshot!(told, @"");
}

#[tokio::test]
async fn a_repository_without_any_good_model_is_an_error() {
    let error = Bench::new().load().unwrap_err().to_string();
    assert!(error.ends_with("holds no model: a model is a folder with a model.toml"), "{error}");
    let bench = Bench::new().model("m", "linear", "", "");
    let error = bench.load().unwrap_err().to_string();
    assert!(error.starts_with("no model can be served\nmodel `m` is refused:\n  - "), "{error}");
}

#[tokio::test]
async fn declared_output_shapes_are_not_trusted() {
    // `total` is declared as [1], and comes as [n].
    let version = LINEAR.replace("{ tensor = \"scores\", column = 1 }", "{ tensor = \"total\" }");
    let app = Bench::new().model("m", "linear", PATIENT, &version).app();
    let answer =
        crate::bench::predict(&app, "m", serde_json::json!([{ "carrier": null, "minute": 5 }, { "carrier": null, "minute": 6 }]))
            .await;
    assert_eq!(answer["predictions"], serde_json::json!([{ "y": 3.0 }, { "y": 4.0 }]));
}
