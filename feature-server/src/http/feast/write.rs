//! `POST /write-to-online-store`: values of a row view, written as they are sent. Nothing is appended, so that training does
//! not see them, and a full run takes back what the source does not have.

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use service::error::ApiError;
use service::nearest;

use super::body::{Columns, JsonBody, invalid_with};
use super::{frame, push};
use crate::http::Api;
use crate::push::{PushError, PushOptions};

/// A request. Other fields are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    feature_view_name: String,
    df: Columns,
}

/// Why values were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("there is no feature view `{name}`{hint}")]
    UnknownView { name: String, hint: String },
    #[error("{}", .0.join("; "))]
    Frame(Vec<String>),
    #[error(transparent)]
    Push(#[from] PushError),
}

/// `null`, as Feast.
pub(super) async fn write(State(api): State<Api>, JsonBody(body): JsonBody<Body>) -> Result<JsonAnswer<()>, Refused> {
    let definitions = api.app.definitions();
    let name = body.feature_view_name;
    let view = definitions.view(&name).ok_or_else(|| Refused::UnknownView {
        hint: nearest::hint(&name, definitions.views.iter().map(|view| view.name.as_str())),
        name: name.clone(),
    })?;
    // Of an aggregate view it is not the frame that is wrong.
    let rows = if view.is_aggregate() {
        body.df.into_rows()
    } else {
        frame::rows_of_view(view, &body.df).map_err(Refused::Frame)?
    };
    api.app.write_online(&name, &rows, PushOptions::default()).await?;
    Ok(JsonAnswer(()))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match &self {
            Self::UnknownView { .. } => ApiError::not_found("unknown_view", self.to_string()),
            Self::Frame(problems) => invalid_with(problems),
            Self::Push(error) => push::told(error),
        }
        .into_response()
    }
}
