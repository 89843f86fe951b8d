//! Texts that are never shown.

use std::fmt;

/// A text that is never shown, such as a URL that may hold a password.
///
/// An argument of this type is read by its program and not by the command line's parser, which would repeat what is
/// wrong with it.
#[derive(Clone)]
pub struct Secret(pub String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
