//! Pushing: rows that are appended to a source's table and are online at once.
//!
//! A push appends, commits, and then computes what the appended rows change from the source itself, as the next run would:
//! training and serving see the same rows, and what is not written online, whatever the reason, that run brings. Nothing is
//! served that is not in the source.

mod append;
mod cells;
mod direct;
mod error;
mod plan;
mod recompute;
mod rows;
#[cfg(test)]
mod tests;

use feature_defs::definitions::{Source, View};
use feature_defs::name::ViewName;
use feature_defs::time::Timestamp;
use futures_util::future::{join, join_all, try_join_all};
use serde::Serialize;
use serde_json::{Map, Value};
use service::nearest;

use crate::app::App;
use crate::materialize::since;
use append::{Appended, Appending};
use error::shortened;
pub use error::{PushError, RowError};
use plan::Plan;
pub(crate) use plan::Plans;
use recompute::Recompute;
use rows::{Reading, Row};

/// More rows are not taken in one push.
pub(crate) const MOST_ROWS: usize = 10_000;

/// A row by column: of the source's `push_to` table, or as the view has it that the rows are for.
pub type PushedRow = Map<String, Value>;

/// How a push is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Whether rows that are right are taken where others are wrong. Else it is all of them or none.
    pub partial: bool,
}

/// What became of pushed rows. Rows are counted from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// How many rows were appended to the source's table.
    pub appended: u64,
    /// The views whose values were written, each with what was.
    pub views: Vec<PushedView>,
    /// Rows of the future: they were appended, and are served from their event timestamp on, once a run has come by.
    pub future: Vec<usize>,
    /// Rows that were not taken; none of them is in `appended`.
    pub errors: Vec<RowError>,
    /// Why values of appended rows are not online, where they are not: the next run of their views brings them. Nothing
    /// that pushing again would mend.
    pub not_online: Option<String>,
}

/// What was written to a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushedView {
    /// The view.
    pub view: ViewName,
    /// Values written, tombstones included.
    pub written: u64,
    /// Rows, or values, that are not served because a newer one is.
    pub older: u64,
}

/// What rows are pushed to.
#[derive(Clone, Copy)]
struct Target<'a> {
    source: &'a Source,
    /// The view that they are for, if it was named and not the source.
    view: Option<&'a View>,
}

/// Rows that are in the table now.
struct InTable {
    appended: Vec<Appended>,
    rows: Vec<Row>,
    errors: Vec<RowError>,
}

impl App {
    /// Appends rows to the table of a source, and writes the values of their entities online: in every view of that source,
    /// computed from the source as the next run would. `target` is a view, or a source.
    ///
    /// Once it has begun to append, it should not be dropped before it is done: what is appended by then would not be
    /// online before the next run.
    ///
    /// # Errors
    /// See [`PushError`]. What fails after the rows are appended is no error, but told in [`Pushed::not_online`].
    pub async fn push(&self, target: &str, rows: &[PushedRow], options: PushOptions) -> Result<Pushed, PushError> {
        let target = self.push_target(target)?;
        let plan = self.push_plans().of(self, target.source).await?;
        try_join_all(plan.views.iter().map(|planned| self.may_write(&planned.view))).await?;
        let in_table = self.append_rows(target, &plan, rows, options).await?;
        let mut pushed = Pushed {
            appended: in_table.appended.len() as u64,
            ..Pushed::default()
        };
        if !in_table.appended.is_empty() {
            self.put_online(target.source, &plan, &in_table, &mut pushed).await;
        }
        let elsewhere = in_table.rows.len().saturating_sub(in_table.appended.len());
        if elsewhere > 0 {
            let told = format!("a trigger of the table put {elsewhere} rows elsewhere, or nowhere");
            pushed.not_online = Some(
                pushed
                    .not_online
                    .map_or(told.clone(), |other| format!("{other}; {told}")),
            );
        }
        pushed.errors = in_table.errors;
        report(target.source, &pushed);
        Ok(pushed)
    }

    /// Appends rows to the table of a source, and leaves what is online to the next run.
    ///
    /// # Errors
    /// As [`App::push`].
    pub async fn append(&self, target: &str, rows: &[PushedRow], options: PushOptions) -> Result<Pushed, PushError> {
        let target = self.push_target(target)?;
        let plan = self.push_plans().of(self, target.source).await?;
        let now = self.now_in(self.primary_of(target.source)).await?;
        let in_table = self.append_rows(target, &plan, rows, options).await?;
        let pushed = Pushed {
            appended: in_table.appended.len() as u64,
            future: future(&in_table.rows, now),
            errors: in_table.errors,
            ..Pushed::default()
        };
        report(target.source, &pushed);
        Ok(pushed)
    }

