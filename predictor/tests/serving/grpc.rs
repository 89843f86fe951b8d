//! Over gRPC: every datatype, statuses, descriptions, control, health and reflection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use predictor::App;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::bench::{Bench, LINEAR, NUMBER, PATIENT};
use client::grpc_inference_service_client::GrpcInferenceServiceClient;
use client::infer_parameter::ParameterChoice;
use client::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use client::{
    DataType, InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest, ModelMetadataRequest,
    ModelReadyRequest, ModelRepositoryParameter, RepositoryIndexRequest, RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};

#[expect(
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    unreachable_pub,
    reason = "made by tonic"
)]
mod client {
    include!(concat!(env!("OUT_DIR"), "/client/inference.rs"));
}

const SERVICE: &str = "inference.GRPCInferenceService";

/// An app that answers at a port, and a client of it.
struct Serving {
    channel: Channel,
    client: GrpcInferenceServiceClient<Channel>,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    async fn start(app: Arc<App>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let server = tokio::spawn(async move { app.serve_grpc(listener, stopped, Duration::from_secs(60)).await });
        let channel = endpoint.connect().await.unwrap();
        Self {
            client: GrpcInferenceServiceClient::new(channel.clone()),
            channel,
            stop,
            server,
        }
    }

    /// What is answered, with its bytes by output.
    async fn infer(&mut self, call: ModelInferRequest) -> client::ModelInferResponse {
        self.client.model_infer(call).await.unwrap().into_inner()
    }
}

fn input(name: &str, datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents,
        ..InferInputTensor::default()
    }
}

