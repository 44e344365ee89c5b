//! Whether the store can be used: its files are still the ones that were opened, and whoever works on it succeeds.

use crate::outbound::causes;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::files::{Files, hold};

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

#[cfg(test)]
mod tests {
    use std::fs;

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
