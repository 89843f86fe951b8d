//! Feature sources in Postgres: what their columns are, the SQL that computes values from them, and its answers' bytes.
//!
//! One generator serves online values and training sets: both are "as of a moment", which is a literal for a run and a
//! column for a training set.

mod aggregates;
mod changed;
mod check;
mod columns;
mod decode;
mod indexes;
mod keys;
mod lookup;
mod rows;
mod sql;
#[cfg(test)]
mod tests;
mod training;
mod values;
mod visible;

pub(crate) use check::check_view;
pub(crate) use columns::{Columns, columns_of};
pub(crate) use decode::{CopyRows, DecodeError, Fields, decode_value, timestamp};
pub(crate) use indexes::missing_indexes;
pub(crate) use keys::Part;
pub(crate) use sql::{Since, SourceError};
pub(crate) use training::{training_query, verification_query};
pub(crate) use values::{Scope, Wanted, changed_among_query, expectations_query, sample_query, values_query};

pub use check::Problem;
