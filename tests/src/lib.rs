//! What the end-to-end tests stand on: databases and Redis servers of their own, and the flights, loaded.
//!
//! Everything here is real. `cargo xtask test` starts the servers and sets the variables that [`mod@env`] reads.

pub mod documents;
pub mod env;
pub mod flights;
pub mod postgres;
pub mod predictors;
pub mod python;
pub mod redis_server;
pub mod servers;
pub mod shell;
