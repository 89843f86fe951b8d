//! The source's side of a verification. Each question sees the source as it is then: what has come in between is found to be
//! looked at again by the next run.

use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType};
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::VerifyError;
use super::compare::Times;
use crate::app::App;
use crate::database::DatabaseUrl;
use crate::source::{self, Columns, DecodeError, Fields, Since};

/// More entities are not taken from the source at a time.
const MOST_SAMPLED: usize = 1_000_000;

/// An entity, and the moment to compute it as of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) keys: &'a [KeyValue],
    pub(super) moment: Timestamp,
}

/// What the source gives for an entity.
#[derive(Debug)]
pub(super) struct Recomputed {
    pub(super) times: Times,
    pub(super) values: Vec<Option<Value>>,
}

/// A view's source.
pub(super) struct Recompute<'a> {
    view: &'a View,
    since: Since,
    columns: Columns,
    url: DatabaseUrl,
    connection: PgConnection,
}

impl<'a> Recompute<'a> {
    pub(super) async fn open(app: &App, view: &'a View, since: Since) -> Result<Self, VerifyError> {
        let url = app.database_of(&view.source).url().clone();
        let mut connection = url.connect().await?;
        let columns = source::columns_of(&mut connection, &view.source)
            .await
            .map_err(|error| VerifyError::Columns(vec![error.into()]))?;
        let problems = source::check_view(view, &columns);
        if !problems.is_empty() {
            return Err(VerifyError::Columns(problems));
        }
        sqlx::raw_sql("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit = off")
            .execute(&mut connection)
            .await
            .map_err(|error| url.error(&error))?;
        Ok(Self {
            view,
            since,
            columns,
            url,
            connection,
        })
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!("the source's connection did not close in order: {error}");
        }
    }

    /// Entities that have a value as of a moment, about one of so many, chosen by a salt.
    pub(super) async fn sample(
        &mut self,
        as_of: Timestamp,
        one_in_salt: (u64, u64),
    ) -> Result<Vec<(EntityKey, Vec<KeyValue>)>, VerifyError> {
        let query = source::sample_query(self.view, &self.columns, as_of, one_in_salt);
        // Should the view have grown much since it was counted.
        let query = format!("{query} LIMIT {MOST_SAMPLED}");
        let rows = sqlx::query(AssertSqlSafe(query))
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| self.url.error(&error))?;
        rows.iter().map(|row| self.entity(row)).collect()
    }

    fn entity(&self, row: &PgRow) -> Result<(EntityKey, Vec<KeyValue>), VerifyError> {
        let mut fields = Fields::of(row);
        fields.entity(self.view).map_err(|error| answer(&error))
    }

    /// One answer a subject, in their order.
    pub(super) async fn values(&mut self, subjects: &[Subject<'_>]) -> Result<Vec<Option<Recomputed>>, VerifyError> {
        let moments: Vec<_> = subjects.iter().filter_map(|s| s.moment.to_chrono()).collect();
        let keys: Vec<&[KeyValue]> = subjects.iter().map(|s| s.keys).collect();
        let query = source::verification_query(self.view, &self.columns);
        let query = sqlx::query(AssertSqlSafe(query))
            .bind(numbers(subjects.len()))
            .bind(moments);
        let rows = bind_keys(query, self.view, &keys)
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| self.url.error(&error))?;
        if rows.len() != subjects.len() {
            return Err(VerifyError::Answer(format!(
                "{} rows for {} entities",
                rows.len(),
                subjects.len()
            )));
        }
        let recomputed = rows.iter().map(|row| self.recomputed(row));
        recomputed.collect::<Result<_, _>>().map_err(|error| answer(&error))
    }

    fn recomputed(&self, row: &PgRow) -> Result<Option<Recomputed>, DecodeError> {
        let mut fields = Fields::of(row);
        let _number = fields.raw()?;
        if fields.value(ValueType::Bool)? != Some(Value::Bool(true)) {
            return Ok(None);
        }
        let times = Times {
            event: fields.timestamp()?,
            created: fields.timestamp()?,
        };
        let values = self.view.fields().iter();
        let values = values
            .map(|field| fields.value(field.value_type))
            .collect::<Result<_, _>>()?;
        Ok(Some(Recomputed { times, values }))
    }

    /// Of each of these entities, whether the next incremental run looks at it again.
    pub(super) async fn looked_at_again(
        &mut self,
        as_of: Timestamp,
        keys: &[&[KeyValue]],
    ) -> Result<Vec<bool>, VerifyError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let query = source::changed_among_query(self.view, as_of, self.since);
        let query = sqlx::query(AssertSqlSafe(query)).bind(numbers(keys.len()));
        let rows = bind_keys(query, self.view, keys)
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| self.url.error(&error))?;
        let mut again = vec![false; keys.len()];
        for row in rows {
            let number: i64 = row.try_get(0).map_err(|error| answer(&error))?;
            if let Some(flag) = usize::try_from(number).ok().and_then(|i| again.get_mut(i)) {
                *flag = true;
            }
        }
        Ok(again)
    }
}

fn numbers(count: usize) -> Vec<i64> {
    (0..).take(count).collect()
}

/// Binds one array a join key.
fn bind_keys<'q>(
    query: Query<'q, Postgres, PgArguments>,
    view: &View,
    entities: &[&[KeyValue]],
) -> Query<'q, Postgres, PgArguments> {
    source::bind_keys(query, &view.entity.join_keys, |k| {
        entities.iter().map(|keys| Some(keys[k].clone().into())).collect()
    })
}

fn answer(error: &dyn std::fmt::Display) -> VerifyError {
    VerifyError::Answer(error.to_string())
}
