//! The Python files of a repository, each read once, and what they import of each other.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::python::Reader;
use super::report::Notes;
use super::unread;
use super::values::{Known, Object, Place, Value};

/// A repository, while it is read.
#[derive(Debug)]
pub(super) struct Repository {
    /// What the user named; nothing outside it is read.
    root: PathBuf,
    /// The names that each file sets, by its path without `.py`. `None`: being read.
    pub(super) modules: HashMap<PathBuf, Option<HashMap<String, Known>>>,
    /// What the code that was read makes, in its order.
    pub(super) made: Vec<Arc<Object>>,
    pub(super) notes: Notes,
    ids: usize,
}

impl Repository {
    /// `root` is canonical.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            modules: HashMap::new(),
            made: Vec::new(),
            notes: Notes::default(),
            ids: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> usize {
        self.ids += 1;
        self.ids
    }

    /// How people know a file.
    pub(super) fn shown(&self, path: &Path) -> Arc<str> {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
            .into()
    }

    /// Reads a file, unless it has been; `module` is its path without `.py`.
    pub(super) fn read(&mut self, module: &Path) {
        if self.modules.contains_key(module) {
            return;
        }
        self.modules.insert(module.to_owned(), None);
        let path = file_of(module);
        let file = self.shown(&path);
        let whole = |file: &Arc<str>| Place {
            file: file.clone(),
            line: 0,
        };
        let names = match std::fs::read_to_string(&path) {
            Err(error) => {
                let why = format!("it cannot be read: {error}");
                self.notes
                    .not_carried(whole(&file), "the file", why, "save it as UTF-8, readable for you");
                HashMap::new()
            }
            Ok(text) => self.names_of(module, &file, &text),
        };
        self.modules.insert(module.to_owned(), Some(names));
    }

    fn names_of(&mut self, module: &Path, file: &Arc<str>, text: &str) -> HashMap<String, Known> {
        let line_starts: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let parsed = ruff_python_parser::parse_module(text);
        let mut reader = Reader {
            repository: self,
            path: module.to_owned(),
            file: file.clone(),
            line_starts,
            names: HashMap::new(),
            stars: Vec::new(),
            read: HashSet::new(),
            depth: 0,
        };
        let body = match &parsed {
            Ok(parsed) => &parsed.syntax().body,
            Err(error) => {
                let at = reader.place(&error.location);
                let why = format!("it is not Python: {}", error.error);
                let help = "mend it; nothing of this file was read";
                reader.repository.notes.not_carried(at, "the file", why, help);
                return HashMap::new();
            }
        };
        for statement in body {
            reader.statement(statement);
        }
        unread::note(&mut reader, body);
        reader.names
    }

    /// What `name` of a module of the repository is.
    pub(super) fn member(&mut self, module: &Path, name: &str) -> Value {
        if file_of(module).is_file() {
            self.read(module);
            if let Some(Some(known)) = self
                .modules
                .get(module)
                .map(|names| names.as_ref().and_then(|n| n.get(name)))
            {
                return known.value.clone();
            }
        }
        let inner = module.join(name);
        if is_module(&inner) {
            return Value::Module(inner);
        }
        let module = self.shown(module);
        Value::Unknown(format!("`{name}` of `{module}`, which does not set it"))
    }

    /// The module of the repository that an import in the file `from` names.
    pub(super) fn module(&self, dotted: &str, level: u32, from: &Path) -> Option<PathBuf> {
        // A repository in a folder called `feast` does not hide Feast.
        if level == 0 && dotted.split('.').next() == Some("feast") {
            return None;
        }
        let relative: PathBuf = dotted.split('.').filter(|part| !part.is_empty()).collect();
        let found = |base: &Path| {
            let path = base.join(&relative);
            (is_module(&path) && path.starts_with(&self.root)).then_some(path)
        };
        let is_package = file_of(from).ends_with("__init__.py");
        match (level, usize::try_from(level)) {
            // As Feast does, from the repository's folder; or by the name of that folder, or of one within it.
            (0, _) => {
                let within = from.ancestors().skip(1).take_while(|base| base.starts_with(&self.root));
                let outermost_first = within.collect::<Vec<_>>().into_iter().rev();
                self.root.ancestors().chain(outermost_first).find_map(found)
            }
            (_, Ok(level)) => from.ancestors().nth(level - usize::from(is_package)).and_then(found),
            (_, Err(_)) => None,
        }
    }
}

/// The file of a module: itself, or what its folder begins with.
fn file_of(module: &Path) -> PathBuf {
    let mut file = module.as_os_str().to_owned();
    file.push(".py");
    let file = PathBuf::from(file);
    if file.is_file() {
        file
    } else {
        module.join("__init__.py")
    }
}

fn is_module(path: &Path) -> bool {
    path.is_dir() || file_of(path).is_file()
}
