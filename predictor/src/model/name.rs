//! The names of models and versions.

use std::fmt;
use std::sync::Arc;

use feature_defs::name::{self, InvalidName};
use serde::{Deserialize, Serialize};

/// A model: the name of its folder, and what callers say.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

/// A version of a model: the name of its folder.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Arc<str>);

/// A text that cannot name a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version: use letters, digits, `.`, `_` and `-`, beginning with a letter or digit")]
pub struct InvalidVersion(String);

impl std::str::FromStr for ModelName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        name::check(text).map(|()| Self(text.into()))
    }
}

impl std::str::FromStr for Version {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        // `latest` is a word of model.toml.
        let shape = text != "latest"
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if shape {
            Ok(Self(text.into()))
        } else {
            Err(InvalidVersion(text.to_owned()))
        }
    }
}

macro_rules! text {
    ($name:ident, $error:ty) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
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
    };
}

text!(ModelName, InvalidName);
text!(Version, InvalidVersion);
