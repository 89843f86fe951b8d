//! `POST /get-online-features`: features of many entities, in one round trip.
//!
//! Where Feast's server is wrong, this one is right: statuses and event timestamps are true, features stand in the order
//! they are asked for, and a view that is being materialized is read like any other.

use std::time::{Duration, Instant};

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use feature_defs::assemble::{Parts, Stale, assemble};
use feature_defs::definitions::{Origin, Service};
use feature_defs::key::EntityKey;
use feature_defs::serving::{Status, StoredRow};
use feature_defs::time::Timestamp;
use feature_defs::value::Value;
use online_store::{Lookup, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use service::error::ApiError;

use super::body::{Columns, JsonBody, invalid, invalid_with};
use super::question::{Names, Question, QuestionError};
use super::rows::Rows;
use super::values::to_feast;
use crate::app::App;
use crate::http::Api;

/// How long Redis may take.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// Values of views that one request may look up: rows times views.
const MOST_LOOKUPS: usize = 50_000;
/// The event timestamp of what has none: join keys, derived features, what was not found.
const EPOCH: Timestamp = Timestamp::from_micros(0);

/// A request. Other fields are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    entities: Columns,
    feature_service: Option<String>,
    features: Option<Vec<String>>,
    #[serde(default)]
    full_feature_names: bool,
    #[serde(default)]
    include_feature_view_version_metadata: bool,
}

/// An answer: a vector a feature, in the order of their names, with a value a row.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    results: Vec<Vector>,
    metadata: Metadata,
}

#[derive(Debug, Default, Serialize)]
struct Vector {
    values: Vec<Json>,
    statuses: Vec<Status>,
    event_timestamps: Vec<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    feature_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feature_view_metadata: Vec<ViewMetadata>,
}

