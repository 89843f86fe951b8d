//! Moments on the command line: RFC 3339, or relative to now.

use std::str::FromStr;

use feature_defs::time::{Span, Timestamp};

/// `2013-11-05T16:30:00Z`, or `-7d`: so long before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(Timestamp),
    Before(Span),
}

impl FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_prefix('-') {
            Some(span) => span.parse().ok().map(Self::Before),
            None => text.parse().ok().map(Self::At),
        };
        parsed.ok_or_else(|| "write RFC 3339, such as 2013-11-05T16:30:00Z, or how long ago, such as -7d".to_owned())
    }
}

impl When {
    pub(super) const fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Before(span) => now.minus(span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_or_relative() {
        let now: Timestamp = "2013-11-08T00:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("2013-11-05T17:30:00+01:00", "2013-11-05T16:30:00Z"),
            ("-7d", "2013-11-01T00:00:00Z"),
        ] {
            assert_eq!(text.parse::<When>().unwrap().resolve(now), moment.parse().unwrap());
        }
        for bad in ["7d", "yesterday", "--7d", ""] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }
}
