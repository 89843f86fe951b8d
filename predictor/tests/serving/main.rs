//! The predictor as callers see it, on a real Redis and ONNX Runtime.

mod bench;

mod cache;
mod commands;
mod explain;
mod http;
mod load;
mod outage;
mod policies;
mod requests;
mod rows;
