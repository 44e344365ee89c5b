//! Whether the store can be used: its files are still the ones that were opened, and whoever works on it succeeds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::outbound::causes;
use crate::store::Store;
use crate::store::error::{Cause, StoreError};

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

    fn check(&self) -> Result<(), Cause> {
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

impl Store {
    /// Returns an error if the store's files are no longer the ones that were opened: what is written to them would be lost.
    pub fn check_files(&self) -> Result<(), StoreError> {
        let checked = self.inner.files.as_ref().map_or(Ok(()), Files::check);
        checked.map_err(|cause| cause.at(&self.inner.path))
    }

    /// Records that somebody, for example a notifier, could not use the store. Returns whether it is a new failure.
    pub fn note_failure(&self, user: &str, error: &StoreError) -> bool {
        let reason = causes(error);
        let before = hold(&self.inner.failures).insert(user.to_owned(), reason.clone());
        before != Some(reason)
    }

    /// Records that somebody could use the store, or does not use it any more. Returns whether they had failed before.
    pub fn note_success(&self, user: &str) -> bool {
        hold(&self.inner.failures).remove(user).is_some()
    }

    /// Returns why the store cannot be used, a line for each reason; empty if it can.
    pub fn problems(&self) -> Vec<String> {
        let files = self.check_files().err().map(|error| causes(&error));
        let failures = hold(&self.inner.failures);
        let failed = failures
            .iter()
            .map(|(user, reason)| format!("{user}: {reason}"));
        files.into_iter().chain(failed).collect()
    }
}

fn identity(found: &fs::Metadata) -> Identity {
    (found.dev(), found.ino())
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::at;

    #[tokio::test]
    async fn files_that_are_removed_or_replaced_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let (aside, log) = (dir.path().join("aside.db"), dir.path().join("s.db-wal"));
        let store = Store::open_for_daemon(&path, at(0)).unwrap();
        store.set_last_run("x", at(0)).await.unwrap();
        store.check_files().unwrap();
        fs::rename(&path, &aside).unwrap();
        let told = store.check_files().unwrap_err().to_string();
        assert!(told.contains("its file was removed or replaced"), "{told}");
        fs::copy(&aside, &path).unwrap();
        assert!(store.check_files().is_err());
        fs::rename(&aside, &path).unwrap();
        store.check_files().unwrap();
        fs::remove_file(&log).unwrap();
        let told = store.check_files().unwrap_err().to_string();
        assert!(told.contains("its write-ahead log was removed"), "{told}");
        assert_eq!(store.problems().len(), 1);
    }

    #[tokio::test]
    async fn a_failure_counts_until_the_same_user_succeeds() {
        let store = Store::in_memory().unwrap();
        let full = |path: &str| StoreError::Full {
            path: path.to_owned(),
        };
        assert!(store.note_failure("notifier `chat`", &full("a")));
        assert!(!store.note_failure("notifier `chat`", &full("a")));
        assert!(store.note_failure("notifier `chat`", &full("b")));
        assert!(!store.note_success("notifier `mail`"));
        let problems = store.problems();
        assert!(problems[0].starts_with("notifier `chat`: store `b` cannot grow"));
        assert!(store.note_success("notifier `chat`"));
        assert_eq!(store.problems(), [""; 0]);
    }
}
