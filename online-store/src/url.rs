//! Where Redis is, in a type that never shows the password.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// Sent bytes that nobody acknowledges for so long mean that the other machine is gone: drop the connection.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// A Redis URL: `redis://[user:password@]host[:port][/database]`, `rediss://…` for TLS, or `redis+unix:///path`.
#[derive(Clone)]
pub struct RedisUrl(Arc<ConnectionInfo>);

/// A text that is no Redis URL. The text may hold a password and is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a Redis URL ({0}): write redis://[user:password@]host[:port][/database], or rediss://… for TLS, with special characters of the password percent-encoded"
)]
pub struct InvalidRedisUrl(String);

impl RedisUrl {
    pub(crate) fn connection_info(&self) -> ConnectionInfo {
        ConnectionInfo::clone(&self.0)
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::TcpTls { .. })
    }
}

impl FromStr for RedisUrl {
    type Err = InvalidRedisUrl;
    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        if redis::parse_redis_url(text).is_none() {
            return Err(InvalidRedisUrl(
                "it does not start with redis:// or rediss://, or has no host".into(),
            ));
        }
        let info = text
            .into_connection_info()
            .map_err(|error| InvalidRedisUrl(error.to_string()))?;
        // Without nodelay, the kernel holds small commands back for each other.
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(GONE_AFTER);
        Ok(Self(Arc::new(info.set_tcp_settings(tcp))))
    }
}

impl fmt::Display for RedisUrl {
    /// The URL without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = self.0.redis_settings();
        let user = redis.username().map(|user| format!("{user}@")).unwrap_or_default();
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{user}{host}:{port}")?,
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{user}{host}:{port}")?,
            ConnectionAddr::Unix(path) => return write!(f, "redis+unix://{}", path.display()),
            _ => f.write_str("redis://unknown")?,
        }
        if redis.db() != 0 {
            write!(f, "/{}", redis.db())?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_everything_but_the_password() {
        for (text, shown) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
            ("redis://:s3cret@redis.internal:6380/2", "redis://redis.internal:6380/2"),
            (
                "rediss://reader:s3cret@redis.internal",
                "rediss://reader@redis.internal:6379",
            ),
            (
                "redis+unix:///run/redis.sock?pass=s3cret",
                "redis+unix:///run/redis.sock",
            ),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            if matches!(url.0.addr(), ConnectionAddr::Tcp(..)) {
                assert!(url.0.tcp_settings().nodelay());
            }
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for text in [
            "",
            "localhost:6379",
            "http://u:s3cret@h",
            "redis://u:s3cret@h:port",
            "redis://:s3cret@h/x",
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
            assert!(error.contains("redis://[user:password@]host"), "{error}");
        }
    }
}
