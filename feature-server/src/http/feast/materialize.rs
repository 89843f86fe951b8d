//! `POST /materialize` and `/materialize-incremental`: what is known up to a moment is made to stand online.
//!
//! Feast reads the rows of a range and writes them over whatever is there. Here a run is as of one moment, the range's end,
//! and nothing older replaces what is newer. So both are an incremental run as of the end, which is a full one where the view
//! never ran; `/materialize` reads the rows of its range again besides, whenever they were created. A view that has values
//! as of a later moment has nothing to do for the end, which is no error: schedules and Feast's jobs may run side by side.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use feature_defs::definitions::View;
use feature_defs::name::ViewName;
use feature_defs::time::{Span, Timestamp};
use serde::Deserialize;
use serde_json::json;
use service::error::ApiError;
use service::nearest;

use super::body::{JsonBody, invalid};
use super::values::timestamp;
use crate::app::App;
use crate::database::DatabaseError;
use crate::http::{Api, unavailable};
use crate::materialize::{Backfill, Mode, RunError, RunRequest};
use crate::runs::{Ended, NoPlace};
use crate::shard::Shard;
use crate::store::Kind;
use service::progress::Progress;

/// How far an end may lie ahead of the source's clock and still mean now: Feast's users send what their own clock says.
const SKEW: Span = Span::from_secs(60);

/// A request to materialize. Other fields are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct RangeBody {
    start_ts: Option<String>,
    end_ts: Option<String>,
    /// All, if there are none.
    feature_views: Option<Vec<String>>,
    /// Everything there is, as of now.
    #[serde(default)]
    disable_event_timestamp: bool,
    version: Option<String>,
}

/// A request to materialize what is new. Other fields are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct IncrementalBody {
    end_ts: String,
    feature_views: Option<Vec<String>>,
    version: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// What is new up to a moment.
    Until(Timestamp),
    /// The same, and the rows after one moment up to another.
    Range(Timestamp, Timestamp),
    /// Everything, as of now.
    Everything,
}

/// What one view has to do.
#[derive(Debug)]
struct Task {
    view: Arc<View>,
    /// As of when; now, if `None`.
    as_of: Option<Timestamp>,
    /// The rows to read again.
    range: Option<(Timestamp, Timestamp)>,
    mode: Mode,
}

/// Why nothing, or not everything, was materialized.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no feature view `{name}`{hint}")]
    UnknownView { name: String, hint: String },
    #[error("being materialized already: {}; wait for it to end, or see GET /v1/runs", .0.iter().map(ViewName::as_str).collect::<Vec<_>>().join(", "))]
    Busy(Vec<ViewName>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("feature view `{}`: {}", .0, .1)]
    Run(ViewName, RunError),
    #[error(transparent)]
    Ended(#[from] Ended),
}

pub(super) async fn range(
    State(api): State<Api>,
    Query(query): Query<HashMap<String, String>>,
    JsonBody(body): JsonBody<RangeBody>,
) -> Result<Response, Refused> {
    let asked = if body.disable_event_timestamp {
        Asked::Everything
    } else {
        let moment = |name: &str, text: &Option<String>| match text {
            Some(text) => moment(name, text),
            None => Err(Refused::Invalid(format!(
                "`{name}` is missing: give it, or \"disable_event_timestamp\": true for everything there is"
            ))),
        };
        let (start, end) = (moment("start_ts", &body.start_ts)?, moment("end_ts", &body.end_ts)?);
        if start >= end {
            return Err(Refused::Invalid(format!(
                "`start_ts`, {start}, is not before `end_ts`, {end}: such a range has no rows"
            )));
        }
        Asked::Range(start, end)
    };
    materialize(&api, &query, (body.feature_views, body.version), asked).await
}

pub(super) async fn incremental(
    State(api): State<Api>,
    Query(query): Query<HashMap<String, String>>,
    JsonBody(body): JsonBody<IncrementalBody>,
) -> Result<Response, Refused> {
    let asked = Asked::Until(moment("end_ts", &body.end_ts)?);
    materialize(&api, &query, (body.feature_views, body.version), asked).await
}

