//! `GET /health`: whether features can be read. Postgres is not asked, for reads do without it; `/health/ready` tells of all.

use std::time::Duration;

use axum::extract::State;
use service::error::ApiError;

use crate::http::Api;

/// How long Redis may take to show that it is there.
const PING_WITHIN: Duration = Duration::from_secs(1);

/// 200 without a body, or 503.
pub(super) async fn health(State(api): State<Api>) -> Result<(), ApiError> {
    api.app.online().ping(PING_WITHIN).await.map_err(|error| {
        tracing::warn!(%error, "features can't be read");
        ApiError::unavailable(
            "features_unavailable",
            "the online store does not answer, so no features can be read",
        )
    })
}
