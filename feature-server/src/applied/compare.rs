//! Compares the definitions in hand with the applied ones, and finds what that touches: services, model versions, stored
//! values.

use std::collections::{BTreeMap, BTreeSet};

use feature_defs::name::ProjectName;

use super::describe::{Described, DescribedService, DescribedView, Settings};
use super::diff::{self, FeaturesDiff};
use super::models::{ModelVersion, ModelVersions, misled, refused};
use super::plan::{AppliedBy, Change, Changed, Plan, Thing, Unused};

/// What is known of a view's values online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Online {
    /// The definition of all of them; `None`: not of one alone.
    pub(crate) digest: Option<String>,
    pub(crate) entities: i64,
}

/// What definitions are compared with.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// What was applied last.
    pub(super) applied: Option<(AppliedBy, Described)>,
    /// By view.
    pub(super) online: BTreeMap<String, Online>,
    /// `None`: nobody has said where they are.
    pub(super) models: Option<ModelVersions>,
}

/// Compares definitions.
pub(super) fn compare(project: &ProjectName, new: &Described, before: &Before) -> Plan {
    let nothing = Described::default();
    let old = before.applied.as_ref().map_or(&nothing, |(_, old)| old);
    let comparison = Comparison { old, new, before };
    let changes = [
        comparison.entities(),
        comparison.sources(),
        comparison.views(),
        comparison.services(),
    ];
    Plan {
        project: project.clone(),
        last_applied: before.applied.as_ref().map(|(by, _)| by.clone()),
        changes: changes.into_iter().flatten().collect(),
        unused: comparison.unused(),
    }
}

struct Comparison<'a> {
    old: &'a Described,
    new: &'a Described,
    before: &'a Before,
}

/// The names in either, in order, with what each has of them.
fn pairs<'a, T: PartialEq>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a str, Option<&'a T>, Option<&'a T>)> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .map(|name| (name.as_str(), old.get(name), new.get(name)))
        .filter(|(_, old, new)| old != new)
}

