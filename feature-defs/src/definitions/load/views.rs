//! `[[feature_view]]`: row views and aggregate views.

use std::sync::Arc;

use super::super::{Aggregate, Entity, Expectation, Function, Otherwise, Source, View, ViewKind};
use super::problems::suggest;
use super::registry::{Registry, Seen};
use super::toml_reader::{Each, Item, Table, Text};
use crate::codec::{Field, Schema};
use crate::name::{FeatureName, ViewName};
use crate::time::Span;
use crate::value::ValueType;

/// A view, and whether all of its features are right: one that it lacks may only be wrong if not.
#[derive(Debug)]
pub(super) struct ViewEntry {
    pub(super) view: Arc<View>,
    pub(super) complete: bool,
}

/// A feature, what it is computed from, and what is expected of its values.
type Features<C> = Each<(Field, C, Option<Expected>)>;

/// An expectation before it is known which feature of the view it is of.
#[derive(Debug, Clone, Copy)]
struct Expected {
    min: Option<f64>,
    max: Option<f64>,
    null_share: Option<f64>,
    otherwise: Otherwise,
}

/// Reads a view.
pub(super) fn view(
    table: &mut Table<'_>,
    name: Option<Text<'_>>,
    entities: &Registry<'_, Arc<Entity>>,
    sources: &Registry<'_, Arc<Source>>,
) -> Option<ViewEntry> {
    let name = name.and_then(view_name);
    let description = table
        .optional_text("description")
        .flatten()
        .map(|text| text.str.to_owned());
    let owner = table.optional_text("owner").flatten().map(|text| text.str.to_owned());
    let entity = table.text("entity").and_then(|text| entities.resolve(text)).cloned();
    let source = table.text("source").and_then(|text| sources.resolve(text)).cloned();
    let ttl = table
        .optional_text("ttl")
        .flatten()
        .and_then(|text| text.positive_span("a ttl"));
    let schedule = table.optional_text("schedule").flatten().and_then(schedule);
    let fresh_for = table
        .optional_text("fresh_for")
        .flatten()
        .and_then(|text| text.positive_span("a promise of freshness"));
    let columns = table.optional("columns");
    let (kind, fields, expectations, complete) = match (table.optional("aggregate"), table.optional("features")) {
        (Some(item), None) => {
            let read = aggregates(item);
            let (features, expectations) = split(read.items);
            let (fields, aggregates) = features.into_iter().unzip();
            (ViewKind::Aggregate(aggregates), fields, expectations, read.complete)
        }
        (None, Some(item)) => {
            let read = row_features(item);
            let (features, expectations) = split(read.items);
            let (fields, columns): (Vec<Field>, Vec<String>) = features.into_iter().unzip();
            (ViewKind::Row { columns }, fields, expectations, read.complete)
        }
        (Some(_), Some(features)) => {
            features
                .place
                .error("a view has `aggregate` or `features`, not both", None);
            return None;
        }
        (None, None) => {
            table
                .place
                .error("`aggregate` or `features` is missing in [[feature_view]]", None);
            return None;
        }
    };
    let key_columns = key_columns(columns, entity.as_deref()?)?;
    let view = View {
        name: name?,
        description,
        owner,
        entity: entity?,
        source: source?,
        key_columns,
        ttl,
        schedule,
        fresh_for,
        kind,
        schema: Schema::new(fields),
        expectations,
    };
    Some(ViewEntry {
        view: Arc::new(view),
        complete,
    })
}

/// A name that features can be referred to by: not one of the words before a colon that mean something else.
pub(super) fn view_name(text: Text<'_>) -> Option<ViewName> {
    if matches!(text.str, "request" | "derived") {
        let message = format!("no view may be called `{0}`: `{0}:x` means something else", text.str);
        text.place.error(message, "choose another name".to_owned());
        return None;
    }
    text.name()
}

fn schedule(text: Text<'_>) -> Option<Span> {
    let span = text.span()?;
    if span < Span::from_secs(1) {
        text.place.error(
            format!("a schedule of `{}` is too fast: it must be at least 1s", text.str),
            None,
        );
        return None;
    }
    Some(span)
}

