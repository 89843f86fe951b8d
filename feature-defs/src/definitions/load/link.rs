//! Finds what a service's references mean: which views it joins by which keys, and which derived features it needs.

use std::collections::{HashMap, HashSet};

use super::super::{Derived, Join, JoinKey, Origin};
use super::derived::{DerivedEntry, Meanings};
use super::problems::{Complaint, Place, suggest};
use super::registry::{Miss, Registry};
use super::toml_reader::{Each, Text};
use super::views::ViewEntry;
use crate::codec::Field;
use crate::name::{FeatureName, ViewName};
use crate::value::ValueType;

/// What services can refer to.
#[derive(Debug)]
pub(super) struct Catalog<'a> {
    pub(super) views: Registry<'a, ViewEntry>,
    pub(super) derived: Registry<'a, DerivedEntry<'a>>,
}

/// What all services together have used.
#[derive(Debug, Default)]
pub(super) struct Usage<'a> {
    /// The derived features.
    pub(super) derived: HashSet<FeatureName>,
    /// The names that views are joined under.
    pub(super) aliases: HashSet<&'a str>,
}

/// One of a service's `joins`.
#[derive(Debug)]
pub(super) struct DeclaredJoin<'a> {
    pub(super) alias: Text<'a>,
    pub(super) name: ViewName,
    pub(super) view: Text<'a>,
    /// The request's name of each join key; `None` if the view or the names are wrong.
    pub(super) key_names: Option<Vec<FeatureName>>,
    pub(super) place: Place<'a>,
}

/// What a reference means.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) value_type: ValueType,
}

/// What a service turned out to need.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) request: Vec<Field>,
    pub(super) keys: Vec<JoinKey>,
    pub(super) joins: Vec<Join>,
    pub(super) derived: Vec<Derived>,
}

/// Links one service: joins, keys and derived features are added as references need them.
#[derive(Debug)]
pub(super) struct Linker<'a, 'c> {
    service: &'a str,
    catalog: &'c Catalog<'a>,
    declared: Each<DeclaredJoin<'a>>,
    request_complete: bool,
    linked: Linked,
    /// The derived features met so far, and where they were first asked for; `None`: wrong.
    met: HashMap<FeatureName, Option<usize>>,
    asked_at: Vec<Place<'a>>,
}

impl<'a, 'c> Linker<'a, 'c> {
    pub(super) fn new(
        service: &'a str,
        catalog: &'c Catalog<'a>,
        request: Each<Field>,
        declared: Each<DeclaredJoin<'a>>,
    ) -> Self {
        let linked = Linked {
            request: request.items,
            keys: Vec::new(),
            joins: Vec::new(),
            derived: Vec::new(),
        };
        let (request_complete, met, asked_at) = (request.complete, HashMap::new(), Vec::new());
        Self {
            service,
            catalog,
            declared,
            request_complete,
            linked,
            met,
            asked_at,
        }
    }

    /// What `view:feature`, `request:name` or `derived:name` means.
    pub(super) fn reference(&mut self, text: Text<'a>, usage: &mut Usage<'a>) -> Result<Resolved, Miss> {
        let Some((kind, name)) = text.str.split_once(':') else {
            return Err(self.not_a_reference(text.str));
        };
        let (origin, value_type) = match kind {
            "request" => self.request(name)?,
            "derived" => self.derived(
                Text {
                    str: name,
                    place: text.place,
                },
                usage,
            )?,
            alias => self.stored(alias, name, text.place)?,
        };
        let name = match kind {
            "request" | "derived" => name.to_owned(),
            alias => format!("{alias}__{name}"),
        };
        Ok(Resolved {
            name,
            origin,
            value_type,
        })
    }

    /// What the service needs, after its last reference.
    pub(super) fn finish(self) -> Linked {
        for (feature, place) in self.linked.derived.iter().zip(&self.asked_at) {
            let name = &feature.field.name;
            if self.linked.keys.iter().any(|key| key.name == *name) {
                let message = format!(
                    "`{name}` is a derived feature and a join key in service `{}`",
                    self.service
                );
                place.error(
                    message,
                    "rename one: both go by that name in files and answers".to_owned(),
                );
            }
        }
        self.linked
    }

