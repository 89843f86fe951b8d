//! Feature sources in Postgres: what their columns are, the SQL that computes values from them, and its answers' bytes.
//!
//! One generator serves online values and training sets: both are "as of a moment", which is a literal for a run and a
//! column for a training set.

mod aggregates;
mod changed;
mod check;
mod columns;
mod decode;
mod history;
mod indexes;
mod keys;
mod lookup;
mod pushed;
mod rows;
mod sql;
mod table;
#[cfg(test)]
mod tests;
mod training;
mod values;
mod visible;

pub(crate) use check::check_view;
pub(crate) use columns::{ColumnType, Columns, columns_of};
pub(crate) use decode::{CopyRows, DecodeError, Fields};
pub(crate) use history::{History, history_of};
pub(crate) use indexes::missing_indexes;
pub(crate) use keys::{Part, bind as bind_keys};
pub(crate) use pushed::{Entities, MOST_ENTITIES, pushed_query};
pub(crate) use sql::{Since, SourceError, ident, table_ident};
pub(crate) use table::{Table, TableColumn, table_of};
pub(crate) use training::{training_query, verification_query};
pub(crate) use values::{Scope, Wanted, changed_among_query, expectations_query, sample_query, values_query};

pub use check::Problem;
