//! What a model takes and gives, in the protocol's words.

use serde::Serialize;

use crate::model::signature::Declared;
use crate::model::{Model, Served};

/// What a model takes and gives.
#[derive(Debug, Clone, Serialize)]
pub struct ModelMetadata {
    /// The model.
    pub name: String,
    /// The versions that are ready.
    pub versions: Vec<String>,
    /// What it is made with.
    pub platform: &'static str,
    /// The tensors that it takes.
    pub inputs: Vec<TensorMetadata>,
    /// The tensors that it gives.
    pub outputs: Vec<TensorMetadata>,
    /// What else it takes: of a model that a feature service feeds, join keys and request features with their types.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "crate::predict::answer::as_map"
    )]
    pub properties: Vec<(String, String)>,
}

/// A tensor.
#[derive(Debug, Clone, Serialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: &'static str,
    /// Its dimensions, -1 where open.
    pub shape: Vec<i64>,
}

/// How a model is served, as Triton tells it.
#[derive(Debug, Clone, Serialize)]
pub struct ModelConfig {
    /// The model.
    pub name: String,
    /// What it is made with.
    pub platform: &'static str,
    /// What runs it.
    pub backend: &'static str,
    /// The rows of a batch; 0 if a request is one run.
    pub max_batch_size: usize,
    /// The tensors that it takes.
    pub input: Vec<TensorConfig>,
    /// The tensors that it gives.
    pub output: Vec<TensorConfig>,
    /// How many batches run at once.
    pub instance_group: Vec<InstanceGroup>,
}

/// A tensor, without the dimension of rows if there is one.
#[derive(Debug, Clone, Serialize)]
pub struct TensorConfig {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub data_type: String,
    /// Its dimensions, -1 where open.
    pub dims: Vec<i64>,
}

/// Sessions.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceGroup {
    /// What they are of.
    pub name: String,
    /// Where they run.
    pub kind: &'static str,
    /// How many there are.
    pub count: usize,
}

/// What Triton calls models like ours, and its clients look for.
const PLATFORM: &str = "onnxruntime_onnx";

impl ModelMetadata {
    /// Of a version.
    pub(crate) fn of(model: &Model, versions: impl Iterator<Item = String>) -> Self {
        let service = model.featured.iter().map(|featured| &featured.service);
        let properties = service.flat_map(|service| {
            let keys = service.keys.iter().map(|k| (&k.name, k.key_type.value_type()));
            let request = service.request.iter().map(|f| (&f.name, f.value_type));
            let rows = keys
                .map(|(name, value_type)| (format!("join_key:{name}"), value_type.to_string()))
                .chain(request.map(|(name, value_type)| (format!("request:{name}"), value_type.to_string())));
            std::iter::once(("feature_service".to_owned(), service.name.to_string())).chain(rows)
        });
        Self {
            name: model.name.to_string(),
            versions: versions.collect(),
            platform: PLATFORM,
            inputs: tensors(&model.inputs),
            outputs: tensors(&model.outputs),
            properties: properties.collect(),
        }
    }
}

impl ModelConfig {
    /// Of a version.
    pub(crate) fn of(model: &Model) -> Self {
        let by_row = model.tensors.by_row;
        let tensors = |declared: &[Declared]| {
            let one = |tensor: &Declared| TensorConfig {
                name: tensor.name.clone(),
                data_type: data_type(tensor),
                dims: tensor.shape.iter().skip(usize::from(by_row)).copied().collect(),
            };
            declared.iter().map(one).collect()
        };
        Self {
            name: model.name.to_string(),
            platform: PLATFORM,
            backend: "onnxruntime",
            max_batch_size: if by_row { model.batcher.max_rows() } else { 0 },
            input: tensors(&model.inputs),
            output: tensors(&model.outputs),
            instance_group: vec![InstanceGroup {
                name: format!("{}_0", model.name),
                kind: "KIND_CPU",
                count: model.batcher.sessions(),
            }],
        }
    }
}

/// The versions of a model that are ready.
pub(crate) fn ready(served: &Served) -> impl Iterator<Item = String> {
    served.versions.keys().map(ToString::to_string)
}

fn tensors(declared: &[Declared]) -> Vec<TensorMetadata> {
    let one = |tensor: &Declared| TensorMetadata {
        name: tensor.name.clone(),
        datatype: tensor.element.map_or("", |element| element.datatype()),
        shape: tensor.shape.clone(),
    };
    // What is no tensor of a type that we speak, nobody can ask for.
    declared
        .iter()
        .filter(|tensor| tensor.element.is_some())
        .map(one)
        .collect()
}

fn data_type(tensor: &Declared) -> String {
    match tensor.element.map_or("INVALID", |element| element.datatype()) {
        "BYTES" => "TYPE_STRING".to_owned(),
        datatype => format!("TYPE_{datatype}"),
    }
}
