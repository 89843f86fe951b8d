//! `POST /push`: rows for online, for the source's table, or for both.
//!
//! `to` means what it means to Feast: `online` writes the values that are sent and appends nothing, so that training does
//! not see them; `offline` appends; `online_and_offline` is our push: rows are appended, and what is online is computed from
//! them as the next run would. It is the one way to be in time for both.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use feature_defs::definitions::{Definitions, Source, View};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service::error::ApiError;
use service::nearest;

use super::body::{Columns, JsonBody, invalid, invalid_with};
use super::frame;
use crate::app::App;
use crate::http::{Api, unavailable};
use crate::push::{PushError, PushOptions, Pushed, PushedRow};
use crate::runs::Ended;

/// A request. Other fields are ignored: there is no cache of a registry, and nothing is transformed.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    push_source_name: String,
    df: Columns,
    #[serde(default)]
    to: To,
    /// Whether rows that are right are taken where others are wrong: ours, not Feast's.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum To {
    #[default]
    Online,
    Offline,
    OnlineAndOffline,
}

/// Feast answers nothing; this tells what became of the rows.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    to: To,
    #[serde(flatten)]
    pushed: Pushed,
}

/// Why rows were not pushed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("there is no source or feature view `{name}` to push to{hint}")]
    UnknownTarget { name: String, hint: String },
    #[error(
        "nothing of source `{0}` can be written online without being appended, for its views are computed from all of an entity's rows: push with \"to\": \"online_and_offline\""
    )]
    NothingOnline(String),
    #[error("{}", .0.join("; "))]
    Frame(Vec<String>),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Ended(#[from] Ended),
}

pub(super) async fn push(
    State(api): State<Api>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonAnswer<Answer>, Refused> {
    let app = Arc::clone(&api.app);
    // What is appended should be online, whether or not the caller is still there.
    let work = api.runs.to_the_end(async move { pushed(&app, &body).await });
    work.end().await?.map(JsonAnswer)
}

async fn pushed(app: &App, body: &Body) -> Result<Answer, Refused> {
    let name = body.push_source_name.as_str();
    let target = target(app.definitions(), name)?;
    let options = PushOptions { partial: body.partial };
    let pushed = match body.to {
        To::Online => online(app, &target, body).await?,
        To::Offline => app.append(name, &target.rows(&body.df)?, options).await?,
        To::OnlineAndOffline => app.push(name, &target.rows(&body.df)?, options).await?,
    };
    Ok(Answer { to: body.to, pushed })
}

/// What a push is for: a source, with the views that its rows are read by.
struct Target<'a> {
    source: &'a Source,
    views: Vec<&'a View>,
}

impl Target<'_> {
    /// The rows as they are appended.
    fn rows(&self, df: &Columns) -> Result<Vec<PushedRow>, Refused> {
        frame::rows_of_source(self.source, self.views.iter().copied(), df).map_err(Refused::Frame)
    }
}

/// What goes by this name: a source with all of its views, or one view.
fn target<'a>(definitions: &'a Definitions, name: &str) -> Result<Target<'a>, Refused> {
    let views = || definitions.views.iter().map(|view| &**view);
    if let Some(source) = definitions.sources.iter().find(|source| source.name.as_str() == name) {
        let views = views().filter(|view| view.source.name == source.name).collect();
        return Ok(Target { source, views });
    }
    if let Some(view) = definitions.view(name) {
        return Ok(Target {
            source: &view.source,
            views: vec![&**view],
        });
    }
    let sources = definitions.sources.iter().map(|source| source.name.as_str());
    let known = sources.chain(views().map(|view| view.name.as_str()));
    Err(Refused::UnknownTarget {
        hint: nearest::hint(name, known),
        name: name.to_owned(),
    })
}

/// Writes the rows to the views that can be written to directly.
async fn online(app: &App, target: &Target<'_>, body: &Body) -> Result<Pushed, Refused> {
    let written: Vec<&View> = target
        .views
        .iter()
        .copied()
        .filter(|view| !view.is_recomputed_whole())
        .collect();
    if written.is_empty() {
        return Err(Refused::NothingOnline(body.push_source_name.clone()));
    }
    let mut frames = Vec::with_capacity(written.len());
    for view in &written {
        frames.push(frame::rows_of_view(view, &body.df).map_err(Refused::Frame)?);
    }
    let mut all = Pushed {
        appended: 0,
        views: Vec::new(),
        future: Vec::new(),
        errors: Vec::new(),
        not_online: None,
    };
    for (view, rows) in written.iter().zip(&frames) {
        let pushed = app
            .write_online(view.name.as_str(), rows, PushOptions { partial: body.partial })
            .await?;
        all.views.extend(pushed.views);
        all.errors.extend(pushed.errors);
    }
    Ok(all)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let message = self.to_string();
        match self {
            Self::UnknownTarget { .. } => ApiError {
                code: "unknown_push_source",
                ..invalid(message)
            },
            Self::NothingOnline(_) => invalid(message),
            Self::Frame(problems) => invalid_with(&problems),
            Self::Push(error) => told(&error),
            Self::Ended(error) => ApiError::internal(&error),
        }
        .into_response()
    }
}

/// What a caller is told of rows that were not written.
pub(super) fn told(error: &PushError) -> ApiError {
    let message = error.to_string();
    match error {
        PushError::UnknownTarget(_) => ApiError::not_found("unknown_view", message),
        PushError::Rows { errors, count } => ApiError {
            code: "invalid_rows",
            ..invalid(message)
        }
        .with("rows", json!(errors))
        .with("count", *count),
        PushError::TooMany { most, .. } => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", message).with("most", *most)
        }
        // What is asked for cannot be done as things are defined, or with these rows.
        PushError::NoTable(_) | PushError::NotWritten { .. } | PushError::Refused(_) | PushError::Columns(_) => {
            ApiError {
                code: "push_refused",
                ..invalid(message)
            }
        }
        PushError::OtherDefinition => ApiError::new(StatusCode::CONFLICT, "other_definition", message),
        PushError::NotApplied(_) => ApiError::new(StatusCode::CONFLICT, "not_applied", message),
        PushError::Database(error) => unavailable(error),
        PushError::Online(error) => {
            tracing::error!("{error}");
            ApiError::unavailable(
                "online_store_unavailable",
                "the online store could not be written; try again",
            )
        }
        PushError::Unknown(_) => {
            tracing::error!("{error}");
            // Not a 5xx, which Feast's SDK answers by sending the rows again.
            let status = StatusCode::CONFLICT;
            let message = "the connection broke while the rows were being appended: they may be there or not, so look before they are pushed again";
            ApiError::new(status, "unknown_outcome", message)
        }
    }
}
