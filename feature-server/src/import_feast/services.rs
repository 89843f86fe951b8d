//! Feature services: which features of which views, under which names and keys.

use std::sync::Arc;

use feature_defs::value::ValueType;

use super::carry::{Carry, Left, ON_DEMAND, RENAMED, VIEWS, field_names, name_of};
use super::draft::Service;
use super::sources::REQUEST;
use super::values::{Known, Made, Object, Place, Value, last};
use super::views::field;
use crate::definition_files::names::{unique, valid};

/// A view as a service uses it.
pub(super) struct Use {
    pub(super) view: usize,
    pub(super) alias: Option<String>,
    /// Join keys as Feast calls them, and what requests call them.
    pub(super) keys: Vec<(String, String)>,
    /// As Feast calls them; `None`: all.
    pub(super) features: Option<Vec<String>>,
}

/// What a service lists.
enum Listed {
    Stored(Use),
    OnDemand(Arc<Object>),
}

/// A service while it is carried over, and what of it is not.
pub(super) struct Attempt {
    pub(super) service: Service,
    pub(super) left: Vec<(Place, String, Left)>,
}

impl Attempt {
    fn leave(&mut self, known: &Known, left: Left) {
        self.service.without.push(shown(known));
        self.left.push((known.at.clone(), shown(known), left));
    }
}

impl Carry<'_> {
    pub(super) fn all_services(&mut self) {
        for object in self.of_class(&["FeatureService"]) {
            let what = format!("feature service {}", object.shown());
            match self.service(object, &what) {
                Ok(service) => self.draft.services.push(service),
                Err(left) => self.left(&object.at, &what, left),
            }
        }
    }

    fn service(&mut self, object: &Arc<Object>, what: &str) -> Result<Service, Left> {
        let feast = name_of(object)?.to_owned();
        let listed = object.argument_or("features", 1).map_or(Ok(&[][..]), Known::list);
        let listed = listed.map_err(|problem| Left::unknown(format!("its `features` {problem}")))?;
        let mut attempt = Attempt {
            service: Service {
                name: String::new(),
                request: Vec::new(),
                joins: Vec::new(),
                features: Vec::new(),
                without: Vec::new(),
                about: self.about(object, what),
                at: object.at.clone(),
            },
            left: Vec::new(),
        };
        let (mut uses, mut on_demands) = (Vec::new(), Vec::new());
        for known in listed {
            match self.listed(known) {
                Ok(Listed::Stored(one)) => uses.push((one, known)),
                Ok(Listed::OnDemand(view)) => {
                    attempt.service.without.push(on_demand(&view));
                    self.request(&view, &mut attempt.service.request);
                    on_demands.push(view.id);
                }
                Err(left) => attempt.leave(known, left),
            }
        }
        // After the request features, whose names join keys may not have with another type.
        for (one, known) in uses {
            if let Err(left) = self.add(&mut attempt, &one, known) {
                attempt.leave(known, left);
            }
        }
        let Attempt { mut service, left } = attempt;
        if service.features.is_empty() {
            let why = "none of its features is carried over";
            return Err(Left::new(why, "carry over what it lists first"));
        }
        for (at, part, left) in left {
            self.left(&at, &format!("{part} in {what}"), left);
        }
        self.drop_plain_joins(&mut service);
        let names: Vec<String> = self.draft.services.iter().map(|known| known.name.clone()).collect();
        let is_taken = |name: &str| names.iter().any(|known| known == name);
        service.name = self.name("feature service", &feast, &object.at, is_taken);
        for view in on_demands {
            self.on_demand.entry(view).or_default().push(service.name.clone());
        }
        Ok(service)
    }

    fn listed(&self, known: &Known) -> Result<Listed, Left> {
        match &known.value {
            Value::Text(reference) => self.reference(reference).map(Listed::Stored),
            Value::Object(object) => self.used(object),
            _ => Err(Left::unknown(format!("it {}", known.instead_of("a feature view")))),
        }
    }

    /// `view`, `view:feature`, or either with a version.
    fn reference(&self, reference: &str) -> Result<Use, Left> {
        let (view, feature) = match reference.split_once(':') {
            Some((view, feature)) => (view, Some(vec![feature.to_owned()])),
            None => (reference, None),
        };
        let view = view.strip_suffix("@latest").unwrap_or(view);
        let found = self.draft.views.iter().position(|known| known.feast == view);
        let view = found.ok_or_else(|| {
            let why = format!("no feature view `{view}` is carried over");
            Left::new(
                why,
                "versions of views, which only Feast's registry has, are not either",
            )
        })?;
        Ok(Use {
            view,
            alias: None,
            keys: Vec::new(),
            features: feature,
        })
    }

    /// A view, some of its features, or a copy of it with another name or other keys.
    fn used(&self, object: &Arc<Object>) -> Result<Listed, Left> {
        let (of, change) = match &object.made {
            Made::By(_) => return self.view_used(object),
            Made::Item { of } => (of, "[]"),
            Made::Method { of, name } => (of, name.as_str()),
        };
        let mut one = match self.used(of)? {
            Listed::Stored(one) => one,
            on_demand @ Listed::OnDemand(_) => return Ok(on_demand),
        };
        let argument = |name: &str| {
            object
                .argument_or(name, 0)
                .ok_or_else(|| Left::unknown(format!("its `{change}` says nothing")))
        };
        let unknown = |problem: String| Left::unknown(format!("its `{change}` {problem}"));
        match change {
            "[]" => one.features = Some(texts(argument("item")?).map_err(unknown)?),
            "with_name" => one.alias = Some(argument("name")?.text().map_err(unknown)?.to_owned()),
            "with_join_key_map" => one.keys = argument("join_key_map")?.text_pairs().map_err(unknown)?,
            "with_projection" => {
                let projection = argument("feature_view_projection")?.object().map_err(unknown)?;
                project(&mut one, projection).map_err(unknown)?;
            }
            other => {
                return Err(Left::unknown(format!(
                    "what `{other}` makes of a view is not known here"
                )));
            }
        }
        Ok(Listed::Stored(one))
    }

    fn view_used(&self, object: &Arc<Object>) -> Result<Listed, Left> {
        match object.class() {
            Some(class) if ON_DEMAND.contains(&class) => Ok(Listed::OnDemand(object.clone())),
            Some(class) if VIEWS.contains(&class) => {
                let view = self.views.get(&object.id).copied().flatten();
                let view = view.ok_or_else(|| Left::new("it is not carried over itself", "carry it over first"))?;
                Ok(Listed::Stored(Use {
                    view,
                    alias: None,
                    keys: Vec::new(),
                    features: None,
                }))
            }
            _ => Err(Left::unknown(format!(
                "it is of `{}`, and no feature view",
                object.maker()
            ))),
        }
    }

    /// Adds what the request sources of an on-demand feature view bring.
    fn request(&mut self, view: &Object, request: &mut Vec<(String, ValueType)>) {
        let sources = view.argument("sources").or_else(|| view.argument("inputs"));
        let sources: Vec<&Known> = match sources.map(|known| &known.value) {
            Some(Value::List(list)) => list.iter().collect(),
            Some(Value::Dict(pairs)) => pairs.iter().map(|(_, source)| source).collect(),
            _ => Vec::new(),
        };
        let objects = sources.into_iter().filter_map(|known| known.object().ok());
        for source in objects.filter(|source| source.class() == Some(REQUEST)) {
            let schema = source
                .argument("schema")
                .and_then(|schema| schema.list().ok())
                .unwrap_or_default();
            for known in schema {
                let what = format!("a request feature of {}", source.shown());
                match field(known) {
                    Ok((name, Ok(found))) => {
                        // The moment of the request goes by this name in expressions.
                        let wanted = unique(&valid(name, "request"), |name| name == "request_time");
                        if wanted != name {
                            let why = format!("it is called `{wanted}` here");
                            self.notes
                                .look_at(known.at.clone(), &format!("request feature `{name}`"), why, RENAMED);
                        }
                        if !request.iter().any(|(known, _)| *known == wanted) {
                            request.push((wanted, found.value_type()));
                        }
                    }
                    Ok((_, Err(why))) | Err(why) => self.left(&known.at, &what, Left::unknown(why)),
                }
            }
        }
    }
}

