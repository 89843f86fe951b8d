//! A part of a view's entities, so that several processes can share a run.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The entities whose keys' hash falls to one of so many processes: `2/4` on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u32,
    of: NonZeroU32,
}

/// A text that names no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no shard: write I/N, the first of four as 1/4 and the last as 4/4, of at most 1024")]
pub struct InvalidShard(String);

impl Shard {
    /// All entities.
    pub const WHOLE: Self = Self {
        index: 1,
        of: NonZeroU32::MIN,
    };

    /// More processes do not share a run.
    pub const MOST: u32 = 1_024;

    /// The shard of this number, from 1, of so many; `None` if there is no such shard.
    pub fn new(index: u32, of: u32) -> Option<Self> {
        let (index, of) = (NonZeroU32::new(index)?, NonZeroU32::new(of)?);
        (index <= of && of.get() <= Self::MOST).then_some(Self { index: index.get(), of })
    }

    /// Which one it is, from 1.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub const fn of(self) -> u32 {
        self.of.get()
    }

    /// Whether it is all entities.
    pub fn is_whole(self) -> bool {
        self == Self::WHOLE
    }
}

impl FromStr for Shard {
    type Err = InvalidShard;
    fn from_str(text: &str) -> Result<Self, InvalidShard> {
        let read = || {
            let (index, of) = text.split_once('/')?;
            Self::new(index.parse().ok()?, of.parse().ok()?)
        };
        read().ok_or_else(|| InvalidShard(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_read_and_write() {
        for text in ["1/1", "2/4", "4/4"] {
            assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
        }
        assert_eq!("1/1".parse(), Ok(Shard::WHOLE));
        for bad in ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/1025", "1/4/2", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
