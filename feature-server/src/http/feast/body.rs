//! What Feast's clients send: JSON whose unknown fields are ignored, and rows by column.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use service::error::ApiError;
use service::http::RawBody;

/// Problems told to the caller; a thousand rows can have the same one.
const SHOWN: usize = 100;

/// A request's body, read from JSON.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(body) = RawBody::from_request(request, state).await?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            if error.is_data() {
                invalid(format!(
                    "the body is JSON, but not of the form that is expected: {error}"
                ))
            } else {
                let message = format!("the body is not JSON, which has no NaN or Infinity either: {error}");
                ApiError::bad_request("invalid_json", message)
            }
        })
    }
}

/// 422: the request can be read, and not be answered. Feast's clients tell their users what it says, and do not repeat it.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message)
}

/// 422 with everything that is wrong, of which there is at least something.
pub(super) fn invalid_with(problems: &[String]) -> ApiError {
    let shown = &problems[..problems.len().min(SHOWN)];
    let message = match problems {
        [only] => only.clone(),
        _ => format!("{} problems, the first: {}", problems.len(), shown[0]),
    };
    invalid(message).with("problems", shown).with("count", problems.len())
}

/// Values by column, as many in each.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Map<String, Json>")]
pub(super) struct Columns {
    columns: Vec<(String, Vec<Json>)>,
    rows: usize,
}

impl TryFrom<Map<String, Json>> for Columns {
    type Error = String;

    fn try_from(map: Map<String, Json>) -> Result<Self, String> {
        let mut columns: Vec<(String, Vec<Json>)> = Vec::with_capacity(map.len());
        for (name, values) in map {
            let Json::Array(values) = values else {
                return Err(format!("column `{name}` is not a list"));
            };
            if let Some((first, others)) = columns.first().filter(|(_, others)| others.len() != values.len()) {
                return Err(format!(
                    "column `{name}` has {} values, and `{first}` has {}: each needs one a row",
                    values.len(),
                    others.len()
                ));
            }
            columns.push((name, values));
        }
        let rows = columns.first().map_or(0, |(_, values)| values.len());
        Ok(Self { columns, rows })
    }
}

impl Columns {
    /// How many rows there are.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the order they were sent.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &[Json])> {
        self.columns.iter().map(|(name, values)| (&**name, &**values))
    }

    /// The same, row by row.
    pub(super) fn into_rows(self) -> Vec<Map<String, Json>> {
        let mut rows = vec![Map::with_capacity(self.columns.len()); self.rows];
        for (name, values) in self.columns {
            for (row, value) in rows.iter_mut().zip(values) {
                row.insert(name.clone(), value);
            }
        }
        rows
    }
}
