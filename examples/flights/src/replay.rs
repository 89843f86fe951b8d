//! Events into Postgres, as they happen again.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use feature_defs::time::{Clock, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::dataset::Dataset;
use crate::shift::Shift;
use crate::tables::{Ingested, Rows, Tables};
use crate::timeline::Timeline;

/// 2013 happening again in a database. Moments given to it are of the present: shifted.
#[derive(Debug)]
pub struct Replay {
    dataset: Arc<Dataset>,
    timeline: Timeline,
    shift: Shift,
    ingested: Ingested,
}

/// Rows that a load inserted; events that were there already are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Flights that left.
    pub departures: u64,
    /// Flights that arrived.
    pub arrivals: u64,
    /// Flights that were cancelled.
    pub cancellations: u64,
    /// Weather observations.
    pub observations: u64,
}

impl Loaded {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.departures + self.arrivals + self.cancellations + self.observations
    }
}

/// How often the feed looks whether something has happened.
const FEED_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

impl Replay {
    /// Before everything in the data.
    pub const BEGINNING: Timestamp = Timestamp::from_micros(i64::MIN);

    /// A replay of `dataset`, moved by `shift`.
    pub fn new(dataset: Arc<Dataset>, shift: Shift, ingested: Ingested) -> Self {
        let timeline = Timeline::new(&dataset);
        Self {
            dataset,
            timeline,
            shift,
            ingested,
        }
    }

    /// What is replayed.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// How far it is moved.
    pub const fn shift(&self) -> Shift {
        self.shift
    }

    /// When the last event happens.
    pub fn end(&self) -> Timestamp {
        self.timeline.end().map_or(Self::BEGINNING, |end| self.shift.apply(end))
    }

    /// Makes the tables, loads what is known beforehand (timetable, planes, airports, airlines) and the events of
    /// `(after, until]`, then makes the indexes. Doing it again adds what is missing.
    ///
    /// No feature looks back further than 28 days: a demo starts faster with an `after` that is not [`Self::BEGINNING`].
    ///
    /// # Errors
    /// When the database refuses, or its schema `flights` holds a replay with another shift.
    pub async fn start(&self, pool: &PgPool, after: Timestamp, until: Timestamp) -> Result<Loaded> {
        sqlx::raw_sql(include_str!("../schema.sql"))
            .execute(pool)
            .await
            .context("making the schema `flights`")?;
        self.claim(pool).await?;
        self.load_known_beforehand(pool, after).await?;
        let loaded = self.load(pool, after, until).await?;
        sqlx::raw_sql(include_str!("../indexes.sql"))
            .execute(pool)
            .await
            .context("making the indexes")?;
        Ok(loaded)
    }

