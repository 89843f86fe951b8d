//! Feast's protocol, as its SDK speaks it with `online_store: {type: remote}`, and other clients of its feature server do.
//!
//! Requests and answers are Feast's. Errors have the envelope of all our errors, and a client's mistakes are 4xx: Feast's
//! SDK repeats what is answered with a 5xx, and then does not tell its user what the answer said.

mod body;
mod health;
mod question;
mod read;
mod rows;
mod values;

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

/// The routes, within their limits.
pub(super) fn routes(served: Served) -> Router {
    let reads = Router::new()
        .route("/get-online-features", post(read::read))
        .with_state(served.clone());
    // As for the other health checks, there is no limit: it must answer under load, too.
    let health = Router::new().route("/health", get(health::health)).with_state(served);
    limited(reads, READS).merge(health)
}
