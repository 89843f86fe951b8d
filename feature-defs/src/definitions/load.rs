//! Reads a directory of definition files into checked and linked definitions, or says everything that is wrong.

mod derived;
mod entities;
mod link;
mod problems;
mod registry;
mod services;
#[cfg(test)]
mod tests;
mod toml_reader;
mod views;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::link::{Catalog, Usage};
use self::problems::{Place, Problems, SourceFile};
use self::registry::Registry;
use self::toml_reader::{Item, Table, Text};
use super::{Definitions, Diagnostics};
use crate::name::ProjectName;

/// The keys of a file.
const FORMAT: &str = "format";
const PROJECT: &str = "project";
const KINDS: [(&str, &str); 5] = [
    ("entity", "[[entity]]"),
    ("source", "[[source]]"),
    ("feature_view", "[[feature_view]]"),
    ("derived", "[[derived]]"),
    ("feature_service", "[[feature_service]]"),
];
const ENTITY: usize = 0;
const SOURCE: usize = 1;
const VIEW: usize = 2;
const DERIVED: usize = 3;
const SERVICE: usize = 4;

/// The one format there is.
const KNOWN_FORMAT: &str = "1";

/// Reads every `.toml` file of `dir` (not of folders in it) and the `.sql` files they name.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("shop.toml");
/// std::fs::write(&file, r#"
///     format = 1
///     project = "shop"
///
///     [[entity]]
///     name = "customer"
///     join_keys = [{ name = "customer", type = "int64" }]
///
///     [[source]]
///     name = "orders"
///     table = "orders"
///     event_timestamp = "ordered_at"
///
///     [[feature_view]]
///     name = "spending"
///     entity = "customer"
///     source = "orders"
///     aggregate = [{ name = "spent", function = "sum", column = "amount", windows = ["7d", "30d"] }]
///
///     [[feature_service]]
///     name = "churn"
///     features = ["spending:spent_7d", { feature = "spending:spent_30d", default = 0 }]
/// "#)?;
/// let definitions = feature_defs::definitions::load(dir.path())?;
/// assert_eq!(definitions.services[0].inputs[1].name, "spending__spent_30d");
///
/// std::fs::write(&file, "format = 1\nprojekt = 'shop'\n")?;
/// let problems = feature_defs::definitions::load(dir.path()).expect_err("a key is unknown");
/// assert!(problems.to_string().contains("help: did you mean `project`?"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Everything that is wrong with them, all at once.
pub fn load(dir: &Path) -> Result<Definitions, Diagnostics> {
    let problems = Problems::default();
    let definitions = read(dir, &problems);
    problems.into_result(definitions)
}

fn read(dir: &Path, problems: &Problems) -> Option<Definitions> {
    let files = read_files(dir, problems);
    let parsed: Vec<(&SourceFile, Spanned<DeTable<'_>>)> = files
        .iter()
        .filter_map(|file| Some((file, parse(file, problems)?)))
        .collect();
    let documents: Vec<_> = parsed
        .iter()
        .map(|(file, table)| Document::read(file, table, problems))
        .collect();
    let project = project(dir, &documents, problems);
    link(dir, &documents, project)
}

/// The `.toml` files of `dir`, by name. Hidden ones are editors' business.
fn read_files(dir: &Path, problems: &Problems) -> Vec<SourceFile> {
    let mut paths = match toml_paths(dir) {
        Ok(paths) => paths,
        Err(error) => {
            let help = "name the directory of the definition files: `--features DIR` or `LARDER_FEATURES`";
            problems.whole_file(
                dir,
                format!("the directory cannot be read: {error}"),
                Some(help.to_owned()),
            );
            problems.note_unreadable();
            return Vec::new();
        }
    };
    if paths.is_empty() {
        let help = "write one that says `format = 1` and `project = \"…\"`, or name another directory";
        problems.whole_file(
            dir,
            "there is no .toml file in the directory".to_owned(),
            Some(help.to_owned()),
        );
        problems.note_unreadable();
    }
    paths.sort();
    paths.into_iter().filter_map(|path| read_file(path, problems)).collect()
}

fn toml_paths(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    let visible = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    };
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir();
    Ok(paths
        .into_iter()
        .filter(|path| visible(path) && is_toml(path))
        .collect())
}

fn read_file(path: PathBuf, problems: &Problems) -> Option<SourceFile> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(SourceFile { path, text }),
        Err(error) => {
            let help = (error.kind() == ErrorKind::InvalidData).then(|| "save it as UTF-8".to_owned());
            problems.whole_file(&path, format!("the file cannot be read: {error}"), help);
            problems.note_unreadable();
            None
        }
    }
}

/// Parses a file; one that is not TOML is reported, and what it may declare is remembered.
fn parse<'a>(file: &'a SourceFile, problems: &'a Problems) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    // What follows on the same line follows from the first mistake in it.
    let mut lines = std::collections::HashSet::new();
    for error in &errors {
        let range = error.span().unwrap_or_default();
        let before = file.text.get(..range.start).unwrap_or_default();
        if lines.insert(before.matches('\n').count()) {
            Place::new(file, problems, range).error(format!("not TOML: {}", error.message()), None);
        }
    }
    if errors.is_empty() {
        return Some(table);
    }
    problems.note_unread(&file.text);
    None
}

