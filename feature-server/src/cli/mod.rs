//! The command line: one file a command. Exit codes: 0 done, 1 failed, 2 wrong usage.

/// Prints to standard output. Whoever reads it may have gone, as `head` does, which is no failure.
macro_rules! out {
    ($($arg:tt)*) => {
        $crate::cli::put(format_args!($($arg)*))
    };
}

/// The same, and ends the line.
macro_rules! outln {
    ($($arg:tt)*) => {
        out!("{}\n", format_args!($($arg)*))
    };
}

mod backfill;
mod check;
mod control;
mod forget;
mod get;
mod import_feast;
mod init;
mod materialize;
mod migrate;
mod plan;
mod prune;
mod push;
mod runs;
mod serve;
mod status;
mod table;
mod time;
mod training_set;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use feature_defs::definitions::{self, Definitions};
use service::secret::Secret;
use service::telemetry::{self, LogArgs};

use crate::app::{App, Settings, Time};
use crate::database::DatabaseUrl;

/// Keeps precomputed features, which live in Postgres, fresh in Redis
#[derive(Parser)]
#[command(name = "feature-server", version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where definitions and stores are.
#[derive(Args)]
struct Places {
    /// Directory of the feature definitions (TOML, and the SQL files they name)
    #[arg(
        long,
        env = "LARDER_FEATURES",
        value_name = "DIR",
        default_value = "features",
        global = true
    )]
    features: PathBuf,
    /// Postgres that holds the `larder` schema and the sources; DATABASE_URL is understood too
    #[arg(
        long,
        env = "LARDER_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    database_url: Option<Secret>,
    /// What other programs call it
    #[arg(long, env = "DATABASE_URL", hide = true, hide_env_values = true, global = true)]
    plain_database_url: Option<Secret>,
    /// Postgres that features are read from, if that is another: a replica
    #[arg(
        long,
        env = "LARDER_SOURCE_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    source_database_url: Option<Secret>,
    /// Redis that features are written to; REDIS_URL is understood too [default: redis://127.0.0.1:6379]
    #[arg(
        long,
        env = "LARDER_REDIS_URL",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    redis_url: Option<Secret>,
    /// What other programs call it
    #[arg(long, env = "REDIS_URL", hide = true, hide_env_values = true, global = true)]
    plain_redis_url: Option<Secret>,
}

#[derive(Subcommand)]
enum Command {
    /// Write a first definition file from a table
    Init(init::Arguments),
    /// Write definitions from a Feast repository with Postgres sources, and list what could not be carried over
    ImportFeast(import_feast::Arguments),
    /// Check the definitions; with --database also columns, types and indexes
    Check(check::Arguments),
    /// Create or update the `larder` schema
    Migrate,
    /// Show what applying these definitions would change
    Plan(plan::Arguments),
    /// Make these the definitions that values come from, and show what that changes
    Apply(plan::Arguments),
    /// Remove what is stored of views that the applied definitions no longer have
    Prune(prune::Arguments),
    /// Compute views as of a moment and write them online
    Materialize(materialize::Arguments),
    /// Compute a view's values from a past range of event times, oldest first, and write them online
    Backfill(backfill::Arguments),
    /// Stop a run
    Cancel(control::Run),
    /// Stop a view's schedule
    Pause(control::View),
    /// Let a view's schedule go on
    Unpause(control::View),
    /// Complete labelled rows with what every feature of a service was at each row's moment
    TrainingSet(training_set::Arguments),
    /// Show how fresh each view is, and its last run
    Status(status::Arguments),
    /// Read a service's features from the online store: values, status and age
    Get(get::Arguments),
    /// Recompute sampled entities from the source and compare them with what is online
    Verify(verify::Arguments),
    /// Append rows to a source's table and have them online at once
    Push(push::Arguments),
    /// Remove an entity's values from the online store
    Forget(forget::Arguments),
    /// Run schedules and answer HTTP
    Serve(serve::Arguments),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// What went wrong, in words for whoever typed the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::init_logs(&self.log)?;
        let places = self.places;
        match self.command {
            Command::Init(arguments) => init::run(&places, arguments).await,
            Command::ImportFeast(arguments) => import_feast::run(&places, &arguments),
            Command::Check(arguments) => check::run(&places, &arguments).await,
            Command::Migrate => migrate::run(&places).await,
            Command::Plan(arguments) => plan::plan(&places, &arguments).await,
            Command::Apply(arguments) => plan::apply(&places, &arguments).await,
            Command::Prune(arguments) => prune::run(&places, &arguments).await,
            Command::Materialize(arguments) => materialize::run(&places, &arguments).await,
            Command::Backfill(arguments) => backfill::run(&places, &arguments).await,
            Command::Cancel(run) => control::cancel(&places, &run).await,
            Command::Pause(view) => control::pause(&places, &view).await,
            Command::Unpause(view) => control::unpause(&places, &view).await,
            Command::TrainingSet(arguments) => training_set::run(&places, &arguments).await,
            Command::Status(arguments) => status::run(&places, &arguments).await,
            Command::Get(arguments) => get::run(&places, &arguments).await,
            Command::Verify(arguments) => verify::run(&places, &arguments).await,
            Command::Push(arguments) => push::run(&places, &arguments).await,
            Command::Forget(arguments) => forget::run(&places, &arguments).await,
            Command::Serve(arguments) => serve::run(&places, &arguments).await,
        }
    }
}

impl Places {
    fn definitions(&self) -> anyhow::Result<Definitions> {
        Ok(definitions::load(&self.features)?)
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let Secret(database) = self
            .database_url
            .as_ref()
            .or(self.plain_database_url.as_ref())
            .context(
                "which database? Set DATABASE_URL, or --database-url, to postgres://user:password@host:port/database",
            )?;
        let source = self.source_database_url.as_ref().map(|Secret(url)| url.parse());
        let redis = self.redis_url.as_ref().or(self.plain_redis_url.as_ref());
        let redis = redis.map_or("redis://127.0.0.1:6379", |Secret(url)| url.as_str());
        Ok(Settings {
            database: database
                .parse()
                .context("--database-url (LARDER_DATABASE_URL, DATABASE_URL)")?,
            source_database: source
                .transpose()
                .context("--source-database-url (LARDER_SOURCE_DATABASE_URL)")?,
            named_databases: named_databases()?,
            redis: redis.parse().context("--redis-url (LARDER_REDIS_URL, REDIS_URL)")?,
        })
    }

    fn app(&self) -> anyhow::Result<Arc<App>> {
        Ok(App::open(&self.settings()?, self.definitions()?, Time::SourceDatabase)?)
    }
}

/// The databases that sources name: every `LARDER_DATABASE_…_URL` there is, for which of them is needed may change with the
/// definitions.
fn named_databases() -> anyhow::Result<BTreeMap<String, DatabaseUrl>> {
    let mut named = BTreeMap::new();
    for (variable, url) in std::env::vars_os() {
        let (Some(variable), Some(url)) = (variable.to_str(), url.to_str()) else {
            continue;
        };
        let name = variable
            .strip_prefix("LARDER_DATABASE_")
            .and_then(|rest| rest.strip_suffix("_URL"));
        if let Some(name) = name {
            named.insert(name.to_owned(), url.parse().with_context(|| variable.to_owned())?);
        }
    }
    Ok(named)
}

/// A mistake in the command line itself, which the parser could not see.
fn wrong_usage(message: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(2)
}

/// What the macro `out` does.
fn put(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    match std::io::stdout().write_fmt(text) {
        // Nobody is left to be told.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("error: standard output cannot be written to: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}

/// Prints JSON for programs.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    outln!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
