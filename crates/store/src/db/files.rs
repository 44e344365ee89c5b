//! Detects that the files of an open store were removed or replaced.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::db::open::beside;
use crate::error::{StoreErrorCause, io};

/// Files of an open store, identified by device and inode.
#[derive(Debug)]
pub(crate) struct OpenStoreFiles {
    path: PathBuf,
    log_path: PathBuf,
    file: FileIdentity,
    /// SQLite creates it with the first transaction, and keeps it as long as the store is open.
    log: Mutex<Option<FileIdentity>>,
}

type FileIdentity = (u64, u64);

/// Reason of the last failure, by user of the store.
pub(crate) type FailuresByUser = Mutex<BTreeMap<String, String>>;

impl OpenStoreFiles {
    pub(crate) fn new(path: &Path) -> std::io::Result<OpenStoreFiles> {
        Ok(OpenStoreFiles {
            path: path.to_owned(),
            log_path: beside(path, "-wal"),
            file: identity(path)?.ok_or(ErrorKind::NotFound)?,
            log: Mutex::new(None),
        })
    }

    /// Fails if another file, or none, is at one of the paths.
    pub(crate) fn check(&self) -> Result<(), StoreErrorCause> {
        let found = identity(&self.path).map_err(io("read its metadata"))?;
        if found != Some(self.file) {
            return Err(StoreErrorCause::Removed("file"));
        }
        let found =
            identity(&self.log_path).map_err(io("read the metadata of its write-ahead log"))?;
        let mut log = lock_ignoring_poison(&self.log);
        if log.is_some() && found != *log {
            return Err(StoreErrorCause::Removed("write-ahead log"));
        }
        *log = found;
        Ok(())
    }
}

fn identity(path: &Path) -> std::io::Result<Option<FileIdentity>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
