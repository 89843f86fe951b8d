//! A draft as definition files: one for each Python file, so that a team finds its definitions where they were.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::draft::{About, Draft, Entity, Relation, Service, Source, View};
use super::feature_store::{FILE, FeatureStore};
use super::values::Place;
use crate::definition_files::names::{unique, valid};
use crate::definition_files::text::{self, pairs, plain, quoted, reference, row_feature, typed};

/// Names and texts of all files.
pub(super) fn files(draft: &Draft, project: &str, store: &FeatureStore, folder: &str) -> Vec<(String, String)> {
    let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |at: &Place, block: String| blocks.entry(at.file.to_string()).or_default().push(block);
    for one in &draft.entities {
        add(&one.at, entity(one));
    }
    let mut queries = Vec::new();
    for one in &draft.sources {
        add(&one.at, source(one));
        if let Relation::Query(sql) = &one.relation {
            queries.push((format!("{}.sql", one.name), query(one, sql)));
        }
    }
    for one in &draft.views {
        add(&one.at, view(one, draft));
    }
    for one in &draft.services {
        add(&one.at, service(one));
    }
    let mut names: Vec<String> = vec!["feature_store".to_owned()];
    let stores = match (&store.offline, &store.online) {
        (Some(offline), Some(online)) => format!(" Its stores were {offline} (offline) and {online} (online)."),
        _ => String::new(),
    };
    let head = format!("# From Feast's {FILE}.{}\n\n{}", plain(&stores), text::header(project));
    let mut files = queries;
    files.push(("feature_store.toml".to_owned(), head));
    for (file, blocks) in blocks {
        let within = Path::new(&file).strip_prefix(folder).unwrap_or(Path::new(&file));
        let stem = within.with_extension("").display().to_string().replace('/', "_");
        let name = unique(&valid(&stem, "definitions"), |name| {
            names.iter().any(|known| known == name)
        });
        let head = format!("# From Feast's {}.\n\n", plain(&file));
        files.push((format!("{name}.toml"), head + &blocks.join("\n")));
        names.push(name);
    }
    files
}

/// What stands above a declaration: where it comes from, and what definitions have no key for.
fn above(at: &Place, about: &About, keyed: &[&str]) -> String {
    let mut text = format!("# {at}");
    if !about.tags.is_empty() {
        let tags: Vec<String> = about.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        let _infallible = write!(text, "; tags: {}", tags.join(", "));
    }
    text = plain(&text);
    for (key, value) in [("description", &about.description), ("owner", &about.owner)] {
        if let Some(value) = value.as_ref().filter(|_| !keyed.contains(&key)) {
            let _infallible = write!(text, "\n# {key}: {}", plain(value));
        }
    }
    text + "\n"
}

fn entity(entity: &Entity) -> String {
    let keys = entity.keys.iter().map(|key| (key.name.as_str(), key.key_type));
    above(&entity.at, &entity.about, &[]) + &text::entity(&entity.name, keys)
}

fn source(source: &Source) -> String {
    let mut lines = vec!["[[source]]".to_owned(), format!("name = {}", quoted(&source.name))];
    lines.push(match &source.relation {
        Relation::Table(table) => format!("table = {}", quoted(table)),
        Relation::Query(_) => format!("sql = {}", quoted(&format!("{}.sql", source.name))),
    });
    lines.push(format!("event_timestamp = {}", quoted(&source.event_timestamp)));
    let created = source.created_timestamp.iter();
    lines.extend(created.map(|created| format!("created_timestamp = {}", quoted(created))));
    lines.extend(
        source
            .push_to
            .iter()
            .map(|table| format!("push_to = {}", quoted(table))),
    );
    above(&source.at, &source.about, &[]) + &lines.join("\n") + "\n"
}

fn query(source: &Source, sql: &str) -> String {
    let sql = sql.trim_matches('\n').trim_end();
    format!("-- From Feast's {}.\n{sql}\n", plain(&source.at.to_string()))
}

fn view(view: &View, draft: &Draft) -> String {
    let (entity, source) = (&draft.entities[view.entity], &draft.sources[view.source]);
    let mut text = above(&view.at, &view.about, &["description", "owner"]);
    text.push_str(&text::view(&view.name, &entity.name, &source.name));
    let columns: Vec<(&str, String)> = entity
        .keys
        .iter()
        .map(|key| (key.name.as_str(), source.column(&key.feast)))
        .filter(|(name, column)| name != column)
        .collect();
    if !columns.is_empty() {
        let columns = pairs(columns.iter().map(|(name, column)| (*name, column.as_str())));
        let _infallible = writeln!(text, "columns = {{ {columns} }}");
    }
    for (key, value) in [("description", &view.about.description), ("owner", &view.about.owner)] {
        if let Some(value) = value {
            let _infallible = writeln!(text, "{key} = {}", quoted(value));
        }
    }
    if let Some(ttl) = view.ttl {
        let _infallible = writeln!(text, "ttl = {}", quoted(&ttl.to_string()));
    }
    text.push_str("features = [\n");
    for feature in &view.features {
        text.push_str(&row_feature(&feature.name, feature.value_type, &feature.column));
    }
    text + "]\n"
}

fn service(service: &Service) -> String {
    let mut text = above(&service.at, &service.about, &[]);
    for left in &service.without {
        let _infallible = writeln!(text, "# Without {}: it is not carried over.", plain(left));
    }
    let _infallible = writeln!(text, "[[feature_service]]\nname = {}", quoted(&service.name));
    if !service.request.is_empty() {
        let request = service.request.iter();
        let request: Vec<String> = request
            .map(|(name, value_type)| format!("{{ {} }}", typed(name, *value_type)))
            .collect();
        let _infallible = writeln!(text, "request = [{}]", request.join(", "));
    }
    if !service.joins.is_empty() {
        text.push_str("joins = [\n");
        for join in &service.joins {
            let _infallible = write!(text, "  {{ view = {}", quoted(&join.view));
            if join.alias != join.view {
                let _infallible = write!(text, ", as = {}", quoted(&join.alias));
            }
            if !join.keys.is_empty() {
                let keys = join.keys.iter().map(|(key, request)| (key.as_str(), request.as_str()));
                let _infallible = write!(text, ", keys = {{ {} }}", pairs(keys));
            }
            text.push_str(" },\n");
        }
        text.push_str("]\n");
    }
    text.push_str("features = [\n");
    for (view, feature) in &service.features {
        let _infallible = writeln!(text, "  {},", reference(view, feature));
    }
    text + "]\n"
}
