//! Appending rows to the table: all in one transaction, or those of them that the database takes.

use std::collections::BTreeMap;

use feature_defs::definitions::Source;
use feature_defs::key::{KeyType, KeyValue};
use feature_defs::time::Timestamp;
use feature_defs::value::ValueType;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection};

use super::plan::Plan;
use super::rows::Row;
use super::{PushError, PushOptions, RowError};
use crate::app::App;
use crate::database::{DatabaseError, DatabaseUrl};
use crate::source::{self, DecodeError, Fields};

/// So many refused rows are looked for where one is enough to refuse them all.
const TOLD: usize = 20;

/// A row as the table holds it now: defaults filled in, texts as their columns spell them.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) event: Timestamp,
    pub(super) created: Option<Timestamp>,
    /// The source's key columns, as text.
    pub(super) key: Vec<Option<String>>,
    /// One a [`Plan::keys`].
    pub(super) keys: Vec<Option<KeyValue>>,
}

/// Rows on their way into a source's table.
pub(super) struct Appending<'a> {
    pub(super) app: &'a App,
    pub(super) source: &'a Source,
    pub(super) plan: &'a Plan,
}

/// Why a statement did not do what it should.
enum Failure {
    /// What is in the rows: a constraint, a trigger, a text that is no value of its column's type.
    Rows(String),
    Other(PushError),
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        Self::Other(error)
    }
}

