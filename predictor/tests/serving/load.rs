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
        (
            "no_defaults",
            "each",
            "",
            format!("feature_service = \"typed_without_defaults\"\n{each}"),
        ),
        ("each", "linear", "", format!("feature_service = \"number\"\n{each}")),
        ("digest", "linear", "", format!("{LINEAR}sha256 = \"00\"\n")),
        (
            "no_fallback",
            "linear",
            "",
            format!("{LINEAR}when_unavailable = \"fallback\"\n"),
        ),
        (
            "unknown_fallback",
            "linear",
            "fallback = { model = \"nobody\" }",
            LINEAR.to_owned(),
        ),
        (
            "stored_fallback",
            "request_only",
            "fallback = { model = \"good\" }",
            REQUEST_ONLY.to_owned(),
        ),
        (
            "wrong_constant",
            "linear",
            "fallback = { output = { z = 1, y = \"a\" } }",
            LINEAR.to_owned(),
        ),
        ("typo", "linear", "deadlin = \"1s\"", LINEAR.to_owned()),
        (
            "no_time",
            "linear",
            "deadline = \"0ms\"\ncache = { ttl = \"999999d\" }",
            LINEAR.to_owned(),
        ),
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
    assert_eq!(
        app.models()
            .serving()
            .map(|s| s.serving.model.name.as_str())
            .collect::<Vec<_>>(),
        ["good"]
    );
    let told = told.replace(bench.models().to_str().unwrap(), "MODELS");
    insta::assert_snapshot!(told, @r#"
    model `column` is refused:
      - warming up with 1 row(s): tensor `scores` came with shape [1, 2] for 1 row(s), where [n, k] with a column 2 is needed
    model `crooked` is refused:
      - warming up with 3 row(s): tensor `y` came with shape [1, 1] for 3 row(s), where [n] or [n, 1] (or a `column` in version.toml) is needed
    model `digest` is refused:
      - MODELS/digest/1/model.onnx has sha256 2af52c69650b0315b40792b721153eb869d6a996d492543e3e3c65fd7204876d, but version.toml says 00: it is another file than the one that was released
    model `double` is refused:
      - version.toml says tensor `features` is float64, but the model takes float32 [-1, 3]
    model `each` is refused:
      - service `number` feeds `x`, but the model takes `features` (float32 [-1, 3])
      - the model takes `features`, which service `number` does not have
      - output `y` is tensor `y`, but the model gives `scores` (float32 [-1, 2]), `total` (float32 [1])
    model `no_column` is refused:
      - warming up with 1 row(s): tensor `scores` came with shape [1, 2] for 1 row(s), where [n] or [n, 1] (or a `column` in version.toml) is needed
    model `no_defaults` is refused:
      - input `carrier` goes into a tensor of string, which has no null: give it a default in the feature service
      - input `minute` goes into a tensor of int64, which has no null: give it a default in the feature service
    model `no_fallback` is refused:
      - version.toml says when_unavailable = "fallback", but model.toml has no fallback
    model `no_time` is refused:
      - model.toml says deadline = "0ms": nothing can be answered in no time
      - model.toml says cache ttl = "999999d", at most 366d is possible
    model `not_onnx` is refused:
      - ONNX Runtime refuses model.onnx: Failed to load model because protobuf parsing failed.
    model `output` is refused:
      - output `y` is tensor `score`, but the model gives `scores` (float32 [-1, 2]), `total` (float32 [1])
    model `service` is refused:
      - version.toml says feature_service = "ful", which is not declared; did you mean `full`?
    model `stored_fallback` is refused:
      - its fallback, model `good`, reads stored features itself (service `full`), and so could not answer without the store
    model `tensor` is refused:
      - version.toml feeds one tensor `x`, but the model takes `features` (float32 [-1, 3])
    model `typo` is refused:
      - MODELS/typo/model.toml: TOML parse error at line 1, column 1
      |
    1 | deadlin = "1s"
      | ^^^^^^^
    unknown field `deadlin`, expected one of `serve`, `load`, `canary`, `shadow`, `deadline`, `cache`, `batching`, `fallback`
    model `unknown_fallback` is refused:
      - its fallback, model `nobody`, is not in the repository
    model `width` is refused:
      - tensor `features` has 3 columns, but service `number` has 1 input(s)
    model `wrong_constant` is refused:
      - the fallback in model.toml gives `z`, which is not an output of the model
      - the fallback's `y` is not float32
    "#);
}

#[tokio::test]
async fn a_repository_without_any_good_model_is_an_error() {
    let error = Bench::new().load().unwrap_err().to_string();
    assert!(
        error.ends_with("holds no model: a model is a folder with a model.toml"),
        "{error}"
    );
    let bench = Bench::new().model("m", "linear", "", "inputs = \"each\"");
    let error = bench.load().unwrap_err().to_string();
    assert!(
        error.starts_with("no model can be served\nmodel `m` is refused:\n  - "),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_a_model_keeps_no_other_from_serving() {
    let bench = Bench::new()
        .model("m", "linear", PATIENT, LINEAR)
        .model("m (copy)", "linear", PATIENT, LINEAR);
    let app = bench.app();
    assert_eq!(app.models().serving().count(), 1);
    let refused: Vec<_> = app.models().refused().map(|r| r.to_string()).collect();
    assert!(
        matches!(&refused[..], [one] if one.starts_with("model `m (copy)` is refused:\n  - the folder's name")),
        "{refused:?}"
    );
    let ready = app.readiness().await;
    assert!(ready.ready && ready.checks.iter().any(|c| c.name == "model m (copy)" && !c.ok));
}

#[tokio::test]
async fn declared_output_shapes_are_not_trusted() {
    // `total` is declared as [1], and comes as [n].
    let version = LINEAR.replace("{ tensor = \"scores\", column = 1 }", "{ tensor = \"total\" }");
    let app = Bench::new().model("m", "linear", PATIENT, &version).app();
    let answer = crate::bench::predict(
        &app,
        "m",
        serde_json::json!([{ "carrier": null, "minute": 5 }, { "carrier": null, "minute": 6 }]),
    )
    .await;
    assert_eq!(answer["predictions"], serde_json::json!([{ "y": 3.0 }, { "y": 4.0 }]));
}