/// A file's header and declarations, not looked into yet.
struct Document<'a> {
    format: Option<Item<'a>>,
    project: Option<Item<'a>>,
    /// By [`KINDS`].
    declarations: [Vec<Item<'a>>; 5],
}

impl<'a> Document<'a> {
    fn read(file: &'a SourceFile, table: &'a Spanned<DeTable<'a>>, problems: &'a Problems) -> Self {
        let mut table = Table::new(table.get_ref(), Place::new(file, problems, table.span()), "the file");
        let (format, project) = (table.optional(FORMAT), table.optional(PROJECT));
        let declarations = KINDS.map(|(key, what)| match table.optional(key) {
            None => Vec::new(),
            Some(item) if item.value().is_table() => {
                item.place
                    .error(format!("`{key}` must be a list of tables"), format!("write {what}"));
                note_names(item.value(), problems);
                Vec::new()
            }
            Some(item) => item.list().unwrap_or_default(),
        });
        for unknown in table.unknown() {
            note_names(unknown, problems);
        }
        table.finish();
        Self {
            format,
            project,
            declarations,
        }
    }
}

/// Remembers the names of declarations that are not read because of what they are called, so that references to them
/// are not reported too.
fn note_names(declarations: &DeValue<'_>, problems: &Problems) {
    let name = |declaration: &DeValue<'_>| {
        declaration
            .as_table()?
            .get("name")?
            .get_ref()
            .as_str()
            .map(str::to_owned)
    };
    let list = declarations
        .as_array()
        .into_iter()
        .flat_map(|list| list.iter().map(Spanned::get_ref));
    for name in list.chain([declarations]).filter_map(name) {
        problems.note_unread(&name);
    }
}

/// The project's name, which exactly one file says.
fn project(dir: &Path, documents: &[Document<'_>], problems: &Problems) -> Option<ProjectName> {
    let mut first: Option<Place<'_>> = None;
    let mut name = None;
    for document in documents {
        let (item, other) = match (document.format, document.project) {
            (None, None) => continue,
            (Some(format), None) => (format, Some(PROJECT)),
            (None, Some(project)) => (project, Some(FORMAT)),
            (Some(_), Some(project)) => (project, None),
        };
        if let Some(other) = other {
            item.place.error(
                format!("`{other}` is missing beside this"),
                "one file says both".to_owned(),
            );
        }
        if let Some(format) = document.format
            && format.place.raw() != KNOWN_FORMAT
        {
            let message = format!("`format` is {}, which this program does not know", format.quoted());
            format.place.error(message, format!("write `format = {KNOWN_FORMAT}`"));
        }
        match first {
            Some(first) => item
                .place
                .error("only one file says `format` and `project`", format!("{first} does")),
            None => {
                first = Some(item.place);
                name = document.project.and_then(Item::text).and_then(Text::name);
            }
        }
    }
    if first.is_none() && !problems.any_unread() {
        let help = format!("let one file begin with `format = {KNOWN_FORMAT}` and `project = \"…\"`");
        problems.whole_file(dir, "no file says `format` and `project`".to_owned(), Some(help));
    }
    name
}

/// Reads the declarations of all files, kind by kind, so that each finds those it refers to whatever file they are in.
fn link(dir: &Path, documents: &[Document<'_>], project: Option<ProjectName>) -> Option<Definitions> {
    let mut entities = Registry::new("entity");
    for_each(documents, ENTITY, &mut entities, entities::entity);
    let mut sources = Registry::new("source");
    for_each(documents, SOURCE, &mut sources, |table, name| {
        entities::source(table, name, dir)
    });
    let mut views = Registry::new("view");
    for_each(documents, VIEW, &mut views, |table, name| {
        views::view(table, name, &entities, &sources)
    });
    let mut derived = Registry::new("derived feature");
    for_each(documents, DERIVED, &mut derived, derived::derived);
    derived::refuse_cycles(&mut derived);

    let catalog = Catalog { views, derived };
    let mut usage = Usage::default();
    let mut services = Registry::new("service");
    for_each(documents, SERVICE, &mut services, |table, name| {
        services::service(table, name, &catalog, &mut usage)
    });
    for entry in catalog
        .derived
        .valid()
        .filter(|entry| !usage.derived.contains(&entry.name))
    {
        derived::check_unused(entry, &catalog.views, &catalog.derived, &usage.aliases);
    }
    Some(Definitions {
        project: project?,
        entities: entities.valid().cloned().collect(),
        sources: sources.valid().cloned().collect(),
        views: catalog.views.valid().map(|entry| entry.view.clone()).collect(),
        services: services.valid().cloned().collect(),
    })
}

/// Reads every declaration of a kind into its registry. One without a name is read too, for what else is wrong with it.
fn for_each<'a, T>(
    documents: &[Document<'a>],
    kind: usize,
    registry: &mut Registry<'a, T>,
    mut read: impl FnMut(&mut Table<'a>, Option<Text<'a>>) -> Option<T>,
) {
    for item in documents.iter().flat_map(|document| &document.declarations[kind]) {
        let Some(mut table) = item.table(KINDS[kind].1) else {
            continue;
        };
        let name = table.text("name");
        let value = read(&mut table, name);
        table.finish();
        if let Some(name) = name {
            registry.declare(name, value);
        }
    }
}
