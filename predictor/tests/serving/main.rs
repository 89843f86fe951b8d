//! The predictor as callers see it, on a real Redis and ONNX Runtime.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod bench;

mod batches;
mod cache;
mod commands;
mod compare;
mod explain;
mod grpc;
mod http;
mod load;
mod openapi;
mod outage;
mod policies;
mod reload;
mod requests;
mod rows;
mod score;
mod traffic;
