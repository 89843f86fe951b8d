//! The Open Inference Protocol's way to ask: tensors in, tensors out, by HTTP and gRPC alike.

mod entity_rows;
pub mod json;
mod metadata;
mod request;
mod run;

pub(crate) use metadata::ready;
pub use metadata::{ModelConfig, ModelMetadata, TensorConfig, TensorMetadata};
pub(crate) use request::all_of;
pub use request::{InferAnswer, InferRequest, NamedTensor, RequestedOutput};