fn call(model: &str, inputs: Vec<InferInputTensor>, raw: &[&[u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs,
        raw_input_contents: raw.iter().map(|bytes| bytes.to_vec().into()).collect(),
        ..ModelInferRequest::default()
    }
}

fn fp32(x: f32) -> Option<InferTensorContents> {
    Some(InferTensorContents {
        fp32_contents: vec![x],
        ..InferTensorContents::default()
    })
}

/// Two elements of every datatype but FP16: in their field, and as bytes.
fn pairs() -> Vec<(&'static str, InferTensorContents, Vec<u8>)> {
    macro_rules! pair {
        ($datatype:literal, $field:ident, $one:expr, $two:expr) => {
            (
                $datatype,
                InferTensorContents {
                    $field: vec![$one.into(), $two.into()],
                    ..InferTensorContents::default()
                },
                [$one.to_le_bytes().as_slice(), $two.to_le_bytes().as_slice()].concat(),
            )
        };
    }
    let bools = InferTensorContents {
        bool_contents: vec![true, false],
        ..InferTensorContents::default()
    };
    let texts = InferTensorContents {
        bytes_contents: vec!["Zürich".into(), Vec::new()],
        ..InferTensorContents::default()
    };
    vec![
        pair!("FP32", fp32_contents, f32::MIN_POSITIVE, f32::NEG_INFINITY),
        pair!("FP64", fp64_contents, 0.1_f64, f64::MAX),
        pair!("INT8", int_contents, i8::MIN, i8::MAX),
        pair!("INT16", int_contents, i16::MIN, i16::MAX),
        pair!("INT32", int_contents, i32::MIN, i32::MAX),
        pair!("INT64", int64_contents, i64::MIN, i64::MAX),
        pair!("UINT8", uint_contents, 1_u8, u8::MAX),
        pair!("UINT16", uint_contents, 1_u16, u16::MAX),
        pair!("UINT32", uint_contents, 1_u32, u32::MAX),
        pair!("UINT64", uint64_contents, 1_u64, u64::MAX),
        ("BOOL", bools, vec![1, 0]),
        (
            "BYTES",
            texts,
            [b"\x07\0\0\0".as_slice(), "Zürich".as_bytes(), &[0; 4]].concat(),
        ),
    ]
}

#[tokio::test]
async fn every_datatype_comes_back_however_it_was_sent() {
    let bench = Bench::new()
        .model("echo", "echo", PATIENT, "")
        .model("half", "half", PATIENT, "");
    let mut serving = Serving::start(bench.app()).await;
    let pairs = pairs();
    let typed = |(datatype, contents, _): &(&str, InferTensorContents, Vec<u8>)| {
        input(datatype, datatype, &[2], Some(contents.clone()))
    };
    let shaped = |length: i64| {
        let shaped = |(datatype, ..): &(&str, InferTensorContents, Vec<u8>)| input(datatype, datatype, &[length], None);
        pairs.iter().map(shaped).collect::<Vec<_>>()
    };
    let bytes: Vec<&[u8]> = pairs.iter().map(|(.., bytes)| bytes.as_slice()).collect();
    let nothing = vec![b"".as_slice(); pairs.len()];
    let calls = [
        ("typed", call("echo", pairs.iter().map(typed).collect(), &[]), 2, &bytes),
        ("raw", call("echo", shaped(2), &bytes), 2, &bytes),
        ("none, typed", call("echo", shaped(0), &[]), 0, &nothing),
        ("none, raw", call("echo", shaped(0), &nothing), 0, &nothing),
    ];
    for (what, mut call, length, expected) in calls {
        call.id = "a1".to_owned();
        let answer = serving.infer(call).await;
        assert_eq!(
            (&*answer.model_name, &*answer.model_version, &*answer.id),
            ("echo", "1", "a1")
        );
        assert!(answer.parameters.contains_key("cache"), "{:?}", answer.parameters);
        for (((datatype, ..), output), (got, expected)) in pairs
            .iter()
            .zip(&answer.outputs)
            .zip(answer.raw_output_contents.iter().zip(expected))
        {
            let name = format!("{datatype}_out");
            assert_eq!(
                (&*output.name, &*output.datatype, &*output.shape),
                (&*name, *datatype, &[length][..])
            );
            assert_eq!(got, expected, "{what}: {datatype}");
        }
        assert_eq!(answer.raw_output_contents.len(), pairs.len());
    }
    let wanted = |name: &str| InferRequestedOutputTensor {
        name: name.to_owned(),
        ..InferRequestedOutputTensor::default()
    };
    let mut some = call("echo", shaped(2), &bytes);
    some.outputs = vec![wanted("BYTES_out"), wanted("FP32_out")];
    assert_eq!(serving.infer(some).await.raw_output_contents, [bytes[11], bytes[0]]);
    // FP16 has no field, and a scalar no dimension.
    let half = call("half", vec![input("x", "FP16", &[], None)], &[&[0x00, 0x3e]]);
    let answer = serving.infer(half).await;
    assert_eq!(answer.raw_output_contents, [[0x00, 0x42].as_slice()]);
    assert!(answer.outputs[0].shape.is_empty());
}

#[tokio::test]
async fn rows_of_a_feature_service_are_answered() {
    let bench = Bench::new().model("m", "linear", PATIENT, LINEAR);
    bench.row("UA", 60, Some(0.5), Some(2)).await;
    let app = bench.app();
    app.refresh().await.unwrap();
    let mut serving = Serving::start(app).await;
    let carriers = InferTensorContents {
        bytes_contents: vec!["UA".into(), "XX".into()],
        ..InferTensorContents::default()
    };
    let minutes = InferTensorContents {
        int64_contents: vec![7, 8],
        ..InferTensorContents::default()
    };
    let columns = vec![
        input("minute", "INT64", &[2, 1], Some(minutes)),
        input("carrier", "BYTES", &[2], Some(carriers)),
    ];
    // a + 10 b + 100 c, and -1 for what is not there.
    let expected = [7.0 + 5.0 + 400.0, 8.0 - 10.0 - 100.0_f32];
    for (directive, state) in [("", "miss"), ("", "hit_memory"), ("no-cache", "miss")] {
        let mut request = Request::new(call("m", columns.clone(), &[]));
        let metadata = request.metadata_mut();
        metadata.insert("cache-control", directive.parse().unwrap());
        let answer = serving.client.model_infer(request).await.unwrap().into_inner();
        assert_eq!(answer.raw_output_contents, [expected.map(f32::to_le_bytes).concat()]);
        let cache = answer.parameters["cache"].parameter_choice.clone();
        assert_eq!(cache, Some(ParameterChoice::StringParam(state.to_owned())));
    }
}

#[tokio::test]
async fn what_is_wrong_is_a_status_with_a_code_and_a_sentence() {
    let mut serving = Serving::start(
        Bench::new()
            .model("m", "picky", PATIENT, NUMBER)
            .model("broken", "picky", PATIENT, LINEAR)
            .model("echo", "echo", PATIENT, "")
            .model("half", "half", PATIENT, "")
            .model("late", "slow", "deadline = \"1ms\"", NUMBER)
            .model("slow", "slow", PATIENT, NUMBER)
            .app(),
    )
    .await;
    let one = |model: &str| call(model, vec![input("x", "FP32", &[1, 1], fp32(1.0))], &[]);
    let with = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut call = one("m");
        change(&mut call);
        call
    };
    let timeout = |model: &str, choice: ParameterChoice| {
        let mut call = one(model);
        let parameter_choice = Some(choice);
        call.parameters = HashMap::from([("timeout".to_owned(), InferParameter { parameter_choice })]);
        call
    };
    let int = |datatype: &str| InferInputTensor {
        contents: Some(InferTensorContents {
            int_contents: vec![300],
            ..InferTensorContents::default()
        }),
        ..input(datatype, datatype, &[1], None)
    };
    let large = || call("m", vec![input("x", "FP32", &[1, 1], None)], &[&vec![0; 5 << 20]]);
    use Code::{DeadlineExceeded, Internal, InvalidArgument, NotFound, ResourceExhausted, Unavailable};
    let invalid = |call, said| (call, InvalidArgument, "invalid_request", said);
    let cases = [
        (
            one("mm"),
            NotFound,
            "unknown_model",
            "there is no model `mm`; did you mean `m`?",
        ),
        (
            with(&|call| call.model_version = "2".into()),
            NotFound,
            "unknown_version",
            "has no version `2` ready",
        ),
        (one("broken"), Unavailable, "model_not_loaded", "could not be loaded"),
        (
            one("late"),
            DeadlineExceeded,
            "deadline_exceeded",
            "no answer within the deadline",
        ),
        (
            timeout("slow", ParameterChoice::Int64Param(500)),
            DeadlineExceeded,
            "deadline_exceeded",
            "no answer within",
        ),
        (
            timeout("slow", ParameterChoice::Uint64Param(500)),
            DeadlineExceeded,
            "deadline_exceeded",
            "no answer within",
        ),
        (
            timeout("slow", ParameterChoice::StringParam("500".into())),
            DeadlineExceeded,
            "deadline_exceeded",
            "no answer within",
        ),
        invalid(
            timeout("m", ParameterChoice::BoolParam(true)),
            "`timeout`: not a number of microseconds",
        ),
        (
            call("m", vec![input("x", "FP32", &[1, 1], fp32(9.0))], &[]),
            Internal,
            "model_failed",
            "model `m` failed",
        ),
        (
            large(),
            ResourceExhausted,
            "body_too_large",
            "larger than this server takes",
        ),
        invalid(with(&|call| call.inputs.clear()), "`inputs`: empty"),
        invalid(
            with(&|call| call.raw_input_contents = vec![vec![0; 4].into()]),
            "both contents and raw_input_contents",
        ),
        invalid(
            with(&|call| call.raw_input_contents = vec![vec![0; 4].into(); 2]),
            "2 of them, where there are 1 inputs",
        ),
        invalid(
            with(&|call| call.inputs[0].datatype = "FP33".into()),
            "its datatype is none of FP16, FP32,",
        ),
        invalid(
            with(&|call| call.inputs[0].datatype = "FP64".into()),
            "contents in a field that is not FP64's",
        ),
        invalid(with(&|call| call.inputs[0].shape = vec![2, 1]), "`x`: "),
        invalid(with(&|call| call.inputs[0].name = "y".into()), "`y`: "),
        invalid(
            call("half", vec![input("x", "FP16", &[], fp32(1.0))], &[]),
            "FP16 can be sent in raw_input_contents only",
        ),
        invalid(call("echo", vec![int("INT8")], &[]), "300 is no INT8"),
        invalid(
            call("half", vec![input("x", "FP16", &[], None)], &[&[0]]),
            "no whole number of FP16 elements",
        ),
    ];
    for (call, code, larder_code, said) in cases {
        let shown = format!("{call:?}").chars().take(200).collect::<String>();
        let mut request = Request::new(call);
        request.metadata_mut().insert("x-request-id", "r1".parse().unwrap());
        let status = serving.client.model_infer(request).await.unwrap_err();
        assert_eq!(
            (status.code(), larder_code_of(&status)),
            (code, larder_code),
            "{shown}: {status:?}"
        );
        assert!(status.message().contains(said), "{shown}: {}", status.message());
        assert_eq!(status.metadata().get("x-request-id").unwrap(), "r1");
    }
}

