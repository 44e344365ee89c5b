//! The files of an open store: whether they are still the ones that were opened.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::error::Cause;

/// The files of an open store, by device and inode.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    log_path: PathBuf,
    file: Identity,
    /// SQLite makes it with the first transaction, and keeps it for as long as the store is open.
    log: Mutex<Option<Identity>>,
}

type Identity = (u64, u64);

/// Who failed last time, and why.
pub(super) type Failures = Mutex<BTreeMap<String, String>>;

impl Files {
    /// Of a store that was just opened.
    pub(super) fn of(path: &Path) -> io::Result<Files> {
        let mut log_path = OsString::from(path);
        log_path.push("-wal");
        Ok(Files {
            path: path.to_owned(),
            log_path: PathBuf::from(log_path),
            file: identity(&fs::metadata(path)?),
            log: Mutex::new(None),
        })
    }

    /// Compares them with what is at their paths.
    pub(super) fn check(&self) -> Result<(), Cause> {
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.file => {}
            Ok(_) => return Err(Cause::Removed("file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Cause::Removed("file"));
            }
            Err(error) => return Err(Cause::Io("look at it", error)),
        }
        let found = match fs::metadata(&self.log_path) {
            Ok(found) => Some(identity(&found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Cause::Io("look at its write-ahead log", error)),
        };
        let mut log = hold(&self.log);
        if log.is_some() && found != *log {
            return Err(Cause::Removed("write-ahead log"));
        }
        *log = found;
        Ok(())
    }
}

fn identity(found: &fs::Metadata) -> Identity {
    (found.dev(), found.ino())
}

/// What a mutex guards; a panic elsewhere leaves it as it is.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
