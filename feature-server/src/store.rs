//! The `larder` schema: runs, and what each view's last finished run said. The only place that reads or writes it.

use chrono::{DateTime, Utc};
use feature_defs::name::{ProjectName, ViewName};
use feature_defs::time::Timestamp;
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnection, PgPool};
use uuid::Uuid;

use crate::database::{DatabaseError, DatabaseUrl};

/// The applied migrations stand in the schema they make, apart from those of the application that owns the database.
const MIGRATIONS_TABLE: &str = "larder.migrations";

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.create_schema("larder");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// Creates or updates the schema.
///
/// # Errors
/// The database is away or refuses.
pub async fn migrate(url: &DatabaseUrl) -> Result<(), DatabaseError> {
    let mut connection = url.connect().await?;
    migrator().run(&mut connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => url.error(&error),
        other => DatabaseError::Query {
            url: url.to_string(),
            reason: other.to_string(),
        },
    })
}

/// One project's rows of the `larder` schema.
#[derive(Debug)]
pub(crate) struct Store {
    url: DatabaseUrl,
    pool: PgPool,
    project: ProjectName,
}

/// Whether a run computes everything or what may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everything as of a moment.
    Full,
    /// What may have changed since the run before.
    Incremental,
}

impl Kind {
    /// Its name in the schema, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// A run as recorded.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the migration explains each column")]
pub struct RunRecord {
    pub id: Uuid,
    pub view: String,
    pub kind: String,
    pub reason: Option<String>,
    pub as_of: DateTime<Utc>,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub outcome: String,
    pub error: Option<String>,
    pub rows_read: i64,
    pub rows_written: i64,
    pub rows_older: i64,
    pub bytes: i64,
    pub newest_row: Option<DateTime<Utc>>,
    pub host: String,
    pub pid: i32,
}

/// What a view's last finished run said.
#[derive(Debug, Clone)]
pub(crate) struct ViewRecord {
    pub(crate) run: Uuid,
    pub(crate) as_of: Timestamp,
    pub(crate) watermark: Timestamp,
    pub(crate) newest_row: Option<Timestamp>,
    pub(crate) entities: i64,
}

/// A run that begins.
#[derive(Debug, Clone)]
pub(crate) struct Begun<'a> {
    pub(crate) id: Uuid,
    pub(crate) view: &'a ViewName,
    pub(crate) kind: Kind,
    pub(crate) reason: Option<&'a str>,
    pub(crate) as_of: Timestamp,
    pub(crate) range_start: Option<Timestamp>,
    pub(crate) digest: &'a str,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows that came from the source.
    pub read: u64,
    /// Values written.
    pub written: u64,
    /// Values not written because a newer one was online.
    pub older: u64,
    /// Bytes of the values written.
    pub bytes: u64,
    /// The latest event timestamp among the rows read.
    pub newest_row: Option<Timestamp>,
}

/// What a view's row says after a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished<'a> {
    pub(crate) id: Uuid,
    pub(crate) view: &'a ViewName,
    pub(crate) kind: Kind,
    pub(crate) as_of: Timestamp,
    pub(crate) watermark: Timestamp,
    pub(crate) full_as_of: Timestamp,
    pub(crate) digest: &'a str,
    pub(crate) counts: Counts,
}

impl Store {
    pub(crate) fn open(url: DatabaseUrl, project: ProjectName, connections: u32) -> Self {
        Self {
            pool: url.pool(connections),
            url,
            project,
        }
    }

    pub(crate) const fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    fn failed(&self, error: &sqlx::Error) -> DatabaseError {
        self.url.error(error)
    }