fn larder_code_of(status: &Status) -> &str {
    status
        .metadata()
        .get("larder-code")
        .map_or("", |code| code.to_str().unwrap())
}

#[tokio::test]
async fn models_are_described_and_controlled() {
    let bench = Bench::new()
        .model("m", "linear", PATIENT, LINEAR)
        .model("half", "half", PATIENT, "");
    let Serving { mut client, .. } = Serving::start(bench.app()).await;
    assert!(
        client
            .server_live(ServerLiveRequest {})
            .await
            .unwrap()
            .into_inner()
            .live
    );
    assert!(
        client
            .server_ready(ServerReadyRequest {})
            .await
            .unwrap()
            .into_inner()
            .ready
    );
    let server = client
        .server_metadata(ServerMetadataRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(server.name, "larder");
    assert!(server.extensions.contains(&"model_repository".to_owned()));

    let asked = ModelMetadataRequest {
        name: "m".to_owned(),
        version: "1".to_owned(),
    };
    let metadata = client.model_metadata(asked).await.unwrap().into_inner();
    assert_eq!(
        (&*metadata.versions, &*metadata.platform),
        (&["1".to_owned()][..], "onnxruntime_onnx")
    );
    let features = &metadata.inputs[0];
    assert_eq!(
        (&*features.name, &*features.datatype, &*features.shape),
        ("features", "FP32", &[-1, 3][..])
    );
    assert_eq!(metadata.outputs.len(), 2);
    assert_eq!(metadata.properties["join_key:carrier"], "string");

    let asked = ModelConfigRequest {
        name: "half".to_owned(),
        version: String::new(),
    };
    let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
    assert_eq!((&*config.backend, config.max_batch_size), ("onnxruntime", 0));
    assert_eq!(
        (config.input[0].data_type(), &*config.output[0].name),
        (DataType::TypeFp16, "twice")
    );
    assert_eq!(config.instance_group[0].count, 2);

    let load = |parameter: Option<&str>| RepositoryModelLoadRequest {
        model_name: "m".to_owned(),
        parameters: parameter
            .map(|name| (name.to_owned(), ModelRepositoryParameter::default()))
            .into_iter()
            .collect(),
        ..RepositoryModelLoadRequest::default()
    };
    let unload = RepositoryModelUnloadRequest {
        model_name: "m".to_owned(),
        ..RepositoryModelUnloadRequest::default()
    };
    client.repository_model_unload(unload).await.unwrap();
    for (is_loaded, state) in [(false, "UNAVAILABLE"), (true, "READY")] {
        let all = client
            .repository_index(RepositoryIndexRequest::default())
            .await
            .unwrap()
            .into_inner();
        let m = all.models.iter().find(|one| one.name == "m").unwrap();
        assert_eq!((&*m.version, &*m.state), ("1", state));
        let only_ready = RepositoryIndexRequest {
            ready: true,
            ..RepositoryIndexRequest::default()
        };
        let ready = client.repository_index(only_ready).await.unwrap().into_inner();
        assert_eq!(ready.models.iter().any(|one| one.name == "m"), is_loaded);
        for (name, expected) in [("m", is_loaded), ("half", true), ("nobody", false)] {
            let asked = ModelReadyRequest {
                name: name.to_owned(),
                version: String::new(),
            };
            assert_eq!(
                client.model_ready(asked).await.unwrap().into_inner().ready,
                expected,
                "{name}"
            );
        }
        client.repository_model_load(load(None)).await.unwrap();
    }
    for parameter in ["config", "file:1/model.onnx"] {
        let status = client.repository_model_load(load(Some(parameter))).await.unwrap_err();
        assert_eq!(
            (status.code(), larder_code_of(&status)),
            (Code::InvalidArgument, "invalid_request")
        );
        assert!(status.message().contains("cannot be sent"), "{}", status.message());
    }
    let unknown = RepositoryModelUnloadRequest {
        model_name: "n".to_owned(),
        ..RepositoryModelUnloadRequest::default()
    };
    let status = client.repository_model_unload(unknown).await.unwrap_err();
    assert_eq!(
        (status.code(), larder_code_of(&status)),
        (Code::NotFound, "unknown_model")
    );
}

#[tokio::test]
async fn health_and_reflection_answer_under_load_and_until_the_end() {
    let bench = Bench::new().model("half", "half", PATIENT, "").in_flight(0);
    let Serving {
        channel,
        mut client,
        stop,
        server,
    } = Serving::start(bench.app()).await;
    let status = client.server_live(ServerLiveRequest {}).await.unwrap_err();
    assert_eq!(
        (status.code(), larder_code_of(&status)),
        (Code::ResourceExhausted, "overloaded")
    );

    let mut health = HealthClient::new(channel.clone());
    let of = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in ["", SERVICE] {
        let answer = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let mut watched = health.watch(of(SERVICE)).await.unwrap().into_inner();
    assert_eq!(
        watched.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );

    let mut reflection = ServerReflectionClient::new(channel);
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(format!("{SERVICE}.ModelInfer"))),
    };
    let once = stream::iter([asked]);
    let mut answers = reflection.server_reflection_info(once).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(answer, Some(MessageResponse::FileDescriptorResponse(files)) if !files.file_descriptor_proto.is_empty())
    );

    stop.cancel();
    assert_eq!(
        watched.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    // Who watches is let go, and so the server ends long before it would have to.
    assert!(watched.message().await.unwrap().is_none());
    tokio::time::timeout(Duration::from_secs(30), server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
