//! Models of several libraries, served on request features: ten thousand rows each, with nulls and with categories that
//! no model has seen, answered as Python's ONNX Runtime answers the same tensors.

mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use end_to_end::env::root;
use end_to_end::{predictors, python};
use predictor::{App, Asked, Explain, Freshness};
use serde_json::{Map, Value, json};

use crate::tensors::{Wire, float, infer, single};
use rows::Random;

const FAMILIES: [&str; 6] = [
    "sklearn_pipeline",
    "sklearn_multi",
    "lightgbm",
    "xgboost",
    "mlp",
    "sklearn_zipmap",
];
const ROWS: usize = 10_000;
/// Requests are of these sizes in turn.
const SIZES: [usize; 5] = [1_000, 1, 33, 7, 500];
const TOLERANCE: f64 = 1e-6;

/// What a model takes, as its makers declared it.
enum Takes {
    /// One float32 tensor, a column an input.
    Matrix,
    /// A tensor an input: its type, and the shape of a row.
    Each(&'static [(&'static str, &'static [usize])]),
}

const PIPELINE: Takes = Takes::Each(&[
    ("float32", &[1]),
    ("float32", &[1]),
    ("int64", &[1]),
    ("string", &[1]),
    ("string", &[1]),
]);

const MLP: Takes = Takes::Each(&[
    ("float32", &[]),
    ("float64", &[1]),
    ("int64", &[]),
    ("int32", &[1]),
    ("bool", &[]),
    ("float32", &[8]),
    ("int64", &[3]),
    ("string", &[]),
]);

#[tokio::test]
async fn a_pipeline_of_named_columns_answers_as_in_python() {
    answers_as_in_python("sklearn_pipeline", &PIPELINE).await;
}

#[tokio::test]
async fn a_regressor_of_two_outputs_answers_as_in_python() {
    answers_as_in_python("sklearn_multi", &Takes::Matrix).await;
}

#[tokio::test]
async fn lightgbm_answers_as_in_python() {
    answers_as_in_python("lightgbm", &Takes::Matrix).await;
}

#[tokio::test]
async fn xgboost_answers_as_in_python() {
    answers_as_in_python("xgboost", &Takes::Matrix).await;
}

#[tokio::test]
async fn a_network_of_tensors_of_every_type_answers_as_in_python() {
    answers_as_in_python("mlp", &MLP).await;
}

#[tokio::test]
async fn a_classifier_that_gives_maps_is_refused_with_what_to_do() {
    let stand = Stand::new();
    let models = stand.app.models();
    let refused: Vec<_> = models.refused().collect();
    let names: Vec<&str> = refused.iter().map(|refused| refused.name.as_str()).collect();
    assert_eq!(names, ["sklearn_zipmap"], "{refused:?}");
    let reasons = refused[0].reasons.join("\n");
    assert!(reasons.contains("`output_probability`"), "{reasons}");
    assert!(reasons.contains("with zipmap off"), "{reasons}");
}

#[tokio::test]
async fn rows_sent_as_tensors_are_answered_as_rows_of_features_bit_for_bit() {
    let stand = Stand::new();
    let router = stand.app.router();
    for family in ["lightgbm", "xgboost"] {
        let inputs = Input::all_of(family);
        let version = version_of(family);
        for rows in requests(&made_rows(&inputs)) {
            let predictions = stand.predict(family, &inputs, rows).await;
            let cells = rows.iter().flatten();
            let sent = json!({
                "name": "features",
                "datatype": "FP32",
                "shape": [rows.len(), inputs.len()],
                "data": cells.clone().map(|cell| as_single(cell, Value::Null)).collect::<Vec<_>>(),
            });
            // Bytes have a NaN of their own.
            let nan = cells.map(|cell| as_single(cell, json!("NaN"))).collect::<Vec<_>>();
            let mut packed = sent.clone();
            packed["data"] = nan.into();
            for (wire, sent) in [(Wire::Json, sent), (Wire::Bytes, packed)] {
                let outputs = infer(&router, family, &[sent], wire).await.unwrap();
                for (name, place) in &version.outputs {
                    let of_tensors = outputs.iter().find(|output| output["name"] == place.tensor).unwrap();
                    for (i, predicted) in predictions.iter().map(|row| &row[name]).enumerate() {
                        let tensor = place.of_row(of_tensors, i);
                        let same = if tensor.is_f64() {
                            single(tensor).to_bits() == single(predicted).to_bits()
                        } else {
                            tensor == predicted
                        };
                        assert!(
                            same,
                            "{family} {name} as {wire:?}: {tensor} for {predicted}, {:?}",
                            rows[i]
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_takes_tensors_is_not_asked_with_none() {
    let router = Stand::new().app.router();
    let said = infer(&router, "xgboost", &[], Wire::Json).await.unwrap_err();
    assert!(
        said.starts_with("400") && said.contains("send at least one tensor"),
        "{said}"
    );
}

async fn answers_as_in_python(family: &str, takes: &Takes) {
    let stand = Stand::new();
    let inputs = Input::all_of(family);
    let rows = made_rows(&inputs);
    for (i, input) in inputs.iter().enumerate() {
        let nulls = rows.iter().filter(|row| row[i].is_null()).count();
        assert!((ROWS / 20..ROWS / 5).contains(&nulls), "{}: {nulls} nulls", input.name);
    }
    let mut predictions = Vec::new();
    for rows in requests(&rows) {
        predictions.extend(stand.predict(family, &inputs, rows).await);
    }
    let model = folder().join(family).join("model.onnx");
    let answers = python::answers(&model, &takes.tensors(&inputs, &rows));
    let version = version_of(family);
    assert!(!version.outputs.is_empty());
    for (name, place) in &version.outputs {
        let tensor = &answers[&place.tensor];
        let mut values = std::collections::BTreeSet::new();
        for (i, predicted) in predictions.iter().map(|row| &row[name]).enumerate() {
            let expected = place.of_row(tensor, i);
            let same = if expected.is_f64() {
                (float(predicted) - float(expected)).abs() <= TOLERANCE
            } else {
                predicted == expected
            };
            assert!(
                same,
                "{family} {name}: {predicted}, but Python says {expected} of {:?}",
                rows[i]
            );
            values.insert(expected.to_string());
        }
        assert!(values.len() > 1, "{family} {name} is always {values:?}");
    }
}

impl Takes {
    /// The tensors of these rows, with the service's defaults for nulls.
    fn tensors(&self, inputs: &[Input], rows: &[Vec<Value>]) -> Value {
        let tensor = |kind: &str, mut shape: Vec<usize>, data: Vec<Value>| {
            shape.insert(0, rows.len());
            json!({ "type": kind, "shape": shape, "data": data })
        };
        let filled = |i: usize, row: &[Value]| inputs[i].filled(&row[i]);
        match self {
            Self::Matrix => {
                let cells = |row: &Vec<Value>| (0..inputs.len()).map(|i| filled(i, row)).collect::<Vec<_>>();
                let data = rows.iter().flat_map(cells).collect();
                json!({ "features": tensor("float32", vec![inputs.len()], data) })
            }
            Self::Each(tensors) => {
                assert_eq!(tensors.len(), inputs.len());
                let mut named = Map::new();
                for (i, (kind, shape)) in tensors.iter().enumerate() {
                    let width = shape.iter().product();
                    let items = |row: &Vec<Value>| match filled(i, row) {
                        Value::Array(items) => items,
                        // The null of a list is as many.
                        one => vec![one; width],
                    };
                    let data = rows.iter().flat_map(items).collect();
                    named.insert(inputs[i].name.clone(), tensor(kind, shape.to_vec(), data));
                }
                named.into()
            }
        }
    }
}

/// The models, served.
struct Stand {
    app: Arc<App>,
    _folders: [tempfile::TempDir; 2],
}

impl Stand {
    fn new() -> Self {
        let (features, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = definitions().replace("PROJECT", "families");
        std::fs::write(features.path().join("all.toml"), text).unwrap();
        for family in FAMILIES {
            let model = models.path().join(family);
            let version = model.join("1");
            std::fs::create_dir_all(&version).unwrap();
            let operated = "deadline = \"60s\"\ncache = { tier = \"off\" }\n";
            std::fs::write(model.join("model.toml"), operated).unwrap();
            for file in ["model.onnx", "version.toml"] {
                std::fs::copy(folder().join(family).join(file), version.join(file)).unwrap();
            }
        }
        Self {
            app: predictors::load(features.path(), models.path()).unwrap(),
            _folders: [features, models],
        }
    }

    /// The prediction of each row, which the model made.
    async fn predict(&self, family: &str, inputs: &[Input], rows: &[Vec<Value>]) -> Vec<Value> {
        let instance = |row: &Vec<Value>| {
            let fields = inputs.iter().zip(row);
            Value::Object(
                fields
                    .map(|(input, value)| (input.name.clone(), value.clone()))
                    .collect(),
            )
        };
        let instances: Vec<Value> = rows.iter().map(instance).collect();
        let body = json!({ "instances": instances }).to_string();
        let asked = Asked {
            model: family,
            version: None,
            body: body.as_bytes(),
            explain: Explain::No,
            freshness: Freshness::Any,
        };
        let answer = self
            .app
            .predict(asked)
            .await
            .unwrap_or_else(|e| panic!("{family}: {e}"));
        let answer = serde_json::to_value(answer).unwrap();
        let Value::Array(predictions) = &answer["predictions"] else {
            panic!("{family}: {answer}");
        };
        assert_eq!(predictions.len(), rows.len());
        predictions.clone()
    }
}

/// An input of a service, as the definitions' text has it.
struct Input {
    name: String,
    default: Option<Value>,
}

impl Input {
    fn all_of(family: &str) -> Vec<Self> {
        let all: toml::Table = definitions().parse().unwrap();
        let services = all["feature_service"].as_array().unwrap();
        let service = services
            .iter()
            .find(|service| service["name"].as_str() == Some(family))
            .unwrap();
        let input = |feature: &toml::Value| {
            let reference = feature.get("feature").unwrap_or(feature).as_str().unwrap();
            Self {
                name: reference.strip_prefix("request:").unwrap().to_owned(),
                default: feature
                    .get("default")
                    .map(|default| serde_json::to_value(default).unwrap()),
            }
        };
        service["features"].as_array().unwrap().iter().map(input).collect()
    }

    fn filled(&self, value: &Value) -> Value {
        match &self.default {
            Some(default) if value.is_null() => default.clone(),
            _ => value.clone(),
        }
    }
}

/// What is taken out of a model's answer.
struct VersionOf {
    outputs: Vec<(String, Place)>,
}

struct Place {
    tensor: String,
    column: usize,
}

impl Place {
    /// Its element of a row of a tensor `[n]` or `[n, k]`.
    fn of_row<'t>(&self, tensor: &'t Value, row: usize) -> &'t Value {
        let width = tensor["shape"].get(1).map_or(1, |width| width.as_u64().unwrap());
        &tensor["data"][row * usize::try_from(width).unwrap() + self.column]
    }
}

fn version_of(family: &str) -> VersionOf {
    let text = std::fs::read_to_string(folder().join(family).join("version.toml")).unwrap();
    let version: toml::Table = text.parse().unwrap();
    let place = |output: &toml::Value| {
        let class = |class: &toml::Value| {
            version["classes"]
                .as_array()
                .unwrap()
                .iter()
                .position(|c| c == class)
                .unwrap()
        };
        let column = output
            .get("column")
            .map(|column| usize::try_from(column.as_integer().unwrap()).unwrap());
        Place {
            tensor: output["tensor"].as_str().unwrap().to_owned(),
            column: column.or(output.get("class").map(class)).unwrap_or_default(),
        }
    };
    let outputs = version["outputs"].as_table().unwrap();
    VersionOf {
        outputs: outputs
            .iter()
            .map(|(name, output)| (name.clone(), place(output)))
            .collect(),
    }
}

fn made_rows(inputs: &[Input]) -> Vec<Vec<Value>> {
    let mut random = Random(20_130_101);
    let mut row = || inputs.iter().map(|input| random.value(&input.name)).collect();
    (0..ROWS).map(|_| row()).collect()
}

/// All rows, in requests of various sizes.
fn requests(rows: &[Vec<Value>]) -> Vec<&[Vec<Value>]> {
    let (mut requests, mut rest) = (Vec::new(), rows);
    for size in SIZES.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (request, others) = rest.split_at(size.min(rest.len()));
        requests.push(request);
        rest = others;
    }
    requests
}

/// What a value is in a matrix.
fn as_single(value: &Value, null: Value) -> Value {
    match value {
        Value::Null => null,
        Value::Bool(truth) => json!(f32::from(*truth)),
        number => json!(single(number)),
    }
}

fn definitions() -> String {
    std::fs::read_to_string(folder().join("features/all.toml")).unwrap()
}

fn folder() -> PathBuf {
    root().join(Path::new("tests/models/families"))
}
