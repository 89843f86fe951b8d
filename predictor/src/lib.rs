//! The predictor: serves ONNX models on stored and request-time features. Never touches Postgres.

mod app;
pub mod cli;
mod compare;
mod control;
mod grpc;
mod http;
pub mod infer;
mod meters;
pub mod model;
pub mod predict;
mod reload;
mod score;
mod serving;

pub use app::{App, LoadError, Settings};
pub use compare::{CompareError, Comparison};
pub use control::ControlError;
pub use model::{ModelName, Version};
pub use predict::{Asked, Explain, Freshness, PredictError};
pub use reload::ReloadError;
pub use score::{ScoreError, ScoreSummary};
