//! What can be wrong with a file, as its owner reads it.

use parquet::errors::ParquetError;

use crate::reader::Place;

/// A file that cannot be read or written at all.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error("{file}: a file's name ends in .csv or .parquet, which says what is in it")]
    Extension { file: String },
    #[error("{file} cannot be opened")]
    Open { file: String, source: std::io::Error },
    #[error(
        "{file} is not a Parquet file, or was not written to its end ({reason}): write it again, or name it .csv if that is what it is"
    )]
    NotParquet { file: String, reason: String },
    #[error("{file}, column `{column}` holds {holds}, which is not supported: {remedy}")]
    Unsupported {
        file: String,
        column: String,
        holds: String,
        remedy: &'static str,
    },
    #[error("{file} cannot be read: {reason}")]
    Read { file: String, reason: String },
    #[error("cannot be written: {0}")]
    Write(String),
}

/// Why there is no next row.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A row that is no row; the next one may be.
    #[error("{place}: {problem}")]
    Row {
        /// Where it stands.
        place: Place,
        /// What is wrong with it.
        problem: String,
    },
    /// The file cannot be read on.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What the library says, without its own name in front.
pub(crate) fn reason(error: &ParquetError) -> String {
    match error {
        ParquetError::General(reason) | ParquetError::NYI(reason) | ParquetError::EOF(reason) => reason.clone(),
        other => other.to_string(),
    }
}
