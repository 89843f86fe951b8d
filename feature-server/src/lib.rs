//! The feature server: materializes features from Postgres into Redis, and builds training sets with the same SQL.
//!
//! The only crate that reads feature sources in Postgres. What it can do is in [`App`]; the command line, HTTP and
//! schedules are its edges.

mod app;
mod applied;
pub mod cli;
mod database;
mod databases;
mod definition_files;
mod forget;
mod freshness;
mod http;
mod import_feast;
mod init;
mod live;
mod materialize;
mod online;
mod prune;
mod push;
mod reload;
mod runs;
mod schedule;
mod serve;
mod shard;
mod source;
mod store;
#[cfg(test)]
mod testing;
mod training;
mod verify;

pub use app::{App, DatabaseCheck, OpenError, Settings, Time, UnknownService, UnknownView};
pub use applied::{AppliedBy, Change, Changed, NotApplied, Plan, PlanError, Thing, Unused};
pub use database::{DatabaseError, DatabaseUrl, InvalidDatabaseUrl};
pub use databases::UnknownDatabase;
pub use definition_files::WriteError;
pub use forget::{ForgetError, Forgotten, ForgottenIn};
pub use freshness::{Broken, Cause, Freshness, Promise, ViewStatus};
pub use import_feast::{Import, ImportError, ImportNote, import_feast};
pub use init::{InitError, InitOptions, InitSummary, init};
pub use materialize::{Backfill, Mode, RunError, RunOutcome, RunRequest, RunSummary};
pub use online::{FeatureValue, GetError};
pub use prune::{PruneError, Pruned};
pub use push::{PushError, PushOptions, Pushed, PushedRow, PushedView, RowError};
pub use reload::DefinitionFiles;
pub use serve::ServeOptions;
pub use service::progress::Progress;
pub use shard::{InvalidShard, Shard};
pub use source::Problem;
pub use store::{Counts, Kind, RunRecord, ShardRecord, migrate};
pub use training::{TrainingError, TrainingSummary};
pub use verify::{Difference, Verdict, Verification, VerifyError};
