//! End to end, on real Postgres, Redis, ONNX Runtime and flights.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cache_honesty; // cached answers under constant writes
mod changes; // definitions changed twenty ways under constant reads and predictions
mod compose; // docker-compose.yml and Dockerfile name only what the programs know
mod documents; // what the pages under docs/ show
mod families; // models of four libraries: ten thousand rows each, as Python answers them
mod house; // what may depend on what, and where things are spelled
mod killed; // runs killed at any moment and gone on with
mod memory; // five million rows in little memory
mod onnx_cases; // ONNX's own test cases, over HTTP
mod outage; // Redis killed, hung and back
mod push; // pushed rows: how soon they are online, and that training sees them
mod quality; // as good served as trained
mod readme; // what the README says to type
mod refusals; // bad input: a clear error, and nothing changed
mod serving_equals_training; // a thousand flights, value by value, and Python's answers
mod tensors; // tensors over HTTP, for those above
