//! A service's features as they stand online, for people who want to look: the same reader and the same assembly as a
//! prediction's.

use std::time::Duration;

use feature_defs::assemble::{Parts, Stale, assemble};
use feature_defs::codec::Field;
use feature_defs::definitions::{Origin, Service};
use feature_defs::key::KeyValue;
use feature_defs::serving::Status;
use feature_defs::time::Timestamp;
use feature_defs::value::{Value, ValueType, WrongType};
use online_store::{Lookup, StoreError};
use serde::Serialize;

use crate::app::{App, UnknownService};
use crate::database::DatabaseError;

/// How long Redis may take.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A feature of a service as it stands online.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureValue {
    /// The input's name: `view__feature`, or the bare name of a request or derived feature.
    pub feature: String,
    /// Its value, after defaults.
    pub value: serde_json::Value,
    /// What was found.
    pub status: Status,
    /// Whether the value is the service's default.
    pub defaulted: bool,
    /// When the value was true in the world, if one is stored.
    pub event_timestamp: Option<Timestamp>,
    /// How long ago that was.
    pub age_ms: Option<i64>,
}

/// Why a service's features could not be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GetError {
    #[error(transparent)]
    UnknownService(#[from] UnknownService),
    #[error("{}", .0.join("; "))]
    Values(Vec<String>),
    #[error(transparent)]
    Online(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl App {
    /// Reads every input of a service, given join keys and request features as text. A request feature that is not given
    /// is null; a join key must be given.
    ///
    /// # Errors
    /// Unknown, missing, repeated and mistyped names, all of them; or a store that cannot be read.
    pub async fn get(&self, service: &str, values: &[(String, String)]) -> Result<Vec<FeatureValue>, GetError> {
        let service = self.service(service)?;
        let (keys, request) = parse(service, values).map_err(GetError::Values)?;
        let now = self.now().await?;
        let entities: Vec<_> = service.joins.iter().map(|join| join.entity_key(&keys)).collect();
        let lookups: Vec<Lookup<'_>> = service
            .joins
            .iter()
            .zip(&entities)
            .map(|(join, key)| Lookup {
                view: &join.view,
                key: key.as_ref(),
            })
            .collect();
        let reader = self
            .online()
            .reader(service.joins.iter().map(|join| join.view.clone()).collect());
        let stored = reader.read(&lookups, now, READ_WITHIN).await?;
        let inputs = assemble(
            service,
            Parts {
                request: &request,
                stored: &stored,
                now,
                stale: Stale::Default,
            },
        );
        let features = service.inputs.iter().zip(inputs).map(|(input, found)| {
            let event = match input.origin {
                Origin::Stored { join, feature } if !stored[join].lacks(feature) => stored[join].event,
                _ => None,
            };
            FeatureValue {
                feature: input.name.clone(),
                value: found.value.as_ref().map_or(serde_json::Value::Null, Value::to_json),
                status: found.status,
                defaulted: found.defaulted,
                event_timestamp: event,
                age_ms: event.map(|event| now.micros_since(event) / 1_000),
            }
        });
        Ok(features.collect())
    }
}

type Parsed = (Vec<Option<KeyValue>>, Vec<Option<Value>>);

fn parse(service: &Service, values: &[(String, String)]) -> Result<Parsed, Vec<String>> {
    let mut problems = Vec::new();
    let known: Vec<&str> = service
        .keys
        .iter()
        .map(|k| k.name.as_str())
        .chain(service.request.iter().map(|f| f.name.as_str()))
        .collect();
    for (name, _) in values.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        problems.push(format!(
            "`{name}` is neither a join key nor a request feature; there are: {}",
            known.join(", ")
        ));
    }
    for name in &known {
        if values.iter().filter(|(given, _)| given == name).count() > 1 {
            problems.push(format!("`{name}` is given twice: give it once"));
        }
    }
    let mut read = |name: &str, value_type: ValueType| -> Option<Value> {
        let (_, text) = values.iter().find(|(given, _)| given == name)?;
        Value::from_text(value_type, text).unwrap_or_else(|WrongType { expected, got }| {
            problems.push(format!("`{name}` is {expected}, not {got}"));
            None
        })
    };
    let keys: Vec<Option<KeyValue>> = service
        .keys
        .iter()
        .map(|key| read(key.name.as_str(), key.key_type.value_type()).and_then(|value| value.try_into().ok()))
        .collect();
    let request = service
        .request
        .iter()
        .map(|Field { name, value_type }| read(name.as_str(), *value_type))
        .collect();
    for key in &service.keys {
        if !values.iter().any(|(name, _)| name == key.name.as_str()) {
            problems.push(format!("join key `{}` is missing: write {}=…", key.name, key.name));
        }
    }
    if problems.is_empty() {
        Ok((keys, request))
    } else {
        Err(problems)
    }
}