impl Comparison<'_> {
    fn change(kind: Thing, name: &str, (is_old, is_new): (bool, bool)) -> Change {
        Change {
            change: match (is_old, is_new) {
                (false, _) => Changed::New,
                (true, true) => Changed::Changed,
                (true, false) => Changed::Retired,
            },
            kind,
            name: name.to_owned(),
            what: Vec::new(),
            effects: Vec::new(),
            full_run: false,
            entities: None,
            views: Vec::new(),
            services: Vec::new(),
            model_versions: Vec::new(),
        }
    }

    fn entities(&self) -> Vec<Change> {
        let described = pairs(&self.old.entities, &self.new.entities);
        described
            .map(|(name, old, new)| Change {
                what: said(old, new),
                views: self.views_with("entity", name),
                ..Self::change(Thing::Entity, name, (old.is_some(), new.is_some()))
            })
            .collect()
    }

    fn sources(&self) -> Vec<Change> {
        let described = pairs(&self.old.sources, &self.new.sources);
        described
            .map(|(name, old, new)| Change {
                what: said(old, new),
                views: self.views_with("source", name),
                ..Self::change(Thing::Source, name, (old.is_some(), new.is_some()))
            })
            .collect()
    }

    /// The views in hand that say this of themselves.
    fn views_with(&self, key: &str, value: &str) -> Vec<String> {
        let views = self.new.views.iter();
        views
            .filter(|(_, view)| view.settings.get(key).is_some_and(|said| said == value))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn views(&self) -> Vec<Change> {
        let changed = pairs(&self.old.views, &self.new.views).map(|(name, old, new)| self.view(name, old, new));
        let mut changes: Vec<Change> = changed.collect();
        // Of before anything was applied: once these definitions are, it counts as retired.
        if self.before.applied.is_none() {
            let left = self.before.online.keys();
            for name in left.filter(|name| !self.new.views.contains_key(*name)) {
                changes.push(Change {
                    what: vec!["it was materialized once, and is not in these definitions".to_owned()],
                    ..self.view(name, Some(&DescribedView::default()), None)
                });
            }
        }
        changes
    }

    fn view(&self, name: &str, old: Option<&DescribedView>, new: Option<&DescribedView>) -> Change {
        let mut change = Self::change(Thing::View, name, (old.is_some(), new.is_some()));
        change.entities = self.before.online.get(name).map(|online| online.entities);
        let readers = if new.is_some() { self.new } else { self.old };
        change.services = readers.readers(name).map(str::to_owned).collect();
        let versions = change.services.iter().flat_map(|service| self.versions(service));
        change.model_versions = versions.map(|version| version.name.clone()).collect();
        match (old, new) {
            (_, None) => change.effects.push(match change.entities {
                Some(n) => format!("`feature-server prune` removes its values, of about {}", entities(n)),
                None => {
                    "no run of it has ever finished; `feature-server prune` removes what others have left".to_owned()
                }
            }),
            (None, Some(new)) => {
                let said = |key: &str| new.settings.get(key).map_or("", String::as_str);
                let count = counted(new.features.len(), "feature");
                let (entity, source) = (said("entity"), said("source"));
                change
                    .what
                    .push(format!("{count} of entity {entity}, from source {source}"));
                let everything = FeaturesDiff {
                    added: new.features.iter().map(|feature| feature.name.clone()).collect(),
                    ..FeaturesDiff::default()
                };
                self.run(&mut change, new, &everything, false);
            }
            (Some(old), Some(new)) => self.changed_view(&mut change, old, new),
        }
        change
    }

    fn changed_view(&self, change: &mut Change, old: &DescribedView, new: &DescribedView) {
        change.what.extend(diff::told(&old.settings, &new.settings));
        let features = diff::features("feature", &old.features, &new.features);
        change.what.extend(features.words.iter().cloned());
        if features.is_reordered {
            let told = "features reordered: nothing to do, readers find them by name";
            change.what.push(told.to_owned());
        }
        if old.digest == new.digest {
            return;
        }
        let of = |view: &DescribedView, key: &str| view.settings.get(key).cloned().unwrap_or_default();
        let (old_entity, entity) = (of(old, "entity"), of(new, "entity"));
        let (old_source, source) = (of(old, "source"), of(new, "source"));
        if old_entity == entity && self.old.entities.get(&entity) != self.new.entities.get(&entity) {
            change.what.push(format!("entity {entity} has changed"));
        }
        if old_source == source && self.old.sources.get(&source) != self.new.sources.get(&source) {
            change.what.push(format!("source {source} has changed"));
        }
        if change.what.is_empty() {
            let told = "its digest is another by this program than by the one that applied it";
            change.what.push(told.to_owned());
        }
        let is_elsewhere = self.old.entities.get(&old_entity) != self.new.entities.get(&entity);
        self.run(change, new, &features, is_elsewhere);
    }

    /// Whether another definition of a view needs a full run, and what its readers find until then.
    fn run(&self, change: &mut Change, new: &DescribedView, features: &FeaturesDiff, is_elsewhere: bool) {
        let online = self.before.online.get(&change.name);
        if online.is_some_and(|online| online.digest.as_deref() == Some(&new.digest)) {
            let told = "what is online is of this definition already";
            change.effects.push(told.to_owned());
            return;
        }
        change.full_run = true;
        let lacking: Vec<&str> = features
            .added
            .iter()
            .chain(&features.retyped)
            .map(String::as_str)
            .collect();
        let (about, until) = match change.entities {
            None => (String::new(), "every feature is NOT_FOUND".to_owned()),
            Some(n) if is_elsewhere => (
                format!(", of about {}", entities(n)),
                format!(
                    "every feature is NOT_FOUND, since keys are spelled otherwise; `materialize {} --replace` also removes what stands under the old keys",
                    change.name
                ),
            ),
            Some(n) => {
                let until = match (lacking.len(), new.features.len()) {
                    (0, _) => "every feature has the value it has, by the definition before".to_owned(),
                    (lack, all) if lack == all => {
                        format!("{} NOT_FOUND", are(&lacking))
                    }
                    _ => format!(
                        "{} NOT_FOUND, and the others have the values they have, by the definition before",
                        are(&lacking)
                    ),
                };
                (format!(", of about {}", entities(n)), until)
            }
        };
        let effect = format!("full run needed{about}: until it is done, {until}");
        change.effects.push(effect);
    }

    fn services(&self) -> Vec<Change> {
        let described = pairs(&self.old.services, &self.new.services);
        described.map(|(name, old, new)| self.service(name, old, new)).collect()
    }

    fn service(&self, name: &str, old: Option<&DescribedService>, new: Option<&DescribedService>) -> Change {
        let mut change = Self::change(Thing::Service, name, (old.is_some(), new.is_some()));
        let versions = self.versions(name);
        change.model_versions = versions.iter().map(|version| version.name.clone()).collect();
        match (old, new) {
            (_, None) => change.effects.extend(refused(versions)),
            (None, Some(new)) => {
                let views: Vec<&str> = new.views.iter().map(String::as_str).collect();
                let inputs = counted(new.inputs.len(), "input");
                change.what.push(match views.is_empty() {
                    true => format!("{inputs} from requests alone"),
                    false => format!("{inputs}, from views {}", views.join(", ")),
                });
            }
            (Some(old), Some(new)) => {
                for (what, old, new) in [
                    ("request feature", &old.request, &new.request),
                    ("join", &old.joins, &new.joins),
                    ("derived feature", &old.derived, &new.derived),
                ] {
                    let lines = diff::settings(old, new).into_iter();
                    change.what.extend(lines.map(|(_, line)| format!("{what} {line}")));
                }
                let inputs = diff::features("input", &old.inputs, &new.inputs);
                change.what.extend(inputs.words.iter().cloned());
                if inputs.is_reordered {
                    change.what.push("inputs reordered".to_owned());
                }
                let others = !(inputs.added.is_empty() && inputs.dropped.is_empty() && inputs.retyped.is_empty());
                change.effects.extend(if others {
                    refused(versions)
                } else if inputs.is_reordered {
                    misled(versions)
                } else {
                    None
                });
            }
        }
        change
    }

    fn versions(&self, service: &str) -> &[ModelVersion] {
        let models = self.before.models.as_ref();
        models.map_or(&[], |models| models.of(service))
    }

    fn unused(&self) -> Vec<Unused> {
        let names = |names: Vec<&String>, kind: Thing| -> Vec<Unused> {
            let names = names.into_iter().cloned();
            names.map(|name| Unused { kind, name }).collect()
        };
        let new = self.new;
        let no_view = |key: &str, name: &str| self.views_with(key, name).is_empty();
        let entities = new.entities.keys().filter(|name| no_view("entity", name)).collect();
        let sources = new.sources.keys().filter(|name| no_view("source", name)).collect();
        let views = new.views.keys().filter(|name| new.readers(name).next().is_none());
        let services = match &self.before.models {
            Some(models) => new.services.keys().filter(|name| models.of(name).is_empty()).collect(),
            None => Vec::new(),
        };
        [
            names(entities, Thing::Entity),
            names(sources, Thing::Source),
            names(views.collect(), Thing::View),
            names(services, Thing::Service),
        ]
        .concat()
    }
}

/// What is said of an entity or source that is new or changed.
fn said(old: Option<&Settings>, new: Option<&Settings>) -> Vec<String> {
    match (old, new) {
        (Some(old), Some(new)) => diff::told(old, new),
        _ => Vec::new(),
    }
}

fn are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

fn entities(n: i64) -> String {
    let what = if n == 1 { "entity" } else { "entities" };
    format!("{n} {what}")
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