    fn not_a_reference(&self, text: &str) -> Miss {
        let is_request = self.linked.request.iter().any(|field| field.name.as_str() == text);
        let help = match text.split_once(['.', '/']).or_else(|| text.split_once("__")) {
            Some((view, feature)) => Some(format!("did you mean `{view}:{feature}`?")),
            None if is_request => Some(format!("did you mean `request:{text}`?")),
            None if self.catalog.derived.contains(text) => Some(format!("did you mean `derived:{text}`?")),
            None => None,
        };
        let message = format!("`{text}` is not a reference: write `view:feature`, `request:name` or `derived:name`");
        Miss::Unknown(Complaint { message, help })
    }

    fn request(&self, name: &str) -> Result<(Origin, ValueType), Miss> {
        let fields = &self.linked.request;
        match fields.iter().position(|field| field.name.as_str() == name) {
            Some(index) => Ok((Origin::Request { index }, fields[index].value_type)),
            None if !self.request_complete => Err(Miss::Invalid),
            None => Err(Miss::Unknown(Complaint {
                message: format!("service `{}` has no request feature `{name}`", self.service),
                help: suggest(name, fields.iter().map(|field| field.name.as_str())),
            })),
        }
    }

    fn stored(&mut self, alias: &str, feature: &str, place: Place<'a>) -> Result<(Origin, ValueType), Miss> {
        let catalog = self.catalog;
        let declared = self.declared.items.iter().position(|join| join.alias.str == alias);
        let view_text = match declared {
            Some(index) => self.declared.items[index].view,
            None => self.joined_by_itself(alias, place)?,
        };
        let entry = match (catalog.views.find(view_text), declared) {
            // The view that a join names has been looked up where the join is.
            (Err(_), Some(_)) => return Err(Miss::Invalid),
            (found, _) => found?,
        };
        let feature = entry.feature(alias, feature)?;
        let join = match self.linked.joins.iter().position(|join| join.alias.as_str() == alias) {
            Some(join) => join,
            None => self.join(entry, declared, place)?,
        };
        Ok((
            Origin::Stored { join, feature },
            entry.view.fields()[feature].value_type,
        ))
    }

    /// Refuses a view's own name where the view is joined under other names only, or where no view has it.
    fn joined_by_itself<'t>(&self, name: &'t str, place: Place<'a>) -> Result<Text<'t>, Miss>
    where
        'a: 't,
    {
        let aliases: Vec<&str> = self
            .declared
            .items
            .iter()
            .filter(|join| join.view.str == name)
            .map(|join| join.alias.str)
            .collect();
        if !aliases.is_empty() {
            let quoted: Vec<String> = aliases.iter().map(|alias| format!("`{alias}`")).collect();
            let message = format!(
                "view `{name}` is joined in service `{}` only as {}",
                self.service,
                quoted.join(", ")
            );
            return Err(Miss::Unknown(Complaint {
                message,
                help: Some("use that name".to_owned()),
            }));
        }
        let unknown = !self.catalog.views.contains(name) && !place.problems.may_be_declared(name);
        if unknown && !self.declared.complete {
            return Err(Miss::Invalid);
        }
        if unknown {
            let names = self
                .catalog
                .views
                .names()
                .chain(self.declared.items.iter().map(|join| join.alias.str));
            let help = suggest(name, names);
            return Err(Miss::Unknown(Complaint {
                message: format!("unknown view `{name}`"),
                help,
            }));
        }
        Ok(Text { str: name, place })
    }

    /// Adds a join, and the keys that it needs.
    fn join(&mut self, entry: &ViewEntry, declared: Option<usize>, place: Place<'a>) -> Result<usize, Miss> {
        let view = &entry.view;
        let (alias, names, place) = match declared.map(|index| &self.declared.items[index]) {
            None => (
                view.name.clone(),
                view.entity.join_keys.iter().map(|key| key.name.clone()).collect(),
                place,
            ),
            Some(join) => (
                join.name.clone(),
                join.key_names.clone().ok_or(Miss::Invalid)?,
                join.place,
            ),
        };
        let keys = names.into_iter().zip(&view.entity.join_keys);
        let key_indexes = keys
            .map(|(name, join_key)| {
                self.key(
                    JoinKey {
                        name,
                        key_type: join_key.key_type,
                    },
                    &alias,
                    place,
                )
            })
            .collect();
        self.linked.joins.push(Join {
            alias,
            view: view.clone(),
            key_indexes,
        });
        Ok(self.linked.joins.len() - 1)
    }

