//! What both servers share: telemetry, lifecycle, limits, the error envelope and health. Nothing about features or models.

pub mod error;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod reload;
pub mod secret;
pub mod telemetry;
