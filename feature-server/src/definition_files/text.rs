//! The pieces that every written definition file is made of.

use std::fmt::Write as _;

use feature_defs::key::KeyType;
use feature_defs::value::ValueType;

/// A text in quotes. JSON's escapes are TOML's.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text within a comment, which may hold no control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// What one file of the directory begins with.
pub(crate) fn header(project: &str) -> String {
    format!(
        "# One file of the directory says these two. The project is the namespace of all stored values.\nformat = 1\nproject = {}\n",
        quoted(project)
    )
}

/// An entity and the types of its join keys.
pub(crate) fn entity<'a>(name: &str, keys: impl IntoIterator<Item = (&'a str, KeyType)>) -> String {
    let typed = keys
        .into_iter()
        .map(|(key, key_type)| typed(key, key_type.value_type()));
    let keys: Vec<String> = typed.map(|typed| format!("{{ {typed} }}")).collect();
    format!(
        "[[entity]]\nname = {}\njoin_keys = [{}]\n",
        quoted(name),
        keys.join(", ")
    )
}

/// What a view begins with: its name, entity and source.
pub(crate) fn view(name: &str, entity: &str, source: &str) -> String {
    format!(
        "[[feature_view]]\nname = {}\nentity = {}\nsource = {}\n",
        quoted(name),
        quoted(entity),
        quoted(source)
    )
}

/// Names and the texts they stand for, as an inline table's inside.
pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter();
    let pairs: Vec<String> = pairs.map(|(name, text)| format!("{name} = {}", quoted(text))).collect();
    pairs.join(", ")
}

/// A feature of a row view, as a line of its `features`; `column` is what it is read from.
pub(crate) fn row_feature(name: &str, value_type: ValueType, column: &str) -> String {
    let mut text = format!("  {{ {}", typed(name, value_type));
    if name != column {
        let _infallible = write!(text, ", column = {}", quoted(column));
    }
    text + " },\n"
}

/// A name and its type, as an inline table's inside.
pub(crate) fn typed(name: &str, value_type: ValueType) -> String {
    format!("name = {}, type = {}", quoted(name), quoted(value_type.name()))
}

/// A reference to a view's feature.
pub(crate) fn reference(view: &str, feature: &str) -> String {
    quoted(&format!("{view}:{feature}"))
}
