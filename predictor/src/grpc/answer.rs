//! Answers as messages.

use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_response::InferOutputTensor;
use super::proto::model_instance_group::Kind;
use super::proto::model_metadata_response::TensorMetadata as TensorMessage;
use super::proto::repository_index_response::ModelIndex;
use super::proto::{self, DataType, InferParameter, ModelInferResponse, ModelMetadataResponse};
use crate::http::infer::Indexed;
use crate::infer::{InferAnswer, ModelConfig, ModelMetadata, NamedTensor, TensorConfig, TensorMetadata};
use crate::model::raw;

impl From<InferAnswer> for ModelInferResponse {
    /// Elements as bytes: the clients that there are read no others.
    fn from(answer: InferAnswer) -> Self {
        let raw = |output: &NamedTensor| raw::encode(output.tensor.data()).into();
        let parameter = |(name, value): (&str, String)| {
            let parameter_choice = Some(ParameterChoice::StringParam(value));
            (name.to_owned(), InferParameter { parameter_choice })
        };
        Self {
            model_name: answer.model_name.to_string(),
            model_version: answer.model_version.to_string(),
            id: answer.id.unwrap_or_default(),
            parameters: answer.parameters.into_iter().map(parameter).collect(),
            raw_output_contents: answer.outputs.iter().map(raw).collect(),
            outputs: answer.outputs.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<NamedTensor> for InferOutputTensor {
    fn from(NamedTensor { name, tensor }: NamedTensor) -> Self {
        Self {
            name,
            datatype: tensor.element().datatype().to_owned(),
            shape: tensor
                .shape()
                .iter()
                .map(|d| i64::try_from(*d).unwrap_or(i64::MAX))
                .collect(),
            ..Self::default()
        }
    }
}

impl From<ModelMetadata> for ModelMetadataResponse {
    fn from(metadata: ModelMetadata) -> Self {
        Self {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform.to_owned(),
            inputs: metadata.inputs.into_iter().map(Into::into).collect(),
            outputs: metadata.outputs.into_iter().map(Into::into).collect(),
            properties: metadata.properties.into_iter().collect(),
        }
    }
}

impl From<TensorMetadata> for TensorMessage {
    fn from(tensor: TensorMetadata) -> Self {
        Self {
            name: tensor.name,
            datatype: tensor.datatype.to_owned(),
            shape: tensor.shape,
        }
    }
}

impl From<Indexed> for ModelIndex {
    fn from(indexed: Indexed) -> Self {
        Self {
            name: indexed.name,
            version: indexed.version,
            state: indexed.state.to_owned(),
            reason: indexed.reason,
        }
    }
}

/// How a model is served.
pub(super) fn config(config: ModelConfig) -> proto::ModelConfig {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let data_type = |tensor: &TensorConfig| {
        let known = DataType::from_str_name(&tensor.data_type);
        known.unwrap_or(DataType::TypeInvalid).into()
    };
    proto::ModelConfig {
        name: config.name,
        platform: config.platform.to_owned(),
        max_batch_size: count(config.max_batch_size),
        input: config
            .input
            .into_iter()
            .map(|tensor| proto::ModelInput {
                data_type: data_type(&tensor),
                name: tensor.name,
                dims: tensor.dims,
            })
            .collect(),
        output: config
            .output
            .into_iter()
            .map(|tensor| proto::ModelOutput {
                data_type: data_type(&tensor),
                name: tensor.name,
                dims: tensor.dims,
            })
            .collect(),
        instance_group: config
            .instance_group
            .into_iter()
            .map(|group| proto::ModelInstanceGroup {
                name: group.name,
                count: count(group.count),
                kind: Kind::Cpu.into(),
            })
            .collect(),
        backend: config.backend.to_owned(),
    }
}
