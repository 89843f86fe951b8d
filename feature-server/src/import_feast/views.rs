//! Feature views that are rows of a table or query.

use std::sync::Arc;

use feature_defs::time::Span;

use super::carry::{Carry, Left, RENAMED, VIEWS, name_of};
use super::draft::{Feature, View};
use super::types::{self, Type};
use super::values::{Known, Object, Value};
use crate::definition_files::names::{unique, valid};

/// The views' names that mean something else before a colon.
pub(super) const RESERVED: [&str; 2] = ["request", "derived"];

impl Carry<'_> {
    pub(super) fn all_views(&mut self) {
        for object in self.of_class(&VIEWS) {
            let what = format!("feature view {}", object.shown());
            let index = match self.view(object, &what) {
                Ok(view) => {
                    self.draft.views.push(view);
                    Some(self.draft.views.len() - 1)
                }
                Err(left) => {
                    self.left(&object.at, &what, left);
                    None
                }
            };
            self.views.insert(object.id, index);
        }
    }

    fn view(&mut self, object: &Arc<Object>, what: &str) -> Result<View, Left> {
        let feast = name_of(object)?.to_owned();
        refuse_computed(object)?;
        if self.draft.views.iter().any(|known| known.feast == feast) {
            return Err(Left::unknown(
                "there is a view of this name already, and that one is carried over",
            ));
        }
        let known = object.argument("source").or_else(|| object.argument("batch_source"));
        let known = known.ok_or_else(|| {
            Left::new(
                "it has no source: its rows are only ever pushed",
                "give it a table to append to",
            )
        })?;
        let source = self.source_of(known)?;
        let entity = self.entity_of(object)?;
        let ttl = ttl(object)?;
        let features = self.features(object, (entity, source), what)?;
        self.note_stream(known, what, &object.at);
        self.note_switches(object, what);
        let names: Vec<String> = self.draft.views.iter().map(|known| known.name.clone()).collect();
        let is_taken = |name: &str| RESERVED.contains(&name) || names.iter().any(|known| known == name);
        Ok(View {
            name: self.name("feature view", &feast, &object.at, is_taken),
            feast,
            entity,
            source,
            ttl,
            features,
            about: self.about(object, what),
            at: object.at.clone(),
        })
    }

    /// The fields of the schema that are no join keys.
    fn features(
        &mut self,
        object: &Object,
        (entity, source): (usize, usize),
        what: &str,
    ) -> Result<Vec<Feature>, Left> {
        let schema = object.argument("schema").or_else(|| object.argument("features"));
        let schema = schema.map_or(Ok(&[][..]), Known::list);
        let schema = schema.map_err(|problem| Left::unknown(format!("its `schema` {problem}")))?;
        let keys: Vec<String> = self.draft.entities[entity]
            .keys
            .iter()
            .map(|key| key.feast.clone())
            .collect();
        let is_key = |known: &Known| field(known).is_ok_and(|(name, _)| keys.iter().any(|key| key == name));
        let fields: Vec<&Known> = schema.iter().filter(|known| !is_key(known)).collect();
        if fields.is_empty() {
            return Err(Left::new(
                "its schema names no feature: Feast asks the database for the columns",
                "say them as `schema=[Field(…)]` and import again, or let `feature-server init TABLE` look at the table",
            ));
        }
        let mut features: Vec<Feature> = Vec::new();
        for known in fields {
            match field(known) {
                Err(why) => self.left(&known.at, &format!("a field of {what}"), Left::unknown(why)),
                Ok((name, Err(why))) => {
                    let left = Left::new(why, "make it of a type that there is in a query, and add it");
                    self.left(&known.at, &format!("feature `{name}` of {what}"), left);
                }
                Ok((name, Ok(found))) => {
                    let shown = format!("feature `{name}` of {what}");
                    let feature = self.feature((name, &found), source, &features);
                    self.note_feature(known, &shown, &feature, &found);
                    features.push(feature);
                }
            }
        }
        if features.is_empty() {
            return Err(Left::new(
                "none of its features is carried over",
                "carry one over first",
            ));
        }
        Ok(features)
    }

    fn feature(&self, (feast, found): (&str, &Type), source: usize, before: &[Feature]) -> Feature {
        let is_taken = |name: &str| before.iter().any(|known| known.name == name);
        Feature {
            name: unique(&valid(feast, "feature"), is_taken),
            feast: feast.to_owned(),
            value_type: found.value_type(),
            column: self.draft.sources[source].column(feast),
        }
    }

    fn note_feature(&mut self, known: &Known, what: &str, feature: &Feature, found: &Type) {
        if let Type::Near(value_type, difference) = found {
            let why = format!("it is a {value_type} here: {difference}");
            self.notes
                .look_at(known.at.clone(), what, why, "leave it out if that is not enough");
        }
        if feature.name != feature.feast {
            let why = format!("it is called `{}` here", feature.name);
            self.notes.look_at(known.at.clone(), what, why, RENAMED);
        }
    }

    fn note_switches(&mut self, object: &Object, what: &str) {
        let is = |name: &str, wanted: bool| {
            let value = object.argument(name).map(|known| &known.value);
            matches!(value, Some(Value::Bool(value)) if *value == wanted)
        };
        // A batch feature view is online only if it says so.
        let is_batch = object.class() == Some("BatchFeatureView");
        if is("online", false) || is_batch && !is("online", true) {
            let why = "it is not kept online in Feast";
            let help = "leave it out of `materialize` and give it no schedule if it is for training sets only";
            self.notes.look_at(object.at.clone(), what, why, help);
        }
        let pinned = object
            .text("version")
            .ok()
            .flatten()
            .filter(|version| *version != "latest");
        if let Some(version) = pinned {
            let why = format!(
                "it is pinned to version {version}, which only Feast's registry has: it is carried over as written"
            );
            self.notes
                .look_at(object.at.clone(), what, why, "compare it with that version");
        }
    }
}

/// Views whose features are computed by code.
fn refuse_computed(object: &Object) -> Result<(), Left> {
    if object.argument("aggregations").is_some() {
        return Err(Left::new(
            "it aggregates events",
            "write it as an aggregate view: aggregate = [{ name, function, column, windows }]",
        ));
    }
    let by = ["udf", "feature_transformation"]
        .into_iter()
        .find(|name| object.argument(name).is_some());
    let is_function = object.class().is_some_and(|class| class.ends_with("_feature_view"));
    if by.is_some() || is_function {
        return Err(Left::new(
            "its features are computed by a Python function",
            "compute them in SQL: a source with a query, or an aggregate view",
        ));
    }
    Ok(())
}

fn ttl(object: &Object) -> Result<Option<Span>, Left> {
    let Some(ttl) = object.argument("ttl") else {
        return Ok(None);
    };
    types::span(ttl).map_err(|problem| Left::unknown(format!("its `ttl` {problem}")))
}

/// Name and type of a `Field`, or of a `Feature` as it was once called.
pub(super) fn field(known: &Known) -> Result<(&str, Result<Type, String>), String> {
    let object = known.object().map_err(|problem| format!("it {problem}"))?;
    let name = object.argument_or("name", 0).ok_or("it has no name")?;
    let name = name.text().map_err(|problem| format!("its name {problem}"))?;
    let found = match object.argument_or("dtype", 1) {
        None => Err("it has no type".to_owned()),
        Some(dtype) => types::of(dtype).map_err(|problem| format!("it {problem}")),
    };
    Ok((name, found))
}
