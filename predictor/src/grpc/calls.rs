//! The protocol's calls, one a method.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::proto::grpc_inference_service_server::GrpcInferenceService;
use super::proto::{
    ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use super::{answer, read};
use crate::app::App;
use crate::http::infer::{EXTENSIONS, indexed, metadata_of, no_overrides};
use crate::http::{PACKED_ABOVE, freshness};
use crate::infer::ModelConfig;
use crate::predict::look_up;

/// The service on a predictor.
#[derive(Debug)]
pub(super) struct Inference(pub(super) Arc<App>);

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(small(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = self.0.is_all_ready();
        Ok(small(ServerReadyResponse { ready }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        // A model that is not there is not ready, either: this is how clients wait for one.
        let ready = look_up(&self.0.models(), &name, given(&version)).is_ok();
        Ok(small(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(small(ServerMetadataResponse {
            name: "larder".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let metadata = metadata_of(&self.0, &name, given(&version))?;
        Ok(small(metadata.into()))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let (headers, _, call) = request.into_parts();
        let (name, version) = (call.model_name.clone(), call.model_version.clone());
        let mut read = read::request(call).inspect_err(|error| self.0.not_read(&name, error))?;
        read.freshness = freshness(headers.as_ref());
        read.timeout = read.timeout.into_iter().chain(deadline(&headers)).min();
        let answer = self.0.infer((&name, given(&version)), read).await?;
        let answer = ModelInferResponse::from(answer);
        let bytes: usize = answer.raw_output_contents.iter().map(|one| one.len()).sum();
        Ok(if bytes > usize::from(PACKED_ABOVE) && is_packed(&headers) {
            Response::new(answer)
        } else {
            small(answer)
        })
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let models = self.0.models();
        let route = look_up(&models, &name, given(&version))?;
        let config = answer::config(ModelConfig::of(route.model()));
        Ok(small(ModelConfigResponse { config: Some(config) }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let index = indexed(&self.0, request.into_inner().ready);
        Ok(small(RepositoryIndexResponse {
            models: index.into_iter().map(Into::into).collect(),
        }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let RepositoryModelLoadRequest {
            model_name, parameters, ..
        } = request.into_inner();
        no_overrides(parameters.keys())?;
        self.0.load_model(&model_name).await?;
        Ok(small(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        self.0.unload_model(&request.into_inner().model_name).await?;
        Ok(small(RepositoryModelUnloadResponse {}))
    }
}

/// A version, if the caller insists on one.
fn given(version: &str) -> Option<&str> {
    Some(version).filter(|version| !version.is_empty())
}

/// An answer that is quicker as it is: nearly all clients say that they take packed ones.
fn small<T>(answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    response.disable_compression();
    response
}

/// Whether the caller packed what it sent.
fn is_packed(headers: &MetadataMap) -> bool {
    headers
        .get("grpc-encoding")
        .is_some_and(|encoding| encoding != "identity")
}

/// How long the caller waits, as every gRPC client says it: the call's deadline. A little is kept back, since the answer has its
/// way to go, and tonic ends the call without a word when all of it is over.
fn deadline(headers: &MetadataMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let whole = match unit {
        "H" => Duration::from_secs(number.checked_mul(3_600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(whole - (whole / 10).min(Duration::from_millis(5)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_in_every_unit() {
        let cases = [
            ("1H", Some(3_600_000_000)),
            ("2M", Some(120_000_000)),
            ("3S", Some(3_000_000)),
            ("20m", Some(20_000)),
            ("400u", Some(400)),
            ("5000n", Some(5)),
            ("5", None),
            ("xS", None),
            ("5é", None),
            ("", None),
        ];
        for (text, micros) in cases {
            let mut headers = MetadataMap::new();
            if let Ok(value) = text.parse() {
                headers.insert("grpc-timeout", value);
            }
            let whole = micros.map(Duration::from_micros);
            let kept = whole.map(|whole| whole - (whole / 10).min(Duration::from_millis(5)));
            assert_eq!(deadline(&headers), kept, "{text}");
        }
    }
}
