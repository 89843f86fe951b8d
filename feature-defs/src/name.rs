//! Names: each kind of thing has a type of its own, and all obey one rule.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: use a letter, then letters, digits and single underscores (two together separate a view from its feature)"
)]
pub struct InvalidName(pub String);

/// Checks the one rule for names: `[A-Za-z][A-Za-z0-9_]*`, without `__` and without a trailing `_`, so that
/// `view__feature` splits in one way only.
///
/// # Errors
/// [`InvalidName`] with the text.
pub fn check(text: &str) -> Result<(), InvalidName> {
    let shape = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.contains("__")
        && !text.ends_with('_');
    if shape {
        Ok(())
    } else {
        Err(InvalidName(text.to_owned()))
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check(text).map(|()| Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

names! {
    /// The project: the namespace of everything stored.
    ProjectName,
    /// A thing features are about.
    EntityName,
    /// A Postgres table or query with an event timestamp.
    SourceName,
    /// A database that sources are read from, other than the usual one.
    DatabaseName,
    /// A feature view, or the alias a service joins one under.
    ViewName,
    /// A stored, request or derived feature; also a join key, which a request carries the same way.
    FeatureName,
    /// A feature service: the ordered inputs of a model version.
    ServiceName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_in_one_way_only() {
        for good in ["a", "carrier_ops", "late_rate_3h", "X9"] {
            assert_eq!(good.parse::<ViewName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "_a", "9a", "a__b", "a_", "a-b", "a.b", "é", "a b"] {
            assert!(bad.parse::<ViewName>().is_err(), "{bad}");
        }
    }
}
