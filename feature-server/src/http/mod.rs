//! HTTP: one endpoint a file.

mod runs;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use service::error::ApiError;
use service::health::{self, Check, Readiness};
use service::http::Limits;
use service::telemetry;

use crate::app::App;
use crate::database::DatabaseError;
use crate::schedule::Schedules;

/// Requests here are questions of operators: small and few.
const LIMITS: Limits = Limits {
    body_bytes: 64 * 1024,
    body_within: Limits::BODY_WITHIN,
    in_flight: 64,
};
/// How long a dependency may take to show that it is there.
const READY_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
struct Api {
    app: Arc<App>,
    schedules: Arc<Schedules>,
}

pub(crate) fn router(app: &Arc<App>, schedules: &Arc<Schedules>) -> Router {
    let api = Api {
        app: Arc::clone(app),
        schedules: Arc::clone(schedules),
    };
    let work = Router::new()
        .route("/v1/views", get(views::list))
        .route("/v1/views/{view}", get(views::one))
        .route("/v1/runs", get(runs::list))
        .with_state(api);
    let ready = {
        let app = Arc::clone(app);
        move || readiness(Arc::clone(&app))
    };
    service::http::finished(
        service::http::limited(work, LIMITS)
            .merge(health::routes(ready))
            .merge(telemetry::metrics_route()),
    )
}

async fn readiness(app: Arc<App>) -> Readiness {
    let within = |name: &str| format!("{name} did not answer within {} s", READY_WITHIN.as_secs());
    let (database, source, redis) = tokio::join!(
        tokio::time::timeout(READY_WITHIN, app.store().check_schema()),
        tokio::time::timeout(READY_WITHIN, app.ping_source()),
        app.online().ping(READY_WITHIN),
    );
    let said = |name: &str, outcome: Result<Result<(), DatabaseError>, _>| match outcome {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(within(name)),
    };
    Readiness::of(vec![
        Check::required("database", said("the database", database)),
        Check::required("source database", said("the source database", source)),
        Check::required("redis", redis.map_err(|error| error.to_string())),
    ])
}

/// A database that does not answer is nothing the caller can mend: what exactly is wrong goes to the log.
fn unavailable(error: &DatabaseError) -> ApiError {
    tracing::error!("{error}");
    ApiError::unavailable(
        "database_unavailable",
        "the database could not be read; the server's log has the cause",
    )
}