/// The source column of each join key: its own name, unless `columns` says otherwise.
fn key_columns(columns: Option<Item<'_>>, entity: &Entity) -> Option<Vec<String>> {
    let mut names: Vec<String> = entity
        .join_keys
        .iter()
        .map(|key| key.name.as_str().to_owned())
        .collect();
    let Some(columns) = columns else { return Some(names) };
    for (key, column) in columns.entries()? {
        let index = entity.join_keys.iter().position(|k| k.name.as_str() == key.str);
        let column = column.text().and_then(Text::column);
        match (index, column) {
            (Some(index), Some(column)) => names[index] = column,
            (None, _) => {
                let keys = entity.join_keys.iter().map(|k| k.name.as_str());
                let message = format!("`{}` is not a join key of entity `{}`", key.str, entity.name);
                key.place.error(message, suggest(key.str, keys));
            }
            (Some(_), None) => {}
        }
    }
    Some(names)
}

/// Features apart from what is expected of them.
fn split<C>(read: Vec<(Field, C, Option<Expected>)>) -> (Vec<(Field, C)>, Vec<Expectation>) {
    let mut expectations = Vec::new();
    let features = read
        .into_iter()
        .enumerate()
        .map(|(feature, (field, made_of, expected))| {
            expectations.extend(expected.map(|expected| Expectation {
                feature,
                min: expected.min,
                max: expected.max,
                null_share: expected.null_share,
                otherwise: expected.otherwise,
            }));
            (field, made_of)
        });
    (features.collect(), expectations)
}

/// Reads `expect = { min = 0, max = 1, null_share = 0.05, otherwise = "warn" }`; `None` if it is wrong.
fn expect(table: &mut Table<'_>, value_type: Option<ValueType>) -> Option<Option<Expected>> {
    let Some(item) = table.optional("expect") else {
        return Some(None);
    };
    let mut table = item.table("expect")?;
    let (low, high, share) = (
        table.optional("min"),
        table.optional("max"),
        table.optional("null_share"),
    );
    let otherwise = table.optional_text("otherwise");
    table.finish();
    if [low, high, share].iter().all(Option::is_none) {
        item.place.error(
            "`expect` expects nothing",
            "say at least one of `min`, `max` and `null_share`".to_owned(),
        );
        return None;
    }
    let number = |item: Option<Item<'_>>| item.map_or(Some(None), |item| item.number().map(Some));
    let (min, max, null_share) = (number(low)?, number(high)?, number(share)?);
    if let (Some(bound), Some(value_type)) = (low.or(high), value_type.filter(|t| !t.is_number())) {
        let message = format!("a feature of type `{value_type}` has no smallest or largest value to expect");
        bound.place.error(message, "`null_share` is for all types".to_owned());
        return None;
    }
    if let (Some(item), Some(_)) = (high, min.zip(max).filter(|(min, max)| min > max)) {
        item.place.error("`max` is below `min`: no value could be right", None);
        return None;
    }
    if let (Some(item), Some(_)) = (share, null_share.filter(|share| !(0.0..=1.0).contains(share))) {
        item.place
            .error("`null_share` is a share: it must be from 0 to 1", None);
        return None;
    }
    let otherwise = match otherwise?.map(|text| (text.str, text)) {
        None | Some(("stop", _)) => Otherwise::Stop,
        Some(("warn", _)) => Otherwise::Warn,
        Some((other, text)) => {
            text.place
                .error(format!("unknown `{other}`"), suggest(other, ["stop", "warn"]));
            return None;
        }
    };
    Some(Some(Expected {
        min,
        max,
        null_share,
        otherwise,
    }))
}

fn row_features(item: Item<'_>) -> Features<String> {
    let mut seen = Seen::default();
    let read = item.each("features", |mut table| {
        let field = field(&mut table, &mut seen, Text::name);
        let column = table.optional_text("column").and_then(|column| match column {
            Some(column) => column.column().map(Some),
            None => Some(None),
        });
        let expected = expect(&mut table, field.as_ref().map(|field| field.value_type));
        table.finish();
        let field = field?;
        let column = column?.unwrap_or_else(|| field.name.as_str().to_owned());
        Some((field, column, expected?))
    });
    Each {
        complete: read.complete && !is_empty(item, &read),
        ..read
    }
}

/// Reads `name`, which `parse` takes, and `type`.
pub(super) fn field<'a>(
    table: &mut Table<'a>,
    seen: &mut Seen<'a>,
    parse: impl FnOnce(Text<'a>) -> Option<FeatureName>,
) -> Option<Field> {
    let name = table.text("name");
    let value_type = table.text("type").and_then(Text::value_type);
    let name = name
        .filter(|name| seen.is_new("feature", name.str, name.place))
        .and_then(parse);
    Some(Field {
        name: name?,
        value_type: value_type?,
    })
}

