//! The predictor over HTTP: one endpoint a file.

pub(crate) mod infer;
mod models;
mod predict;

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use service::{health, http, telemetry};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::decompression::RequestDecompressionLayer;

use crate::app::App;

pub(crate) use predict::freshness;

/// The bytes from which on an answer is packed for clients that take it so.
pub(crate) const PACKED_ABOVE: u16 = 16 << 10;

impl App {
    /// Every route, within its limits.
    pub fn router(self: &Arc<Self>) -> Router {
        // A path segment is one parameter in whole: `{call}` is split at its last colon.
        let mut work = Router::new()
            .route("/v1/models", get(models::list))
            .route("/v1/models/{call}", get(models::one).post(predict::call))
            .route("/v1/models/{model}/versions/{call}", post(predict::version))
            .route("/v2", get(infer::server))
            .route("/v2/health/live", get(infer::live))
            .route("/v2/health/ready", get(infer::server_ready))
            .route("/v2/repository/index", post(infer::index))
            .route("/v2/repository/models/{model}/load", post(infer::load))
            .route("/v2/repository/models/{model}/unload", post(infer::unload));
        for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
            work = work
                .route(model, get(infer::metadata))
                .route(&format!("{model}/ready"), get(infer::model_ready))
                .route(&format!("{model}/config"), get(infer::config))
                .route(&format!("{model}/infer"), post(infer::infer));
        }
        // Clients may pack what they send, and have large answers packed; small ones are quicker as they are.
        let packed = CompressionLayer::new().compress_when(SizeAbove::new(PACKED_ABOVE.into()));
        let work = work
            .layer(RequestDecompressionLayer::new())
            .layer(packed)
            .with_state(Arc::clone(self));
        let app = Arc::clone(self);
        let ready = move || {
            let app = Arc::clone(&app);
            async move { app.readiness().await }
        };
        http::finished(
            self.gate()
                .around(work, IntoResponse::into_response)
                .merge(health::routes(ready))
                .merge(telemetry::metrics_route()),
        )
    }
}
