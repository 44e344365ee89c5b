//! Errors of the store, each with the path, the cause and what to do.

use std::io;

use rusqlite::ErrorCode;

/// Why an operation failed. A failed write has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "store `{path}` has version {found}, this program supports versions up to {supported}; run the newer program, or \
         restore a backup from before the upgrade"
    )]
    Newer {
        path: String,
        found: i64,
        /// The newest version that this program supports.
        supported: i64,
    },
    /// It needs a migration, which is impossible while a daemon holds it.
    #[error(
        "store `{path}` has version {found} and is in use by {holder}, this program needs version {supported}; restart that \
         daemon with this program"
    )]
    Older {
        path: String,
        found: i64,
        supported: i64,
        holder: String,
    },
    #[error(
        "store `{path}` is in use by {holder}; stop that daemon, or set another `url` in `[store]`"
    )]
    Held {
        path: String,
        /// Process, host and start time.
        holder: String,
    },
    /// Only the daemon creates a store.
    #[error(
        "store `{path}` does not exist; start the daemon to create it, or correct `url` in `[store]`"
    )]
    Missing { path: String },
    #[error(
        "store `{path}` is read-only; make its file and its directory writable for the user of this program"
    )]
    ReadOnly { path: String },
    #[error(
        "disk full: store `{path}` cannot grow; nothing was changed, free some space to continue"
    )]
    Full { path: String },
    /// It is damaged, or contains something that no version of this program wrote.
    #[error(
        "store `{path}` is damaged ({detail}); inspect it with `spendwatch store check`, keep the file, and restore the \
         newest backup"
    )]
    Corrupt { path: String, detail: String },
    #[error("`{path}` is not a spendwatch store ({detail}); correct `url` in `[store]`")]
    NotAStore { path: String, detail: String },
    #[error("store `{path}` is locked by another program; nothing was changed, try again")]
    Busy { path: String },
    /// Its file system does not allow durable writes.
    #[error("store `{path}` is not durable there: {detail}; move it to a local file system")]
    Unsafe { path: String, detail: String },
    #[error("store `{path}`: cannot {doing}")]
    Io {
        path: String,
        doing: &'static str,
        source: io::Error,
    },
    #[error("store `{path}` failed")]
    Sqlite {
        path: String,
        source: rusqlite::Error,
    },
    #[error("store `{path}`: {what} is too large to be stored")]
    Overflow { path: String, what: &'static str },
    #[error("store `{path}` has no {what}")]
    Unknown { path: String, what: String },
    #[error("`{path}` already exists; choose another name")]
    Exists { path: String },
    #[error("store `{path}`: stopped {moment} the commit of `{operation}`")]
    Stopped {
        path: String,
        operation: &'static str,
        /// `before` or `after`.
        moment: &'static str,
    },
    #[error(
        "store `{path}`: its {what} was removed or replaced while in use, nothing is recorded; restore it, or restart to \
         continue with the new one"
    )]
    Removed { path: String, what: &'static str },
    #[error("store `{path}` is closed")]
    Closed { path: String },
}

/// Cause of a [`StoreError`], without the path.
#[derive(Debug)]
pub(crate) enum StoreErrorCause {
    Sqlite(rusqlite::Error),
    Io(&'static str, io::Error),
    Corrupt(String),
    Unsafe(String),
    Overflow(&'static str),
    Unknown(String),
    Stopped(&'static str, &'static str),
    Exists(String),
    Removed(&'static str),
    Closed,
}

impl From<rusqlite::Error> for StoreErrorCause {
    fn from(error: rusqlite::Error) -> StoreErrorCause {
        StoreErrorCause::Sqlite(error)
    }
}

impl StoreErrorCause {
    pub(crate) fn at_path(self, path: &str) -> StoreError {
        let path = path.to_owned();
        match self {
            StoreErrorCause::Sqlite(error) => sqlite_at(path, error),
            StoreErrorCause::Io(doing, source) => io_at(path, doing, source),
            StoreErrorCause::Corrupt(detail) => StoreError::Corrupt { path, detail },
            StoreErrorCause::Unsafe(detail) => StoreError::Unsafe { path, detail },
            StoreErrorCause::Overflow(what) => StoreError::Overflow { path, what },
            StoreErrorCause::Unknown(what) => StoreError::Unknown { path, what },
            StoreErrorCause::Stopped(operation, moment) => StoreError::Stopped {
                path,
                operation,
                moment,
            },
            StoreErrorCause::Exists(path) => StoreError::Exists { path },
            StoreErrorCause::Removed(what) => StoreError::Removed { path, what },
            StoreErrorCause::Closed => StoreError::Closed { path },
        }
    }
}

fn io_at(path: String, doing: &'static str, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull => StoreError::Full { path },
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        // The list of kinds is open.
        _ => StoreError::Io {
            path,
            doing,
            source,
        },
    }
}

fn sqlite_at(path: String, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt {
            path,
            detail: error.to_string(),
        },
        Some(ErrorCode::NotADatabase) => StoreError::NotAStore {
            path,
            detail: error.to_string(),
        },
        // SQLite's list of codes is open.
        Some(_) => StoreError::Sqlite {
            path,
            source: error,
        },
        None => unreadable_at(path, error),
    }
}

/// Maps an error of the binding rather than of SQLite: a value has an unexpected type or range.
fn unreadable_at(path: String, error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => StoreError::Corrupt {
            path,
            detail: error.to_string(),
        },
        _ => StoreError::Sqlite {
            path,
            source: error,
        },
    }
}
