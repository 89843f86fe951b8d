//! Feature sources in Postgres: what their columns are, the SQL that computes values from them, and its answers' bytes.
//!
//! One generator serves online values and training sets: both are "as of a moment", which is a literal for a run and a
//! column for a training set.

mod aggregates;
mod columns;
mod decode;
mod rows;
mod sql;
mod training;

pub(crate) use aggregates::{aggregates_as_of, changed_aggregates};
pub(crate) use columns::{check_view, columns_of, missing_indexes};
pub(crate) use decode::{CopyRows, DecodeError, Fields, decode_value, timestamp};
pub(crate) use rows::{changed_rows, rows_as_of};
pub(crate) use sql::{Since, SourceError};
pub(crate) use training::training_query;

pub use columns::Problem;
