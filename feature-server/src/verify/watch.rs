//! Verification as a schedule: every view in turn, told by log and metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Verification, VerifyError};
use crate::app::App;
use crate::progress::Progress;

/// Entities compared in each view at a time.
const SAMPLE: usize = 1_000;

/// Verifies every view at this interval, until `stop`.
pub(crate) async fn watch(app: Arc<App>, every: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        for view in &app.definitions().views {
            let (name, hidden) = (view.name.as_str(), Progress::hidden());
            tokio::select! {
                () = stop.cancelled() => return,
                verified = app.verify(name, SAMPLE, &hidden) => report(name, &verified),
            }
        }
    }
}

fn report(view: &str, verified: &Result<Verification, VerifyError>) {
    let name = view.to_owned();
    let label = match verified {
        Ok(verification) => {
            tell(view, verification);
            "done"
        }
        Err(error) => {
            tracing::warn!(view, "not verified: {error}");
            "failed"
        }
    };
    metrics::counter!("larder_verifications_total", "view" => name, "outcome" => label).increment(1);
}

fn tell(view: &str, verification: &Verification) {
    let Verification {
        as_of,
        entities,
        matched,
        different,
        missing,
        extra,
        stale,
        ..
    } = *verification;
    metrics::gauge!("larder_verification_wrong_share", "view" => view.to_owned()).set(verification.wrong_share());
    for (verdict, count) in [
        ("matched", matched),
        ("different", different),
        ("missing", missing),
        ("extra", extra),
        ("stale", stale),
    ] {
        metrics::counter!("larder_verification_entities_total", "view" => view.to_owned(), "verdict" => verdict)
            .increment(count);
    }
    // Entities and values stay out of the log: `verify` shows them to whoever asks.
    if different + missing + extra > 0 {
        tracing::error!(view, %as_of, entities, different, missing, extra, stale, "online values are not what the source gives: `feature-server verify` shows which");
    } else {
        tracing::info!(view, %as_of, entities, matched, stale, "verified");
    }
}
