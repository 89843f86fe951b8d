//! Entity keys and the one spelling of every Redis key.
//!
//! `larder:flights:carrier_ops:{carrier=UA}`: readable, prefixed by view, hash-tagged by entity so that all views of one
//! entity share a cluster slot. `@` cannot occur in a name, so a view's own records never meet an entity's.

use std::fmt;

use crate::name::{FeatureName, ProjectName, ViewName};
use crate::value::{Value, ValueType, WrongType};

/// The type of a join key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// UTF-8 text
    String,
    /// signed 64-bit integer
    Int64,
}

impl KeyType {
    /// The feature type of the same values.
    pub const fn value_type(self) -> ValueType {
        match self {
            Self::String => ValueType::String,
            Self::Int64 => ValueType::Int64,
        }
    }
}

/// The value of one join key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant holds what the KeyType of its name says")]
pub enum KeyValue {
    String(String),
    Int64(i64),
}

impl TryFrom<Value> for KeyValue {
    type Error = WrongType;
    fn try_from(value: Value) -> Result<Self, WrongType> {
        match value {
            Value::String(s) => Ok(Self::String(s)),
            Value::Int64(i) => Ok(Self::Int64(i)),
            other => Err(WrongType {
                expected: ValueType::String,
                got: other.value_type().to_string(),
            }),
        }
    }
}

impl From<KeyValue> for Value {
    fn from(key: KeyValue) -> Self {
        match key {
            KeyValue::String(s) => Self::String(s),
            KeyValue::Int64(i) => Self::Int64(i),
        }
    }
}

/// One entity: its join keys with values, in declared order, spelled as in Redis keys and on the command line:
/// `carrier=UA,origin=JFK`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey(String);

impl EntityKey {
    /// Spells the entity with these join keys and values, in declared order.
    pub fn new<'a>(parts: impl IntoIterator<Item = (&'a FeatureName, &'a KeyValue)>) -> Self {
        let mut text = String::with_capacity(32);
        for (name, value) in parts {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name.as_str());
            text.push('=');
            match value {
                KeyValue::String(s) => percent_encode(s, &mut text),
                KeyValue::Int64(i) => text.push_str(&i.to_string()),
            }
        }
        Self(text)
    }

    /// The spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The Redis key of an entity's value in a view.
pub fn value_key(project: &ProjectName, view: &ViewName, entity: &EntityKey) -> String {
    format!("larder:{project}:{view}:{{{entity}}}")
}

/// The Redis key of a view's marker: a hash whose field `json` holds a [`crate::serving::Marker`]; its other fields are the
/// same as numbers, for comparing.
pub fn marker_key(project: &ProjectName, view: &ViewName) -> String {
    format!("larder:{project}:{view}:@marker")
}

/// The Redis key of a view's schemas: a hash of schema id (decimal) to JSON, see [`crate::codec::Schema`].
pub fn schemas_key(project: &ProjectName, view: &ViewName) -> String {
    format!("larder:{project}:{view}:@schemas")
}

fn percent_encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(parts: &[(&str, KeyValue)]) -> String {
        let parts: Vec<_> = parts
            .iter()
            .map(|(n, v)| (n.parse::<FeatureName>().unwrap(), v))
            .collect();
        let entity = EntityKey::new(parts.iter().map(|(n, v)| (n, *v)));
        value_key(&"flights".parse().unwrap(), &"ops".parse().unwrap(), &entity)
    }

    #[test]
    fn keys_are_spelled_so_for_good() {
        let s = |text: &str| KeyValue::String(text.into());
        assert_eq!(spell(&[("carrier", s("UA"))]), "larder:flights:ops:{carrier=UA}");
        assert_eq!(
            spell(&[("a", s("x")), ("b", KeyValue::Int64(-7))]),
            "larder:flights:ops:{a=x,b=-7}"
        );
        assert_eq!(
            spell(&[("a", s("{}:,=% é"))]),
            "larder:flights:ops:{a=%7B%7D%3A%2C%3D%25%20%C3%A9}"
        );
        assert_eq!(spell(&[("a", s(""))]), "larder:flights:ops:{a=}");
    }

    #[test]
    fn two_entities_never_share_a_key() {
        let s = |text: &str| KeyValue::String(text.into());
        assert_ne!(spell(&[("a", s("x,b=y"))]), spell(&[("a", s("x")), ("b", s("y"))]));
        assert_ne!(spell(&[("a", s("%2C"))]), spell(&[("a", s(","))]));
    }
}
