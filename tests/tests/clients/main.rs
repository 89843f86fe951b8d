//! Feast's own SDK, unmodified, against the feature server: `cargo xtask test --clients`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod puppet; // the SDK, driven call by call
mod reads; // a thousand entities, as `get` has them
mod runs; // materializations
mod stand; // the server, its definitions and its rows
mod writes; // pushes, and values written online
