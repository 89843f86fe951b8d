//! What features mean: definitions, values, keys, stored bytes, derived expressions and time.
//!
//! Pure: nothing here does I/O (but for reading definition files when asked to) or reads a clock on its own.

pub mod assemble;
pub mod codec;
pub mod definitions;
pub mod expression;
pub mod key;
pub mod name;
pub mod serving;
pub mod time;
pub mod value;
