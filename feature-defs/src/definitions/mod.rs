//! What a team has declared: entities, sources, views, derived features and services, checked and linked.
//!
//! A [`Definitions`] in hand is valid: every reference in it is resolved. [`load`] makes one from a directory of TOML,
//! or says everything that is wrong with it.

mod diagnostic;
mod load;

use std::path::PathBuf;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::codec::{Field, Schema};
use crate::expression::Expression;
use crate::key::{EntityKey, KeyType, KeyValue};
use crate::name::{DatabaseName, EntityName, FeatureName, ProjectName, ServiceName, SourceName, ViewName};
use crate::time::Span;
use crate::value::{Value, ValueType};

pub use diagnostic::{Diagnostic, Diagnostics, Snippet};
pub use load::load;

/// Everything one directory of files declares.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The namespace of everything stored.
    pub project: ProjectName,
    /// In file order, as all lists here.
    pub entities: Vec<Arc<Entity>>,
    /// Where values come from.
    pub sources: Vec<Arc<Source>>,
    /// What is materialized.
    pub views: Vec<Arc<View>>,
    /// What is served.
    pub services: Vec<Arc<Service>>,
}

impl Definitions {
    /// The view of this name.
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.views.iter().find(|v| v.name.as_str() == name)
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|s| s.name.as_str() == name)
    }
}

/// A thing features are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Its name.
    pub name: EntityName,
    /// The columns that identify it, in the order that keys are spelled in.
    pub join_keys: Vec<JoinKey>,
}

/// One of the columns that identify an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinKey {
    /// Its name.
    pub name: FeatureName,
    /// Its type.
    pub key_type: KeyType,
}

/// A Postgres table or query with an event timestamp column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// The database it is in; `None`: the one that all sources are in that do not say.
    pub database: Option<DatabaseName>,
    /// What is read.
    pub relation: Relation,
    /// The `timestamptz` column that says when a row was true in the world.
    pub event_timestamp: String,
    /// The `timestamptz` column that says when a row was written, if there is one: late and corrected rows are found by
    /// it, and it breaks ties.
    pub created_timestamp: Option<String>,
    /// The columns that say which event a row is a version of; empty: each row is an event of its own. Of the versions of
    /// an event the newest created counts. Never empty without `created_timestamp`.
    pub key: Vec<String>,
    /// The `bool` column that is true in a row that takes its event away, or in a row view without `key` its entity's
    /// value.
    pub deleted: Option<String>,
    /// How far behind the watermark to look again: in created time where there is such a column (`overlap`, default 5
    /// minutes, because rows become visible after they are stamped), else in event time (`lateness`, default none).
    pub look_back: Span,
    /// The table that pushed rows are appended to, as `table` or `schema.table` of the same database; `None`: nothing can be
    /// pushed. What is appended there must show in `relation`.
    pub push_to: Option<String>,
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table or view, as `table` or `schema.table`.
    Table(String),
    /// A query.
    Query {
        /// The file that holds it.
        file: PathBuf,
        /// Its text, without a closing semicolon.
        sql: String,
    },
}

/// A feature view.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its name.
    pub name: ViewName,
    /// For people.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What its features are about.
    pub entity: Arc<Entity>,
    /// Where they come from.
    pub source: Arc<Source>,
    /// The source column of each join key of the entity, in the entity's order.
    pub key_columns: Vec<String>,
    /// How old a value may be; `None`: never too old.
    pub ttl: Option<Span>,
    /// How often it is materialized; `None`: by command only.
    pub schedule: Option<Span>,
    /// What its owner promises: that neither the source has been read longer ago than this, nor its newest row is older.
    pub fresh_for: Option<Span>,
    /// What is computed.
    pub kind: ViewKind,
    /// The features, in the order they are stored in.
    pub schema: Schema,
    /// What runs expect of the features' values: at most one a feature.
    pub expectations: Vec<Expectation>,
}

impl View {
    /// The features, in the order they are stored in.
    pub fn fields(&self) -> &[Field] {
        self.schema.fields()
    }

    /// Whether it is an aggregate view.
    pub const fn is_aggregate(&self) -> bool {
        matches!(self.kind, ViewKind::Aggregate(_))
    }

    /// Whether every run computes an entity's value anew from all of its events, so that as-of alone says which of two
    /// values is newer: aggregates, and sources whose events can be moved away from an entity.
    pub fn is_recomputed_whole(&self) -> bool {
        self.is_aggregate() || !self.source.key.is_empty()
    }

    /// What changes when the meaning of stored values does: source, keys, features. Not their order, which readers find in
    /// the stored layout; nor the prose, ttl, schedule or promise. Sixteen hexadecimal digits.
    pub fn digest(&self) -> String {
        let mut hash = Xxh3::new();
        let source = &self.source;
        let mut order: Vec<usize> = (0..self.fields().len()).collect();
        order.sort_by(|&one, &other| self.fields()[one].name.cmp(&self.fields()[other].name));
        let meaning = (
            &self.entity.join_keys,
            &self.key_columns,
            source.relation_text(),
            (
                &source.event_timestamp,
                &source.created_timestamp,
                &source.key,
                &source.deleted,
            ),
            self.kind.in_order(&order),
        );
        hash.update(format!("{meaning:?}").as_bytes());
        // Only where it is said: digests of before there were several databases stay what they are.
        if let Some(database) = &source.database {
            hash.update(format!("{database:?}").as_bytes());
        }
        let fields: Vec<&Field> = order.iter().map(|&i| &self.fields()[i]).collect();
        hash.update(format!("{fields:?}").as_bytes());
        format!("{:016x}", hash.digest())
    }
}

impl Source {
    /// The table's name or the query's text.
    pub fn relation_text(&self) -> &str {
        match &self.relation {
            Relation::Table(table) => table,
            Relation::Query { sql, .. } => sql,
        }
    }
}

