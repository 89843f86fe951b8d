//! `feature-server init`: a first definition file from a table.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use feature_defs::name::EntityName;

use super::{Places, wrong_usage};
use crate::WriteError;
use crate::init::{InitError, InitOptions, InitSummary, init};

#[derive(Args)]
pub(super) struct Arguments {
    /// The table or view of the source database, such as public.orders
    table: String,
    /// What the features are about [default: guessed from the join key]
    #[arg(long, value_name = "NAME", env = "LARDER_ENTITY")]
    entity: Option<EntityName>,
    /// A column that says what a row is about; may be repeated [default: guessed from names and keys]
    #[arg(long = "join-key", value_name = "COLUMN", env = "LARDER_JOIN_KEY")]
    join_keys: Vec<String>,
    /// The column that says when a row was true [default: guessed from names]
    #[arg(long, value_name = "COLUMN", env = "LARDER_EVENT_TIMESTAMP")]
    event_timestamp: Option<String>,
    /// The column that says when a row was written [default: guessed from names]
    #[arg(long, value_name = "COLUMN", env = "LARDER_CREATED_TIMESTAMP")]
    created_timestamp: Option<String>,
    /// The zone of timestamps without time zone, such as UTC or Europe/Berlin
    #[arg(long, value_name = "ZONE", env = "LARDER_TIME_ZONE")]
    time_zone: Option<String>,
}

pub(super) async fn run(places: &Places, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = places.settings()?;
    let source = settings.source_database.as_ref().unwrap_or(&settings.database);
    let options = InitOptions {
        entity: arguments.entity,
        join_keys: arguments.join_keys,
        event_timestamp: arguments.event_timestamp,
        created_timestamp: arguments.created_timestamp,
        time_zone: arguments.time_zone,
    };
    match init(source, &places.features, &arguments.table, &options).await {
        Ok(summary) => {
            out!("{}", text(&summary, &places.features));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_wrong_usage() => Ok(wrong_usage(&error)),
        // As itself, so that it is shown as by every command that reads definitions.
        Err(InitError::Definitions(diagnostics) | InitError::Write(WriteError::Definitions(diagnostics))) => {
            Err(diagnostics.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn text(summary: &InitSummary, features: &Path) -> String {
    let mut text = String::new();
    for file in &summary.files {
        text.push_str(&format!("wrote {}\n", file.display()));
    }
    text.push_str("what was guessed, and why:\n");
    for guess in &summary.guesses {
        text.push_str(&format!("  {guess}\n"));
    }
    let keys: Vec<String> = summary.join_keys.iter().map(|key| format!("{key}=…")).collect();
    let place = match features {
        usual if usual == Path::new("features") => String::new(),
        other => format!(" --features {}", other.display()),
    };
    let get = format!("get {} {}", summary.service, keys.join(" "));
    text.push_str("next: read it, change it, then\n");
    for command in ["check --database", "migrate", "materialize", &get] {
        text.push_str(&format!("  feature-server {command}{place}\n"));
    }
    text
}
