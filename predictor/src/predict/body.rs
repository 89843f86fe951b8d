//! A request's body as JSON, in the order it was sent and with keys that come twice: a map would hide them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

/// The body. What is of another kind than it should be is `None`, for the caller to be told so.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// `instances`, if it is there.
    pub(super) instances: Option<List>,
    /// `context`, if it is there: fields that all instances have.
    pub(super) context: Option<Fields>,
    /// `ids`, if it is there.
    pub(super) ids: Option<Json>,
    /// Keys that are there again.
    pub(super) twice: Vec<&'static str>,
    /// Keys that a request does not have.
    pub(super) unknown: Vec<String>,
}

/// A list of objects, or something else.
#[derive(Debug)]
pub(super) struct List(pub(super) Option<Vec<Fields>>);

/// An object's fields, or something else.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Option<Vec<(String, Json)>>);

/// The body, or something else than an object.
#[derive(Debug)]
pub(super) struct Whole(pub(super) Option<Body>);

/// The visits of all kinds of JSON that are not wanted, but read to their end.
macro_rules! other_kinds {
    ($none:expr, map) => {
        other_kinds!($none);
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($none)
        }
    };
    ($none:expr, seq) => {
        other_kinds!($none);
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($none)
        }
    };
    ($none:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($none)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($none)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($none)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($none)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($none)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($none)
        }
    };
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Whole;
            other_kinds!(Whole(None), seq);
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Whole, A::Error> {
                let mut body = Body::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "instances" => {
                            if body.instances.replace(map.next_value()?).is_some() {
                                body.twice.push("instances");
                            }
                        }
                        "context" => {
                            if body.context.replace(map.next_value()?).is_some() {
                                body.twice.push("context");
                            }
                        }
                        "ids" => {
                            if body.ids.replace(map.next_value()?).is_some() {
                                body.twice.push("ids");
                            }
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            body.unknown.push(key);
                        }
                    }
                }
                Ok(Whole(Some(body)))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = List;
            other_kinds!(List(None), map);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(List(Some(items)))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Fields;
            other_kinds!(Fields(None), seq);
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(Some(fields)))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}