    /// That the schema is there, and as new as this program.
    pub(crate) async fn check_schema(&self) -> Result<(), DatabaseError> {
        let schema = |what: &str| DatabaseError::Schema {
            url: self.url.to_string(),
            what: what.to_owned(),
        };
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(MIGRATIONS_TABLE)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        if !exists {
            return Err(schema("has no `larder` schema"));
        }
        let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM larder.migrations WHERE success")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        if migrator().iter().any(|migration| !applied.contains(&migration.version)) {
            return Err(schema("has a `larder` schema older than this program"));
        }
        Ok(())
    }

    /// The moment it is by this database's clock.
    pub(crate) async fn now(&self) -> Result<Timestamp, DatabaseError> {
        let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(now.into())
    }

    /// What the view's last finished run said, if there is one.
    pub(crate) async fn view(&self, view: &ViewName) -> Result<Option<ViewRecord>, DatabaseError> {
        let row = sqlx::query!(
            "SELECT run, as_of, watermark, newest_row, entities FROM larder.views WHERE project = $1 AND view = $2",
            self.project.as_str(),
            view.as_str()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(row.map(|row| ViewRecord {
            run: row.run,
            as_of: row.as_of.into(),
            watermark: row.watermark.into(),
            newest_row: row.newest_row.map(Timestamp::from),
            entities: row.entities,
        }))
    }

    /// The latest as-of of the runs that may have left values of another definition than this one online: the last
    /// finished run and all begun after it, but for those that failed before they read a row.
    pub(crate) async fn other_definition(
        &self,
        view: &ViewName,
        digest: &str,
    ) -> Result<Option<Timestamp>, DatabaseError> {
        let latest = sqlx::query_scalar!(
            "SELECT max(as_of)
             FROM larder.materialization_runs
             WHERE project = $1 AND view = $2 AND digest <> $3 AND NOT (outcome = 'failed' AND rows_read = 0)
               AND started_at >= COALESCE((
                   SELECT last.started_at
                   FROM larder.views v JOIN larder.materialization_runs last ON last.id = v.run
                   WHERE v.project = $1 AND v.view = $2
               ), '-infinity')",
            self.project.as_str(),
            view.as_str(),
            digest
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(latest.map(Timestamp::from))
    }

    /// The newest runs first, of one view or of all.
    pub(crate) async fn runs(&self, view: Option<&str>, limit: i64) -> Result<Vec<RunRecord>, DatabaseError> {
        let mut runs = sqlx::query_as!(
            RunRecord,
            "SELECT id, view, kind, reason, as_of, started_at, finished_at, outcome, error, rows_read, rows_written,
                    rows_older, bytes, newest_row, host, pid
             FROM larder.materialization_runs
             WHERE project = $1 AND ($2::text IS NULL OR view = $2)
             ORDER BY started_at DESC, id DESC
             LIMIT $3",
            self.project.as_str(),
            view,
            limit
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        for run in runs.iter_mut().filter(|run| run.outcome == "running") {
            if self.lock_holder(&run.view).await?.is_none() {
                run.outcome = "interrupted".to_owned();
            }
        }
        Ok(runs)
    }

    /// The backend, in Postgres's words, that holds the view's lock, if one does.
    pub(crate) async fn lock_holder(&self, view: &str) -> Result<Option<i32>, DatabaseError> {
        sqlx::query_scalar!(
            r#"SELECT pid AS "pid!"
               FROM pg_locks
               WHERE locktype = 'advisory' AND granted AND objsubid = 1
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)"#,
            self.lock_name(view)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// What the view's advisory lock is made of.
    pub(crate) fn lock_name(&self, view: &str) -> String {
        format!("materialize {} {view}", self.project)
    }

    /// Records that a run begins, and that those of the view which still stand as running have died: who calls this
    /// holds the view's lock.
    pub(crate) async fn begin(
        &self,
        connection: &mut PgConnection,
        run: &Begun<'_>,
        (host, pid): (&str, i32),
    ) -> Result<(), DatabaseError> {
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'interrupted', finished_at = clock_timestamp(), error = 'its process ended before it did'
             WHERE project = $1 AND view = $2 AND outcome = 'running'",
            self.project.as_str(),
            run.view.as_str()
        )
        .execute(&mut *connection)
        .await
        .map_err(|error| self.failed(&error))?;
        sqlx::query!(
            "INSERT INTO larder.materialization_runs
                 (id, project, view, kind, reason, as_of, range_start, range_end, digest, host, pid)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $6, $8, $9, $10)",
            run.id,
            self.project.as_str(),
            run.view.as_str(),
            run.kind.name(),
            run.reason,
            time(run.as_of),
            run.range_start.map(time),
            run.digest,
            host,
            pid
        )
        .execute(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Records that a run is done and what its view stands at now, both or neither.
    pub(crate) async fn finish(&self, run: &Finished<'_>) -> Result<(), DatabaseError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let newest_row = run.counts.newest_row.map(time);
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'done', finished_at = clock_timestamp(), rows_read = $2, rows_written = $3, rows_older = $4,
                 bytes = $5, newest_row = $6
             WHERE id = $1",
            run.id,
            count(run.counts.read),
            count(run.counts.written),
            count(run.counts.older),
            count(run.counts.bytes),
            newest_row
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query!(
            "INSERT INTO larder.views AS v
                 (project, view, run, as_of, watermark, full_as_of, newest_row, entities, digest)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (project, view) DO UPDATE
             SET run = excluded.run, as_of = excluded.as_of, digest = excluded.digest,
                 watermark = greatest(v.watermark, excluded.watermark),
                 full_as_of = excluded.full_as_of,
                 newest_row = greatest(v.newest_row, excluded.newest_row),
                 entities = CASE WHEN $10 THEN excluded.entities ELSE v.entities END",
            self.project.as_str(),
            run.view.as_str(),
            run.id,
            time(run.as_of),
            time(run.watermark),
            time(run.full_as_of),
            newest_row,
            count(run.counts.read),
            run.digest,
            run.kind == Kind::Full
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Records that a run has failed, and how far it came.
    pub(crate) async fn fail(&self, id: Uuid, error: &str, counts: Counts) -> Result<(), DatabaseError> {
        sqlx::query!(
            "UPDATE larder.materialization_runs
             SET outcome = 'failed', finished_at = clock_timestamp(), error = $2, rows_read = $3, rows_written = $4,
                 rows_older = $5, bytes = $6
             WHERE id = $1",
            id,
            error,
            count(counts.read),
            count(counts.written),
            count(counts.older),
            count(counts.bytes)
        )
        .execute(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(())
    }
}

/// A moment as the driver has it. What lies beyond its range is the end of its range.
fn time(at: Timestamp) -> DateTime<Utc> {
    at.to_chrono().unwrap_or(if at.as_micros() < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// A count as Postgres has it.
fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
