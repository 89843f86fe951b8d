//! The product that is tested, with a database of its own: what happens to it, and what it answers.

mod copy;
mod loss;

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use end_to_end::postgres::{self, Database};
use feature_defs::definitions::{self, View as Declared};
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::{ManualClock, Span, Timestamp};
use feature_defs::value::Value;
use feature_server::{
    App, Backfill, Kind, Progress, RunError, RunOutcome, RunRequest, RunSummary, Settings, Shard, Time as Clock,
};
use online_store::{Lookup, OnlineStore};
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgPoolCopyExt;
use table_files::{Format, TableOutput, TableReader};

use crate::definitions::{BARRIER, tables, toml};
use crate::model::Cell;
use crate::outcome::{Answer, Outcome, Ran};
use crate::views::{SOURCES, View};
use crate::world::{Action, Case, Entity, Group, Label, Mode, Time, written};
use copy::{copied, tag};
use loss::Saved;

/// How long Redis may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);
/// How many entities are asked for together.
const TOGETHER: usize = 500;

/// A feature server and its stores.
pub(crate) struct Product {
    database: Database,
    redis: MultiplexedConnection,
    redis_url: String,
    app: Arc<App>,
    store: OnlineStore,
    clock: Arc<ManualClock>,
    /// What Redis has saved of each view.
    saved: HashMap<String, Saved>,
    _folder: tempfile::TempDir,
}

