//! What applying the definitions in hand would change, and what that touches: services, model versions, stored values.

use std::fmt;

use feature_defs::name::ProjectName;
use feature_defs::time::Timestamp;
use serde::Serialize;

/// What applying the definitions in hand changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The project.
    pub project: ProjectName,
    /// When definitions were last applied, and where; `None`: never.
    pub last_applied: Option<AppliedBy>,
    /// Entities, sources, views, services that are new, changed or retired, in this order and by name.
    pub changes: Vec<Change>,
    /// What the definitions in hand have and nothing uses.
    pub unused: Vec<Unused>,
}

/// When and where definitions were applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppliedBy {
    /// On the clock of the database that records it.
    pub at: Timestamp,
    /// The machine.
    pub host: String,
}

/// A thing that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What has become of it.
    pub change: Changed,
    /// What it is.
    pub kind: Thing,
    /// Its name.
    pub name: String,
    /// What of it is new, gone or said otherwise, a line each.
    pub what: Vec<String>,
    /// What follows from that, a line each.
    pub effects: Vec<String>,
    /// Whether it is a view that needs a full run.
    pub full_run: bool,
    /// About how many entities have values online, of a view.
    pub entities: Option<i64>,
    /// The views that it is in.
    pub views: Vec<String>,
    /// The services that read it.
    pub services: Vec<String>,
    /// The model versions that these are for, if the model repository is known.
    pub model_versions: Vec<String>,
}

/// What has become of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It was not applied before.
    New,
    /// It was applied as something else.
    Changed,
    /// It is not in the definitions any more.
    Retired,
}

/// What definitions declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the documentation's")]
pub enum Thing {
    Entity,
    Source,
    View,
    Service,
}

/// A thing that nothing uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// What it is.
    pub kind: Thing,
    /// Its name.
    pub name: String,
}

impl Thing {
    const fn name(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Source => "source",
            Self::View => "view",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for Plan {
    /// Lines for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            project, last_applied, ..
        } = self;
        match last_applied {
            Some(AppliedBy { at, host }) => writeln!(f, "project {project}, beside what was applied {at} on {host}")?,
            None => writeln!(f, "project {project}, of which nothing was applied before")?,
        }
        self.changes.iter().try_for_each(|change| change.fmt(f))?;
        if self.changes.is_empty() {
            writeln!(f, "nothing has changed")?;
        }
        for Unused { kind, name } in &self.unused {
            writeln!(f, "unused: {} {name}", kind.name())?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Changed::New => "new",
            Changed::Changed => "changed",
            Changed::Retired => "retired",
        };
        writeln!(f, "{change} {} {}", self.kind.name(), self.name)?;
        for line in self.what.iter().chain(&self.effects) {
            writeln!(f, "  {line}")?;
        }
        for (what, names) in [
            ("views", &self.views),
            ("services", &self.services),
            ("model versions", &self.model_versions),
        ] {
            if !names.is_empty() {
                writeln!(f, "  {what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}
