//! The predictor: serves ONNX models on stored and request-time features. Never touches Postgres.

mod app;
pub mod cli;
mod http;
mod meters;
pub mod model;
pub mod predict;
mod reload;
mod serving;

pub use app::{App, LoadError, Settings};
pub use model::ModelName;
pub use predict::{Asked, Explain, PredictError};
pub use reload::ReloadError;
