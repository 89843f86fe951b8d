//! Rows of typed cells, from and to CSV and Parquet files, streamed: whoever has labels or instances in a file reads them
//! here. What the columns mean is the caller's.

mod cell;
mod csv_reader;
mod csv_writer;
mod error;
mod parquet_reader;
mod parquet_schema;
mod parquet_writer;
mod reader;
mod writer;

pub use cell::{Cell, ColumnType, Unit};
pub use error::{FileError, RowError};
pub use reader::{Column, Format, Place, Row, TableReader};
pub use writer::{TableOutput, TableWriter};
