//! One state of each source, in which labels are looked up: sessions of their own, and the query that each of them asks.

use std::sync::Arc;

use feature_defs::definitions::{Join, Service};
use feature_defs::serving::{Status, StoredRow};
use feature_defs::value::Value;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow, Postgres};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::TrainingError;
use super::labels::Label;
use crate::app::App;
use crate::database::DatabaseUrl;
use crate::source::{self, Fields};

/// How many queries run at a time, each on a connection of its own.
pub(super) const CONNECTIONS: usize = 4;

/// Settings of a session that looks up each label's entity in each view. Neighbouring labels read the same pages, which
/// are cached by then: the index on entity and event time wins, where the planner's estimates for moments it does not
/// know yet would prefer the one on event time alone and read every entity's events. Compiling, and workers beside
/// sessions that are several already, cost more than they save.
const LOOKUPS: &str =
    "SET LOCAL random_page_cost = 0.2; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0";

/// One state of each database that a service's sources are in.
pub(super) struct Snapshot {
    service: Arc<Service>,
    parts: Vec<Part>,
}

/// One state of one database, read over several connections.
struct Part {
    /// Which of the service's joins are looked up here.
    joins: Vec<usize>,
    query: String,
    url: DatabaseUrl,
    pool: PgPool,
    /// Holds the snapshot open for the others.
    owner: PgConnection,
}

impl Snapshot {
    pub(super) async fn open(app: &App, service: &Arc<Service>) -> Result<Self, TrainingError> {
        let mut databases: Vec<(&DatabaseUrl, Vec<usize>)> = Vec::new();
        for (number, join) in service.joins.iter().enumerate() {
            let url = app.database_of(&join.view.source).url();
            match databases.iter_mut().find(|(other, _)| std::ptr::eq(*other, url)) {
                Some((_, joins)) => joins.push(number),
                None => databases.push((url, vec![number])),
            }
        }
        let mut parts = Vec::with_capacity(databases.len());
        for (url, joins) in databases {
            parts.push(Part::open(url, service, joins).await?);
        }
        Ok(Self {
            service: Arc::clone(service),
            parts,
        })
    }

    /// Says goodbye to the sources.
    pub(super) async fn close(self) {
        for part in self.parts {
            part.pool.close().await;
            if let Err(error) = part.owner.close().await {
                tracing::debug!("the snapshot's connection did not close in order: {error}");
            }
        }
    }

    /// The stored rows of each label, in the order of the service's joins.
    pub(super) async fn read(&self, labels: &[Label]) -> Result<Vec<Vec<StoredRow>>, TrainingError> {
        let absent = vec![StoredRow::not_found(); self.service.joins.len()];
        let mut stored = vec![absent; labels.len()];
        let answers = self.parts.iter().map(|part| part.read(&self.service, labels));
        for (part, answer) in self.parts.iter().zip(try_join_all(answers).await?) {
            for (row, found) in stored.iter_mut().zip(answer) {
                for (join, found) in part.joins.iter().zip(found) {
                    row[*join] = found;
                }
            }
        }
        Ok(stored)
    }

    /// The queries, and Postgres's plans of them for these labels.
    pub(super) async fn explain(&self, labels: &[Label]) -> Result<String, TrainingError> {
        let mut plans = String::new();
        for part in &self.parts {
            plans.push_str(&part.explain(&self.service, labels).await?);
        }
        Ok(plans)
    }
}

impl Part {
    async fn open(url: &DatabaseUrl, service: &Service, joins: Vec<usize>) -> Result<Self, TrainingError> {
        let mut owner = url.connect().await?;
        let failed = |error: sqlx::Error| url.error(&error);
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for join in joins.iter().map(|&number| &service.joins[number]) {
            let columns = source::columns_of(&mut owner, &join.view.source).await?;
            problems.extend(source::check_view(&join.view, &columns));
            found.push((join, columns));
        }
        if !problems.is_empty() {
            problems.dedup();
            return Err(TrainingError::Columns(problems));
        }
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        sqlx::raw_sql(begin).execute(&mut owner).await.map_err(failed)?;
        let id: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
            .fetch_one(&mut owner)
            .await
            .map_err(failed)?;
        let session = format!("{begin}; SET TRANSACTION SNAPSHOT '{id}'; {LOOKUPS}");
        let connections = u32::try_from(CONNECTIONS).expect("a handful");
        let pool = url.pool_of_sessions(connections, session);
        Ok(Self {
            query: source::training_query(service, &found),
            joins,
            url: url.clone(),
            pool,
            owner,
        })
    }

    /// One answer a label, in the order of these joins.
    async fn read(&self, service: &Service, labels: &[Label]) -> Result<Vec<Vec<StoredRow>>, TrainingError> {
        let mut rows = bind(&self.query, service, labels).fetch(&self.pool);
        let mut stored = Vec::with_capacity(labels.len());
        while let Some(row) = rows.try_next().await.map_err(|error| self.url.error(&error))? {
            let joins = self.joins.iter().map(|&number| &service.joins[number]);
            stored.push(stored_rows(joins, &row)?);
        }
        if stored.len() == labels.len() {
            return Ok(stored);
        }
        Err(TrainingError::Answer(format!(
            "{} rows for {} labels",
            stored.len(),
            labels.len()
        )))
    }

    async fn explain(&self, service: &Service, labels: &[Label]) -> Result<String, TrainingError> {
        let rows = bind(&format!("EXPLAIN {}", self.query), service, labels)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.url.error(&error))?;
        let plan = rows
            .iter()
            .map(|row| row.try_get::<String, _>(0))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TrainingError::Answer(error.to_string()))?;
        Ok(format!("{};\n\n{}\n", self.query, plan.join("\n")))
    }
}

/// Sorted by entity, so that neighbours find each other's pages in the cache; the query restores the order.
fn bind<'q>(query: &str, service: &Service, labels: &[Label]) -> sqlx::query::Query<'q, Postgres, PgArguments> {
    let mut sorted: Vec<(i64, &Label)> = (0..).zip(labels).collect();
    sorted.sort_by_cached_key(|(_, label)| {
        let keys: Vec<Option<String>> = label.keys.iter().map(|key| key.as_ref().map(Value::to_text)).collect();
        (keys, label.moment)
    });
    let numbers: Vec<i64> = sorted.iter().map(|(number, _)| *number).collect();
    let moments: Vec<_> = sorted
        .iter()
        .filter_map(|(_, label)| label.moment.to_chrono())
        .collect();
    let query = sqlx::query(AssertSqlSafe(query.to_owned())).bind(numbers).bind(moments);
    source::bind_keys(query, &service.keys, |k| {
        sorted.iter().map(|(_, label)| label.keys[k].clone()).collect()
    })
}

/// The answer to one label. Rows older than their view's ttl are not in it: they are as absent as those that never were.
fn stored_rows<'a>(joins: impl Iterator<Item = &'a Join>, row: &PgRow) -> Result<Vec<StoredRow>, TrainingError> {
    let mut fields = Fields::of(row);
    let mut stored = Vec::new();
    for join in joins {
        let absent = fields.raw()?.is_none();
        let event = fields.timestamp()?;
        let values = join.view.fields().iter();
        let values = values
            .map(|field| fields.value(field.value_type))
            .collect::<Result<Vec<_>, _>>()?;
        stored.push(match absent {
            true => StoredRow::not_found(),
            false => StoredRow {
                status: Status::Present,
                event,
                values,
                // What is computed now is of the present definition.
                lacking: Vec::new(),
            },
        });
    }
    Ok(stored)
}
