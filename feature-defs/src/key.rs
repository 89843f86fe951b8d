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
                KeyValue::Int64(i) => text.push_str(itoa::Buffer::new().format(*i)),
            }
        }
        Self(text)
    }

    /// The entity that is spelled so, with the values of these join keys, in declared order. `None` unless this is
    /// exactly its spelling: then what is stored under a key is found by its entity.
    pub fn parse<'a>(
        text: &str,
        join_keys: impl IntoIterator<Item = (&'a FeatureName, KeyType)>,
    ) -> Option<(Self, Vec<KeyValue>)> {
        let (mut parts, mut names, mut values) = (text.split(','), Vec::new(), Vec::new());
        for (name, key_type) in join_keys {
            let value = parts.next()?.strip_prefix(name.as_str())?.strip_prefix('=')?;
            values.push(match key_type {
                KeyType::String => KeyValue::String(percent_decode(value)?),
                KeyType::Int64 => KeyValue::Int64(value.parse().ok()?),
            });
            names.push(name);
        }
        let entity = Self::new(names.into_iter().zip(&values));
        // There may be another spelling, such as `+7` or `%41`, or more parts.
        (entity.0 == text).then_some((entity, values))
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
    // Spelled some hundred thousand times a second: without the machinery of formatting.
    [
        "larder:",
        project.as_str(),
        ":",
        view.as_str(),
        ":{",
        entity.as_str(),
        "}",
    ]
    .concat()
}

/// The Redis keys of a view's values, for spelling many and for finding those that are there.
#[derive(Debug, Clone)]
pub struct ValueKeys {
    prefix: String,
}

impl ValueKeys {
    /// Those of this view.
    pub fn new(project: &ProjectName, view: &ViewName) -> Self {
        Self {
            prefix: format!("larder:{project}:{view}:{{"),
        }
    }

    /// Appends an entity's key to `out`.
    pub fn push(&self, entity: &EntityKey, out: &mut String) {
        out.push_str(&self.prefix);
        out.push_str(&entity.0);
        out.push('}');
    }

    /// A glob-style pattern that matches them all. Neither names nor braces mean anything in a pattern.
    pub fn pattern(&self) -> String {
        format!("{}*}}", self.prefix)
    }

    /// The spelling of the entity in a key; `None` if it is no key of these.
    pub fn entity<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let entity = key.strip_prefix(self.prefix.as_bytes())?.strip_suffix(b"}")?;
        std::str::from_utf8(entity)
            .ok()
            .filter(|text| !text.contains(['{', '}']))
    }
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

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(if first == b'%' {
            let (digits, tail) = rest.split_first_chunk::<2>()?;
            rest = tail;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        } else {
            first
        });
    }
    String::from_utf8(bytes).ok()
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
    #[test]
    fn a_spelling_is_read_back_as_what_it_spells() {
        let names: Vec<FeatureName> = ["a", "b"].map(|name| name.parse().unwrap()).into();
        let types = [(&names[0], KeyType::String), (&names[1], KeyType::Int64)];
        for text in ["UA", "", "{}:,=% é", "%2C", "a=b,b=1", "*[?]\\", "\0\n", "日本"] {
            for number in [0, -7, i64::MIN, i64::MAX] {
                let values = vec![KeyValue::String(text.into()), KeyValue::Int64(number)];
                let entity = EntityKey::new(names.iter().zip(&values));
                assert_eq!(EntityKey::parse(entity.as_str(), types), Some((entity, values)));
            }
        }
        let others = [
            "",
            "a",
            "a=",
            "a=x",
            "b=1",
            "a=x,b=",
            "a=x,b=y",
            "a=x,b=01",
            "a=x,b=+1",
            "a=x,b=-0",
            "a=x,b= 1",
            "a=x,b=1.0",
            "a=x,b=9223372036854775808",
            "a=x,b=1,",
            "a=x,b=1,c=2",
            "b=1,a=x",
            "aa=x,b=1",
            "A=x,b=1",
            ",a=x,b=1",
            "a=x b,b=1",
            "a=%,b=1",
            "a=%4,b=1",
            "a=%41,b=1",
            "a=%2c,b=1",
            "a=%+1,b=1",
            "a=%FF,b=1",
            "a=é,b=1",
            "a=x=y,b=1",
            "a=x%é,b=1",
        ];
        for other in others {
            assert_eq!(EntityKey::parse(other, types), None, "{other}");
        }
    }

    #[test]
    fn the_keys_of_a_view_are_told_from_all_others() {
        let (project, view) = ("p".parse().unwrap(), "ops".parse().unwrap());
        let keys = ValueKeys::new(&project, &view);
        assert_eq!(keys.pattern(), "larder:p:ops:{*}");
        let entity = EntityKey::new([(&"a".parse().unwrap(), &KeyValue::String("{é}".into()))]);
        let key = value_key(&project, &view, &entity);
        let mut pushed = String::new();
        keys.push(&entity, &mut pushed);
        assert_eq!(pushed, key);
        assert_eq!(keys.entity(key.as_bytes()), Some(entity.as_str()));
        assert_eq!(keys.entity(b"larder:p:ops:{}"), Some(""));
        for other in [
            marker_key(&project, &view).as_bytes(),
            schemas_key(&project, &view).as_bytes(),
            b"larder:p:ops:{a=x",
            b"larder:p:ops:{a=x}:more",
            b"larder:p:ops:{a=x}{b}",
            b"larder:p:ops2:{a=x}",
            b"larder:p:op:{a=x}",
            b"larder:pp:ops:{a=x}",
            b"xlarder:p:ops:{a=x}",
            b"larder:p:ops:{a=\xff}",
            b"larder:p:ops:{",
            b"",
        ] {
            assert_eq!(keys.entity(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
