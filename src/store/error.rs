//! What can go wrong with a store, in words that say what to do.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the store could not do what it was asked to. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Made by a newer version.
    #[error("store `{}` has format {found}, this version knows up to {known}; use the newer binary, or another store", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// Another daemon holds it.
    #[error("store `{}` is held by another daemon ({holder}); stop that one first, or use another store", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// Who says to hold it.
        holder: String,
    },
    /// No write is allowed.
    #[error("store `{}` cannot be written: it or its folder is read-only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// No room is left.
    #[error("store `{}` cannot grow: the disk is full; nothing was lost, free some space", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Not a database, or a broken one.
    #[error("store `{}` is damaged: {detail}; look with `spendwatch store check`, or restore a backup", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Someone else writes for too long.
    #[error("store `{}` is locked by another program", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file or folder is not to be had.
    #[error("store `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something that this version never writes stands in a row.
    #[error("store `{}` holds a row that cannot be read: {detail}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Which and why.
        detail: String,
    },
    /// Asked for something that is not there.
    #[error("{0}")]
    NotFound(String),
    /// A planned stop, for tests of what a kill leaves behind.
    #[error("stopped before `{0}` was committed")]
    StoppedBefore(&'static str),
    /// A planned stop, for tests of what a kill leaves behind.
    #[error("stopped after `{0}` was committed")]
    StoppedAfter(&'static str),
    /// Anything else that SQLite says.
    #[error("store `{}`: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
}

/// Inside a transaction: what SQLite says, or a row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// SQLite.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A row.
    #[error("{0}")]
    Shape(String),
    /// Nothing there.
    #[error("{0}")]
    NotFound(String),
}

impl StoreError {
    /// The same, with the path and in words.
    pub fn new(path: &Path, error: RowError) -> StoreError {
        let path = path.to_owned();
        match error {
            RowError::Sqlite(source) => StoreError::sqlite(path, source),
            RowError::Shape(detail) => StoreError::Row { path, detail },
            RowError::NotFound(what) => StoreError::NotFound(what),
        }
    }

    fn sqlite(path: PathBuf, source: rusqlite::Error) -> StoreError {
        match source.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                StoreError::ReadOnly { path }
            }
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                path,
                detail: source.to_string(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            _ => StoreError::Sqlite { path, source },
        }
    }
}