    /// Removes the schema `flights` and everything in it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove(pool: &PgPool) -> Result<()> {
        sqlx::raw_sql("DROP SCHEMA IF EXISTS flights CASCADE")
            .execute(pool)
            .await
            .context("removing schema `flights`")?;
        Ok(())
    }

    /// Loads the events of `(after, until]`, all of them or none.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn load(&self, pool: &PgPool, after: Timestamp, until: Timestamp) -> Result<Loaded> {
        let (after, until) = (self.shift.undo(after), self.shift.undo(until));
        let (tables, timeline) = (self.tables(), &self.timeline);
        let mut transaction = pool.begin().await.context("connecting to Postgres")?;
        let loaded = Loaded {
            departures: insert(
                &mut transaction,
                tables.departed(timeline.departures.between(after, until))?,
            )
            .await?,
            arrivals: insert(
                &mut transaction,
                tables.arrived(timeline.arrivals.between(after, until))?,
            )
            .await?,
            cancellations: insert(
                &mut transaction,
                tables.cancelled(timeline.cancellations.between(after, until))?,
            )
            .await?,
            observations: insert(
                &mut transaction,
                tables.weather(timeline.observations.between(after, until))?,
            )
            .await?,
        };
        transaction.commit().await.context("committing events")?;
        Ok(loaded)
    }

    /// Inserts events after `after` at their own time by `clock`, until `stop` or the last of them.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn feed(
        &self,
        pool: &PgPool,
        clock: &dyn Clock,
        after: Timestamp,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut fed = after;
        while fed < self.end() {
            let now = clock.now();
            if now > fed {
                self.load(pool, fed, now).await?;
                fed = now;
            }
            let pause = tokio::time::sleep(FEED_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How far the flights in this database are moved.
    ///
    /// # Errors
    /// When the database refuses, or nothing is loaded.
    pub async fn loaded_shift(pool: &PgPool) -> Result<Shift> {
        let minutes = sqlx::query_scalar("SELECT shift_minutes FROM flights.replay");
        let minutes: i64 = minutes
            .fetch_one(pool)
            .await
            .context("reading the shift: are flights loaded?")?;
        Ok(Shift::minutes(minutes))
    }

    /// The last moment something is known of in this database. Loads are all or nothing: everything up to it is there.
    ///
    /// # Errors
    /// When the database refuses, or nothing is loaded.
    pub async fn loaded_until(pool: &PgPool) -> Result<Timestamp> {
        let micros = sqlx::query_scalar(
            "SELECT (extract(epoch FROM max(event_ts)) * 1000000)::bigint FROM (
                 SELECT max(event_ts) AS event_ts FROM flights.flight_departed
                 UNION ALL SELECT max(event_ts) FROM flights.flight_arrived
                 UNION ALL SELECT max(event_ts) FROM flights.flight_cancelled
                 UNION ALL SELECT max(event_ts) FROM flights.weather
             ) AS newest",
        );
        let micros: Option<i64> = micros.fetch_one(pool).await.context("asking for the newest event")?;
        Ok(Timestamp::from_micros(micros.context("no events are loaded")?))
    }

    /// Notes the shift of these tables, or compares it with the one that is noted.
    async fn claim(&self, pool: &PgPool) -> Result<()> {
        let minutes = self.shift.as_minutes();
        sqlx::query("INSERT INTO flights.replay SELECT $1 WHERE NOT EXISTS (SELECT FROM flights.replay)")
            .bind(minutes)
            .execute(pool)
            .await
            .context("noting the shift")?;
        let noted: i64 = sqlx::query_scalar("SELECT shift_minutes FROM flights.replay")
            .fetch_one(pool)
            .await
            .context("reading the shift")?;
        ensure!(
            noted == minutes,
            "schema `flights` holds a replay that is shifted by {noted} minutes, not {minutes}: remove it first, or go on with \
             that shift"
        );
        Ok(())
    }

    async fn load_known_beforehand(&self, pool: &PgPool, after: Timestamp) -> Result<()> {
        let tables = self.tables();
        let mut transaction = pool.begin().await.context("connecting to Postgres")?;
        for rows in [
            tables.airlines()?,
            tables.airports()?,
            tables.planes()?,
            tables.scheduled(self.shift.undo(after))?,
        ] {
            insert(&mut transaction, rows).await?;
        }
        transaction.commit().await.context("committing the timetable")
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            dataset: &self.dataset,
            shift: self.shift,
            ingested: self.ingested,
        }
    }
}

/// Inserts the rows that are not there yet and returns how many those were.
async fn insert(conn: &mut PgConnection, rows: Rows) -> Result<u64> {
    let table = rows.table();
    insert_rows(conn, rows)
        .await
        .with_context(|| format!("inserting into flights.{table}"))
}

async fn insert_rows(conn: &mut PgConnection, rows: Rows) -> Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let (table, columns) = (rows.table(), rows.columns());
    let filled = format!("SELECT EXISTS (SELECT FROM flights.{table})");
    if !sqlx::query_scalar::<_, bool>(AssertSqlSafe(filled))
        .fetch_one(&mut *conn)
        .await?
    {
        return copy(conn, &format!("flights.{table} ({columns})"), rows).await;
    }
    // COPY fails on rows that are there already: those to come go into a table of their own first.
    let staging = format!("CREATE TEMPORARY TABLE new_{table} (LIKE flights.{table} INCLUDING DEFAULTS)");
    sqlx::raw_sql(AssertSqlSafe(staging)).execute(&mut *conn).await?;
    copy(conn, &format!("new_{table} ({columns})"), rows).await?;
    let insert = format!("INSERT INTO flights.{table} SELECT * FROM new_{table} ON CONFLICT DO NOTHING");
    let inserted = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut *conn).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE new_{table}")))
        .execute(&mut *conn)
        .await?;
    Ok(inserted.rows_affected())
}

async fn copy(conn: &mut PgConnection, into: &str, rows: Rows) -> Result<u64> {
    let mut copy = conn
        .copy_in_raw(&format!("COPY {into} FROM STDIN (FORMAT csv)"))
        .await?;
    copy.send(rows.into_csv()?).await?;
    Ok(copy.finish().await?)
}
