//! Feast's protocol, as its SDK speaks it with `online_store: {type: remote}`, and other clients of its feature server do.
//!
//! Requests and answers are Feast's. Errors have the envelope of all our errors, and a client's mistakes are 4xx: Feast's
//! SDK repeats what is answered with a 5xx, and then does not tell its user what the answer said.

mod body;
mod frame;
mod health;
mod materialize;
mod push;
mod question;
mod read;
mod rows;
mod values;
mod write;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::{get, post};
use service::http::{Limits, limited};

use super::Served;

/// Reads: a thousand rows are some 20 kB.
const READS: Limits = Limits {
    body_bytes: 4 << 20,
    body_within: Limits::BODY_WITHIN,
    in_flight: 256,
};
/// Writes: fewer and larger, and each holds a connection to Postgres or Redis.
const WRITES: Limits = Limits {
    body_bytes: 8 << 20,
    body_within: Limits::BODY_WITHIN,
    in_flight: 16,
};
/// Materializations: more than may be under way or wait, so that one too many is told so.
const RUNS: Limits = Limits {
    body_bytes: 64 << 10,
    body_within: Limits::BODY_WITHIN,
    in_flight: 64,
};

/// The routes, within their limits, which are apart: a run that takes an hour holds up no read.
pub(super) fn routes(served: Served) -> Router {
    let reads = Router::new().route("/get-online-features", post(read::read));
    let writes = Router::new()
        .route("/push", post(push::push))
        .route("/write-to-online-store", post(write::write));
    let runs = Router::new()
        .route("/materialize", post(materialize::range))
        .route("/materialize-incremental", post(materialize::incremental));
    // As for the other health checks, there is no limit: it must answer under load, too.
    let health = Router::new().route("/health", get(health::health));
    limited(reads.with_state(served.clone()), READS)
        .merge(limited(writes.with_state(served.clone()), WRITES))
        .merge(limited(runs.with_state(served.clone()), RUNS))
        .merge(health.with_state(served))
}