/// Of a view whose definition has no versions, which Feast tells by leaving the version out.
#[derive(Debug, Serialize)]
struct ViewMetadata {
    name: String,
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Question(#[from] QuestionError),
    #[error("{}", .0.join("; "))]
    Entities(Vec<String>),
    #[error(
        "{rows} rows of {views} view(s) are more than the {MOST_LOOKUPS} values that one request may read: ask for fewer rows at once"
    )]
    TooMany { rows: usize, views: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn read(
    State(api): State<Api>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonAnswer<Answer>, ReadError> {
    let started = Instant::now();
    let answer = answer(&api.app, &body).await;
    match &answer {
        Ok(_) => {
            metrics::histogram!("larder_online_read_seconds").record(started.elapsed());
            metrics::counter!("larder_online_read_rows_total").increment(body.entities.rows() as u64);
        }
        Err(error) => {
            let fault = match error {
                ReadError::Store(_) => "infrastructure",
                ReadError::Question(_) | ReadError::Entities(_) | ReadError::TooMany { .. } => "client",
            };
            metrics::counter!("larder_online_read_errors_total", "fault" => fault).increment(1);
        }
    }
    answer.map(JsonAnswer)
}

async fn answer(app: &App, body: &Body) -> Result<Answer, ReadError> {
    let names = if body.full_feature_names {
        Names::Full
    } else {
        Names::Bare
    };
    let question = match (&body.feature_service, &body.features) {
        (Some(service), _) => Question::of_service(app.definitions(), service, names)?,
        (None, Some(features)) => Question::of_features(app.definitions(), features, names)?,
        (None, None) => return Err(QuestionError::Nothing.into()),
    };
    let service = &*question.service;
    let (rows, views) = (body.entities.rows(), service.joins.len());
    if rows.saturating_mul(views.max(1)) > MOST_LOOKUPS {
        return Err(ReadError::TooMany { rows, views });
    }
    let rows = Rows::read(service, &body.entities).map_err(ReadError::Entities)?;
    let now = app.now_here();
    let stored = read_stored(app, service, &rows, now).await?;
    let mut results = rows.echo().map(|(_, values)| echoed(values)).collect::<Vec<_>>();
    results.extend(vectors(&question, &rows, &stored, now));
    let echoed = rows.echo().map(|(name, _)| name.to_owned());
    let asked = question.outputs.iter().map(|output| output.name.clone());
    let views = if body.include_feature_view_version_metadata {
        service.joins.iter().map(|join| join.alias.to_string()).collect()
    } else {
        Vec::new()
    };
    Ok(Answer {
        results,
        metadata: Metadata {
            feature_names: echoed.chain(asked).collect(),
            feature_view_metadata: views.into_iter().map(|name| ViewMetadata { name }).collect(),
        },
    })
}

/// The stored rows of every row, one a join of the service.
async fn read_stored(
    app: &App,
    service: &Service,
    rows: &Rows<'_>,
    now: Timestamp,
) -> Result<Vec<StoredRow>, StoreError> {
    let keys: Vec<Option<EntityKey>> = rows
        .iter()
        .flat_map(|row| service.joins.iter().map(|join| join.entity_key(&row.keys)))
        .collect();
    let views = service.joins.iter().map(|join| &*join.view).cycle();
    let lookups: Vec<Lookup<'_>> = views
        .zip(&keys)
        .map(|(view, key)| Lookup {
            view,
            key: key.as_ref(),
        })
        .collect();
    if lookups.is_empty() {
        return Ok(Vec::new());
    }
    let started = Instant::now();
    let stored = app.reader().read(&lookups, now, READ_WITHIN).await?;
    metrics::histogram!("larder_online_read_store_seconds").record(started.elapsed());
    for (at, join) in service.joins.iter().enumerate() {
        for status in [
            Status::Present,
            Status::NotFound,
            Status::OutsideMaxAge,
            Status::Unavailable,
        ] {
            let of_view = stored.iter().skip(at).step_by(service.joins.len());
            let count = of_view.filter(|row| row.status == status).count();
            if count > 0 {
                let view = join.view.name.as_str().to_owned();
                metrics::counter!("larder_feature_rows_total", "view" => view, "status" => status.name())
                    .increment(count as u64);
            }
        }
    }
    Ok(stored)
}

/// Join keys are answered as features are.
fn echoed(values: impl Iterator<Item = Option<Value>>) -> Vector {
    let mut vector = Vector::default();
    for value in values {
        let status = if value.is_some() {
            Status::Present
        } else {
            Status::NullValue
        };
        vector.push(value.as_ref(), status, None);
    }
    vector
}

fn vectors(question: &Question, rows: &Rows<'_>, stored: &[StoredRow], now: Timestamp) -> Vec<Vector> {
    let service = &*question.service;
    let mut vectors: Vec<Vector> = question.outputs.iter().map(|_| Vector::default()).collect();
    for (at, row) in rows.iter().enumerate() {
        let width = service.joins.len();
        let stored = &stored[at * width..(at + 1) * width];
        let parts = Parts {
            request: &row.request,
            stored,
            now,
            stale: Stale::Default,
        };
        let inputs = assemble(service, parts);
        for (vector, output) in vectors.iter_mut().zip(&question.outputs) {
            let event = match service.inputs[output.input].origin {
                Origin::Stored { join, .. } => stored[join].event,
                _ => None,
            };
            let found = &inputs[output.input];
            vector.push(found.value.as_ref(), found.status, event);
        }
    }
    vectors
}

impl Vector {
    fn push(&mut self, value: Option<&Value>, status: Status, event: Option<Timestamp>) {
        self.values.push(value.map_or(Json::Null, to_feast));
        self.statuses.push(status);
        self.event_timestamps.push(event.unwrap_or(EPOCH));
    }
}

impl IntoResponse for ReadError {
    fn into_response(self) -> Response {
        match self {
            Self::Question(error) => return error.into_response(),
            Self::Entities(problems) => invalid_with(&problems),
            Self::TooMany { .. } => invalid(self.to_string()).with("most", MOST_LOOKUPS),
            Self::Store(error) => unreadable(&error),
        }
        .into_response()
    }
}

/// What a caller is told when Redis does not give what it was asked for. The reader's own upkeep warns in the log; this
/// would be a line a request.
fn unreadable(error: &StoreError) -> ApiError {
    tracing::debug!(%error, "stored features could not be read");
    match error {
        StoreError::Timeout { .. } => ApiError::deadline_exceeded(format!(
            "the online store did not answer within {} s",
            READ_WITHIN.as_secs()
        )),
        StoreError::NotRead { .. } => ApiError::internal(error),
        _ => ApiError {
            retry_after: Some(Duration::from_secs(1)),
            ..ApiError::unavailable("features_unavailable", "stored features could not be read; try again")
        },
    }
}
