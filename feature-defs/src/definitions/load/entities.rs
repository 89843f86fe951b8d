//! `[[entity]]` and `[[source]]`.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::super::{Entity, JoinKey, Relation, Source};
use super::problems::suggest;
use super::registry::Seen;
use super::toml_reader::{Item, Table, Text};
use crate::time::Span;

/// How far behind the watermark created timestamps are looked at again, unless `overlap` says otherwise: rows become
/// visible some time after they are stamped.
const DEFAULT_OVERLAP: Span = Span::from_secs(300);

/// Reads an entity.
pub(super) fn entity(table: &mut Table<'_>, name: Option<Text<'_>>) -> Option<Arc<Entity>> {
    let name = name.and_then(Text::name);
    let keys = table.required("join_keys")?;
    let mut seen = Seen::default();
    let join_keys = keys.each("join_keys", |mut key| {
        let (name, key_type) = (key.text("name"), key.text("type").and_then(Text::key_type));
        key.finish();
        let name = name
            .filter(|name| seen.is_new("join key", name.str, name.place))?
            .name();
        Some(JoinKey {
            name: name?,
            key_type: key_type?,
        })
    });
    if join_keys.complete && join_keys.items.is_empty() {
        keys.place.error("an entity needs at least one join key", None);
        return None;
    }
    Some(Arc::new(Entity {
        name: name?,
        join_keys: join_keys.all()?,
    }))
}

/// Reads a source and the query it names, which lies in `dir`.
pub(super) fn source(table: &mut Table<'_>, name: Option<Text<'_>>, dir: &Path) -> Option<Arc<Source>> {
    let name = name.and_then(Text::name);
    let database = table.optional_text("database").and_then(|text| match text {
        None => Some(None),
        Some(text) => text.name().map(Some),
    });
    let relation = match (table.optional("table"), table.optional("sql")) {
        (Some(table), None) => table.text().and_then(table_name).map(Relation::Table),
        (None, Some(sql)) => sql.text().and_then(|file| query(file, dir)),
        (Some(_), Some(sql)) => {
            sql.place.error("a source has `table` or `sql`, not both", None);
            None
        }
        (None, None) => {
            table.place.error("`table` or `sql` is missing in [[source]]", None);
            None
        }
    };
    let event_timestamp = table.text("event_timestamp").and_then(Text::column);
    let created_timestamp = table.optional_text("created_timestamp").and_then(|text| match text {
        None => Some(None),
        Some(text) => text.column().map(Some),
    });
    let key = table.optional("key").map_or(Some(Vec::new()), |item| {
        let columns = columns(item)?;
        if matches!(created_timestamp, Some(None)) {
            item.place.error(
                "`key` needs `created_timestamp`",
                "the newest created of an event's versions is the one that counts".to_owned(),
            );
            return None;
        }
        Some(columns)
    });
    let deleted = table.optional_text("deleted").and_then(|text| match text {
        None => Some(None),
        Some(text) => text.column().map(Some),
    });
    let (overlap, lateness) = (table.optional("overlap"), table.optional("lateness"));
    let push_to = table.optional_text("push_to").and_then(|text| match text {
        None => Some(None),
        Some(text) => table_name(text).map(Some),
    });
    let look_back = look_back(!matches!(created_timestamp, Some(None)), overlap, lateness);
    Some(Arc::new(Source {
        name: name?,
        database: database?,
        relation: relation?,
        event_timestamp: event_timestamp?,
        created_timestamp: created_timestamp?,
        key: key?,
        deleted: deleted?,
        look_back: look_back?,
        push_to: push_to?,
    }))
}

/// The columns of an event's key, each once.
fn columns(item: Item<'_>) -> Option<Vec<String>> {
    let mut seen = Seen::default();
    let list = item.list()?;
    if list.is_empty() {
        item.place.error(
            "`key` is empty: name the columns that say which event a row is a version of",
            "or leave it out: then each row is an event of its own".to_owned(),
        );
        return None;
    }
    let count = list.len();
    let columns: Vec<String> = list
        .into_iter()
        .filter_map(|column| {
            let text = column.text()?;
            let new = seen.is_new("column", text.str, text.place);
            text.column().filter(|_| new)
        })
        .collect();
    (columns.len() == count).then_some(columns)
}

fn look_back(has_created: bool, overlap: Option<Item<'_>>, lateness: Option<Item<'_>>) -> Option<Span> {
    let (used, unused, default) = if has_created {
        (overlap, lateness, DEFAULT_OVERLAP)
    } else {
        (lateness, overlap, Span::ZERO)
    };
    if let Some(unused) = unused {
        let (message, help) = if has_created {
            (
                "`lateness` is for sources without `created_timestamp`",
                "late rows are found by it; say `overlap`",
            )
        } else {
            ("`overlap` needs `created_timestamp`", "without it, say `lateness`")
        };
        unused.place.error(message, help.to_owned());
        return None;
    }
    match used {
        None => Some(default),
        Some(item) => item.text()?.span(),
    }
}

fn table_name(text: Text<'_>) -> Option<String> {
    let parts: Vec<&str> = text.str.split('.').collect();
    let good = |part: &&str| !part.is_empty() && !part.contains(|c: char| c.is_control() || c.is_whitespace());
    if parts.len() > 2 || !parts.iter().all(good) {
        let help = "write `table` or `schema.table`; for anything else, a query in a file: `sql = \"file.sql\"`";
        text.place
            .error(format!("`{}` is not the name of a table", text.str), help.to_owned());
        return None;
    }
    Some(text.str.to_owned())
}

/// Reads the query in `file`, which must lie in `dir`.
fn query(file: Text<'_>, dir: &Path) -> Option<Relation> {
    let relative = Path::new(file.str);
    let path = dir.join(relative);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || leads_outside(&path, dir) {
        let help = "put it beside the definitions, and write its path from there";
        file.place.error(
            format!("`{}` lies outside the definitions' directory", file.str),
            help.to_owned(),
        );
        return None;
    }
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let beside = sql_files(dir);
            let help = suggest(file.str, beside.iter().map(String::as_str));
            file.place
                .error(format!("`{}` cannot be read: {error}", file.str), help);
            return None;
        }
    };
    let sql = text.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
    if sql.trim_start().is_empty() {
        file.place.error(format!("`{}` holds no query", file.str), None);
        return None;
    }
    Some(Relation::Query {
        file: path,
        sql: sql.to_owned(),
    })
}

/// The names of the `.sql` files in `dir`, as far as they can be listed.
fn sql_files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".sql")).collect();
    names.sort();
    names
}

/// Whether links lead from `path` out of `dir`; what can't be followed does not.
fn leads_outside(path: &Path, dir: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { std::fs::canonicalize(path).ok() };
    matches!((real(path), real(dir)), (Some(path), Some(dir)) if !path.starts_with(&dir))
}
