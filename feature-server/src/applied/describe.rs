//! Definitions as they are recorded when applied: everything that is declared, by name, in words of definition files.
//!
//! A file format: programs of other ages read it. Parts that are not there are empty, unknown ones are passed over.

use std::collections::{BTreeMap, BTreeSet};

use feature_defs::definitions::{
    Aggregate, Definitions, Entity, Expectation, Join, Otherwise, Relation, Service, Source, View, ViewKind,
};
use serde::{Deserialize, Serialize};

/// What is said of a thing, by the key of definition files that says it. What is not said is not there.
pub(super) type Settings = BTreeMap<String, String>;

/// Everything that definitions declare, each by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Described {
    pub(super) entities: BTreeMap<String, Settings>,
    pub(super) sources: BTreeMap<String, Settings>,
    pub(super) views: BTreeMap<String, DescribedView>,
    pub(super) services: BTreeMap<String, DescribedService>,
}

/// A view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DescribedView {
    pub(super) digest: String,
    pub(super) settings: Settings,
    /// In declared order.
    pub(super) features: Vec<DescribedFeature>,
}

/// A view's feature, or a service's input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DescribedFeature {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) value_type: String,
    /// What is said of it besides.
    pub(super) settings: Settings,
}

/// A feature service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DescribedService {
    /// The views it reads.
    pub(super) views: BTreeSet<String>,
    /// Type by name.
    pub(super) request: Settings,
    /// View and keys by alias.
    pub(super) joins: Settings,
    /// Type and expression by name.
    pub(super) derived: Settings,
    /// In the model's order.
    pub(super) inputs: Vec<DescribedFeature>,
}

impl Described {
    pub(crate) fn new(definitions: &Definitions) -> Self {
        fn all<T, D>(
            things: &[std::sync::Arc<T>],
            name: impl Fn(&T) -> String,
            of: impl Fn(&T) -> D,
        ) -> BTreeMap<String, D> {
            things.iter().map(|thing| (name(thing), of(thing))).collect()
        }
        Self {
            entities: all(&definitions.entities, |entity| entity.name.to_string(), entity),
            sources: all(&definitions.sources, |source| source.name.to_string(), source),
            views: all(&definitions.views, |view| view.name.to_string(), view),
            services: all(&definitions.services, |service| service.name.to_string(), service),
        }
    }

    /// The digest of each view.
    pub(crate) fn digests(&self) -> BTreeMap<&str, &str> {
        let views = self.views.iter();
        views
            .map(|(name, view)| (name.as_str(), view.digest.as_str()))
            .collect()
    }

    /// The services that read a view.
    pub(super) fn readers(&self, view: &str) -> impl Iterator<Item = &str> {
        let services = self.services.iter();
        services
            .filter(move |(_, service)| service.views.contains(view))
            .map(|(name, _)| name.as_str())
    }
}

