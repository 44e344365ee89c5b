//! Detects that the files of an open store were removed or replaced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::StoreErrorCause;

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
    pub(crate) fn new(path: &Path) -> io::Result<OpenStoreFiles> {
        let mut log_path = OsString::from(path);
        log_path.push("-wal");
        Ok(OpenStoreFiles {
            path: path.to_owned(),
            log_path: PathBuf::from(log_path),
            file: identity(&fs::metadata(path)?),
            log: Mutex::new(None),
        })
    }

    /// Fails if another file, or none, is at one of the paths.
    pub(crate) fn check(&self) -> Result<(), StoreErrorCause> {
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.file => {}
            Ok(_) => return Err(StoreErrorCause::Removed("file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreErrorCause::Removed("file"));
            }
            Err(error) => return Err(StoreErrorCause::Io("read its metadata", error)),
        }
        let found = match fs::metadata(&self.log_path) {
            Ok(found) => Some(identity(&found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(StoreErrorCause::Io(
                    "read the metadata of its write-ahead log",
                    error,
                ));
            }
        };
        let mut log = lock_ignoring_poison(&self.log);
        if log.is_some() && found != *log {
            return Err(StoreErrorCause::Removed("write-ahead log"));
        }
        *log = found;
        Ok(())
    }
}

fn identity(found: &fs::Metadata) -> FileIdentity {
    (found.dev(), found.ino())
}

pub(crate) fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
