//! One prediction, from a request's bytes to its answer.

pub mod answer;
mod body;
pub mod budget;
pub mod cache;
pub mod cache_key;
mod error;
mod explain;
pub(crate) mod features;
mod plan;
pub mod redis_cache;
pub mod request;
mod run;
mod shadow;
mod single_flight;
pub mod stages;

pub use cache::Freshness;
pub(crate) use error::shortened;
pub use error::{PredictError, Problem, Problems};
pub use explain::Explain;
pub(crate) use plan::not_run;
pub use run::Asked;
pub(crate) use run::{How, Route, find, look_up};
pub(crate) use shadow::SHADOWS_AT_ONCE;
