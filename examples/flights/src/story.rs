//! The story the demo tells: a quiet Wednesday afternoon, and an aircraft that comes in late.

use feature_defs::time::{Span, Timestamp};

use crate::dataset::Dataset;
use crate::flight::Flight;

/// Which moment of 2013 is "now", and whose delay is predicted.
///
/// UA 360 to Palm Beach leaves Newark at 18:00. At 16:00 nothing speaks against it; by 17:00 its aircraft, N832UA, has
/// landed in Cleveland, 28 minutes late, and has yet to come back. (UA 360 came to Palm Beach 110 minutes late.)
#[derive(Debug, Clone, Copy)]
pub struct Story;

impl Story {
    /// Wednesday, 6 November 2013, 17:00 in New York.
    pub const NOW: Timestamp = Timestamp::from_micros(1_383_775_200_000_000);
    /// How late the database is when the story begins: the arrivals of this last stretch come in later.
    pub const BEHIND: Span = Span::from_secs(3_600);
    /// How much of the past is loaded: a little more than the longest window of any feature.
    pub const HISTORY: Span = Span::from_secs(29 * 86_400);

    /// The flight.
    ///
    /// # Panics
    /// If `dataset` is not the published one.
    pub fn flight(dataset: &Dataset) -> &Flight {
        let departure = Self::NOW.plus(Span::from_secs(3_600));
        dataset
            .flight("UA", 360, departure)
            .expect("the published data has this flight")
    }
}
