//! One prediction, from a request's bytes to its answer.

pub mod answer;
mod body;
pub mod budget;
pub mod cache;
pub mod cache_key;
mod error;
mod explain;
mod features;
pub mod redis_cache;
pub mod request;
mod run;
mod single_flight;
pub mod stages;

pub(crate) use error::shortened;
pub use error::{PredictError, Problem, Problems};
pub use explain::Explain;
pub use run::Asked;
