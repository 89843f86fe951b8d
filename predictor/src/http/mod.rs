//! The predictor over HTTP: one endpoint a file.

mod models;
mod predict;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use service::{health, http, telemetry};

use crate::app::App;

impl App {
    /// Every route, within its limits.
    pub fn router(self: &Arc<Self>) -> Router {
        // A path segment is one parameter in whole: `{call}` is split at its last colon.
        let work = Router::new()
            .route("/v1/models", get(models::list))
            .route("/v1/models/{call}", get(models::one).post(predict::latest))
            .route(
                "/v1/models/{model}/versions/{call}",
                axum::routing::post(predict::version),
            )
            .with_state(Arc::clone(self));
        let app = Arc::clone(self);
        let ready = move || {
            let app = Arc::clone(&app);
            async move { app.readiness().await }
        };
        http::finished(
            http::limited(work, self.limits())
                .merge(health::routes(ready))
                .merge(telemetry::metrics_route()),
        )
    }
}
