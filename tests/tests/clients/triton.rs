//! Triton's client against the predictor, by HTTP and gRPC: as its users call it, with defaults and without.

use std::fs;

use end_to_end::env::{required, root};
use end_to_end::servers::{Server, free_port};
use serde_json::{Value as Json, json};

use crate::puppet::{Puppet, Raised};

const FEATURES: &str = r#"
format = 1
project = "triton"

[[entity]]
name = "carrier"
join_keys = [{ name = "carrier", type = "string" }]

[[feature_service]]
name = "three"
request = [{ name = "a", type = "float64" }, { name = "b", type = "int64" }, { name = "c", type = "float32" }]
features = ["request:a", "request:b", "request:c"]
"#;

/// a + 10 b + 100 c
const THREE: &str = r#"
feature_service = "three"
inputs = { features = "float32" }
outputs = { y = { tensor = "scores", column = 1 } }
"#;

/// The predictor as a program, with models of all kinds, and a client of it.
struct Stand {
    puppet: Puppet,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Stand {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("features")).unwrap();
        fs::write(folder.path().join("features/all.toml"), FEATURES).unwrap();
        for (model, version) in [
            ("echo", ""),
            ("half", ""),
            ("each", "batch = true\n"),
            ("slow", "batch = true\n"),
            ("linear", THREE),
        ] {
            let dir = folder.path().join("models").join(model);
            fs::create_dir_all(dir.join("1")).unwrap();
            fs::write(dir.join("model.toml"), "deadline = \"60s\"\n").unwrap();
            fs::write(dir.join("1/version.toml"), version).unwrap();
            let onnx = root().join(format!("predictor/tests/models/{model}.onnx"));
            fs::copy(onnx, dir.join("1/model.onnx")).unwrap();
        }
        let grpc = format!("127.0.0.1:{}", free_port().unwrap());
        let variables = [
            ("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME")),
            ("LARDER_REDIS_URL", required("LARDER_TEST_REDIS_URL")),
            ("LARDER_GRPC_LISTEN", grpc.clone()),
        ];
        let server = Server::start("predictor", folder.path(), &variables).await.unwrap();
        let http = server.base.trim_start_matches("http://").to_owned();
        Self {
            puppet: Puppet::triton(&http, &grpc),
            _server: server,
            _folder: folder,
        }
    }

    fn call(&mut self, call: &Json) -> Json {
        self.puppet.call(call)
    }

    fn ask(&mut self, over: &str, method: &str, arguments: &Json) -> Json {
        self.call(&json!({"call": "ask", "over": over, "method": method, "arguments": arguments}))
    }

    fn raised(&mut self, call: &Json) -> Raised {
        let raised = self.puppet.try_call(call).expect_err("it should be refused");
        assert_eq!(raised.class, "InferenceServerException", "{raised:?}");
        raised
    }
}

/// With what a call says besides.
fn with(mut call: Json, more: &Json) -> Json {
    let (call_fields, more) = (call.as_object_mut().unwrap(), more.as_object().unwrap());
    call_fields.extend(more.clone());
    call
}

/// One or more of every datatype, at the ends of what it holds.
fn echo() -> Json {
    let many: Vec<f64> = (0..4_096).map(f64::from).collect();
    json!([
        ["FP32", "FP32", [2], [0.5, -1.5]],
        // More than a small answer, which is never packed.
        ["FP64", "FP64", [4_096], many],
        ["INT8", "INT8", [2], [-128, 127]],
        ["INT16", "INT16", [2], [-32768, 32767]],
        ["INT32", "INT32", [2], [i32::MIN, i32::MAX]],
        ["INT64", "INT64", [2], [i64::MIN, i64::MAX]],
        ["UINT8", "UINT8", [2], [0, 255]],
        ["UINT16", "UINT16", [2], [0, 65535]],
        ["UINT32", "UINT32", [2], [0, u32::MAX]],
        ["UINT64", "UINT64", [2], [0, u64::MAX]],
        ["BOOL", "BOOL", [3], [true, false, true]],
        ["BYTES", "BYTES", [3], ["Zürich", "", "a"]],
    ])
}

