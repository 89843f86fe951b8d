//! Entities, and those of several that a view with several has.

use std::collections::HashMap;
use std::sync::Arc;

use feature_defs::key::KeyType;

use super::carry::{Carry, Left, VIEWS, name_of};
use super::draft::{About, Entity, Key};
use super::types::{self, Type};
use super::values::{Known, Object, Place, Value, last};
use crate::definition_files::names::{looks_like_id, valid};

impl Carry<'_> {
    pub(super) fn all_entities(&mut self) {
        let fields = self.key_fields();
        for object in self.of_class(&["Entity"]) {
            let what = format!("entity {}", object.shown());
            let index = match self.entity(object, &fields) {
                Ok(index) => Some(index),
                Err(left) => {
                    self.left(&object.at, &what, left);
                    None
                }
            };
            self.entities.insert(object.id, index);
        }
    }

    /// The types of all fields of views, by view's entity and name: Feast takes a join key's type from there.
    fn key_fields(&self) -> HashMap<(usize, String), Type> {
        let mut found = HashMap::new();
        for view in self.of_class(&VIEWS) {
            let entities = view
                .argument("entities")
                .and_then(|entities| entities.list().ok())
                .unwrap_or_default();
            let entities = entities
                .iter()
                .filter_map(|known| known.object().ok())
                .map(|entity| entity.id);
            let entities: Vec<usize> = entities.collect();
            let fields = view
                .argument("schema")
                .and_then(|schema| schema.list().ok())
                .unwrap_or_default();
            for field in fields.iter().filter_map(|known| known.object().ok()) {
                let name = field.argument_or("name", 0).and_then(|name| name.text().ok());
                let dtype = field.argument_or("dtype", 1).and_then(|dtype| types::of(dtype).ok());
                if let (Some(name), Some(dtype)) = (name, dtype) {
                    found.extend(
                        entities
                            .iter()
                            .map(|entity| ((*entity, name.to_owned()), dtype.clone())),
                    );
                }
            }
        }
        found
    }

    fn entity(&mut self, object: &Arc<Object>, fields: &HashMap<(usize, String), Type>) -> Result<usize, Left> {
        let feast = name_of(object)?.to_owned();
        let join_key = join_key(object, &feast)?;
        if let Some(known) = self.draft.entities.iter().position(|known| known.feast == feast) {
            let why = "there is an entity of this name already, and that one counts";
            let what = format!("entity `{feast}`");
            self.notes
                .look_at(object.at.clone(), &what, why, "rename one if they differ");
            return Ok(known);
        }
        let declared = object.argument("value_type").filter(|known| !is_unknown(known));
        let declared =
            declared.map(|known| types::of(known).map_err(|why| Left::unknown(format!("its `value_type` {why}"))));
        let declared = declared
            .transpose()?
            .or_else(|| fields.get(&(object.id, join_key.clone())).cloned());
        let key_type = match declared {
            Some(declared) => declared.key_type().ok_or_else(|| {
                let why = format!(
                    "its join key `{join_key}` is of type {}, and keys are texts or integers",
                    declared.value_type()
                );
                Left::new(why, "make it a text or an integer in a query")
            })?,
            None => self.guessed(object, &feast, &join_key),
        };
        let key = self.name("join key", &join_key, &object.at, |_| false);
        let names: Vec<String> = self.draft.entities.iter().map(|known| known.name.clone()).collect();
        let name = self.name("entity", &feast, &object.at, |name| {
            names.iter().any(|known| known == name)
        });
        let about = self.about(object, &format!("entity `{feast}`"));
        self.draft.entities.push(Entity {
            name,
            feast,
            keys: vec![Key {
                name: key,
                feast: join_key,
                key_type,
            }],
            parts: Vec::new(),
            about,
            at: object.at.clone(),
        });
        Ok(self.draft.entities.len() - 1)
    }

    /// The type of a key that nothing says: Feast asks the database.
    fn guessed(&mut self, object: &Object, entity: &str, join_key: &str) -> KeyType {
        let guess = if looks_like_id(join_key) {
            KeyType::Int64
        } else {
            KeyType::String
        };
        let why = format!(
            "nothing says of which type `{join_key}` is: `{}` is a guess by its name",
            guess.value_type()
        );
        let help = "`check --database` says whether it fits; or say `value_type=…` in Feast";
        self.notes
            .look_at(object.at.clone(), &format!("entity `{entity}`"), why, help);
        guess
    }

    /// The entity of a view: its own, or one made of all that it has.
    pub(super) fn entity_of(&mut self, view: &Object) -> Result<usize, Left> {
        let none = || {
            Left::new(
                "it has no entity: Feast keeps one row for all, under an entity of its own",
                "give it a key that is always the same, by a query: SELECT 'all' AS everything, * FROM …",
            )
        };
        let entities = view.argument("entities").ok_or_else(none)?;
        let list = entities
            .list()
            .map_err(|problem| Left::unknown(format!("its `entities` {problem}")))?;
        let mut parts = Vec::new();
        for known in list {
            let part = self.entity_named(known)?;
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        match parts.as_slice() {
            [] => Err(none()),
            [one] => Ok(*one),
            several => self.composite(several, &view.at),
        }
    }

    fn entity_named(&mut self, known: &Known) -> Result<usize, Left> {
        let index = match &known.value {
            Value::Text(name) => self.draft.entities.iter().position(|entity| entity.feast == **name),
            _ => {
                let object = known
                    .object()
                    .map_err(|problem| Left::unknown(format!("one of its `entities` {problem}")))?;
                self.entities.get(&object.id).copied().flatten()
            }
        };
        index.ok_or_else(|| Left::new("one of its entities is not carried over", "carry it over first"))
    }

    /// The entity whose keys are those of several.
    fn composite(&mut self, parts: &[usize], at: &Place) -> Result<usize, Left> {
        let is_same =
            |known: &Entity| known.parts.len() == parts.len() && parts.iter().all(|part| known.parts.contains(part));
        if let Some(known) = self.draft.entities.iter().position(is_same) {
            return Ok(known);
        }
        let of: Vec<&Entity> = parts.iter().map(|part| &self.draft.entities[*part]).collect();
        let feast: Vec<&str> = of.iter().map(|entity| entity.feast.as_str()).collect();
        let keys: Vec<Key> = of.iter().flat_map(|entity| entity.keys.iter().cloned()).collect();
        let feast = feast.join(", ");
        if (1..keys.len()).any(|at| keys[..at].iter().any(|key| key.name == keys[at].name)) {
            return Err(Left::unknown(format!("its entities {feast} share a join key")));
        }
        let names: Vec<&str> = of.iter().map(|entity| entity.name.as_str()).collect();
        let wanted = names.join("_");
        let name = crate::definition_files::names::unique(&wanted, |name| {
            self.draft.entities.iter().any(|known| known.name == name)
        });
        let why = format!("views that have all of these are about the entity `{name}`");
        let what = format!("entities {feast}");
        self.notes
            .look_at(at.clone(), &what, why, "`forget` and keys name it so");
        self.draft.entities.push(Entity {
            name: valid(&name, "entity"),
            feast,
            keys,
            parts: parts.to_vec(),
            about: About::default(),
            at: at.clone(),
        });
        Ok(self.draft.entities.len() - 1)
    }
}

fn join_key(object: &Object, name: &str) -> Result<String, Left> {
    let unknown = |problem: String| Left::unknown(format!("its join key {problem}"));
    if let Some(key) = object.argument("join_key") {
        return Ok(key.text().map_err(unknown)?.to_owned());
    }
    let Some(keys) = object.argument("join_keys") else {
        return Ok(name.to_owned());
    };
    match keys.list().map_err(unknown)? {
        [] => Ok(name.to_owned()),
        [key] => Ok(key.text().map_err(unknown)?.to_owned()),
        _ => Err(Left::unknown(
            "it has several join keys, which Feast does not know either",
        )),
    }
}

/// `ValueType.UNKNOWN`, which says nothing.
fn is_unknown(known: &Known) -> bool {
    matches!(&known.value, Value::Outside(path) if last(path) == "UNKNOWN")
}
