//! What can go wrong with the store: where, what, and what to do about it.

use std::io;

use rusqlite::ErrorCode;

/// What went wrong. A write that failed has left everything as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer program made it.
    #[error(
        "store `{path}` has version {found}, this program knows versions up to {supported}; run the newer program, or \
         restore a backup from before the upgrade"
    )]
    Newer {
        path: String,
        found: i64,
        /// The newest version that this program knows.
        supported: i64,
    },
    /// It must be brought up to date, which the daemon that holds it prevents.
    #[error(
        "store `{path}` has version {found} and is held by {holder}; this program needs version {supported}: restart that \
         daemon with this program"
    )]
    Older {
        path: String,
        found: i64,
        /// The version that this program makes.
        supported: i64,
        holder: String,
    },
    /// Another daemon works on it.
    #[error(
        "store `{path}` is held by {holder}; stop that daemon, or give this one a store of its own"
    )]
    Held {
        path: String,
        /// Process, host and since when.
        holder: String,
    },
    /// There is none, and a command makes none.
    #[error(
        "there is no store `{path}`; the daemon makes it at its first start, or correct `url` in `[store]`"
    )]
    Missing {
        /// The file that is not there.
        path: String,
    },
    /// It may not be written.
    #[error(
        "store `{path}` is read-only; its file and its directory must be writable for the user of this program"
    )]
    ReadOnly { path: String },
    /// The disk is full.
    #[error(
        "store `{path}` cannot grow, the disk is full; nothing was changed, make room and it goes on"
    )]
    Full { path: String },
    /// It is damaged, or holds what no version of this program wrote.
    #[error(
        "store `{path}` is damaged ({detail}); look at it with `spendwatch store check`, keep the file, and restore the \
         newest backup"
    )]
    Corrupt { path: String, detail: String },
    /// The file is something else.
    #[error("`{path}` is not a store of spendwatch ({detail}); correct `url` in `[store]`")]
    NotAStore { path: String, detail: String },
    /// Somebody else kept it locked for too long.
    #[error(
        "store `{path}` has been locked by another program for too long; nothing was changed, try again"
    )]
    Busy { path: String },
    /// It cannot be kept durably where it is.
    #[error("store `{path}` cannot be kept safely there: {detail}; put it on a local file system")]
    Unsafe { path: String, detail: String },
    #[error("store `{path}`: cannot {doing}")]
    Io {
        path: String,
        doing: &'static str,
        source: io::Error,
    },
    /// SQLite failed in another way.
    #[error("store `{path}` failed")]
    Sqlite {
        path: String,
        source: rusqlite::Error,
    },
    /// A sum does not fit.
    #[error("store `{path}`: {what} is too large to be kept")]
    Overflow { path: String, what: &'static str },
    /// Something that was asked for by name is not there.
    #[error("store `{path}` has no {what}")]
    Unknown { path: String, what: String },
    /// A file is in the way.
    #[error("`{path}` exists already and is not overwritten; give another name")]
    Exists { path: String },
    /// A fault injection stopped it.
    #[error("store `{path}`: stopped {moment} the commit of `{operation}`")]
    Stopped {
        path: String,
        operation: &'static str,
        /// `before` or `after`.
        moment: &'static str,
    },
    /// Its files are not the ones that were opened.
    #[error(
        "store `{path}`: its {what} was removed or replaced while it is in use; nothing is recorded: put it back, or restart \
         to continue with what is there"
    )]
    Removed { path: String, what: &'static str },
    /// The thread that owns the connection has ended.
    #[error("store `{path}` is closed")]
    Closed { path: String },
}

/// What went wrong, before it is known where.
#[derive(Debug)]
pub(super) enum Cause {
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

impl From<rusqlite::Error> for Cause {
    fn from(error: rusqlite::Error) -> Cause {
        Cause::Sqlite(error)
    }
}

impl Cause {
    /// The error about one store.
    pub(super) fn at(self, path: &str) -> StoreError {
        let path = path.to_owned();
        match self {
            Cause::Sqlite(error) => sqlite_at(path, error),
            Cause::Io(doing, source) => io_at(path, doing, source),
            Cause::Corrupt(detail) => StoreError::Corrupt { path, detail },
            Cause::Unsafe(detail) => StoreError::Unsafe { path, detail },
            Cause::Overflow(what) => StoreError::Overflow { path, what },
            Cause::Unknown(what) => StoreError::Unknown { path, what },
            Cause::Stopped(operation, moment) => StoreError::Stopped {
                path,
                operation,
                moment,
            },
            Cause::Exists(path) => StoreError::Exists { path },
            Cause::Removed(what) => StoreError::Removed { path, what },
            Cause::Closed => StoreError::Closed { path },
        }
    }
}

fn io_at(path: String, doing: &'static str, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull => StoreError::Full { path },
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        // The list of kinds is open; all others are told as they are.
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
        // SQLite's list of codes is open; all others are told as they are.
        Some(_) => StoreError::Sqlite {
            path,
            source: error,
        },
        None => unreadable_at(path, error),
    }
}

/// An error of the binding, not of SQLite: a value that is not what was written.
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
