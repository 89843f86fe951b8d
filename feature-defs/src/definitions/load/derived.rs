//! `[[derived]]`: declared for all services, checked in each, since what its names mean is the service's.

use std::collections::{HashMap, HashSet};

use super::problems::{Complaint, Place, suggest};
use super::registry::{Miss, Registry};
use super::toml_reader::{Table, Text};
use super::views::ViewEntry;
use crate::definitions::Origin;
use crate::expression::{ExpressionError, Parsed};
use crate::name::FeatureName;
use crate::value::ValueType;

/// The name that expressions know the moment of the prediction by.
pub(super) const REQUEST_TIME: &str = "request_time";

/// A derived feature whose expression is well-formed.
#[derive(Debug)]
pub(super) struct DerivedEntry<'a> {
    pub(super) name: FeatureName,
    pub(super) value_type: ValueType,
    pub(super) parsed: Parsed,
    expression: Text<'a>,
}

/// Reads a derived feature.
pub(super) fn derived<'a>(table: &mut Table<'a>, name: Option<Text<'a>>) -> Option<DerivedEntry<'a>> {
    let name = name.and_then(feature_name);
    let value_type = table.text("type").and_then(Text::value_type);
    let expression = table.text("expression")?;
    let parsed = match Parsed::parse(expression.str) {
        Ok(parsed) => parsed,
        Err(errors) => {
            report(expression, errors, &HashMap::new(), Extent::All);
            return None;
        }
    };
    Some(DerivedEntry {
        name: name?,
        value_type: value_type?,
        parsed,
        expression,
    })
}

/// A name for a request or derived feature: not the one that expressions have for the moment.
pub(super) fn feature_name(text: Text<'_>) -> Option<FeatureName> {
    if text.str == REQUEST_TIME {
        let message = format!("no feature may be called `{REQUEST_TIME}`: it is the moment of the prediction");
        text.place.error(message, "choose another name".to_owned());
        return None;
    }
    text.name()
}

/// What the names of an expression mean somewhere.
pub(super) type Meanings = Vec<(String, Result<(Origin, ValueType), Miss>)>;

/// Which of an expression's errors are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    /// The rest may follow from what is wrong elsewhere.
    UnknownNames,
}

impl<'a> DerivedEntry<'a> {
    /// Where its expression stands.
    pub(super) fn place(&self) -> Place<'a> {
        self.expression.place
    }

    /// A text of the expression as a reference: it stands where the expression does.
    pub(super) fn reference<'t>(&self, str: &'t str) -> Text<'t>
    where
        'a: 't,
    {
        Text {
            str,
            place: self.expression.place,
        }
    }

    /// The checked expression where its names have these meanings; `None` if it, or what it needs, is wrong.
    pub(super) fn check(&self, meanings: &Meanings) -> Option<crate::expression::Expression> {
        let unknown: HashMap<&str, &Complaint> = meanings
            .iter()
            .filter_map(|(name, meaning)| match meaning {
                Err(Miss::Unknown(complaint)) => Some((name.as_str(), complaint)),
                _ => None,
            })
            .collect();
        let certain = !meanings.iter().any(|(_, meaning)| *meaning == Err(Miss::Invalid));
        if !certain && unknown.is_empty() {
            return None;
        }
        let resolve = |name: &str| {
            let (_, meaning) = meanings.iter().find(|(known, _)| known == name)?;
            meaning.as_ref().ok().copied()
        };
        match self.parsed.check(&resolve, self.value_type) {
            Ok(expression) => certain.then_some(expression),
            Err(errors) => {
                report(
                    self.expression,
                    errors,
                    &unknown,
                    if certain { Extent::All } else { Extent::UnknownNames },
                );
                None
            }
        }
    }
}

