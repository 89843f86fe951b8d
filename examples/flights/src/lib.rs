//! The demo's data: every flight out of New York in 2013, as events that happen again now.
//!
//! [`Dataset`] reads the published CSV files, [`Shift`] moves 2013 to the present, a [`Replay`] puts events into Postgres as they "happen", and [`Flight::instance`] is what an application asks the predictor about a flight. What a
//! flight's delay will be is known to this crate from the start: an outcome must reach the database only as the event that
//! tells it, never earlier.

mod dataset;
mod flight;
mod instance;
mod replay;
mod shift;
mod story;
mod tables;
mod timeline;

pub use dataset::{Airline, Airport, Dataset, Plane, Weather};
pub use flight::Flight;
pub use instance::{LabelRange, Moment, write_labels};
pub use replay::{Loaded, Replay};
pub use shift::Shift;
pub use story::Story;
pub use tables::Ingested;
