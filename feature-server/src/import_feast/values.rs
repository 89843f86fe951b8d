//! What Python code says, as far as it can be known without running it.

use std::fmt;
use std::sync::Arc;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Relative to the repository.
    pub(super) file: Arc<str>,
    /// From 1; 0: the file as a whole.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A value and where it is written.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) value: Value,
    pub(super) at: Place,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// A list, tuple or set.
    List(Vec<Known>),
    Dict(Vec<(Known, Known)>),
    /// Something that is not of the repository, by its dotted path: `feast.types.Int64`.
    Outside(String),
    /// A module of the repository: its file without `.py`, or its folder.
    Module(std::path::PathBuf),
    Object(Arc<Object>),
    /// What it is instead: "an f-string", "what `getenv(…)` gives".
    Unknown(String),
}

/// What a call of something outside gives, or what a method or subscript makes of that.
#[derive(Debug)]
pub(super) struct Object {
    /// In the order in which they are made.
    pub(super) id: usize,
    pub(super) made: Made,
    pub(super) positional: Vec<Known>,
    pub(super) keywords: Vec<(String, Known)>,
    /// Whether there are more arguments, which can't be known: `**common`.
    pub(super) is_open: bool,
    pub(super) at: Place,
}

#[derive(Debug, Clone)]
pub(super) enum Made {
    /// By a class or function, of this dotted path.
    By(String),
    /// `of.name(…)`
    Method { of: Arc<Object>, name: String },
    /// `of[…]`
    Item { of: Arc<Object> },
}

impl Known {
    pub(super) fn unknown(what: impl Into<String>, at: Place) -> Self {
        Self {
            value: Value::Unknown(what.into()),
            at,
        }
    }

    pub(super) const fn is_none(&self) -> bool {
        matches!(self.value, Value::None)
    }

    pub(super) fn text(&self) -> Result<&str, String> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.instead_of("a text")),
        }
    }

    pub(super) fn list(&self) -> Result<&[Known], String> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.instead_of("a list")),
        }
    }

    pub(super) fn object(&self) -> Result<&Arc<Object>, String> {
        match &self.value {
            Value::Object(object) => Ok(object),
            _ => Err(self.instead_of("an object of Feast")),
        }
    }

    /// Texts by texts.
    pub(super) fn text_pairs(&self) -> Result<Vec<(String, String)>, String> {
        let Value::Dict(pairs) = &self.value else {
            return Err(self.instead_of("a dict"));
        };
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| Ok((key.text()?.to_owned(), value.text()?.to_owned())))
            .collect()
    }

    /// Says that it is not what was wanted.
    pub(super) fn instead_of(&self, wanted: &str) -> String {
        match &self.value {
            Value::Unknown(what) => format!("is {what}, and known only when the code runs"),
            Value::Outside(path) => format!("is `{path}`, which is not of this repository"),
            Value::Object(object) => match &object.made {
                Made::By(path) if !is_feast(path) => {
                    let name = last(path);
                    format!("is what `{name}(…)` gives, and known only when the code runs")
                }
                Made::By(path) => format!("is of `{}`, not {wanted}", last(path)),
                Made::Method { .. } | Made::Item { .. } => format!("is computed, and not {wanted}"),
            },
            Value::None => format!("is None, not {wanted}"),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => format!("is not {wanted}"),
            Value::List(_) | Value::Dict(_) | Value::Module(_) => format!("is not {wanted}"),
        }
    }
}

impl Object {
    /// The class or function of Feast that made it; `None`: another's.
    pub(super) fn class(&self) -> Option<&str> {
        match &self.made {
            Made::By(path) if is_feast(path) => Some(last(path)),
            _ => None,
        }
    }

    /// The last part of what made it, whoever's it is.
    pub(super) fn maker(&self) -> &str {
        match &self.made {
            Made::By(path) => last(path),
            Made::Method { name, .. } => name,
            Made::Item { .. } => "[]",
        }
    }

    /// The argument of this name that is not `None`.
    pub(super) fn argument(&self, name: &str) -> Option<&Known> {
        let found = self.keywords.iter().find(|(keyword, _)| keyword == name);
        found.map(|(_, value)| value).filter(|value| !value.is_none())
    }

    /// The same, or the argument in this place.
    pub(super) fn argument_or(&self, name: &str, position: usize) -> Option<&Known> {
        let positional = || self.positional.get(position).filter(|value| !value.is_none());
        self.argument(name).or_else(positional)
    }

    /// The text of an optional argument; empty counts as absent, as it does for Feast.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.argument(name) else {
            return Ok(None);
        };
        let text = value.text().map_err(|problem| format!("its `{name}` {problem}"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Its name, or what else it can be called in a message.
    pub(super) fn shown(&self) -> String {
        let name = self.argument_or("name", 0).and_then(|name| name.text().ok());
        name.map_or_else(|| "without a known name".to_owned(), |name| format!("`{name}`"))
    }
}

/// Feast's own packages, and those of its contributors: `feast`, `feast_postgres`.
pub(super) fn is_feast(path: &str) -> bool {
    let package = path.split('.').next().unwrap_or_default();
    package == "feast" || package.starts_with("feast_")
}

/// The last part of a dotted path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
