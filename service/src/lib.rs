//! What both servers share: telemetry, lifecycle, limits, the error envelope, health, progress and hints. Nothing about
//! features or models.

pub mod error;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod nearest;
pub mod progress;
pub mod reload;
pub mod secret;
pub mod server;
pub mod telemetry;