    /// The index of a key that the request carries; `alias` needs it.
    fn key(&mut self, key: JoinKey, alias: &ViewName, place: Place<'a>) -> usize {
        let (name, wanted) = (&key.name, key.key_type.value_type());
        if let Some(index) = self.linked.keys.iter().position(|known| known.name == *name) {
            let known = self.linked.keys[index].key_type.value_type();
            if known != wanted {
                let message = format!("view `{alias}` needs `{name}` of type `{wanted}`, another view as `{known}`");
                place.error(
                    message,
                    "give one of them another name in the request, by `keys` of `joins`".to_owned(),
                );
            }
            return index;
        }
        if let Some(field) = self
            .linked
            .request
            .iter()
            .find(|f| f.name == *name && f.value_type != wanted)
        {
            let declared = field.value_type;
            let message = format!("view `{alias}` needs `{name}` of type `{wanted}`, `request` has it as `{declared}`");
            place.error(
                message,
                "one field of the request serves both: they need one type".to_owned(),
            );
        }
        self.linked.keys.push(key);
        self.linked.keys.len() - 1
    }

    /// Adds a derived feature after those that it needs.
    fn derived(&mut self, name: Text<'a>, usage: &mut Usage<'a>) -> Result<(Origin, ValueType), Miss> {
        let catalog = self.catalog;
        let entry = catalog.derived.find(name)?;
        usage.derived.insert(entry.name.clone());
        let found = |index: usize| (Origin::Derived { index }, entry.value_type);
        if let Some(met) = self.met.get(&entry.name) {
            return met.map(found).ok_or(Miss::Invalid);
        }
        // Cycles have been refused, so that nothing below asks for this one again.
        self.met.insert(entry.name.clone(), None);
        if self.linked.request.iter().any(|field| field.name == entry.name) {
            let message = format!(
                "`{}` is a request and a derived feature in service `{}`",
                entry.name, self.service
            );
            name.place.error(message, "rename one: both go by that name".to_owned());
            return Err(Miss::Invalid);
        }
        let variables = entry.parsed.variables();
        let meanings: Meanings = variables
            .into_iter()
            .map(|variable| {
                let meaning = self.variable(&variable, entry, usage);
                (variable, meaning)
            })
            .collect();
        let expression = entry.check(&meanings).ok_or(Miss::Invalid)?;
        let field = Field {
            name: entry.name.clone(),
            value_type: entry.value_type,
        };
        self.linked.derived.push(Derived { field, expression });
        self.asked_at.push(name.place);
        let index = self.linked.derived.len() - 1;
        self.met.insert(entry.name.clone(), Some(index));
        Ok(found(index))
    }

    /// What a variable of an expression means in this service.
    fn variable(
        &mut self,
        text: &str,
        entry: &DerivedEntry<'a>,
        usage: &mut Usage<'a>,
    ) -> Result<(Origin, ValueType), Miss> {
        if let Some((alias, feature)) = text.split_once('.') {
            return self.stored(alias, feature, entry.place());
        }
        let name = text;
        if let Some(known) = self.catalog.derived.names().find(|derived| *derived == name) {
            return self.derived(
                Text {
                    str: known,
                    place: entry.place(),
                },
                usage,
            );
        }
        match self.request(name) {
            Err(Miss::Unknown(_)) if entry.place().problems.may_be_declared(name) => Err(Miss::Invalid),
            Err(Miss::Unknown(_)) => Err(Miss::Unknown(self.unknown_bare(name))),
            found => found,
        }
    }

    fn unknown_bare(&self, name: &str) -> Complaint {
        let message = format!("service `{}` has no request or derived feature `{name}`", self.service);
        if self.linked.keys.iter().any(|key| key.name.as_str() == name) {
            let help = format!("`{name}` is a join key here: to calculate with it, declare it in `request` too");
            return Complaint {
                message,
                help: Some(help),
            };
        }
        let request = self.linked.request.iter().map(|field| field.name.as_str());
        Complaint {
            message,
            help: suggest(name, request.chain(self.catalog.derived.names())),
        }
    }
}
