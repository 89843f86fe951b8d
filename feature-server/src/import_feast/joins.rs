//! How a service joins the views that it uses: under which names, by which keys.

use feature_defs::value::ValueType;

use super::carry::{Carry, Left, RENAMED};
use super::draft::{Join, Service, View};
use super::services::{Attempt, Use, shown};
use super::values::Known;
use super::views::RESERVED;
use crate::definition_files::names::{unique, valid};

impl Carry<'_> {
    /// Adds the features that a use lists, and the join that they need.
    pub(super) fn add(&mut self, attempt: &mut Attempt, one: &Use, known: &Known) -> Result<(), Left> {
        let join = self.join(one);
        if let Some(left) = self.conflict(&attempt.service, &join, one.view) {
            return Err(left);
        }
        self.note_renamed(one, &join, known);
        let view = &self.draft.views[one.view];
        let all = view.features.iter().map(|feature| feature.feast.clone());
        let wanted = one.features.clone().unwrap_or_else(|| all.collect());
        for wanted in wanted {
            match view.features.iter().find(|feature| feature.feast == wanted) {
                Some(feature) => {
                    let reference = (join.alias.clone(), feature.name.clone());
                    if !attempt.service.features.contains(&reference) {
                        attempt.service.features.push(reference);
                    }
                }
                None => {
                    let left = Left::new("the view is carried over without it", "carry it over first");
                    let what = format!("feature `{wanted}` of {}", shown(known));
                    attempt.left.push((known.at.clone(), what, left));
                }
            }
        }
        if !attempt.service.joins.iter().any(|known| known.alias == join.alias) {
            attempt.service.joins.push(join);
        }
        Ok(())
    }

    fn note_renamed(&mut self, one: &Use, join: &Join, known: &Known) {
        let alias = one.alias.iter().map(|asked| (asked, join.alias.clone()));
        let keys = one.keys.iter().map(|(_, asked)| (asked, valid(asked, "key")));
        for (asked, name) in alias.chain(keys).filter(|(asked, name)| *asked != name) {
            let why = format!("it is called `{name}` here");
            self.notes
                .look_at(known.at.clone(), &format!("`{asked}`"), why, RENAMED);
        }
    }

    /// The join of a use, with the names that it can have here.
    fn join(&self, one: &Use) -> Join {
        let view = &self.draft.views[one.view];
        let alias = match &one.alias {
            None => view.name.clone(),
            Some(alias) => {
                let is_view = |name: &str| self.draft.views.iter().any(|other| other.name == name);
                let is_taken = |name: &str| RESERVED.contains(&name) || name != view.name && is_view(name);
                unique(&valid(alias, "view"), is_taken)
            }
        };
        let keys = self.draft.entities[view.entity].keys.iter();
        let keys = keys.filter_map(|key| {
            let (_, request) = one.keys.iter().find(|(feast, _)| *feast == key.feast)?;
            Some((key.name.clone(), valid(request, "key")))
        });
        Join {
            view: view.name.clone(),
            alias,
            keys: keys.collect(),
        }
    }

    /// Why a join can't stand beside those of the service, if it can't.
    fn conflict(&self, service: &Service, join: &Join, view: usize) -> Option<Left> {
        let is_other =
            |known: &&Join| known.alias == join.alias && (known.view != join.view || known.keys != join.keys);
        if service.joins.iter().any(|known| is_other(&known)) {
            let why = format!(
                "the service uses `{}` already, with other keys or of another view",
                join.alias
            );
            return Some(Left::new(why, "give one of them another name: with_name(…)"));
        }
        let others: Vec<(String, ValueType)> = service
            .joins
            .iter()
            .flat_map(|known| self.request_keys(known))
            .collect();
        for (name, value_type) in self.request_keys_of(join, &self.draft.views[view]) {
            let known = others.iter().chain(&service.request).find(|(known, _)| *known == name);
            if let Some((_, known)) = known.filter(|(_, known)| *known != value_type) {
                let why = format!("its key `{name}` is of type {value_type}, and the service has that name as {known}");
                return Some(Left::new(
                    why,
                    "give it another name in the request: with_join_key_map({…})",
                ));
            }
        }
        None
    }

    fn request_keys(&self, join: &Join) -> Vec<(String, ValueType)> {
        let view = self.draft.views.iter().find(|view| view.name == join.view);
        view.map(|view| self.request_keys_of(join, view)).unwrap_or_default()
    }

    /// What a request calls the keys of a join, with their types.
    fn request_keys_of(&self, join: &Join, view: &View) -> Vec<(String, ValueType)> {
        let keys = self.draft.entities[view.entity].keys.iter();
        let renamed = |name: &str| {
            join.keys
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, request)| request.clone())
        };
        keys.map(|key| {
            (
                renamed(&key.name).unwrap_or_else(|| key.name.clone()),
                key.key_type.value_type(),
            )
        })
        .collect()
    }

    /// A view that is used once, by its own name and keys, needs no join.
    pub(super) fn drop_plain_joins(&self, service: &mut Service) {
        let count = |view: &str| service.joins.iter().filter(|join| join.view == view).count();
        let is_needed: Vec<bool> = service
            .joins
            .iter()
            .map(|join| join.alias != join.view || !join.keys.is_empty() || count(&join.view) > 1)
            .collect();
        let mut is_needed = is_needed.into_iter();
        service.joins.retain(|_| is_needed.next().unwrap_or(true));
    }
}