/// Reports each error at its place within the expression; unknown names with the complaint about them.
fn report(expression: Text<'_>, errors: Vec<ExpressionError>, unknown: &HashMap<&str, &Complaint>, extent: Extent) {
    for error in errors {
        let place = expression.part(error.offset, error.len);
        let text = expression
            .str
            .get(error.offset..error.offset + error.len)
            .unwrap_or_default();
        let name: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        match unknown.get(name.as_str()) {
            Some(&complaint) => place.complain(complaint.clone()),
            None if extent == Extent::All => place.error(error.message, None),
            None => {}
        }
    }
}

/// Reports derived features that depend on themselves, and treats them as wrong from then on.
pub(super) fn refuse_cycles(registry: &mut Registry<'_, DerivedEntry<'_>>) {
    let entries: Vec<&DerivedEntry<'_>> = registry.valid().collect();
    let index: HashMap<&str, usize> = entries.iter().enumerate().map(|(i, e)| (e.name.as_str(), i)).collect();
    let needs: Vec<Vec<usize>> = entries
        .iter()
        .map(|entry| {
            entry
                .parsed
                .variables()
                .iter()
                .filter_map(|name| index.get(name.as_str()).copied())
                .collect()
        })
        .collect();
    let mut finished = vec![false; entries.len()];
    let mut circular = HashSet::new();
    for start in 0..entries.len() {
        follow(
            start,
            &needs,
            &mut finished,
            &mut Vec::new(),
            &mut |cycle: &[usize]| {
                let names: Vec<String> = cycle
                    .iter()
                    .chain(cycle.first())
                    .map(|&i| format!("`{}`", entries[i].name))
                    .collect();
                let message = format!("a derived feature can't need itself: {}", names.join(" needs "));
                entries[cycle[0]].place().error(message, None);
                circular.extend(cycle.iter().map(|&i| entries[i].name.clone()));
            },
        );
    }
    registry.keep(|entry| !circular.contains(&entry.name));
}

/// Depth first from `at`; `found` is told each cycle.
fn follow(
    at: usize,
    needs: &[Vec<usize>],
    finished: &mut [bool],
    path: &mut Vec<usize>,
    found: &mut dyn FnMut(&[usize]),
) {
    if let Some(start) = path.iter().position(|&i| i == at) {
        return found(&path[start..]);
    }
    if finished[at] {
        return;
    }
    path.push(at);
    for &next in &needs[at] {
        follow(next, needs, finished, path, found);
    }
    path.pop();
    finished[at] = true;
}

/// Checks a derived feature that no service uses, as far as its names mean something without one: views by their own
/// names and other derived features. `aliases` are the names that services join views under.
pub(super) fn check_unused(
    entry: &DerivedEntry<'_>,
    views: &Registry<'_, ViewEntry>,
    derived: &Registry<'_, DerivedEntry<'_>>,
    aliases: &HashSet<&str>,
) {
    // Nothing is evaluated with it: the expression is only checked.
    let origin = Origin::RequestTime;
    let meaning = |name: &str| match name.split_once('.') {
        None => derived
            .find(entry.reference(name))
            .map(|d| (origin, d.value_type))
            .map_err(|_| Miss::Invalid),
        Some((alias, _)) if aliases.contains(alias) && !views.contains(alias) => Err(Miss::Invalid),
        Some((view, feature)) => {
            let view = views.find(entry.reference(view))?;
            view.feature(view.view.name.as_str(), feature)
                .map(|index| (origin, view.view.fields()[index].value_type))
        }
    };
    let meanings = entry
        .parsed
        .variables()
        .into_iter()
        .map(|name| (name.clone(), meaning(&name)))
        .collect();
    entry.check(&meanings);
}

impl ViewEntry {
    /// Which of the view's features has this name; `alias` is what the view is called where it is asked for.
    pub(super) fn feature(&self, alias: &str, name: &str) -> Result<usize, Miss> {
        let fields = self.view.fields();
        match fields.iter().position(|field| field.name.as_str() == name) {
            Some(index) => Ok(index),
            None if !self.complete => Err(Miss::Invalid),
            None => Err(Miss::Unknown(Complaint {
                message: format!("view `{alias}` has no feature `{name}`"),
                help: suggest(name, fields.iter().map(|field| field.name.as_str())),
            })),
        }
    }
}