/// The settings that are there.
fn settings<const N: usize>(said: [(&str, Option<String>); N]) -> Settings {
    let said = said.into_iter();
    said.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn entity(entity: &Entity) -> Settings {
    let keys = entity.join_keys.iter();
    let keys: Vec<String> = keys
        .map(|key| format!("{} {}", key.name, key.key_type.value_type()))
        .collect();
    settings([("join_keys", Some(keys.join(", ")))])
}

fn source(source: &Source) -> Settings {
    let (table, sql) = match &source.relation {
        Relation::Table(table) => (Some(table.clone()), None),
        Relation::Query { sql, .. } => (None, Some(sql.clone())),
    };
    let look_back = match source.created_timestamp {
        Some(_) => "overlap",
        None => "lateness",
    };
    settings([
        ("database", source.database.as_ref().map(ToString::to_string)),
        ("table", table),
        ("sql", sql),
        ("event_timestamp", Some(source.event_timestamp.clone())),
        ("created_timestamp", source.created_timestamp.clone()),
        ("key", (!source.key.is_empty()).then(|| source.key.join(", "))),
        ("deleted", source.deleted.clone()),
        (look_back, Some(source.look_back.to_string())),
        ("push_to", source.push_to.clone()),
    ])
}

fn view(view: &View) -> DescribedView {
    let kind = match &view.kind {
        ViewKind::Row { .. } => "row",
        ViewKind::Aggregate(_) => "aggregate",
    };
    let keys = view.entity.join_keys.iter().zip(&view.key_columns);
    let columns: Vec<String> = keys
        .filter(|(key, column)| key.name.as_str() != column.as_str())
        .map(|(key, column)| format!("{} = {column}", key.name))
        .collect();
    DescribedView {
        digest: view.digest(),
        settings: settings([
            ("kind", Some(kind.to_owned())),
            ("entity", Some(view.entity.name.to_string())),
            ("source", Some(view.source.name.to_string())),
            ("columns", (!columns.is_empty()).then(|| columns.join(", "))),
            ("ttl", view.ttl.map(|span| span.to_string())),
            ("schedule", view.schedule.map(|span| span.to_string())),
            ("fresh_for", view.fresh_for.map(|span| span.to_string())),
            ("description", view.description.clone()),
            ("owner", view.owner.clone()),
        ]),
        features: (0..view.fields().len()).map(|i| feature(view, i)).collect(),
    }
}

fn feature(view: &View, i: usize) -> DescribedFeature {
    let field = &view.fields()[i];
    let computed = match &view.kind {
        ViewKind::Row { columns } => format!("column {}", columns[i]),
        ViewKind::Aggregate(aggregates) => computed(&aggregates[i]),
    };
    let expect = view.expectations.iter().find(|expect| expect.feature == i);
    DescribedFeature {
        name: field.name.to_string(),
        value_type: field.value_type.to_string(),
        settings: settings([("computed", Some(computed)), ("expect", expect.map(expected))]),
    }
}

fn computed(aggregate: &Aggregate) -> String {
    let (function, column) = (aggregate.function.name(), aggregate.column.as_deref());
    format!("{function} of {} over {}", column.unwrap_or("events"), aggregate.window)
}

fn expected(expect: &Expectation) -> String {
    let bounds = [
        ("min", expect.min),
        ("max", expect.max),
        ("null_share", expect.null_share),
    ];
    let mut said: Vec<String> = bounds
        .iter()
        .filter_map(|(key, bound)| Some(format!("{key} = {}", (*bound)?)))
        .collect();
    said.push(match expect.otherwise {
        Otherwise::Stop => "otherwise stop".to_owned(),
        Otherwise::Warn => "otherwise warn".to_owned(),
    });
    said.join(", ")
}

fn service(service: &Service) -> DescribedService {
    let request = service.request.iter();
    let derived = service.derived.iter();
    let joins = service.joins.iter();
    let inputs = service.inputs.iter();
    DescribedService {
        views: joins.clone().map(|join| join.view.name.to_string()).collect(),
        request: request
            .map(|field| (field.name.to_string(), field.value_type.to_string()))
            .collect(),
        joins: joins
            .map(|join| (join.alias.to_string(), joined(service, join)))
            .collect(),
        derived: derived
            .map(|derived| {
                let text = format!("{} {}", derived.field.value_type, derived.expression.text());
                (derived.field.name.to_string(), text)
            })
            .collect(),
        inputs: inputs
            .map(|input| DescribedFeature {
                name: input.name.clone(),
                value_type: input.value_type.to_string(),
                settings: settings([(
                    "default",
                    input.default.as_ref().map(|value| value.to_json().to_string()),
                )]),
            })
            .collect(),
    }
}

fn joined(service: &Service, join: &Join) -> String {
    let keys = join.view.entity.join_keys.iter().zip(&join.key_indexes);
    let keys: Vec<String> = keys
        .map(|(key, &i)| format!("{} = {}", key.name, service.keys[i].name))
        .collect();
    format!("{} by {}", join.view.name, keys.join(", "))
}
