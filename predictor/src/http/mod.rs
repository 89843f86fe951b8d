//! The predictor over HTTP: one endpoint a file.

mod docs;
pub(crate) mod infer;
mod models;
mod openapi;
mod predict;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use service::{health, http, telemetry};

use crate::app::App;

pub(crate) use predict::freshness;

/// The bytes from which on an answer is packed for clients that take it so.
pub(crate) const PACKED_ABOVE: u16 = 16 << 10;

/// Every route that does work: its path, and what answers there.
fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 18] {
    [
        // A path segment is one parameter in whole: `{call}` is split at its last colon.
        ("/v1/models", get(models::list)),
        ("/v1/models/{call}", get(models::one).post(predict::call)),
        ("/v1/models/{model}/versions/{call}", post(predict::version)),
        ("/v2", get(infer::server)),
        ("/v2/health/live", get(infer::live)),
        ("/v2/health/ready", get(infer::server_ready)),
        ("/v2/repository/index", post(infer::index)),
        ("/v2/repository/models/{model}/load", post(infer::load)),
        ("/v2/repository/models/{model}/unload", post(infer::unload)),
        ("/v2/models/{model}", get(infer::metadata)),
        ("/v2/models/{model}/ready", get(infer::model_ready)),
        ("/v2/models/{model}/config", get(infer::config)),
        ("/v2/models/{model}/infer", post(infer::infer)),
        ("/v2/models/{model}/versions/{version}", get(infer::metadata)),
        ("/v2/models/{model}/versions/{version}/ready", get(infer::model_ready)),
        ("/v2/models/{model}/versions/{version}/config", get(infer::config)),
        ("/v2/models/{model}/versions/{version}/infer", post(infer::infer)),
        ("/openapi.json", get(openapi::document)),
    ]
}

impl App {
    /// Every route, within its limits.
    pub fn router(self: &Arc<Self>) -> Router {
        let mut work = docs::routes();
        for (path, answers) in routes() {
            work = work.route(path, answers);
        }
        let work = work.with_state(Arc::clone(self));
        let app = Arc::clone(self);
        let ready = move || {
            let app = Arc::clone(&app);
            async move { app.readiness().await }
        };
        http::finished(
            self.gate()
                .around_packing(work, PACKED_ABOVE)
                .merge(health::routes(ready))
                .merge(telemetry::metrics_route()),
        )
    }
}
