//! One run of a view at a time: an advisory lock of the metadata database, held by a connection of its own.

use std::time::Duration;

use feature_defs::definitions::View;
use sqlx::postgres::PgConnection;

use super::RunError;
use crate::store::Store;

/// How long the connection that holds the lock may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Proof that no other process runs this view, for as long as its connection lives.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) connection: PgConnection,
}

impl Lock {
    /// Takes the view's lock.
    ///
    /// # Errors
    /// [`RunError::Busy`] with the run that holds it.
    pub(super) async fn take(store: &Store, view: &View) -> Result<Self, RunError> {
        let mut connection = store.url().connect().await?;
        let taken = sqlx::query_scalar!(
            r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "taken!""#,
            store.lock_name(view.name.as_str())
        )
        .fetch_one(&mut connection)
        .await
        .map_err(|error| store.url().error(&error))?;
        if taken {
            return Ok(Self { connection });
        }
        let runs = store.runs(Some(view.name.as_str()), 1).await?;
        let backend = store.lock_holder(view.name.as_str()).await?;
        let holder = runs.into_iter().find(|run| run.outcome == "running").map_or_else(
            || "a process that is just starting or ending a run".to_owned(),
            |run| {
                let since = run.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                format!("run {} of process {} on {}, since {since}", run.id, run.pid, run.host)
            },
        );
        let remedy = backend.map_or_else(String::new, |backend| {
            format!("; if its process hangs or cannot be reached: SELECT pg_terminate_backend({backend})")
        });
        Err(RunError::Busy {
            view: view.name.clone(),
            holder,
            remedy,
        })
    }

    /// That the lock is still ours. With the connection the lock is lost, and another run may have begun.
    ///
    /// # Errors
    /// [`RunError::LockLost`].
    pub(super) async fn verify(&mut self) -> Result<(), RunError> {
        let asked = sqlx::query("SELECT 1").execute(&mut self.connection);
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(RunError::LockLost(error.to_string())),
            Err(_) => Err(RunError::LockLost(format!(
                "no answer within {} s",
                ANSWER_WITHIN.as_secs()
            ))),
        }
    }
}
