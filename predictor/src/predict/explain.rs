//! `?explain=true`: every input of a row, with its value, status and origin.

use feature_defs::assemble::{self, Assembled, Stale};
use feature_defs::definitions::{Origin, Service};
use feature_defs::serving::{Status, StoredRow};
use feature_defs::value::Value;
use serde::{Serialize, Serializer};

use super::answer::as_map;
use super::request::Instance;

/// Whether to show inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explain {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// The inputs of one row.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Every input of the model that answered, in its order.
    #[serde(serialize_with = "as_map")]
    pub inputs: Vec<(String, Input)>,
    /// Stored and request features that are no inputs themselves, but were read for derived ones.
    #[serde(serialize_with = "as_map", skip_serializing_if = "Vec::is_empty")]
    pub read_by_derived: Vec<(String, Input)>,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Input {
    /// What the model was given, before it became part of a tensor.
    #[serde(serialize_with = "as_json")]
    pub value: Option<Value>,
    /// What was found.
    pub status: Status,
    /// Where it came from.
    pub origin: InputOrigin,
    /// Whether `value` is the service's default.
    pub defaulted: bool,
}

/// Where an input came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputOrigin {
    /// The request.
    Request,
    /// The online store.
    Stored,
    /// An expression.
    Derived,
    /// The request, in place of the online store.
    Override,
}

impl InputOrigin {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Stored => "stored",
            Self::Derived => "derived",
            Self::Override => "override",
        }
    }
}

impl Explained {
    /// What `service` made of `instance` and `stored` rows, which policy has found fit to use.
    pub(super) fn new(
        service: &Service,
        instance: &Instance,
        (stored, stale): (&[StoredRow], Stale),
        assembled: &[Assembled],
    ) -> Self {
        let inputs = service.inputs.iter().zip(assembled).map(|(input, found)| {
            let shown = Input {
                value: found.value.clone(),
                status: found.status,
                origin: origin_of(input.origin, instance),
                defaulted: found.defaulted,
            };
            (input.name.clone(), shown)
        });
        Self {
            inputs: inputs.collect(),
            read_by_derived: read_by_derived(service, instance, stored, stale),
        }
    }
}

fn origin_of(origin: Origin, instance: &Instance) -> InputOrigin {
    match origin {
        Origin::Stored { join, feature } if instance.sets(join, feature) => InputOrigin::Override,
        Origin::Stored { .. } => InputOrigin::Stored,
        Origin::Derived { .. } => InputOrigin::Derived,
        Origin::Request { .. } | Origin::RequestTime => InputOrigin::Request,
    }
}

fn read_by_derived(service: &Service, instance: &Instance, stored: &[StoredRow], stale: Stale) -> Vec<(String, Input)> {
    let mut shown: Vec<(String, Input)> = Vec::new();
    for &origin in service.derived.iter().flat_map(|d| d.expression.origins()) {
        let (name, value, status) = match origin {
            Origin::Stored { join, feature } => {
                let name = format!(
                    "{}__{}",
                    service.joins[join].alias,
                    service.joins[join].view.fields()[feature].name
                );
                let touch = instance
                    .overrides
                    .iter()
                    .find(|o| o.join == join && o.feature == feature);
                match touch {
                    Some(touch) => (name, touch.value.clone(), Status::Present),
                    None => {
                        let (value, status) = assemble::stored(&stored[join], feature, stale);
                        (name, value.cloned(), status)
                    }
                }
            }
            Origin::Request { index } => (
                service.request[index].name.to_string(),
                instance.request[index].clone(),
                Status::Present,
            ),
            Origin::Derived { .. } | Origin::RequestTime => continue,
        };
        let status = if status == Status::Present && value.is_none() {
            Status::NullValue
        } else {
            status
        };
        if service.inputs.iter().all(|i| i.origin != origin) && shown.iter().all(|(n, _)| *n != name) {
            shown.push((
                name,
                Input {
                    value,
                    status,
                    origin: origin_of(origin, instance),
                    defaulted: false,
                },
            ));
        }
    }
    shown
}

fn as_json<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(Value::to_json).serialize(serializer)
}
