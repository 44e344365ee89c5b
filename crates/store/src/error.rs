//! Errors of the store, each with the path, the cause and what to do.

use std::fmt;
use std::io;

use rusqlite::ErrorCode;

/// Why an operation failed. A failed write has changed nothing.
#[derive(Debug)]
pub struct StoreError {
    pub path: String,
    pub cause: StoreErrorCause,
}

/// Why a store operation failed; decides what the message suggests.
#[derive(Debug)]
pub enum StoreErrorCause {
    Newer {
        found: i64,
        /// The newest version that this program supports.
        supported: i64,
    },
    /// It needs a migration, which is impossible while a daemon holds it.
    Older {
        found: i64,
        supported: i64,
        holder: String,
    },
    /// By this process, on this host, since this time.
    Held(String),
    /// Only the daemon creates a store.
    Missing,
    ReadOnly,
    Full,
    /// It is damaged, or contains something that no version of this program wrote.
    Corrupt(String),
    NotAStore(String),
    Busy,
    /// Its file system does not allow durable writes.
    Unsafe(String),
    Io(&'static str, io::Error),
    Sqlite(rusqlite::Error),
    Overflow(&'static str),
    Unknown(String),
    /// The file that would be written.
    Exists(String),
    Stopped {
        operation: &'static str,
        /// `before` or `after`.
        moment: &'static str,
    },
    Removed(&'static str),
    Closed,
}

impl StoreErrorCause {
    pub(crate) fn at_path(self, path: impl fmt::Display) -> StoreError {
        StoreError {
            path: path.to_string(),
            cause: self,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use StoreErrorCause::*;
        let path = &self.path;
        match &self.cause {
            Newer { found, supported } => write!(
                f,
                "store `{path}` has version {found}, this program supports versions up to {supported}; run the newer \
                 program, or restore a backup from before the upgrade"
            ),
            Older {
                found,
                supported,
                holder,
            } => write!(
                f,
                "store `{path}` has version {found} and is in use by {holder}, this program needs version {supported}; \
                 restart that daemon with this program"
            ),
            Held(holder) => write!(
                f,
                "store `{path}` is in use by {holder}; stop that daemon, or set another `url` in `[store]`"
            ),
            Missing => write!(
                f,
                "store `{path}` does not exist; start the daemon to create it, or correct `url` in `[store]`"
            ),
            ReadOnly => write!(
                f,
                "store `{path}` is read-only; make its file and its directory writable for the user of this program"
            ),
            Full => write!(
                f,
                "disk full: store `{path}` cannot grow; nothing was changed, free some space to continue"
            ),
            Corrupt(detail) => write!(
                f,
                "store `{path}` is damaged ({detail}); inspect it with `spendwatch store check`, keep the file, and restore \
                 the newest backup"
            ),
            NotAStore(detail) => write!(
                f,
                "`{path}` is not a spendwatch store ({detail}); correct `url` in `[store]`"
            ),
            Busy => write!(
                f,
                "store `{path}` is locked by another program; nothing was changed, try again"
            ),
            Unsafe(detail) => write!(
                f,
                "store `{path}` is not durable there: {detail}; move it to a local file system"
            ),
            Io(doing, _) => write!(f, "store `{path}`: cannot {doing}"),
            Sqlite(_) => write!(f, "store `{path}` failed"),
            Overflow(what) => write!(f, "store `{path}`: {what} is too large to be stored"),
            Unknown(what) => write!(f, "store `{path}` has no {what}"),
            Exists(file) => write!(f, "`{file}` already exists; choose another name"),
            Stopped { operation, moment } => {
                write!(
                    f,
                    "store `{path}`: stopped {moment} the commit of `{operation}`"
                )
            }
            Removed(what) => write!(
                f,
                "store `{path}`: its {what} was removed or replaced while in use, nothing is recorded; restore it, or \
                 restart to continue with the new one"
            ),
            Closed => write!(f, "store `{path}` is closed"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            StoreErrorCause::Io(_, error) => Some(error),
            StoreErrorCause::Sqlite(error) => Some(error),
            _ => None,
        }
    }
}

/// Returns the cause of an IO error from what the store was doing.
pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> StoreErrorCause {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull => StoreErrorCause::Full,
        io::ErrorKind::ReadOnlyFilesystem => StoreErrorCause::ReadOnly,
        // The list of kinds is open.
        _ => StoreErrorCause::Io(doing, error),
    }
}

impl From<rusqlite::Error> for StoreErrorCause {
    fn from(error: rusqlite::Error) -> StoreErrorCause {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreErrorCause::Full,
            Some(ErrorCode::ReadOnly) => StoreErrorCause::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorCause::Busy,
            Some(ErrorCode::DatabaseCorrupt) => StoreErrorCause::Corrupt(error.to_string()),
            Some(ErrorCode::NotADatabase) => StoreErrorCause::NotAStore(error.to_string()),
            // SQLite's list of codes is open.
            Some(_) => StoreErrorCause::Sqlite(error),
            // The binding rejects a value of an unexpected type or range.
            None => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..) => {
                    StoreErrorCause::Corrupt(error.to_string())
                }
                _ => StoreErrorCause::Sqlite(error),
            },
        }
    }
}
