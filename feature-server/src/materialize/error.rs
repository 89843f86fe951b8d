//! Why a run did not happen, or failed, in words for whoever asked for it.

use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use online_store::StoreError;
use uuid::Uuid;

use crate::app::UnknownView;
use crate::applied::{MayNotWrite, NotApplied};
use crate::database::DatabaseError;
use crate::source::Problem;

/// Why a run did not happen, or failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error(transparent)]
    UnknownView(#[from] UnknownView),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Online(#[from] StoreError),
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
    #[error("view {view} is being materialized already by {holder}: wait for it to end, or end it{remedy}")]
    Busy {
        view: ViewName,
        holder: String,
        remedy: String,
    },
    #[error(
        "a run as of {as_of} is refused: it is only {now} by the source database's clock, and what will be known then is not known yet"
    )]
    Future { as_of: Timestamp, now: Timestamp },
    #[error(
        "view {view} has values as of {latest} already; a run as of {as_of}, before that, could write nothing that is newer, and only the newest is visible online: compute a later moment, or now; if the source's clock was ahead when that run began, wait until it has passed"
    )]
    Earlier {
        view: ViewName,
        as_of: Timestamp,
        latest: Timestamp,
    },
    #[error(
        "view {view} has values as of {as_of} already, and a full run as of the same moment could not tell which of them the source no longer gives: leave out --as-of; or say --resume, if that run is only to be sure to be done"
    )]
    SameMoment { view: ViewName, as_of: Timestamp },
    #[error(
        "view {view}: the source database is a replica that has replayed no transaction yet, so that nobody knows how far behind it is: wait for the first, or read from the primary"
    )]
    NothingReplayed { view: ViewName },
    #[error(
        "view {view}: the replica is behind what has been read already (it has replayed up to {replayed}; the view has been read up to {read_to}): wait for it, or read from the primary"
    )]
    ReplicaBehind {
        view: ViewName,
        replayed: Timestamp,
        read_to: Timestamp,
    },
    #[error(
        "a run that replaces is as of now, and takes no other moment ({as_of}): what is wrong at the source now would be wrong then, too"
    )]
    ReplaceAsOf { as_of: Timestamp },
    #[error("{0}")]
    Range(String),
    #[error(
        "view {view}: the other shards of run {run} have ended without finishing it ({outcome}), and no step can begin before: start all shards again with --resume"
    )]
    ShardsEnded { view: ViewName, run: Uuid, outcome: String },
    #[error("run {0} was cancelled; a schedule begins another one at its next interval, unless the view is paused")]
    Cancelled(Uuid),
    #[error(
        "view {view}: the values about to be written are not what the definition expects, and the run has stopped before it wrote them: {findings}; correct the source, or the definition's `expect`"
    )]
    Unexpected { view: ViewName, findings: String },
    #[error("the definitions do not fit the database:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Columns(Vec<Problem>),
    #[error(
        "view {view}: the rows of source `{relation}` cannot be read: {reason}; look at what that source selects, and compare it with the definitions: `feature-server check --database`"
    )]
    Source {
        view: ViewName,
        relation: String,
        reason: String,
    },
    #[error(
        "the connection that holds the view's lock broke ({0}): another run may have begun, so this one does not finish; run it again"
    )]
    LockLost(String),
    #[error(
        "view {0}: its marker in Redis is not the one this run started from: something else wrote it meanwhile; run again"
    )]
    MarkerMoved(ViewName),
    #[error(
        "view {view}: its marker in Redis is as of a later moment than this full run's {as_of}: something else wrote it meanwhile; run again, as of now"
    )]
    MarkerLater { view: ViewName, as_of: Timestamp },
}

impl RunError {
    /// Whether a database or Redis was away: then the run may go on where it was once they are back.
    pub(crate) const fn is_outage(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Online(_) | Self::LockLost(_))
    }

    /// Whether what was asked for is at fault, and not what happened: no run failed.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Future { .. }
                | Self::Earlier { .. }
                | Self::ReplaceAsOf { .. }
                | Self::Range(_)
                | Self::Busy { .. }
                | Self::NotApplied(_)
        )
    }
}

impl From<MayNotWrite> for RunError {
    fn from(error: MayNotWrite) -> Self {
        match error {
            MayNotWrite::NotApplied(refusal) => refusal.into(),
            MayNotWrite::Database(error) => error.into(),
        }
    }
}
