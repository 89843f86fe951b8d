//! `feature-server import-feast`: definitions from a Feast repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::{Places, wrong_usage};
use crate::WriteError;
use crate::import_feast::{Import, ImportError, import_feast};

#[derive(Args)]
pub(super) struct Arguments {
    /// The folder with feature_store.yaml, or the one above it that `feast init` made. Its Python is read, never run
    #[arg(value_name = "REPO_DIR")]
    repository: PathBuf,
    /// Directory to write the definitions to, which holds none yet [default: that of --features]
    #[arg(long, value_name = "DIR", env = "LARDER_OUT")]
    out: Option<PathBuf>,
}

pub(super) fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let out = arguments.out.as_ref().unwrap_or(&places.features);
    match import_feast(&arguments.repository, out) {
        Ok(import) => {
            out!("{}", text(&import, out));
            if import.files.is_empty() {
                return Err(anyhow!(
                    "no feature view could be carried over, so that nothing was written"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_wrong_usage() => Ok(wrong_usage(&error)),
        // As itself, so that it is shown as by every command that reads definitions.
        Err(ImportError::Write(WriteError::Definitions(diagnostics))) => Err(diagnostics.into()),
        Err(error) => Err(error.into()),
    }
}

/// The whole report.
fn text(import: &Import, out: &Path) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _infallible = writeln!(text, "{line}");
    };
    for file in &import.files {
        line(&format!("wrote {}", file.display()));
    }
    if !import.files.is_empty() {
        line("carried over:");
        for (kind, names) in import.carried.iter().filter(|(_, names)| !names.is_empty()) {
            line(&format!("  {kind}: {}", names.join(", ")));
        }
    }
    for (title, notes) in [
        ("carried over, but look at it:", &import.look_at),
        ("not carried over:", &import.not_carried),
    ] {
        if !notes.is_empty() {
            line(title);
        }
        notes.iter().for_each(|note| line(&format!("  {note}")));
    }
    if !import.files.is_empty() {
        line("next: read the files, change them, then");
        let place = match out {
            usual if usual == Path::new("features") => String::new(),
            other => format!(" --features {}", other.display()),
        };
        for command in ["check --database", "migrate", "materialize"] {
            line(&format!("  feature-server {command}{place}"));
        }
    }
    text
}
