//! Up to where a source knows the world: a primary up to now, a replica up to what it has replayed.

use chrono::{DateTime, Utc};
use feature_defs::definitions::View;
use feature_defs::time::Timestamp;
use sqlx::postgres::PgConnection;

use super::RunError;
use crate::store::Kind;

/// What a source says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Position {
    /// It has everything.
    Primary,
    /// It has what its primary had committed by this moment; `None`: it has not replayed a transaction since it started.
    Replica(Option<Timestamp>),
}

impl Position {
    /// Asks a source for it.
    pub(super) async fn of(source: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let (in_recovery, replayed): (bool, Option<DateTime<Utc>>) =
            sqlx::query_as("SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()")
                .fetch_one(source)
                .await?;
        Ok(match in_recovery {
            true => Self::Replica(replayed.map(Timestamp::from)),
            false => Self::Primary,
        })
    }

    /// Up to where a run as of `as_of` reads the source, if the runs before it read up to `read_to`.
    ///
    /// # Errors
    /// A replica that nothing is known of; or one that lags behind `read_to`, where a run would take back what an earlier
    /// one had read and the next one would not look at again.
    pub(super) fn watermark(
        self,
        view: &View,
        kind: Kind,
        as_of: Timestamp,
        read_to: Option<Timestamp>,
    ) -> Result<Timestamp, RunError> {
        // Values that are computed whole would lack what the source does not have yet.
        let takes_back = kind.is_full() || view.is_recomputed_whole();
        match (self, read_to) {
            (Self::Primary, _) => Ok(as_of),
            (Self::Replica(Some(replayed)), Some(read_to)) if takes_back && replayed < read_to => {
                Err(RunError::ReplicaBehind {
                    view: view.name.clone(),
                    replayed,
                    read_to,
                })
            }
            (Self::Replica(Some(replayed)), _) => Ok(replayed.min(as_of)),
            (Self::Replica(None), Some(read_to)) if !takes_back => Ok(read_to.min(as_of)),
            (Self::Replica(None), _) => Err(RunError::NothingReplayed {
                view: view.name.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ground, at};

    #[tokio::test]
    async fn a_replica_vouches_for_no_more_than_it_has_replayed() {
        use Kind::{Full, Incremental};
        let ground = Ground::arrivals().await;
        let (rows, whole) = ("newest", "ops");
        let behind = Err("wait for it, or read from the primary");
        let unknown = Err("has replayed no transaction yet");
        for (view, replayed, kind, read_to, expected) in [
            (rows, Some("11:50"), Full, None, Ok("11:50")),
            (rows, Some("12:10"), Full, None, Ok("12:00")),
            (rows, Some("11:50"), Full, Some("11:50"), Ok("11:50")),
            (rows, Some("11:50"), Full, Some("11:55"), behind),
            (rows, Some("11:50"), Incremental, Some("11:55"), Ok("11:50")),
            (whole, Some("11:50"), Incremental, Some("11:55"), behind),
            (whole, Some("11:56"), Incremental, Some("11:55"), Ok("11:56")),
            (rows, None, Incremental, Some("11:55"), Ok("11:55")),
            (whole, None, Incremental, Some("11:55"), unknown),
            (rows, None, Full, Some("11:55"), unknown),
            (rows, None, Full, None, unknown),
        ] {
            let view = ground.app.view(view).unwrap();
            let position = Position::Replica(replayed.map(at));
            let found = position.watermark(view, kind, at("12:00"), read_to.map(at));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, at(expected)),
                (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        }
        let view = ground.app.view(rows).unwrap();
        let primary = Position::Primary.watermark(view, Full, at("12:00"), Some(at("12:00")));
        assert_eq!(primary.unwrap(), at("12:00"));
    }
}
