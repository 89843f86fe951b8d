//! `[[feature_service]]`.

use std::sync::Arc;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::super::{Input, Service};
use super::derived::feature_name;
use super::link::{Catalog, DeclaredJoin, Linker, Usage};
use super::problems::suggest;
use super::registry::{Miss, Seen};
use super::toml_reader::{Each, Item, Table, Text};
use super::views::{field, view_name};
use crate::codec::Field;
use crate::name::FeatureName;
use crate::value::{Value, ValueType};

/// Reads a service and links it to what it uses.
pub(super) fn service<'a>(
    table: &mut Table<'a>,
    name: Option<Text<'a>>,
    catalog: &Catalog<'a>,
    usage: &mut Usage<'a>,
) -> Option<Arc<Service>> {
    let service_name = name.and_then(Text::name);
    let request = table.optional("request").map_or_else(none, request);
    let joins = table.optional("joins").map_or_else(none, |item| joins(item, catalog));
    usage.aliases.extend(joins.items.iter().map(|join| join.alias.str));
    let features = table.required("features")?;

    let mut linker = Linker::new(
        name.map_or("(without a name)", |name| name.str),
        catalog,
        request,
        joins,
    );
    let list = features.list()?;
    if list.is_empty() {
        features.place.error("a service needs at least one feature", None);
    }
    let mut seen = Seen::default();
    let inputs: Vec<Input> = list
        .into_iter()
        .filter_map(|item| input(item, &mut linker, usage, &mut seen))
        .collect();
    let linked = linker.finish();
    Some(Arc::new(Service {
        name: service_name?,
        request: linked.request,
        keys: linked.keys,
        joins: linked.joins,
        derived: linked.derived,
        inputs,
    }))
}

const fn none<T>() -> Each<T> {
    Each {
        items: Vec::new(),
        complete: true,
    }
}

fn request(item: Item<'_>) -> Each<Field> {
    let mut seen = Seen::default();
    item.each("request", |mut table| {
        let field = field(&mut table, &mut seen, feature_name);
        table.finish();
        field
    })
}

fn joins<'a>(item: Item<'a>, catalog: &Catalog<'a>) -> Each<DeclaredJoin<'a>> {
    let mut seen = Seen::default();
    item.each("joins", |mut table| {
        let view_text = table.text("view");
        let alias = table.optional_text("as").and_then(|alias| alias.or(view_text));
        let keys = table.optional("keys");
        let place = table.place;
        table.finish();

        let view = view_text
            .and_then(|text| catalog.views.resolve(text))
            .map(|entry| &entry.view);
        let (alias, view_text) = (alias?, view_text?);
        if alias.str != view_text.str && catalog.views.contains(alias.str) {
            let message = format!("`{}` is the name of another view", alias.str);
            alias
                .place
                .error(message, "choose an alias that is no view's name".to_owned());
            return None;
        }
        let new = seen.is_new("join", alias.str, alias.place);
        let name = view_name(alias).filter(|_| new)?;
        let key_names = match (view, keys) {
            (None, _) => None,
            (Some(view), None) => Some(view.entity.join_keys.iter().map(|key| key.name.clone()).collect()),
            (Some(view), Some(keys)) => key_names(keys, view),
        };
        Some(DeclaredJoin {
            alias,
            name,
            view: view_text,
            key_names,
            place,
        })
    })
}

/// The request's name for each join key of the view's entity.
fn key_names(item: Item<'_>, view: &super::super::View) -> Option<Vec<FeatureName>> {
    let join_keys = &view.entity.join_keys;
    let mut names: Vec<FeatureName> = join_keys.iter().map(|key| key.name.clone()).collect();
    let mut good = true;
    for (key, request_name) in item.entries()? {
        let index = join_keys.iter().position(|k| k.name.as_str() == key.str);
        if index.is_none() {
            let message = format!("`{}` is not a join key of view `{}`", key.str, view.name);
            key.place
                .error(message, suggest(key.str, join_keys.iter().map(|k| k.name.as_str())));
        }
        match (index, request_name.text().and_then(Text::name)) {
            (Some(index), Some(name)) => names[index] = name,
            _ => good = false,
        }
    }
    good.then_some(names)
}

/// Reads one of `features`: a reference, or a table of a reference and its default.
fn input<'a>(item: Item<'a>, linker: &mut Linker<'a, '_>, usage: &mut Usage<'a>, seen: &mut Seen<'a>) -> Option<Input> {
    let (reference, default) = match item.value() {
        DeValue::String(_) => (item.text()?, None),
        DeValue::Table(_) => {
            let mut table = item.table("features")?;
            let (reference, default) = (table.text("feature"), table.optional("default"));
            table.finish();
            (reference?, default)
        }
        _ => {
            return item.wrong_type(
                "made of strings and tables",
                "such as \"view:feature\"".to_owned().into(),
            );
        }
    };
    let resolved = match linker.reference(reference, usage) {
        Ok(resolved) => resolved,
        Err(Miss::Invalid) => return None,
        Err(Miss::Unknown(complaint)) => {
            reference.place.complain(complaint);
            return None;
        }
    };
    if !seen.is_new("input", &resolved.name, reference.place) {
        return None;
    }
    let default = match default {
        None => None,
        Some(item) => Some(default_value(item, resolved.value_type)?),
    };
    Some(Input {
        name: resolved.name,
        value_type: resolved.value_type,
        origin: resolved.origin,
        default,
    })
}

/// A default as a value of the feature's type.
fn default_value(item: Item<'_>, expected: ValueType) -> Option<Value> {
    let value = to_json(item.value()).and_then(|json| Value::from_json(expected, &json).ok().flatten());
    if value.is_none() {
        let message = format!(
            "the default `{}` is not of the feature's type, `{expected}`",
            item.quoted()
        );
        item.place.error(message, None);
    }
    value
}

/// TOML as JSON; `None` for what JSON has no word for.
fn to_json(value: &DeValue<'_>) -> Option<Json> {
    match value {
        DeValue::String(text) => Some(Json::String(text.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(Json::from),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Json::Number),
        DeValue::Boolean(truth) => Some(Json::Bool(*truth)),
        DeValue::Datetime(at) => Some(Json::String(at.to_string())),
        DeValue::Array(items) => items
            .iter()
            .map(|item| to_json(item.get_ref()))
            .collect::<Option<_>>()
            .map(Json::Array),
        DeValue::Table(_) => None,
    }
}