/// Each aggregate makes one feature a window: `late_rate` over `24h` is `late_rate_24h`.
fn aggregates(item: Item<'_>) -> Features<Aggregate> {
    let mut seen = Seen::default();
    let read = item.each("aggregate", |mut table| {
        let made = aggregate(&mut table, &mut seen);
        table.finish();
        made
    });
    let complete = read.complete && !is_empty(item, &read) && read.items.iter().all(|one| one.complete);
    Each {
        items: read.items.into_iter().flat_map(|one| one.items).collect(),
        complete,
    }
}

fn aggregate<'a>(table: &mut Table<'a>, seen: &mut Seen<'a>) -> Option<Features<Aggregate>> {
    let name = table.text("name");
    let function = table.text("function").and_then(function);
    let column_item = table.optional_text("column");
    let windows = table.required("windows");
    let declared = table.optional_text("type");

    let name = name.filter(|name| name.name::<FeatureName>().is_some());
    let column = column_item.and_then(|column| match (column, function) {
        (Some(column), _) => column.column().map(Some),
        (None, Some(Function::Count | Function::LastTime)) => Some(None),
        (None, None) => None,
        (None, Some(function)) => {
            let message = format!("`column` is missing: `{}` needs one", function.name());
            table
                .place
                .error(message, "only `count` and `last_time` can do without".to_owned());
            None
        }
    });
    let value_type = match (function, declared) {
        (Some(function), Some(declared)) => value_type(function, declared),
        _ => None,
    };
    let expected = expect(table, value_type);
    let windows = windows?;
    let list = windows.list()?;
    if list.is_empty() {
        windows.place.error(
            "`windows` is empty: name at least one",
            "for example [\"24h\"]".to_owned(),
        );
        return None;
    }
    let (count, name) = (list.len(), name?);
    let items: Vec<_> = list
        .into_iter()
        .filter_map(|window| {
            let text = window.text()?;
            let window = text.positive_span("a window")?;
            let feature = format!("{}_{}", name.str, text.str);
            let new = seen.is_new("feature", &feature, text.place);
            let field = Field {
                name: feature.parse().ok().filter(|_| new)?,
                value_type: value_type?,
            };
            Some((
                field,
                Aggregate {
                    function: function?,
                    column: column.clone()?,
                    window,
                    value_type: value_type?,
                },
                expected?,
            ))
        })
        .collect();
    Some(Each {
        complete: items.len() == count,
        items,
    })
}

fn function(text: Text<'_>) -> Option<Function> {
    let known = Function::ALL.into_iter().find(|function| function.name() == text.str);
    if known.is_none() {
        let help = suggest(text.str, Function::ALL.map(Function::name));
        text.place.error(format!("unknown function `{}`", text.str), help);
    }
    known
}

/// The feature's type: as declared, if the function can have it, else the first of those it can have.
fn value_type(function: Function, declared: Option<Text<'_>>) -> Option<ValueType> {
    use ValueType::{Bool, Bytes, Float32, Float64, Int64, String, Timestamp};
    let possible: &[ValueType] = match function {
        Function::Count | Function::DistinctCount => &[Int64],
        Function::Mean | Function::Stddev => &[Float64],
        Function::LastTime => &[Timestamp],
        Function::Sum => &[Float64, Int64],
        Function::Min | Function::Max => &[Float64, Float32, Int64, String, Timestamp],
        Function::Last => &[Float64, Float32, Int64, Bool, String, Bytes, Timestamp],
    };
    let Some(text) = declared else {
        return possible.first().copied();
    };
    let declared = text.value_type()?;
    if !possible.contains(&declared) {
        let message = format!("`{}` can't be of type `{declared}`", function.name());
        text.place
            .error(message, suggest(text.str, possible.iter().map(|t| t.name())));
        return None;
    }
    Some(declared)
}

/// Whether a view was given an empty list, which is reported.
fn is_empty<T>(item: Item<'_>, read: &Each<T>) -> bool {
    let empty = read.complete && read.items.is_empty();
    if empty {
        item.place.error("a view needs at least one feature", None);
    }
    empty
}
