//! The tables and definitions of a world: every kind of source, each with a row view and an aggregate view of users, items
//! and pairs, and a feature service for its training sets.

use std::fmt::Write;

use crate::views::{AGGREGATES, Join, Kind, OVERLAP, ROW_FEATURES, SOURCES, Source, View};
use crate::world::{HOUR, MINUTE, Time};

/// An empty source and its view: a run of it changes nothing, and comes after all that was sent before it.
pub(crate) const BARRIER: &str = "barrier";

/// The tables of all sources, with the indexes they should have.
pub(crate) fn tables() -> String {
    let mut sql = String::from("CREATE TABLE barrier (\"user\" text, event timestamptz, x float8);");
    for source in &SOURCES {
        let name = source.name;
        write!(
            sql,
            "CREATE TABLE {name} (
                 tag text, \"user\" text, item int8, event timestamptz, created timestamptz, id int4, leg int2, deleted bool,
                 x float8, y float8, n int8, s text, b bool, w timestamptz
             );
             CREATE INDEX ON {name} (\"user\", event);
             CREATE INDEX ON {name} (item, event);
             CREATE INDEX ON {name} (event);
             CREATE INDEX ON {name} (created);
             CREATE INDEX ON {name} (id, leg);"
        )
        .expect("a string takes all");
    }
    sql
}

/// The definitions of all sources, views and services.
pub(crate) fn toml(project: &str) -> String {
    let mut toml = format!(
        r#"format = 1
project = "{project}"
[[entity]]
name = "user"
join_keys = [{{ name = "user", type = "string" }}]
[[entity]]
name = "item"
join_keys = [{{ name = "item", type = "int64" }}]
[[entity]]
name = "pair"
join_keys = [{{ name = "user", type = "string" }}, {{ name = "item", type = "int64" }}]
[[source]]
name = "barrier"
table = "barrier"
event_timestamp = "event"
[[feature_view]]
name = "{BARRIER}"
entity = "user"
source = "barrier"
features = [{{ name = "x", type = "float64" }}]
"#
    );
    for declared in &SOURCES {
        toml.push_str(&source(declared));
    }
    for declared in View::all() {
        toml.push_str(&view(declared));
    }
    for source in &SOURCES {
        let views = View::all().into_iter().filter(|view| view.source == source);
        let features: Vec<String> = views
            .flat_map(|view| {
                features(view)
                    .into_iter()
                    .map(move |feature| format!("\"{}:{feature}\"", view.name()))
            })
            .collect();
        let (name, features) = (source.name, features.join(", "));
        toml.push_str(&format!(
            "[[feature_service]]\nname = \"{name}\"\nfeatures = [{features}]\n"
        ));
    }
    toml
}

fn source(source: &Source) -> String {
    let name = source.name;
    let mut toml = format!("[[source]]\nname = \"{name}\"\ntable = \"{name}\"\nevent_timestamp = \"event\"\n");
    if source.created {
        toml.push_str(&format!(
            "created_timestamp = \"created\"\noverlap = \"{}\"\n",
            span(OVERLAP)
        ));
    }
    if source.lateness > 0 {
        toml.push_str(&format!("lateness = \"{}\"\n", span(source.lateness)));
    }
    if !source.key.is_empty() {
        toml.push_str(&format!("key = {:?}\n", source.key));
    }
    if source.deleted {
        toml.push_str("deleted = \"deleted\"\n");
    }
    toml
}

fn view(view: View) -> String {
    let mut toml = format!(
        "[[feature_view]]\nname = \"{}\"\nentity = \"{}\"\nsource = \"{}\"\n",
        view.name(),
        view.join.name(),
        view.source.name
    );
    if let Some(ttl) = view.ttl() {
        toml.push_str(&format!("ttl = \"{}\"\n", span(ttl)));
    }
    match view.kind {
        Kind::Row => {
            let features = ROW_FEATURES
                .map(|(column, value_type)| format!("{{ name = \"{}\", type = \"{value_type}\" }}", column.name()));
            toml.push_str(&format!("features = [{}]\n", features.join(", ")));
        }
        Kind::Aggregate => {
            let windows: Vec<String> = windows(view.join);
            let aggregates: Vec<String> = AGGREGATES
                .iter()
                .map(|aggregate| {
                    let column = aggregate
                        .column
                        .map_or_else(String::new, |c| format!(", column = \"{}\"", c.name()));
                    let declared = aggregate
                        .declared
                        .map_or_else(String::new, |t| format!(", type = \"{t}\""));
                    let (name, function) = (aggregate.name, aggregate.function.name());
                    format!(
                        "{{ name = \"{name}\", function = \"{function}\"{column}{declared}, windows = {windows:?} }}"
                    )
                })
                .collect();
            toml.push_str(&format!("aggregate = [{}]\n", aggregates.join(", ")));
        }
    }
    toml
}

/// The names of a view's features, in order.
pub(crate) fn features(view: View) -> Vec<String> {
    match view.kind {
        Kind::Row => ROW_FEATURES.map(|(column, _)| column.name().to_owned()).to_vec(),
        Kind::Aggregate => AGGREGATES
            .iter()
            .flat_map(|aggregate| {
                windows(view.join)
                    .into_iter()
                    .map(|window| format!("{}_{window}", aggregate.name))
            })
            .collect(),
    }
}

fn windows(join: Join) -> Vec<String> {
    join.windows().iter().map(|window| span(*window)).collect()
}

fn span(span: Time) -> String {
    if span % HOUR == 0 {
        format!("{}h", span / HOUR)
    } else {
        format!("{}m", span / MINUTE)
    }
}
