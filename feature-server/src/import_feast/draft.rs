//! What will be declared, before it is text.

use feature_defs::key::KeyType;
use feature_defs::time::Span;
use feature_defs::value::ValueType;

use super::values::Place;

/// Everything that is carried over.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) entities: Vec<Entity>,
    pub(super) sources: Vec<Source>,
    pub(super) views: Vec<View>,
    pub(super) services: Vec<Service>,
}

/// What is for people.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) description: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) tags: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Entity {
    pub(super) name: String,
    /// For Feast.
    pub(super) feast: String,
    pub(super) keys: Vec<Key>,
    /// The entities that it is made of, if it is of several.
    pub(super) parts: Vec<usize>,
    pub(super) about: About,
    pub(super) at: Place,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Here, and in requests.
    pub(super) name: String,
    /// For Feast.
    pub(super) feast: String,
    pub(super) key_type: KeyType,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// For Feast.
    pub(super) feast: String,
    pub(super) relation: Relation,
    pub(super) event_timestamp: String,
    pub(super) created_timestamp: Option<String>,
    pub(super) push_to: Option<String>,
    /// Columns, and what Feast calls them.
    pub(super) mapping: Vec<(String, String)>,
    pub(super) about: About,
    pub(super) at: Place,
}

impl Source {
    /// The column that Feast calls so.
    pub(super) fn column(&self, feast: &str) -> String {
        let mapped = self.mapping.iter().find(|(_, name)| name == feast);
        mapped.map_or(feast, |(column, _)| column).to_owned()
    }
}

#[derive(Debug)]
pub(super) enum Relation {
    /// As definitions name it.
    Table(String),
    Query(String),
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) name: String,
    /// For Feast.
    pub(super) feast: String,
    pub(super) entity: usize,
    pub(super) source: usize,
    pub(super) ttl: Option<Span>,
    pub(super) features: Vec<Feature>,
    pub(super) about: About,
    pub(super) at: Place,
}

#[derive(Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    /// For Feast.
    pub(super) feast: String,
    pub(super) value_type: ValueType,
    pub(super) column: String,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) request: Vec<(String, ValueType)>,
    pub(super) joins: Vec<Join>,
    /// View (by the name it has in the service) and feature.
    pub(super) features: Vec<(String, String)>,
    /// What Feast's service has besides.
    pub(super) without: Vec<String>,
    pub(super) about: About,
    pub(super) at: Place,
}

#[derive(Debug)]
pub(super) struct Join {
    pub(super) view: String,
    pub(super) alias: String,
    /// Join keys, and what requests call them.
    pub(super) keys: Vec<(String, String)>,
}
