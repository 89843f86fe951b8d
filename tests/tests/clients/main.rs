//! Others' clients, unmodified, against our servers: Feast's SDK and Triton's client. `cargo xtask test --clients`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod puppet; // a client, driven call by call
mod reads; // a thousand entities, as `get` has them
mod runs; // materializations
mod stand; // the feature server, its definitions and its rows
mod triton; // the predictor, by HTTP and gRPC
mod writes; // pushes, and values written online
