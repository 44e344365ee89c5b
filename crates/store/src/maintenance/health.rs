//! Health of the store: its files are still the ones that were opened, and the last operation of each user succeeded.

use crate::Store;
use crate::db::files::{OpenStoreFiles, lock_ignoring_poison};
use crate::error::StoreError;
use spendwatch_base::outbound::error_chain;

impl Store {
    /// Returns an error if the store's files are no longer the ones that were opened: what is written to them would be lost.
    pub fn check_files(&self) -> Result<(), StoreError> {
        let checked = self
            .inner
            .files
            .as_ref()
            .map_or(Ok(()), OpenStoreFiles::check);
        checked.map_err(|cause| cause.at_path(&self.inner.path))
    }

    /// Records that `user`, for example a notifier, could not use the store. Returns whether the failure is new.
    pub fn note_failure(&self, user: &str, error: &StoreError) -> bool {
        let reason = error_chain(error);
        let before =
            lock_ignoring_poison(&self.inner.failures).insert(user.to_owned(), reason.clone());
        before != Some(reason)
    }

    /// Records that `user` could use the store, or no longer uses it. Returns whether it had failed before.
    pub fn note_success(&self, user: &str) -> bool {
        lock_ignoring_poison(&self.inner.failures)
            .remove(user)
            .is_some()
    }

    /// Returns one line for each reason why the store cannot be used.
    pub fn problems(&self) -> Vec<String> {
        let files = self.check_files().err().map(|error| error_chain(&error));
        let failures = lock_ignoring_poison(&self.inner.failures);
        let failed = failures
            .iter()
            .map(|(user, reason)| format!("{user}: {reason}"));
        files.into_iter().chain(failed).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::StoreErrorCause;
    use crate::samples::at;

    #[tokio::test]
    async fn removed_and_replaced_files_are_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let (aside, log) = (dir.path().join("aside.db"), dir.path().join("s.db-wal"));
        let store = Store::open_for_daemon(&path, at(0)).unwrap();
        store.set_last_run("x", at(0)).await.unwrap();
        store.check_files().unwrap();
        fs::rename(&path, &aside).unwrap();
        let error = store.check_files().unwrap_err().to_string();
        assert!(
            error.contains("its file was removed or replaced"),
            "{error}"
        );
        fs::copy(&aside, &path).unwrap();
        assert!(store.check_files().is_err());
        fs::rename(&aside, &path).unwrap();
        store.check_files().unwrap();
        fs::remove_file(&log).unwrap();
        let error = store.check_files().unwrap_err().to_string();
        assert!(error.contains("its write-ahead log was removed"), "{error}");
        assert_eq!(store.problems().len(), 1);
    }

    #[tokio::test]
    async fn a_failure_counts_until_the_same_user_succeeds() {
        let store = Store::in_memory().unwrap();
        let full = |path: &str| StoreErrorCause::Full.at_path(path);
        assert!(store.note_failure("notifier `chat`", &full("a")));
        assert!(!store.note_failure("notifier `chat`", &full("a")));
        assert!(store.note_failure("notifier `chat`", &full("b")));
        assert!(!store.note_success("notifier `mail`"));
        let problems = store.problems();
        assert!(problems[0].starts_with("notifier `chat`: disk full: store `b` cannot grow"));
        assert!(store.note_success("notifier `chat`"));
        assert_eq!(store.problems(), [""; 0]);
    }
}
