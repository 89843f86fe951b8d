//! What differs between two descriptions of a thing, in words.

use std::collections::BTreeSet;

use super::describe::{DescribedFeature, Settings};

/// What is no part of what stored values mean.
const AT_ONCE: [&str; 9] = [
    "ttl",
    "schedule",
    "fresh_for",
    "description",
    "owner",
    "expect",
    "overlap",
    "lateness",
    "push_to",
];

/// What has become of a list of features or inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FeaturesDiff {
    pub(super) added: Vec<String>,
    pub(super) dropped: Vec<String>,
    pub(super) retyped: Vec<String>,
    /// Whether those that stay stand in another order.
    pub(super) is_reordered: bool,
    /// All of it but the order in words, in the order of the features.
    pub(super) words: Vec<String>,
}

/// What is said otherwise: the key, and a line about it.
pub(super) fn settings<'a>(old: &'a Settings, new: &'a Settings) -> Vec<(&'a str, String)> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| {
            let (before, now) = (shown(key, old.get(key)), shown(key, new.get(key)));
            let line = if before == now {
                format!("{key}: another {now}")
            } else {
                format!("{key}: {now} (was {before})")
            };
            (key.as_str(), line)
        })
        .collect()
}

/// The same in lines, where the keys are those of definition files.
pub(super) fn told(old: &Settings, new: &Settings) -> Vec<String> {
    let said = settings(old, new).into_iter();
    said.map(|(key, line)| {
        let at_once = if AT_ONCE.contains(&key) { ", at once" } else { "" };
        format!("{line}{at_once}")
    })
    .collect()
}

/// A setting on a line. Of a query it is enough to know that there is one.
fn shown<'a>(key: &str, value: Option<&'a String>) -> &'a str {
    match value {
        None => "none",
        Some(_) if key == "sql" => "query",
        Some(value) => value,
    }
}

/// What has become of features (`what`) of these names.
pub(super) fn features(what: &str, old: &[DescribedFeature], new: &[DescribedFeature]) -> FeaturesDiff {
    let mut diff = FeaturesDiff::default();
    for feature in new {
        let DescribedFeature { name, value_type, .. } = feature;
        let Some(before) = named(old, name) else {
            let said: Vec<String> = feature
                .settings
                .iter()
                .map(|(key, value)| format!("{key}: {value}"))
                .collect();
            let said = if said.is_empty() {
                String::new()
            } else {
                format!(" ({})", said.join("; "))
            };
            diff.words.push(format!("{what} {name} {value_type} added{said}"));
            diff.added.push(name.clone());
            continue;
        };
        if before.value_type != *value_type {
            diff.words
                .push(format!("{what} {name}: {value_type} (was {})", before.value_type));
            diff.retyped.push(name.clone());
        }
        let said = told(&before.settings, &feature.settings).into_iter();
        diff.words.extend(said.map(|line| format!("{what} {name}, {line}")));
    }
    for gone in old.iter().filter(|before| named(new, &before.name).is_none()) {
        diff.words.push(format!("{what} {} dropped", gone.name));
        diff.dropped.push(gone.name.clone());
    }
    let stay = |these: &[DescribedFeature], others: &[DescribedFeature]| -> Vec<String> {
        let these = these.iter().map(|feature| feature.name.clone());
        these.filter(|name| named(others, name).is_some()).collect()
    };
    diff.is_reordered = stay(old, new) != stay(new, old);
    diff
}

fn named<'a>(features: &'a [DescribedFeature], name: &str) -> Option<&'a DescribedFeature> {
    features.iter().find(|feature| feature.name == name)
}