impl Appending<'_> {
    /// Appends the rows, or of them those that the database takes; what it says to the others.
    ///
    /// # Errors
    /// Nothing is appended; or, if [`PushError::Unknown`], perhaps it is.
    pub(super) async fn rows(
        &self,
        rows: &[Row],
        options: PushOptions,
    ) -> Result<(Vec<Appended>, Vec<RowError>), PushError> {
        if rows.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let database = self.app.primary_of(self.source);
        let acquired = database.pool().acquire().await;
        let mut connection = acquired.map_err(|error| database.url().error(&error))?;
        let parts = by_columns(rows);
        let appended = match parts.as_slice() {
            [one] => self.insert(&mut connection, one, End::Committed).await,
            several => self.together(&mut connection, several).await,
        };
        match appended {
            Ok(appended) => Ok((appended, Vec::new())),
            Err(Failure::Rows(message)) => self.one_by_one(&mut connection, &parts, (options, message)).await,
            Err(Failure::Other(error)) => Err(error),
        }
    }

    async fn together(&self, connection: &mut PgConnection, parts: &[Vec<&Row>]) -> Result<Vec<Appended>, Failure> {
        let begun = connection.begin().await;
        let mut transaction = begun.map_err(|error| self.database(&error))?;
        let mut appended = Vec::new();
        for part in parts {
            appended.extend(self.insert(&mut transaction, part, End::Open).await?);
        }
        let committed = transaction.commit().await;
        committed.map_err(|error| self.failure(&error, End::Committed))?;
        Ok(appended)
    }

    /// Finds the rows that the database refuses, halving those that hold one, and appends the others if that is wanted.
    async fn one_by_one(
        &self,
        connection: &mut PgConnection,
        parts: &[Vec<&Row>],
        (options, refusal): (PushOptions, String),
    ) -> Result<(Vec<Appended>, Vec<RowError>), PushError> {
        let failed = |failure: Failure| match failure {
            Failure::Rows(message) => PushError::Refused(message),
            Failure::Other(error) => error,
        };
        let begun = connection.begin().await;
        let mut transaction = begun.map_err(|error| self.database(&error))?;
        // What would be refused at the end is refused where its row is.
        self.say(&mut transaction, "SET CONSTRAINTS ALL IMMEDIATE").await?;
        let (mut appended, mut errors) = (Vec::new(), Vec::new());
        let mut left: Vec<&[&Row]> = parts.iter().rev().map(Vec::as_slice).collect();
        while let Some(rows) = left.pop() {
            if errors.len() == TOLD && !options.partial {
                break;
            }
            self.say(&mut transaction, "SAVEPOINT pushed").await?;
            match self.insert(&mut transaction, rows, End::Open).await {
                Ok(more) => {
                    self.say(&mut transaction, "RELEASE SAVEPOINT pushed").await?;
                    appended.extend(more);
                }
                Err(Failure::Rows(message)) => {
                    self.say(&mut transaction, "ROLLBACK TO SAVEPOINT pushed").await?;
                    if let [row] = rows {
                        errors.push(RowError::of(row.number, &[message]));
                    } else {
                        let (first, second) = rows.split_at(rows.len() / 2);
                        left.extend([second, first]);
                    }
                }
                Err(other) => return Err(failed(other)),
            }
        }
        if options.partial {
            let committed = transaction.commit().await;
            committed.map_err(|error| failed(self.failure(&error, End::Committed)))?;
            return Ok((appended, errors));
        }
        // If this fails, the connection is closed, to the same effect.
        let _rolled_back = transaction.rollback().await;
        Err(match errors.len() {
            0 => PushError::Refused(refusal),
            count => PushError::Rows { errors, count },
        })
    }

    async fn say(&self, connection: &mut PgConnection, statement: &'static str) -> Result<(), PushError> {
        let said = sqlx::raw_sql(statement).execute(connection).await;
        said.map(|_| ()).map_err(|error| self.database(&error))
    }

    /// Inserts rows that have the same columns.
    async fn insert(&self, connection: &mut PgConnection, rows: &[&Row], end: End) -> Result<Vec<Appended>, Failure> {
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let cells: Vec<_> = rows.iter().map(|row| &row.cells).collect();
        let json = serde_json::to_string(&cells).map_err(|error| Failure::Rows(error.to_string()))?;
        let mut query = sqlx::query(AssertSqlSafe(self.statement(&first.columns))).bind(json);
        if self.source.created_timestamp.is_some() {
            query = query.bind(self.app.given_now().and_then(Timestamp::to_chrono));
        }
        let answered = query.fetch_all(connection).await;
        let answered = answered.map_err(|error| self.failure(&error, end))?;
        let appended = answered.iter().map(|row| self.appended(row));
        // What they are is all that is not known then.
        let appended = appended.collect::<Result<_, DecodeError>>();
        appended.map_err(|error| Failure::Rows(error.to_string()))
    }

    /// The statement that inserts rows with these columns: of a set of columns always the same text.
    fn statement(&self, given: &[usize]) -> String {
        let table = &self.plan.table;
        let created = self
            .source
            .created_timestamp
            .as_ref()
            .and_then(|name| table.position(name));
        let stamped = created.filter(|i| !given.contains(i));
        let columns: Vec<usize> = given.iter().copied().chain(stamped).collect();
        let list = |of: &dyn Fn(usize, String) -> String| -> String {
            let columns = columns.iter().map(|&i| of(i, source::ident(&table.columns[i].name)));
            columns.collect::<Vec<_>>().join(", ")
        };
        let ident = |name: &String| source::ident(name);
        let mut returned = vec![
            ident(&self.source.event_timestamp),
            self.source
                .created_timestamp
                .as_ref()
                .map_or("NULL::timestamptz".to_owned(), ident),
        ];
        returned.extend(self.source.key.iter().map(|column| format!("{}::text", ident(column))));
        returned.extend(self.plan.keys.iter().map(|(column, key_type)| match key_type {
            KeyType::String => format!("{}::text", ident(column)),
            KeyType::Int64 => format!("{}::int8", ident(column)),
        }));
        format!(
            "INSERT INTO {table} ({names}) SELECT {values} FROM json_to_recordset($1::json) AS pushed({types}) RETURNING {returned}",
            table = source::table_ident(self.source.push_to.as_deref().unwrap_or_default()),
            names = list(&|_, name| name),
            values = list(&|i, name| match created == Some(i) {
                // The moment that is given for now, if one is: else the database's own.
                true => format!("COALESCE(pushed.{name}, $2::timestamptz, clock_timestamp())"),
                false => format!("pushed.{name}"),
            }),
            types = list(&|i, name| format!("{name} {}", table.columns[i].sql_type)),
            returned = returned.join(", "),
        )
    }

    fn appended(&self, row: &PgRow) -> Result<Appended, DecodeError> {
        let mut fields = Fields::of(row);
        let (event, created) = (fields.timestamp()?.ok_or(DecodeError::Form)?, fields.timestamp()?);
        let mut value = |value_type| fields.value(value_type);
        let key = self
            .source
            .key
            .iter()
            .map(|_| Ok(value(ValueType::String)?.map(|v| v.to_text())));
        let key = key.collect::<Result<_, _>>()?;
        let keys = self.plan.keys.iter().map(|(_, key_type)| {
            let value = value(key_type.value_type())?;
            value.map(KeyValue::try_from).transpose().map_err(|_| DecodeError::Form)
        });
        Ok(Appended {
            event,
            created,
            key,
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    fn url(&self) -> &DatabaseUrl {
        self.app.primary_of(self.source).url()
    }

    fn database(&self, error: &sqlx::Error) -> PushError {
        self.url().error(error).into()
    }

    /// What an error says of rows that were to be inserted by a statement after which they are `end`.
    fn failure(&self, error: &sqlx::Error, end: End) -> Failure {
        let told: DatabaseError = self.url().error(error);
        let code = error
            .as_database_error()
            .map(|error| (error.code().unwrap_or_default(), error.message()));
        match (code, end) {
            (Some((code, message)), _) if !is_of_the_server(&code) => Failure::Rows(message.to_owned()),
            // A server that goes away, or whose answer is lost, may have done before what it was told.
            (Some((code, _)), End::Committed) if code.starts_with("57P") => PushError::Unknown(told).into(),
            (None, End::Committed) => PushError::Unknown(told).into(),
            _ => PushError::Database(told).into(),
        }
    }
}

/// What rows are after a statement that inserts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    /// In a transaction that is still open.
    Open,
}

/// Whether an error of this code is about the server, what it lacks, forbids or is busy with, and not about the rows.
fn is_of_the_server(code: &str) -> bool {
    const CLASSES: [&str; 17] = [
        "08", "0A", "25", "26", "28", "34", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "F0", "XX",
    ];
    CLASSES.iter().any(|class| code.starts_with(class))
}

/// Rows with the same columns together, each in their order.
fn by_columns(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut parts: BTreeMap<&[usize], Vec<&Row>> = BTreeMap::new();
    for row in rows {
        parts.entry(&row.columns).or_default().push(row);
    }
    parts.into_values().collect()
}