const BOTH: [&str; 2] = ["http", "grpc"];

#[tokio::test]
async fn tensors_of_every_type_come_back_in_every_way_they_can_be_sent() {
    let mut stand = Stand::new().await;
    let inputs = echo();
    let http = json!([
        {},
        {"binary": false},
        {"binary": false, "binary_out": false, "outputs": ["BYTES_out", "INT64_out", "FP64_out"]},
        {"binary": true, "binary_out": false, "outputs": ["FP32_out", "BYTES_out"]},
        {"outputs": ["UINT64_out"]},
        {"model_version": "1", "request_id": "a1", "priority": 1, "timeout": 50_000_000},
        {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
        {"request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate"},
        {"binary": false, "request_compression_algorithm": "gzip", "response_compression_algorithm": "deflate"},
        {"wait": 60},
    ]);
    let grpc = json!([
        {},
        {"outputs": ["BYTES_out", "INT64_out", "FP64_out"]},
        {"model_version": "1", "request_id": "a1", "priority": 1, "timeout": 50_000_000, "client_timeout": 60},
        {"compression_algorithm": "gzip"},
        {"compression_algorithm": "deflate"},
        {"wait": 60},
    ]);
    for (over, all_options) in [("http", http), ("grpc", grpc)] {
        for options in all_options.as_array().unwrap() {
            let call = json!({"call": "infer", "over": over, "model": "echo", "inputs": inputs});
            let said = stand.call(&with(call, options));
            assert_eq!(said["model"], json!(["echo", "1"]), "{over}, {options}");
            assert_eq!(said["id"], options["request_id"], "{over}, {options}");
            assert_eq!(said["parameters"], json!(["cache"]), "{over}, {options}");
            let outputs = said["outputs"].as_object().unwrap();
            let all = inputs.as_array().unwrap();
            let wanted = options["outputs"].as_array().map_or(all.len(), Vec::len);
            assert_eq!(outputs.len(), wanted, "{over}, {options}");
            for given in all {
                let name = format!("{}_out", given[0].as_str().unwrap());
                if let Some(output) = outputs.get(&name) {
                    assert_eq!(output, &given[3], "{over}, {options}: {name}");
                }
            }
        }
        let half = json!({"call": "infer", "over": over, "model": "half", "inputs": [["x", "FP16", [], 0.25]]});
        let said = stand.call(&half);
        assert_eq!(
            (&said["outputs"]["twice"], &said["types"]["twice"]),
            (&json!(0.5), &json!("float16"))
        );
        let each = [
            json!(["carrier", "BYTES", [2], ["UA", "XX"]]),
            json!(["minute", "INT64", [2, 1], [7, 8]]),
            json!(["distance", "FP32", [2], [100, 200]]),
        ];
        let said = stand.call(&json!({"call": "infer", "over": over, "model": "each", "inputs": each}));
        assert_eq!(
            said["outputs"],
            json!({"y": [1107.0, 208.0], "name": ["UA", "XX"], "known": [true, false]})
        );
        // Request features of a model that a feature service feeds are tensors of their names.
        let fed = [
            json!(["c", "FP32", [2], [3, 6]]),
            json!(["a", "FP64", [2], [1, 4]]),
            json!(["b", "INT64", [2], [2, 5]]),
        ];
        let said = stand.call(&json!({"call": "infer", "over": over, "model": "linear", "inputs": fed}));
        assert_eq!(said["outputs"], json!({"y": [321.0, 654.0]}));
    }
}

#[tokio::test]
async fn models_are_described_loaded_and_unloaded() {
    let mut stand = Stand::new().await;
    for over in BOTH {
        for method in ["is_server_live", "is_server_ready"] {
            assert_eq!(stand.ask(over, method, &json!([])), true, "{over}: {method}");
        }
        let server = stand.ask(over, "get_server_metadata", &json!([]));
        assert_eq!(server["name"], "larder");
        let model = stand.ask(over, "get_model_metadata", &json!(["each"]));
        assert_eq!(
            (&model["name"], &model["versions"]),
            (&json!("each"), &json!(["1"])),
            "{over}"
        );
        let names: Vec<&Json> = model["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| &input["name"])
            .collect();
        assert_eq!(names, ["carrier", "minute", "distance"], "{over}");
        let config = stand.ask(over, "get_model_config", &json!(["each", "1"]));
        // By gRPC it stands within a message.
        let config = config.get("config").unwrap_or(&config);
        assert_eq!(config["backend"], "onnxruntime", "{over}");
        assert_eq!(config["input"][0]["data_type"], "TYPE_STRING", "{over}");
        assert!(config["max_batch_size"].as_u64() > Some(0), "{over}: {config}");

        stand.ask(over, "unload_model", &json!(["half"]));
        for (is_ready, state) in [(false, "UNAVAILABLE"), (true, "READY")] {
            assert_eq!(stand.ask(over, "is_model_ready", &json!(["half"])), is_ready, "{over}");
            let index = stand.ask(over, "get_model_repository_index", &json!([]));
            let models = index.get("models").unwrap_or(&index).as_array().unwrap().clone();
            assert_eq!(models.len(), 5, "{over}: {models:?}");
            let half = models.iter().find(|model| model["name"] == "half").unwrap();
            assert_eq!(
                (&half["version"], &half["state"]),
                (&json!("1"), &json!(state)),
                "{over}"
            );
            stand.ask(over, "load_model", &json!(["half"]));
        }
        assert_eq!(stand.ask(over, "is_model_ready", &json!(["nobody"])), false, "{over}");
    }
}

#[tokio::test]
async fn errors_are_sentences() {
    let mut stand = Stand::new().await;
    let infer = |model: &str, inputs: Json| json!({"call": "infer", "model": model, "inputs": inputs});
    let x = json!([["x", "FP32", [1, 1], [1]]]);
    let slow = with(
        infer("slow", json!([["x", "FP32", [1, 1], [3.25]]])),
        &json!({"timeout": 1_000}),
    );
    let cases = [
        (
            infer("eco", x.clone()),
            ["[404]", "[StatusCode.NOT_FOUND]"],
            "there is no model `eco`; did you mean `echo`?",
        ),
        (
            with(infer("half", x.clone()), &json!({"model_version": "7"})),
            ["[404]", "[StatusCode.NOT_FOUND]"],
            "no version `7` ready",
        ),
        (
            infer("half", x),
            ["[400]", "[StatusCode.INVALID_ARGUMENT]"],
            "`x`: FP32, where the model takes FP16",
        ),
        (
            slow,
            ["[504]", "[StatusCode.DEADLINE_EXCEEDED]"],
            "no answer within the deadline of model `slow`, 1ms",
        ),
        (
            json!({"call": "ask", "method": "get_model_metadata", "arguments": ["nobody"]}),
            ["[404]", "[StatusCode.NOT_FOUND]"],
            "there is no model `nobody`",
        ),
        (
            json!({"call": "ask", "method": "load_model", "arguments": ["half"], "config": "{}"}),
            ["[400]", "[StatusCode.INVALID_ARGUMENT]"],
            "`config`: cannot be sent: a model is what its files in the repository are",
        ),
        (
            json!({"call": "ask", "method": "load_model", "arguments": ["nobody"]}),
            ["[404]", "[StatusCode.NOT_FOUND]"],
            "there is no model `nobody` in the repository",
        ),
    ];
    for (call, statuses, said) in cases {
        for (over, status) in BOTH.into_iter().zip(statuses) {
            let raised = stand.raised(&with(call.clone(), &json!({"over": over})));
            assert!(
                raised.message.starts_with(status) && raised.message.contains(said),
                "{over}, {call}: {raised:?}"
            );
        }
    }
    // The deadline of a gRPC call, rather than a parameter: whoever notices first.
    let call = infer("slow", json!([["x", "FP32", [1, 1], [4.25]]]));
    let raised = stand.raised(&with(call, &json!({"over": "grpc", "client_timeout": 0.01})));
    assert!(raised.message.contains("DEADLINE_EXCEEDED"), "{raised:?}");
    assert_eq!(stand.ask("grpc", "is_server_ready", &json!([])), true);
}