fn texts(known: &Known) -> Result<Vec<String>, String> {
    let list = known.list()?.iter();
    list.map(|known| Ok(known.text()?.to_owned())).collect()
}

/// What a `FeatureViewProjection` makes of a view.
fn project(one: &mut Use, projection: &Object) -> Result<(), String> {
    if let Some(alias) = projection.text("name_alias")? {
        one.alias = Some(alias.to_owned());
    }
    if let Some(keys) = projection.argument("join_key_map") {
        one.keys = keys.text_pairs()?;
    }
    let mut features = Vec::new();
    for known in projection.argument("features").map_or(Ok(&[][..]), Known::list)? {
        features.push(field(known)?.0.to_owned());
    }
    if let Some(desired) = projection.argument("desired_features") {
        features.extend(texts(desired)?);
    }
    if !features.is_empty() {
        one.features = Some(features);
    }
    Ok(())
}

/// An on-demand feature view and what it computes.
fn on_demand(view: &Object) -> String {
    format!("{} ({})", view.shown(), field_names(view).join(", "))
}

/// What a service lists, as people know it.
pub(super) fn shown(known: &Known) -> String {
    fn base(object: &Object) -> String {
        match &object.made {
            Made::By(path) => match object.class() {
                Some(_) => object.shown(),
                None => format!("`{}`", last(path)),
            },
            Made::Method { of, .. } | Made::Item { of } => base(of),
        }
    }
    match &known.value {
        Value::Object(object) => base(object),
        Value::Text(reference) => format!("`{reference}`"),
        Value::Unknown(what) => what.clone(),
        _ => "something".to_owned(),
    }
}
