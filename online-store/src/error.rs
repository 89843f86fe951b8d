//! What can go wrong with the online store, said so that a person knows what to do.

use std::time::Duration;

use feature_defs::codec::DecodeError;
use feature_defs::name::ViewName;
use redis::{ErrorKind, RedisError};

use crate::url::RedisUrl;

/// Why the online store could not do what it was asked. Messages hold no password and no feature value.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error(
        "Redis at {url} did not answer within {after:?}: see whether it is overloaded or the network is slow, or allow more time"
    )]
    Timeout { url: RedisUrl, after: Duration },
    #[error("Redis at {url} can't be reached ({cause}): {hint}")]
    Unreachable {
        url: RedisUrl,
        cause: String,
        hint: &'static str,
    },
    #[error("Redis at {url} refused a command ({cause}): {hint}")]
    Refused {
        url: RedisUrl,
        cause: String,
        hint: &'static str,
    },
    #[error(
        "`{key}` holds a value of format version {version}, which this program does not know and therefore does not overwrite: upgrade this program, or delete the key if it is not Larder's"
    )]
    UnknownFormat { key: String, version: u8 },
    #[error("what is to be written to `{key}` is no stored value ({cause}): encode it with the view's schema")]
    NotAValue { key: String, cause: DecodeError },
    #[error(
        "Redis was flushed, restarted or failed over while view `{view}` was written, and may have lost part of it: run again"
    )]
    DataLost { view: ViewName },
    #[error(
        "a run has begun to write view `{view}` while its values were being removed: what was not removed yet stays; if they are still to go, begin again"
    )]
    WrittenAgain { view: ViewName },
    #[error("`{key}` holds no marker that this program can read ({cause}): run a full materialization of the view")]
    BadMarker { key: String, cause: String },
    #[error(
        "this reader was not made for view `{view}` as it is defined now: make a new reader after definitions change"
    )]
    NotRead { view: ViewName },
}

impl StoreError {
    /// No connection, and this is why.
    pub(crate) fn unreachable(url: &RedisUrl, error: &RedisError) -> Self {
        let hint = match error.kind() {
            ErrorKind::AuthenticationFailed => "check the user and password in the Redis URL",
            ErrorKind::Server(_) => "see Redis's log, and whether the URL's user may connect",
            ErrorKind::InvalidClientConfig => "check the Redis URL",
            _ if error.is_connection_refusal() => "start Redis there, or correct the Redis URL",
            _ => {
                "check the host and port in the Redis URL, whether TLS (rediss://) is right and its certificate trusted, and the network"
            }
        };
        Self::Unreachable {
            url: url.clone(),
            cause: error.to_string(),
            hint,
        }
    }

    /// The server answered with an error.
    pub(crate) fn refused(url: &RedisUrl, error: &RedisError) -> Self {
        let hint = match error.code() {
            Some("LOADING") => "it is loading its data after a start, wait for it",
            Some("READONLY") => "it is a replica, give the primary's URL",
            Some("OOM") => "its memory is full, raise maxmemory",
            Some("NOPERM" | "NOAUTH" | "WRONGPASS") => "give the URL's user the permission it lacks",
            Some("MISCONF") => "it can't write its data to disk, see its log",
            _ => "see Redis's log",
        };
        Self::Refused {
            url: url.clone(),
            cause: error.to_string(),
            hint,
        }
    }
}