fn moment(name: &str, text: &str) -> Result<Timestamp, Refused> {
    timestamp(text).ok_or_else(|| {
        Refused::Invalid(format!(
            "`{name}`, `{text}`, is not a time: write ISO 8601, such as 2013-11-05T16:30:00Z; without a zone it is UTC"
        ))
    })
}

/// Checks all that can be known before, then runs: in the background, if the caller does not wait.
async fn materialize(
    api: &Api,
    query: &HashMap<String, String>,
    (names, version): (Option<Vec<String>>, Option<String>),
    asked: Asked,
) -> Result<Response, Refused> {
    let waits = !is_true(query, "async")?;
    // There is no state that a view could be stuck in: the locks of a process end with it.
    is_true(query, "force")?;
    if version.is_some() {
        return Err(Refused::Invalid(
            "feature views have no versions here: leave `version` out".to_owned(),
        ));
    }
    let app = Arc::clone(&api.app);
    let tasks = tasks(&app, names, asked).await?;
    let views: Vec<ViewName> = tasks.iter().map(|task| task.view.name.clone()).collect();
    refuse_busy(&app, &views).await?;
    let work = api.runs.begin(async move { run(&app, tasks).await })?;
    if !waits {
        let accepted = json!({"status": "accepted", "feature_views": views});
        return Ok((StatusCode::ACCEPTED, JsonAnswer(accepted)).into_response());
    }
    // Should the caller go away, it is this waiting that ends, and not the run.
    work.end().await??;
    Ok(JsonAnswer(()).into_response())
}

/// A flag of the query, as Python and people write it.
fn is_true(query: &HashMap<String, String>, name: &str) -> Result<bool, Refused> {
    match query.get(name).map(|text| text.to_ascii_lowercase()).as_deref() {
        None | Some("false" | "0" | "no" | "off") => Ok(false),
        Some("true" | "1" | "yes" | "on") => Ok(true),
        Some(other) => Err(Refused::Invalid(format!("`{name}` is `{other}`: write true or false"))),
    }
}

async fn tasks(app: &App, names: Option<Vec<String>>, asked: Asked) -> Result<Vec<Task>, Refused> {
    let definitions = app.definitions();
    let views: Vec<Arc<View>> = match names.filter(|names| !names.is_empty()) {
        None => definitions.views.clone(),
        Some(names) => {
            let mut views: Vec<Arc<View>> = Vec::with_capacity(names.len());
            for name in names {
                let view = definitions.view(&name).ok_or_else(|| Refused::UnknownView {
                    hint: nearest::hint(&name, definitions.views.iter().map(|view| view.name.as_str())),
                    name: name.clone(),
                })?;
                if views.iter().all(|known| known.name != view.name) {
                    views.push(Arc::clone(view));
                }
            }
            views
        }
    };
    let mut tasks = Vec::with_capacity(views.len());
    for view in views {
        tasks.push(task(app, view, asked).await?);
    }
    Ok(tasks)
}

async fn task(app: &App, view: Arc<View>, asked: Asked) -> Result<Task, Refused> {
    let (start, end) = match asked {
        Asked::Everything => {
            return Ok(Task {
                view,
                as_of: None,
                range: None,
                mode: Mode::Full,
            });
        }
        Asked::Until(end) => (None, end),
        Asked::Range(start, end) => (Some(start), end),
    };
    let now = app.now_at(&view.source).await?;
    if end > now.plus(SKEW) {
        return Err(Refused::Invalid(format!(
            "`end_ts`, {end}, is in the future: it is only {now} by the clock of feature view `{}`'s source, and what will be known then is not known yet; is it a local time that was meant as UTC?",
            view.name
        )));
    }
    let end = end.min(now);
    // An aggregate has no rows that could be read again: it is computed anew.
    let (range, mode) = match start {
        Some(_) if view.is_aggregate() => (None, Mode::Full),
        start => (
            start.filter(|start| *start < end).map(|start| (start, end)),
            Mode::Incremental,
        ),
    };
    Ok(Task {
        view,
        as_of: (end < now).then_some(end),
        range,
        mode,
    })
}

