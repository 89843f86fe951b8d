//! Rows of typed cells, from and to CSV and Parquet files, streamed: whoever has labels or instances in a file reads them
//! here. What the columns mean is the caller's.

mod bad_file;
mod cell;
mod csv_reader;
mod csv_writer;
mod error;
mod new_file;
mod parquet_reader;
mod parquet_schema;
mod parquet_writer;
mod reader;
mod writer;

pub use bad_file::BadFile;
pub use cell::{Cell, ColumnType, Unit};
pub use error::{FileError, RowError};
pub use new_file::NewFile;
pub use reader::{Column, Format, Place, Row, TableReader};
pub use writer::{TableOutput, TableWriter};