    /// A view and its source, or a source, by name.
    fn push_target(&self, name: &str) -> Result<Target<'_>, PushError> {
        let definitions = self.definitions();
        let source = definitions.sources.iter().find(|source| source.name.as_str() == name);
        match (definitions.view(name), source) {
            (Some(view), Some(source)) if view.source.name != source.name => Err(PushError::UnknownTarget(format!(
                "`{name}` is a view of source {}, and another source: rename one of them, or push to another view of what is meant",
                view.source.name
            ))),
            (Some(view), _) => Ok(Target {
                source: &view.source,
                view: Some(view),
            }),
            (None, Some(source)) => Ok(Target { source, view: None }),
            (None, None) => {
                let views = definitions.views.iter().map(|view| view.name.as_str());
                let sources = definitions.sources.iter().map(|source| source.name.as_str());
                let hint = nearest::hint(name, views.chain(sources));
                let name = shortened(name);
                Err(PushError::UnknownTarget(format!(
                    "there is no view or source `{name}`{hint}"
                )))
            }
        }
    }

    /// Reads the rows and appends those that are right, if that is wanted where others are wrong.
    async fn append_rows(
        &self,
        target: Target<'_>,
        plan: &Plan,
        rows: &[PushedRow],
        options: PushOptions,
    ) -> Result<InTable, PushError> {
        check_count(rows)?;
        let (mut rows, mut errors) = Reading::new(target.source, target.view, plan).rows(rows);
        if !errors.is_empty() && !options.partial {
            return Err(PushError::of_rows(errors));
        }
        let appending = Appending {
            app: self,
            source: target.source,
            plan,
        };
        let appended = appending.rows(&rows, options).await;
        if appended.is_err() {
            // It may have refused because the table is not what it was.
            self.push_plans().forget(target.source).await;
        }
        let (appended, refused) = appended?;
        rows.retain(|row| refused.iter().all(|error| error.row != row.number));
        errors.extend(refused);
        errors.sort_by_key(|error| error.row);
        Ok(InTable { appended, rows, errors })
    }

    /// Writes what the appended rows change online, in every view of the source.
    async fn put_online(&self, source: &Source, plan: &Plan, in_table: &InTable, pushed: &mut Pushed) {
        let database = self.primary_of(source);
        let ready = join_all(plan.views.iter().map(|planned| self.ready_online(&planned.view)));
        let (now, ready) = join(self.now_in(database), ready).await;
        let now = match now {
            Ok(now) => now,
            Err(error) => {
                pushed.not_online = Some(error.to_string());
                return;
            }
        };
        pushed.future = future(&in_table.rows, now);
        let views = plan.views.iter().zip(ready).map(async |(plan, ready)| {
            let recompute = Recompute {
                app: self,
                database,
                plan,
                appended: &in_table.appended,
            };
            match ready {
                Ok(marker) => recompute.run(now, marker).await,
                Err(problem) => Err(problem.to_string()),
            }
        });
        let mut problems = Vec::new();
        for (done, planned) in join_all(views).await.into_iter().zip(&plan.views) {
            match done {
                Ok(view) => pushed.views.push(view),
                Err(problem) => {
                    let view = &planned.view;
                    let late = self.leave_to_a_run(view, &in_table.appended, now).await;
                    problems.push(format!("view {}: {problem}{late}", view.name));
                }
            }
        }
        pushed.not_online = (!problems.is_empty()).then(|| problems.join("; "));
    }

    /// Sees to it that a run brings what is not online: where an incremental one would not look for the rows, a full one.
    /// What is to be told of it.
    async fn leave_to_a_run(&self, view: &View, appended: &[Appended], now: Timestamp) -> String {
        // A run that is under way may have seen the source just before.
        let since = since(view, now, now);
        if appended.iter().all(|row| since.looks_at(row.event, row.created)) {
            return String::new();
        }
        match self.store().record_missed(&view.name).await {
            Ok(()) => String::new(),
            Err(error) => {
                let view = &view.name;
                format!("; and no incremental run looks for them, so run `feature-server materialize {view}`: {error}")
            }
        }
    }
}

fn check_count(rows: &[PushedRow]) -> Result<(), PushError> {
    let given = rows.len();
    match given > MOST_ROWS {
        true => Err(PushError::TooMany { given, most: MOST_ROWS }),
        false => Ok(()),
    }
}

/// The numbers of the rows whose time has not come.
fn future(rows: &[Row], now: Timestamp) -> Vec<usize> {
    let future = rows.iter().filter(|row| row.event > now);
    future.map(|row| row.number).collect()
}

/// Tells the log and the metrics what a push did.
fn report(source: &Source, pushed: &Pushed) {
    let name = source.name.as_str();
    if let Some(problem) = &pushed.not_online {
        tracing::warn!(
            source = name,
            "pushed rows are appended, but not online before the next run: {problem}"
        );
    }
    let (future, refused) = (pushed.future.len() as u64, pushed.errors.len() as u64);
    for (outcome, rows) in [("appended", pushed.appended), ("future", future), ("refused", refused)] {
        metrics::counter!("larder_pushed_rows_total", "source" => name.to_owned(), "outcome" => outcome)
            .increment(rows);
    }
}
