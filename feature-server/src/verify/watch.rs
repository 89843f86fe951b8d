//! Verification as a schedule: every view in turn, told by log and metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use feature_defs::name::ViewName;
use metrics::Gauge;
use tokio_util::sync::CancellationToken;

use super::{Verification, VerifyError};
use crate::live::Live;
use service::progress::Progress;

/// Entities compared in each view at a time.
const SAMPLE: usize = 1_000;

/// Verifies every view at this interval, until `stop`.
pub(crate) async fn watch(live: Arc<Live>, every: Duration, stop: CancellationToken) {
    let mut told: HashSet<ViewName> = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let app = live.app();
        // What was found of a view that is no more is true no more.
        for gone in told.extract_if(|name| app.view(name.as_str()).is_err()) {
            wrong_share(gone.as_str()).set(f64::NAN);
        }
        for view in &app.definitions().views {
            let (name, hidden) = (view.name.as_str(), Progress::hidden());
            tokio::select! {
                () = stop.cancelled() => return,
                verified = app.verify(name, SAMPLE, &hidden) => {
                    report(name, &verified);
                    if verified.is_ok() {
                        told.insert(view.name.clone());
                    }
                }
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

fn wrong_share(view: &str) -> Gauge {
    metrics::gauge!("larder_verification_wrong_share", "view" => view.to_owned())
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
    wrong_share(view).set(verification.wrong_share());
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
