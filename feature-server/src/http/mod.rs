//! HTTP: one endpoint a file.

mod feast;
mod runs;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::get;
use futures_util::future::join_all;
use service::error::ApiError;
use service::health::{self, Check, Readiness};
use service::http::Limits;
use service::telemetry;

use crate::app::App;
use crate::database::DatabaseError;
use crate::live::Live;
use crate::runs::Runs;
use crate::schedule::Schedules;

/// Requests here are questions of operators: small and few.
const LIMITS: Limits = Limits {
    body_bytes: 64 * 1024,
    body_within: Limits::BODY_WITHIN,
    in_flight: 64,
};
/// How long a dependency may take to show that it is there.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What one request works with, from its beginning to its end.
#[derive(Debug, Clone)]
struct Api {
    app: Arc<App>,
    schedules: Arc<Schedules>,
    runs: Arc<Runs>,
}

/// What requests take theirs from.
#[derive(Debug, Clone)]
struct Served {
    live: Arc<Live>,
    schedules: Arc<Schedules>,
    runs: Arc<Runs>,
}

impl FromRef<Served> for Api {
    fn from_ref(served: &Served) -> Self {
        Self {
            app: served.live.app(),
            schedules: Arc::clone(&served.schedules),
            runs: Arc::clone(&served.runs),
        }
    }
}

pub(crate) fn router(live: &Arc<Live>, schedules: &Arc<Schedules>, runs: &Arc<Runs>) -> Router {
    let served = Served {
        live: Arc::clone(live),
        schedules: Arc::clone(schedules),
        runs: Arc::clone(runs),
    };
    let work = Router::new()
        .route("/v1/views", get(views::list))
        .route("/v1/views/{view}", get(views::one))
        .route("/v1/runs", get(runs::list))
        .with_state(served.clone());
    let ready = {
        let live = Arc::clone(live);
        move || readiness(Arc::clone(&live))
    };
    service::http::finished(
        service::http::limited(work, LIMITS)
            .merge(feast::routes(served))
            .merge(health::routes(ready))
            .merge(telemetry::metrics_route()),
    )
}

async fn readiness(live: Arc<Live>) -> Readiness {
    let app = live.app();
    let sources = app.source_databases().into_iter();
    let sources = join_all(sources.map(|(name, database)| async move { (name, database.ping(READY_WITHIN).await) }));
    let (database, sources, redis) = tokio::join!(
        tokio::time::timeout(READY_WITHIN, app.store().check_schema()),
        sources,
        app.online().ping(READY_WITHIN),
    );
    let database = match database {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "the database did not answer within {} s",
            READY_WITHIN.as_secs()
        )),
    };
    let mut checks = vec![Check::required("database", database)];
    checks.extend(sources.into_iter().map(|(name, outcome)| match name {
        // It holds up its own views alone: the others are served and run.
        Some(name) => Check::optional(format!("source database {name}"), outcome),
        None => Check::required("source database", outcome),
    }));
    checks.push(Check::required("redis", redis.map_err(|error| error.to_string())));
    checks.push(Check::optional("definitions", live.problem().map_or(Ok(()), Err)));
    Readiness::of(checks)
}

/// A database that does not answer is nothing the caller can mend: what exactly is wrong goes to the log.
fn unavailable(error: &DatabaseError) -> ApiError {
    tracing::error!("{error}");
    ApiError::unavailable(
        "database_unavailable",
        "the database could not be read; the server's log has the cause",
    )
}