async fn refuse_busy(app: &App, views: &[ViewName]) -> Result<(), Refused> {
    let mut busy = Vec::new();
    for view in views {
        let lock = app.store().view_lock(view.as_str());
        if !app.store().lock_holders(&lock).await?.is_empty() {
            busy.push(view.clone());
        }
    }
    if busy.is_empty() {
        Ok(())
    } else {
        Err(Refused::Busy(busy))
    }
}

/// Does the tasks, one after the other, whatever becomes of the others, and lets this server's own reads know at once. The
/// first failure is told.
async fn run(app: &App, tasks: Vec<Task>) -> Result<(), Refused> {
    let mut outcome = Ok(());
    for task in tasks {
        if let Err(error) = make_online(app, &task).await {
            let view = task.view.name.clone();
            tracing::error!(%view, "asked for over HTTP: {error}");
            outcome = outcome.and(Err(match error {
                RunError::Busy { .. } => Refused::Busy(vec![view]),
                error => Refused::Run(view, error),
            }));
        }
    }
    if let Err(error) = app.reader().refresh().await {
        tracing::debug!(%error, "markers can't be read");
    }
    outcome
}

async fn make_online(app: &App, task: &Task) -> Result<(), RunError> {
    let view = task.view.name.as_str();
    let request = RunRequest {
        as_of: task.as_of,
        ..RunRequest::new(task.mode)
    };
    let kind = match app.materialize(view, &request, &Progress::hidden()).await {
        Ok(summary) => Some(summary.kind),
        Err(error @ (RunError::Earlier { .. } | RunError::SameMoment { .. })) => {
            let finished = app.store().view(&task.view.name).await?.map(|record| record.as_of);
            if finished >= task.as_of {
                tracing::info!(view, "nothing to do: {error}");
                None
            } else {
                // What is online as of later is no finished run's, but a backfill's, say: it vouches for nothing.
                let request = RunRequest::new(task.mode);
                let summary = app.materialize(view, &request, &Progress::hidden()).await?;
                Some(summary.kind)
            }
        }
        Err(error) => return Err(error),
    };
    let Some((start, end)) = task.range.filter(|_| kind != Some(Kind::Full)) else {
        return Ok(());
    };
    let backfill = Backfill {
        start,
        end,
        every: Span::from_micros(end.micros_since(start)),
        all_steps: false,
        shard: Shard::WHOLE,
        resume: false,
    };
    app.backfill(view, &backfill, &Progress::hidden()).await.map(drop)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let message = self.to_string();
        match self {
            Self::Invalid(_) => invalid(message),
            Self::UnknownView { .. } => ApiError::not_found("unknown_view", message),
            Self::Busy(views) => return busy(message, &views),
            Self::Database(error) => unavailable(&error),
            Self::NoPlace(_) => ApiError {
                message,
                ..ApiError::overloaded()
            },
            Self::Run(_, error) => failed(message, &error),
            Self::Ended(Ended::Stopping) => ApiError::unavailable("stopping", message),
            Self::Ended(Ended::Died) => ApiError::internal(&message),
        }
        .into_response()
    }
}

/// 409 as Feast tells it, which is our envelope with the views beside.
fn busy(message: String, views: &[ViewName]) -> Response {
    let error = ApiError::new(StatusCode::CONFLICT, "busy", message);
    let mut body = error.body();
    body.insert("feature_views".to_owned(), json!(views));
    (error.status, JsonAnswer(body)).into_response()
}

/// What a caller is told of a run that failed: what GET /v1/runs tells, too.
fn failed(message: String, error: &RunError) -> ApiError {
    match error {
        RunError::Database(error) => unavailable(error),
        RunError::Online(_)
        | RunError::LockLost(_)
        | RunError::NothingReplayed { .. }
        | RunError::ReplicaBehind { .. } => ApiError::unavailable("run_interrupted", message),
        RunError::Cancelled(_) | RunError::MarkerMoved(_) | RunError::MarkerLater { .. } => {
            ApiError::new(StatusCode::CONFLICT, "run_ended", message)
        }
        RunError::NotApplied(_) => ApiError::new(StatusCode::CONFLICT, "not_applied", message),
        // The definitions, the source or its data are not as they have to be.
        _ => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "run_failed", message),
    }
}