impl Product {
    /// Everything new and empty, with values in this Redis.
    pub(crate) async fn new(redis: &str) -> Result<Self> {
        let database = postgres::empty().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(tables()))
            .execute(&database.pool)
            .await?;
        feature_server::migrate(&database.url.parse()?).await?;
        Self::on(database, redis.to_owned()).await
    }

    /// The same database without what is in it, as another project.
    pub(crate) async fn emptied(self) -> Result<Self> {
        let tables: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
        let truncate = format!("TRUNCATE {}", tables.join(", "));
        sqlx::raw_sql(sqlx::AssertSqlSafe(truncate))
            .execute(&self.database.pool)
            .await?;
        Self::on(self.database, self.redis_url).await
    }

    async fn on(database: Database, redis_url: String) -> Result<Self> {
        let project = postgres::unique("h");
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("world.toml"), toml(&project))?;
        let definitions = definitions::load(folder.path()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let settings = Settings {
            database: database.url.parse()?,
            source_database: None,
            named_databases: std::collections::BTreeMap::new(),
            redis: redis_url.parse()?,
        };
        let store = OnlineStore::open(&settings.redis, definitions.project.clone())?;
        Ok(Self {
            app: App::open(&settings, definitions, Clock::Given(Arc::clone(&clock) as _))?,
            redis: redis::Client::open(redis_url.as_str())?
                .get_multiplexed_async_connection()
                .await?,
            database,
            redis_url,
            store,
            clock,
            saved: HashMap::new(),
            _folder: folder,
        })
    }

    /// Leaves nothing behind.
    pub(crate) async fn end(mut self, case: &Case) -> Result<()> {
        for (view, _) in &case.views {
            self.lose_all(case, *view).await?;
        }
        let name = self
            .database
            .url
            .rsplit_once('/')
            .context("a database URL ends in /name")?
            .1
            .to_owned();
        drop(self.app);
        self.database.pool.close().await;
        let admin = sqlx::PgPool::connect(&postgres::server_url()).await?;
        // With force: the server's own connections may be closing still.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
            .execute(&admin)
            .await?;
        admin.close().await;
        Ok(())
    }

    /// It is this tick's moment: rows appear and vanish.
    pub(crate) async fn tick(&self, case: &Case, tick: usize) -> Result<()> {
        self.clock.set(Timestamp::from_micros(case.ticks[tick]));
        for (number, source) in SOURCES.iter().enumerate() {
            let (mut appear, mut vanish) = (String::new(), Vec::new());
            for group in &case.groups {
                for row in group.rows.iter().filter(|row| row.source == number) {
                    if row.visible == tick {
                        appear.push_str(&copied(group, row));
                    } else if row.removed == Some(tick) {
                        vanish.push(tag(row));
                    }
                }
            }
            if !appear.is_empty() {
                let mut copy = self
                    .database
                    .pool
                    .copy_in_raw(&format!("COPY {} FROM STDIN", source.name))
                    .await?;
                copy.send(appear.as_bytes()).await?;
                copy.finish().await?;
            }
            if !vanish.is_empty() {
                let delete = format!("DELETE FROM {} WHERE tag = ANY($1)", source.name);
                sqlx::query(sqlx::AssertSqlSafe(delete))
                    .bind(vanish)
                    .execute(&self.database.pool)
                    .await?;
            }
        }
        if tick == 0 {
            sqlx::raw_sql("ANALYZE").execute(&self.database.pool).await?;
        }
        Ok(())
    }

    /// Does what a step says.
    pub(crate) async fn act(&mut self, case: &Case, view: View, action: Action) -> Result<Outcome> {
        let name = view.name();
        match action {
            Action::Run { mode, as_of } => {
                let request = RunRequest {
                    as_of: as_of.map(Timestamp::from_micros),
                    ..RunRequest::new(mode_of(mode))
                };
                outcome(self.run(&name, &request).await)
            }
            Action::Resume => {
                let request = RunRequest {
                    resume: true,
                    ..RunRequest::new(feature_server::Mode::Incremental)
                };
                outcome(self.run(&name, &request).await)
            }
            Action::Part { mode, index, of } => {
                let request = RunRequest {
                    shard: format!("{index}/{of}").parse()?,
                    ..RunRequest::new(mode_of(mode))
                };
                outcome(self.run(&name, &request).await)
            }
            Action::Backfill {
                start,
                end,
                every,
                all_steps,
            } => {
                let backfill = Backfill {
                    start: Timestamp::from_micros(start),
                    end: Timestamp::from_micros(end),
                    every: Span::from_micros(every),
                    all_steps,
                    shard: Shard::WHOLE,
                    resume: false,
                };
                let runs = self.backfill(&name, &backfill).await;
                outcome(runs.and_then(|mut runs| runs.pop().ok_or(RunError::Range("it made no run".to_owned()))))
            }
            Action::Interrupted { mode, polls } => {
                let request = RunRequest::new(mode_of(mode));
                let outcome = match polled(self.run(&name, &request), polls).await {
                    Some(ran) => outcome(ran),
                    None => Ok(Outcome::Died),
                };
                // What the dead run had sent may still be on its way to Redis.
                self.run(BARRIER, &RunRequest::new(feature_server::Mode::Full)).await?;
                outcome
            }
            Action::LoseMarker => self.lose_marker(view).await,
            Action::LoseAll => self.lose_all(case, view).await,
            Action::Save => self.save(case, view).await,
            Action::RollBack => self.roll_back(case, view).await,
        }
    }

    /// One run, once nobody else is at the view: the lock of a process that died goes when Postgres notices.
    async fn run(&self, view: &str, request: &RunRequest) -> Result<RunSummary, RunError> {
        loop {
            match self.app.materialize(view, request, &Progress::hidden()).await {
                Err(RunError::Busy { .. }) => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    }

    async fn backfill(&self, view: &str, backfill: &Backfill) -> Result<Vec<RunSummary>, RunError> {
        loop {
            match self.app.backfill(view, backfill, &Progress::hidden()).await {
                Err(RunError::Busy { .. }) => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    }

    fn project(&self) -> &feature_defs::name::ProjectName {
        &self.app.definitions().project
    }

    fn declared(&self, view: View) -> Result<Arc<Declared>> {
        Ok(Arc::clone(self.app.view(&view.name())?))
    }

    /// What a reader finds of every entity of a view, in order.
    pub(crate) async fn read(&self, case: &Case, view: View, asked: Time) -> Result<Vec<Answer>> {
        let declared = self.declared(view)?;
        let keys: Vec<EntityKey> = case
            .groups
            .iter()
            .flat_map(|group| Entity::all(view.join).into_iter().map(move |entity| (group, entity)))
            .map(|(group, entity)| key(&declared, group, entity))
            .collect();
        let lookups: Vec<Lookup<'_>> = keys
            .iter()
            .map(|key| Lookup {
                view: &declared,
                key: Some(key),
            })
            .collect();
        let reader = self.store.reader(vec![Arc::clone(&declared)]);
        let mut answers = Vec::with_capacity(keys.len());
        for together in lookups.chunks(TOGETHER) {
            for row in reader.read(together, Timestamp::from_micros(asked), WITHIN).await? {
                answers.push(Answer {
                    status: row.status.name(),
                    event: row.event.map(Timestamp::as_micros),
                    cells: row.values.into_iter().map(cell).collect::<Result<_>>()?,
                });
            }
        }
        Ok(answers)
    }

    /// The training set of these labels: for each, the texts of its features by name.
    pub(crate) async fn train(
        &self,
        service: &str,
        labels: &[(&Group, Label)],
    ) -> Result<Vec<HashMap<String, String>>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["user", "item", "event_timestamp"])?;
        for (group, label) in labels {
            let user = label.user.map_or_else(String::new, |user| group.user(user));
            let item = label.item.map_or_else(String::new, |item| group.item(item).to_string());
            writer.write_record([user, item, written(label.moment)])?;
        }
        let given = TableReader::csv("labels.csv", Cursor::new(writer.into_inner()?))?;
        let mut out = Vec::new();
        let output = TableOutput {
            format: Format::Csv,
            to: &mut out,
        };
        self.app
            .training_set(service, given, output, &Progress::hidden())
            .await?;
        Ok(csv::Reader::from_reader(out.as_slice())
            .deserialize()
            .collect::<Result<_, _>>()?)
    }
}

const fn mode_of(mode: Mode) -> feature_server::Mode {
    match mode {
        Mode::Full => feature_server::Mode::Full,
        Mode::Incremental => feature_server::Mode::Incremental,
        Mode::Replace => feature_server::Mode::Replace,
    }
}

fn outcome(ended: Result<RunSummary, RunError>) -> Result<Outcome> {
    match ended {
        Ok(summary) => {
            let ran = Ran {
                run: summary.run,
                as_of: summary.as_of.as_micros(),
                full: summary.kind != Kind::Incremental,
                forced: summary.forced_full.is_some(),
                replaced: summary.kind == Kind::Replace,
            };
            Ok(match summary.outcome {
                RunOutcome::Done | RunOutcome::AlreadyDone { .. } => Outcome::Done(ran),
                RunOutcome::ShardDone { .. } => Outcome::Part(ran),
            })
        }
        Err(RunError::Earlier { .. }) => Ok(Outcome::Earlier),
        Err(RunError::SameMoment { .. }) => Ok(Outcome::Same),
        Err(RunError::Future { .. }) => Ok(Outcome::Future),
        Err(error) => bail!("the run failed: {error}"),
    }
}

/// Lets a future go so many steps, then drops it, as when its process dies. `None`: it had not ended by then.
async fn polled<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
        std::task::Poll::Pending => {
            left -= 1;
            std::task::Poll::Pending
        }
    })
    .await
}

fn key(declared: &Declared, group: &Group, entity: Entity) -> EntityKey {
    let user = entity.user.map(|user| KeyValue::String(group.user(user)));
    let item = entity.item.map(|item| KeyValue::Int64(group.item(item)));
    let values: Vec<KeyValue> = user.into_iter().chain(item).collect();
    EntityKey::new(declared.entity.join_keys.iter().map(|key| &key.name).zip(&values))
}

fn cell(value: Option<Value>) -> Result<Cell> {
    Ok(match value {
        None => Cell::Null,
        Some(Value::Bool(b)) => Cell::Bool(b),
        Some(Value::Int64(n)) => Cell::Int(n),
        Some(Value::Float64(x)) => Cell::Float(x),
        Some(Value::String(s)) => Cell::Text(s),
        Some(Value::Timestamp(at)) => Cell::Time(at.as_micros()),
        Some(other) => bail!("no view has a feature like {other:?}"),
    })
}