/// What a run expects of a feature's values. It looks before it writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// Which of [`View::fields`].
    pub feature: usize,
    /// The smallest value, for numbers.
    pub min: Option<f64>,
    /// The largest value, for numbers.
    pub max: Option<f64>,
    /// The largest share of nulls among a run's values, 0 to 1.
    pub null_share: Option<f64>,
    /// What happens to a run that finds otherwise.
    pub otherwise: Otherwise,
}

/// What happens to a run whose values are not as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It fails, and has written nothing: the default.
    Stop,
    /// It goes on; log and status tell of it.
    Warn,
}

/// What a view computes.
#[derive(Debug, Clone, PartialEq)]
pub enum ViewKind {
    /// The newest row per entity is the value: one source column a feature, in the schema's order.
    Row {
        /// The source column of each feature.
        columns: Vec<String>,
    },
    /// Windowed aggregates over events: one a feature, in the schema's order.
    Aggregate(Vec<Aggregate>),
}

impl ViewKind {
    /// The same with what is computed in this order.
    fn in_order(&self, order: &[usize]) -> Self {
        match self {
            Self::Row { columns } => Self::Row {
                columns: order.iter().map(|&i| columns[i].clone()).collect(),
            },
            Self::Aggregate(aggregates) => Self::Aggregate(order.iter().map(|&i| aggregates[i].clone()).collect()),
        }
    }

    /// The longest window, for an aggregate view.
    pub fn longest_window(&self) -> Option<Span> {
        match self {
            Self::Row { .. } => None,
            Self::Aggregate(aggregates) => aggregates.iter().map(|a| a.window).max(),
        }
    }
}

/// One aggregate over one window: one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// Over which source column; `None` only for `count` and `last_time`, over events.
    pub column: Option<String>,
    /// Over `(t − window, t]`.
    pub window: Span,
    /// The feature's type, which the column must fit.
    pub value_type: ValueType,
}

/// The aggregate functions. Nulls are ignored by all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// events, or non-null values of a column: int64; 0 in an empty window
    Count,
    /// sum: int64 or float64 as declared; 0 in an empty window
    Sum,
    /// arithmetic mean: float64
    Mean,
    /// smallest value, of the declared type
    Min,
    /// largest value, of the declared type
    Max,
    /// sample standard deviation: float64; null for fewer than two values
    Stddev,
    /// the newest non-null value, of the declared type
    Last,
    /// the newest event timestamp: timestamp
    LastTime,
    /// distinct non-null values: int64; null in an empty window
    DistinctCount,
}

impl Function {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::Sum,
        Self::Mean,
        Self::Min,
        Self::Max,
        Self::Stddev,
        Self::Last,
        Self::LastTime,
        Self::DistinctCount,
    ];

    /// Its name in definition files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Stddev => "stddev",
            Self::Last => "last",
            Self::LastTime => "last_time",
            Self::DistinctCount => "distinct_count",
        }
    }
}

/// A feature service: the ordered inputs of a model version, and all that is needed to make them. Two are equal if they
/// make the same inputs of the same, by views of the same definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What only the request carries, in declared order.
    pub request: Vec<Field>,
    /// The join keys that a request carries, each once, in order of first use.
    pub keys: Vec<JoinKey>,
    /// The views it reads, each with the keys it is read by; those only derived features use included.
    pub joins: Vec<Join>,
    /// The derived features it uses, each after those it reads itself.
    pub derived: Vec<Derived>,
    /// The model's inputs, in order.
    pub inputs: Vec<Input>,
}

/// A view as one service reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// The name its features go by in the service: the view's own, or the alias of `joins`.
    pub alias: ViewName,
    /// The view.
    pub view: Arc<View>,
    /// For each join key of the view's entity, in its order: which of [`Service::keys`] holds it.
    pub key_indexes: Vec<usize>,
}

impl Join {
    /// The entity that these values of [`Service::keys`] name, or `None` if one of them is null.
    pub fn entity_key(&self, keys: &[Option<KeyValue>]) -> Option<EntityKey> {
        let values = self.key_indexes.iter().map(|&i| keys[i].as_ref());
        if values.clone().any(|value| value.is_none()) {
            return None;
        }
        let names = self.view.entity.join_keys.iter().map(|k| &k.name);
        Some(EntityKey::new(names.zip(values.flatten())))
    }
}

/// A derived feature as one service uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Its name and declared type.
    pub field: Field,
    /// The checked expression; its variables are [`Origin`]s of the service.
    pub expression: Expression,
}

/// One input of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name in JSON, columns and tensors: `view__feature`, or the bare name of a request or derived feature.
    pub name: String,
    /// Its type.
    pub value_type: ValueType,
    /// Where it comes from.
    pub origin: Origin,
    /// What fills a null, of the input's type.
    pub default: Option<Value>,
}

/// Where a value of a service comes from: indexes into the service's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are the indexes that the variants speak of")]
pub enum Origin {
    /// `service.request[index]`
    Request { index: usize },
    /// `service.joins[join].view.fields()[feature]`
    Stored { join: usize, feature: usize },
    /// `service.derived[index]`
    Derived { index: usize },
    /// The moment of the prediction (`request_time` in expressions); never an input itself.
    RequestTime,
}

impl Service {
    /// The type of the value that comes from `origin`.
    pub fn type_of(&self, origin: Origin) -> ValueType {
        match origin {
            Origin::Request { index } => self.request[index].value_type,
            Origin::Stored { join, feature } => self.joins[join].view.fields()[feature].value_type,
            Origin::Derived { index } => self.derived[index].field.value_type,
            Origin::RequestTime => ValueType::Timestamp,
        }
    }
}
