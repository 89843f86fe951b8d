//! The predictor over gRPC: the Open Inference Protocol, health and reflection.

mod answer;
mod calls;
mod proto;
mod read;
mod status;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use service::error::ApiError;
use service::{http, server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use crate::app::App;
use calls::Inference;
use proto::grpc_inference_service_server::{GrpcInferenceServiceServer, SERVICE_NAME};

/// The whole server's name in the health protocol.
const WHOLE: &str = "";

impl App {
    /// Answers gRPC until `stop`, then lets calls in flight finish, for at most `drain`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve_grpc(
        self: &Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
        drain: Duration,
    ) -> io::Result<()> {
        let (mut health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Health and reflection answer under load, too.
        let routes = Routes::from(self.inference())
            .add_service(health_service)
            .add_service(reflection().build_v1().map_err(io::Error::other)?)
            .add_service(reflection().build_v1alpha().map_err(io::Error::other)?);
        let routes = Routes::from(http::guarded(routes.into_axum_router(), refused));
        // Small answers must not wait for the acknowledgement of the ones before.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stopping = {
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                for name in [WHOLE, SERVICE_NAME] {
                    health.set_service_status(name, ServingStatus::NotServing).await;
                    // Who watches is told, and then let go, or the connection would stay to the last.
                    health.clear_service_status(name).await;
                }
            }
        };
        let serving = Server::builder()
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stopping);
        server::within(async { serving.await.map_err(io::Error::other) }, stop, drain).await
    }

    /// The protocol's own service, within the limits that it shares with HTTP.
    fn inference(self: &Arc<Self>) -> axum::Router {
        let service = GrpcInferenceServiceServer::new(Inference(Arc::clone(self)))
            .max_decoding_message_size(self.gate().limits().body_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Deflate);
        self.gate().around(Routes::new(service).into_axum_router(), refused)
    }
}

/// What was refused before the service saw it, as an answer.
fn refused(error: ApiError) -> Response {
    status::of(error).into_http()
}
