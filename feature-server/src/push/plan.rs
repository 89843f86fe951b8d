//! What pushing to a source needs to know of its database, asked for once in a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_defs::definitions::{Function, Source, View, ViewKind};
use feature_defs::key::KeyType;
use feature_defs::name::SourceName;
use feature_defs::value::ValueType;
use tokio::sync::Mutex;

use super::PushError;
use crate::app::App;
use crate::source::{self, Columns, Entities, Table};

/// How long it is taken to be still so. Where the database refuses rows, it is asked again at once.
const TRUSTED_FOR: Duration = Duration::from_secs(30);

/// What is known of each source.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<SourceName, (Instant, Arc<Plan>)>>);

/// What is known of a source.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: Table,
    /// As what features read each of the table's columns, where that is said.
    pub(super) reads: Vec<Vec<ValueType>>,
    /// The columns that hold join keys, each as one type.
    pub(super) keys: Vec<(String, KeyType)>,
    pub(super) views: Vec<ViewPlan>,
}

/// How a view's values are computed from what was appended.
#[derive(Debug)]
pub(super) struct ViewPlan {
    pub(super) view: Arc<View>,
    pub(super) entities: Entities,
    /// Which of [`Plan::keys`] hold its join keys, if the table's columns show them.
    pub(super) keys: Option<Vec<usize>>,
    pub(super) query: String,
}

impl Plans {
    /// What is known of a source, which rows can be pushed to.
    pub(super) async fn of(&self, app: &App, source: &Source) -> Result<Arc<Plan>, PushError> {
        // Held while the database is asked: many pushes at a time ask once.
        let mut plans = self.0.lock().await;
        if let Some((since, plan)) = plans.get(&source.name)
            && since.elapsed() < TRUSTED_FOR
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::of(app, source).await?);
        plans.insert(source.name.clone(), (Instant::now(), Arc::clone(&plan)));
        Ok(plan)
    }

    pub(super) async fn forget(&self, source: &Source) {
        self.0.lock().await.remove(&source.name);
    }
}

impl Plan {
    async fn of(app: &App, source: &Source) -> Result<Self, PushError> {
        let name = source
            .push_to
            .as_ref()
            .ok_or_else(|| PushError::NoTable(source.name.clone()))?;
        app.store().check_schema().await?;
        // Not one of the pool, whose connections remember what a statement's columns once were.
        let mut connection = app.primary_of(source).url().connect().await?;
        let table = source::table_of(&mut connection, source, name).await;
        let columns = source::columns_of(&mut connection, source).await;
        let (table, columns) = match (table, columns) {
            (Ok(table), Ok(columns)) => (table, columns),
            (Err(error), _) | (_, Err(error)) => return Err(PushError::Columns(vec![error.into()])),
        };
        let views = app.definitions().views.iter();
        let views: Vec<&Arc<View>> = views.filter(|view| view.source.name == source.name).collect();
        let mut problems = table.problems(source);
        problems.extend(views.iter().flat_map(|view| source::check_view(view, &columns)));
        if !problems.is_empty() {
            return Err(PushError::Columns(problems));
        }
        let mut plan = Self {
            reads: reads(&table, &views),
            table,
            keys: Vec::new(),
            views: Vec::with_capacity(views.len()),
        };
        for view in views {
            let planned = plan.view(view, &columns);
            plan.views.push(planned);
        }
        Ok(plan)
    }

    fn view(&mut self, view: &Arc<View>, columns: &Columns) -> ViewPlan {
        let source = &view.source;
        // What a query, or a view of the database, makes of a row is its own affair: it alone knows whose the row is.
        let entities = if !self.table.is_source {
            Entities::OfTimes
        } else if source.key.is_empty() {
            Entities::Given
        } else {
            let types = source.key.iter().filter_map(|column| self.table.position(column));
            Entities::OfEvents(types.map(|i| self.table.columns[i].sql_type.clone()).collect())
        };
        let join_keys = view.key_columns.iter().zip(&view.entity.join_keys);
        let keys: Vec<usize> = join_keys.map(|(column, key)| self.key(column, key.key_type)).collect();
        ViewPlan {
            keys: self.table.is_source.then_some(keys),
            query: source::pushed_query(view, columns, &entities),
            view: Arc::clone(view),
            entities,
        }
    }

    fn key(&mut self, column: &str, key_type: KeyType) -> usize {
        let same = |(other, other_type): &(String, KeyType)| other == column && *other_type == key_type;
        self.keys.iter().position(same).unwrap_or_else(|| {
            self.keys.push((column.to_owned(), key_type));
            self.keys.len() - 1
        })
    }
}

/// As what features read the table's columns. Those of a query are not the table's.
fn reads(table: &Table, views: &[&Arc<View>]) -> Vec<Vec<ValueType>> {
    let mut reads = vec![Vec::new(); table.columns.len()];
    let mut read = |column: &str, value_type: ValueType| {
        if let Some(i) = table.position(column).filter(|_| table.is_source) {
            reads[i].push(value_type);
        }
    };
    for view in views {
        match &view.kind {
            ViewKind::Row { columns } => {
                let columns = columns.iter().zip(view.fields());
                columns.for_each(|(column, field)| read(column, field.value_type));
            }
            ViewKind::Aggregate(aggregates) => {
                use Function::{Last, Max, Min};
                let typed = aggregates.iter().filter(|a| matches!(a.function, Min | Max | Last));
                for aggregate in typed {
                    aggregate
                        .column
                        .iter()
                        .for_each(|column| read(column, aggregate.value_type));
                }
            }
        }
    }
    reads
}
