//! The store: ledger, alerts and outbox in one SQLite file, behind a few coarse operations.
//!
//! One thread owns the writing connection, another one the reading connection. Every write is one transaction and durable
//! when the operation returns. A database server for several replicas could replace SQLite without changes to the callers.

// In reading order: each module uses only modules above it.
pub mod error;
mod stored;

mod db;

pub mod prefix_match;

pub mod ledger;

pub mod digests;
pub mod directory;
pub mod resume_state;

pub mod outbox;

pub mod alerts;

pub mod decisions;
pub mod organization;

pub mod maintenance;

#[cfg(test)]
mod samples;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::alerts::compiled_matchers::CompiledMatchers;
use crate::db::connection_thread::ConnectionThread;
use crate::db::files::{FailuresByUser, OpenStoreFiles};
use crate::db::lock::{LockAttempt, StoreLock};
use crate::db::migrations::SUPPORTED;
use crate::db::open::{check_version, configure, connect, create};
use crate::db::{lock, migrations, pages};
use crate::error::{StoreError, StoreErrorCause, io};
use crate::ledger::row_ids::{find_organization_id, organization_id};
use spendwatch_domain::units::ids::OrganizationName;

/// A handle to an open store. Cheap to clone; dropping the last clone waits for pending writes and closes the store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    faults: Faults,
}

// Fields are dropped in this order: both connections close before the lock is released.
#[derive(Debug)]
struct Inner {
    reader: Option<ConnectionThread>,
    writer: ConnectionThread,
    path: String,
    compiled: Arc<Mutex<CompiledMatchers>>,
    /// `None` for a store without a file of its own.
    files: Option<OpenStoreFiles>,
    failures: FailuresByUser,
    _lock: Option<StoreLock>,
}

/// Point in a write at which a fault can be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPoint {
    BeforeCommit,
    /// Committed, but the caller does not know yet.
    AfterCommit,
}

/// Fault injection for tests: called with the operation's name before and after the commit of every write. If it returns
/// `true`, the write fails with [`StoreErrorCause::Stopped`], as if the process had been killed there. The default never stops.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<StopCondition>>);

type StopCondition = dyn Fn(&'static str, CommitPoint) -> bool + Send + Sync;

impl Faults {
    /// Creates a fault injection that stops wherever `stops` returns `true`.
    pub fn new(
        stops: impl Fn(&'static str, CommitPoint) -> bool + Send + Sync + 'static,
    ) -> Faults {
        Faults(Some(Arc::new(stops)))
    }

    fn check(&self, operation: &'static str, moment: CommitPoint) -> Result<(), StoreErrorCause> {
        match &self.0 {
            Some(stops) if stops(operation, moment) => Err(StoreErrorCause::Stopped {
                operation,
                moment: match moment {
                    CommitPoint::BeforeCommit => "before",
                    CommitPoint::AfterCommit => "after",
                },
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Faults(some)"
        } else {
            "Faults(none)"
        })
    }
}

impl Store {
    /// Opens a store for the only daemon that may use it, and creates it if it does not exist. Blocks while it migrates an
    /// older store; never waits for another daemon.
    pub fn open_for_daemon(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
        let open = || {
            // The lock file is in the store's directory, so problems with the directory are detected here first.
            let doing = "lock it (does its directory exist, and is it writable?)";
            let lock = match lock::try_lock(path, now).map_err(io(doing))? {
                LockAttempt::Acquired(lock) => lock,
                LockAttempt::HeldBy(holder) => return Err(StoreErrorCause::Held(holder)),
            };
            create(path)?;
            let mut writer = connect(path)?;
            if check_version(&writer)? < SUPPORTED {
                migrations::migrate(&mut writer)?;
            }
            Store::start(path, writer, Some(lock))
        };
        open().map_err(|cause| cause.at_path(path.display()))
    }

    /// Opens an existing store for a command, also while a daemon uses it. Migrating an older store needs the lock, in which
    /// `now` is recorded.
    pub fn open_for_command(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
        let open = || {
            if !path.exists() {
                return Err(StoreErrorCause::Missing);
            }
            let mut writer = connect(path)?;
            let found = check_version(&writer)?;
            if found < SUPPORTED {
                let _lock = match lock::try_lock(path, now).map_err(io("lock it"))? {
                    LockAttempt::Acquired(lock) => lock,
                    LockAttempt::HeldBy(holder) => {
                        return Err(StoreErrorCause::Older {
                            found,
                            supported: SUPPORTED,
                            holder,
                        });
                    }
                };
                migrations::migrate(&mut writer)?;
            }
            Store::start(path, writer, None)
        };
        open().map_err(|cause| cause.at_path(path.display()))
    }

    /// Creates a store in memory that is dropped with its last handle.
    pub fn in_memory() -> Result<Store, StoreError> {
        Store::open_private(":memory:", || Ok(Connection::open_in_memory()?))
    }

    /// Copies the store at a path as it is now; an empty store if there is none. The copy is dropped with its last handle and
    /// is private: SQLite keeps it in memory, and spills to an unnamed file.
    pub fn private_copy(path: &Path) -> Result<Store, StoreError> {
        Store::open_private(&path.display().to_string(), || {
            // SQLite creates a private database for an empty name.
            let mut copy = Connection::open("")?;
            if path.try_exists().map_err(io("access it"))? {
                let source = connect(path)?;
                if check_version(&source)? > 0 {
                    pages::copy(&source, &mut copy)?;
                }
            }
            Ok(copy)
        })
    }

    fn open_private(
        shown: &str,
        open: impl FnOnce() -> Result<Connection, StoreErrorCause>,
    ) -> Result<Store, StoreError> {
        let open = || {
            let mut connection = open()?;
            configure(&connection)?;
            migrations::migrate(&mut connection)?;
            Store::with(shown.to_owned(), connection, None, None)
        };
        open().map_err(|cause| cause.at_path(shown))
    }

    /// Returns the same store with faults injected into the writes of this handle and its clones.
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Store {
        Store { faults, ..self }
    }

    /// Returns the path of the store's file as shown in messages.
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    fn compiled_matchers(&self) -> Arc<Mutex<CompiledMatchers>> {
        Arc::clone(&self.inner.compiled)
    }

    fn start(
        path: &Path,
        writer: Connection,
        lock: Option<StoreLock>,
    ) -> Result<Store, StoreErrorCause> {
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        let files = OpenStoreFiles::new(path).map_err(io("read its metadata"))?;
        let shown = path.display().to_string();
        Store::with(shown, writer, Some((reader, files)), lock)
    }

    /// Starts the threads. A store without a file of its own has one connection.
    fn with(
        path: String,
        writer: Connection,
        file: Option<(Connection, OpenStoreFiles)>,
        lock: Option<StoreLock>,
    ) -> Result<Store, StoreErrorCause> {
        let start = |name, connection| {
            ConnectionThread::start(name, connection).map_err(io("start its thread"))
        };
        let writer = start("store-writer", writer)?;
        let (reader, files) = match file {
            Some((reader, files)) => (Some(start("store-reader", reader)?), Some(files)),
            None => (None, None),
        };
        Ok(Store {
            inner: Arc::new(Inner {
                reader,
                writer,
                path,
                compiled: Arc::default(),
                files,
                failures: FailuresByUser::default(),
                _lock: lock,
            }),
            faults: Faults::default(),
        })
    }

    /// Runs `work` in one transaction, durable when this returns.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreErrorCause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let faults = self.faults.clone();
        let done = self.inner.writer.run(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            faults.check(operation, CommitPoint::BeforeCommit)?;
            tx.commit()?;
            faults.check(operation, CommitPoint::AfterCommit)?;
            Ok(value)
        });
        done.await.map_err(|cause| cause.at_path(&self.inner.path))
    }

    /// Runs `work` in one transaction with the row id of an organization that was loaded before.
    async fn write_of<T: Send + 'static>(
        &self,
        organization: &OrganizationName,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>, i64) -> Result<T, StoreErrorCause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let name = organization.clone();
        self.write(operation, move |tx| work(tx, organization_id(tx, &name)?))
            .await
    }

    /// Reads with the row id of an organization. The result is empty if it is not stored.
    async fn read_of<T: Default + Send + 'static>(
        &self,
        organization: &OrganizationName,
        work: impl FnOnce(&Connection, i64) -> Result<T, StoreErrorCause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let name = organization.clone();
        self.read(move |db| match find_organization_id(db, &name)? {
            Some(organization) => work(db, organization),
            None => Ok(T::default()),
        })
        .await
    }

    /// Blocks all other reads while `work` runs.
    #[cfg(any(test, feature = "test-support"))]
    pub async fn while_reader_blocked(&self, work: impl FnOnce() + Send + 'static) {
        let done = self.read(move |_| {
            work();
            Ok(())
        });
        done.await.expect("nothing to fail");
    }

    /// Reads one consistent state, concurrently with writes.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreErrorCause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.inner.reader.as_ref().unwrap_or(&self.inner.writer);
        let done = reader.run(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&tx)
        });
        done.await.map_err(|cause| cause.at_path(&self.inner.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::open::check_durable;
    use crate::samples::{ORGANIZATION, at, record_hour};
    use spendwatch_domain::units::span::{Hour, HourSpan};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;

    fn daemon(path: &Path) -> Result<Store, StoreError> {
        Store::open_for_daemon(path, at(0))
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        let shown = path.display().to_string();
        for opened in [daemon(path), Store::open_for_command(path, at(0))] {
            let error = opened.unwrap_err().to_string().replace(&shown, "PATH");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_second_daemon_is_rejected_and_a_command_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let first = daemon(&path).unwrap();
        let error = daemon(&path).unwrap_err().to_string();
        let holder = format!("in use by process {} on host ", std::process::id());
        assert!(
            error.contains(&holder) && error.contains(&at(0).to_string()),
            "{error}"
        );
        let command = Store::open_for_command(&path, at(1)).unwrap();
        first
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        let known = command.stored_directory(&ORGANIZATION.into()).await;
        assert!(known.unwrap().is_some());
        drop((first, command));
        daemon(&path).unwrap();
    }

    #[tokio::test]
    async fn a_private_copy_is_complete_and_independent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let all = HourSpan {
            start: Hour::from_count(0),
            end: Hour::from_count(1_000_000),
        };
        let name = ORGANIZATION.into();
        let empty = Store::private_copy(&path).unwrap();
        assert_eq!(empty.stored_directory(&name).await.unwrap(), None);
        assert!(!path.exists());
        let store = daemon(&path).unwrap();
        store.load_organization(&name, at(0), at(0)).await.unwrap();
        record_hour(&store, "w", 0, 7).await.unwrap();
        let before = store.sums(&name, all).await.unwrap();
        // Also while the daemon is running, with the contents of its write-ahead log.
        let copy = Store::private_copy(&path).unwrap();
        assert_eq!(copy.sums(&name, all).await.unwrap(), before);
        record_hour(&copy, "w", 1, 9).await.unwrap();
        assert_ne!(copy.sums(&name, all).await.unwrap(), before);
        assert_eq!(store.sums(&name, all).await.unwrap(), before);
        drop((copy, store));
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert!(files.len() <= 2, "{files:?}");
    }

    #[tokio::test]
    async fn committed_data_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = daemon(&path).unwrap();
        store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        record_hour(&store, "w", 0, 7).await.unwrap();
        let before = store
            .load_organization(&ORGANIZATION.into(), at(9), at(0))
            .await
            .unwrap();
        drop(store);
        let store = daemon(&path).unwrap();
        let after = store
            .load_organization(&ORGANIZATION.into(), at(9), at(0))
            .await
            .unwrap();
        assert_eq!(after, before);
        assert_eq!(after.resume_state.store_began, at(0));
        assert_eq!(after.recorded.len(), 1);
    }

    #[tokio::test]
    async fn all_files_are_readable_by_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = daemon(&path).unwrap();
        store.set_last_run("x", at(0)).await.unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["s.db", "s.db-shm", "s.db-wal", "s.db.lock"]);
    }

    #[test]
    fn newer_stores_and_foreign_files_are_rejected_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let newer = dir.path().join("newer.db");
        drop(daemon(&newer).unwrap());
        Connection::open(&newer)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        check_refused(
            &newer,
            &format!("has version 99, this program supports versions up to {SUPPORTED}"),
        );

        let foreign = dir.path().join("foreign.db");
        Connection::open(&foreign)
            .unwrap()
            .execute_batch("CREATE TABLE mine (x)")
            .unwrap();
        let before = std::fs::read(&foreign).unwrap();
        check_refused(&foreign, "`PATH` is not a spendwatch store");
        assert_eq!(std::fs::read(&foreign).unwrap(), before);

        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "no database at all, ".repeat(100)).unwrap();
        check_refused(&text, "`PATH` is not a spendwatch store");

        let missing = dir.path().join("missing.db");
        let error = Store::open_for_command(&missing, at(0))
            .unwrap_err()
            .to_string();
        assert!(error.contains("store `") && !missing.exists(), "{error}");
        let error = daemon(&dir.path().join("no/such/dir.db"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("does its directory exist"), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_store_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = daemon(&path).unwrap();
        store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let error = daemon(&path).unwrap_err();
        assert!(
            matches!(error.cause, StoreErrorCause::Corrupt(_)),
            "{error}"
        );
        assert!(
            error.to_string().contains("spendwatch store check"),
            "{error}"
        );
    }

    /// Runs a pragma on the writing connection.
    async fn pragma(store: &Store, sql: &'static str) {
        let done = store
            .inner
            .writer
            .run(move |connection| Ok(connection.query_row(sql, [], |_| Ok(())).ok()));
        done.await.unwrap();
    }

    #[tokio::test]
    async fn full_and_read_only_stores_fail_without_loss() {
        let dir = tempfile::tempdir().unwrap();
        let store = daemon(&dir.path().join("s.db")).unwrap();
        store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        record_hour(&store, "w", 0, 7).await.unwrap();
        let before = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();

        pragma(&store, "PRAGMA max_page_count = 1").await;
        let mut failed = None;
        for n in 0..1000 {
            if let Err(error) = store
                .set_last_run(&format!("{n}{}", "x".repeat(1000)), at(0))
                .await
            {
                failed = Some(error);
                break;
            }
        }
        assert!(
            failed
                .as_ref()
                .is_some_and(|error| matches!(error.cause, StoreErrorCause::Full)),
            "{failed:?}"
        );
        pragma(&store, "PRAGMA max_page_count = 1000000").await;
        record_hour(&store, "w", 1, 7).await.unwrap();

        pragma(&store, "PRAGMA query_only = 1").await;
        let error = record_hour(&store, "w", 2, 7).await.unwrap_err();
        assert!(matches!(error.cause, StoreErrorCause::ReadOnly), "{error}");
        pragma(&store, "PRAGMA query_only = 0").await;
        record_hour(&store, "w", 1, 0).await.unwrap();
        let after = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        assert_eq!(after.recorded, before.recorded);
    }

    #[tokio::test]
    async fn a_store_locked_by_another_program_is_busy_until_unlocked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = daemon(&path).unwrap();
        pragma(&store, "PRAGMA busy_timeout = 1").await;
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = store.set_last_run("x", at(0)).await.unwrap_err();
        assert!(matches!(error.cause, StoreErrorCause::Busy), "{error}");
        other.execute_batch("ROLLBACK").unwrap();
        store.set_last_run("x", at(0)).await.unwrap();
        assert_eq!(store.last_run("x").await.unwrap(), Some(at(0)));
    }

    #[tokio::test]
    async fn a_fault_stops_before_or_after_the_commit() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let faults = Faults::new(move |operation, moment| {
            let mut log = log.lock().unwrap();
            log.push((operation, moment));
            log.len() != 2
        });
        let store = Store::in_memory().unwrap().with_faults(faults);
        let error = store.set_last_run("x", at(1)).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("stopped before the commit of `set_last_run`"),
            "{error}"
        );
        assert_eq!(store.last_run("x").await.unwrap(), None);
        let error = store.set_last_run("x", at(2)).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("stopped after the commit of `set_last_run`"),
            "{error}"
        );
        assert_eq!(store.last_run("x").await.unwrap(), Some(at(2)));
        let moments: Vec<CommitPoint> = asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, moment)| *moment)
            .collect();
        assert_eq!(
            moments,
            [
                CommitPoint::BeforeCommit,
                CommitPoint::BeforeCommit,
                CommitPoint::AfterCommit
            ]
        );
    }

    #[test]
    fn pragmas_guarantee_durability() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        drop(daemon(&path).unwrap());
        let connection = connect(&path).unwrap();
        let pragma = |name: &str| -> String {
            let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            format!(
                "{:?}",
                connection
                    .query_row(&format!("PRAGMA {name}"), [], read)
                    .unwrap()
            )
        };
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
        assert_eq!(pragma("synchronous"), "Integer(2)");
        assert_eq!(pragma("foreign_keys"), "Integer(1)");
        assert_eq!(pragma("busy_timeout"), "Integer(5000)");
        connection
            .pragma_update(None, "synchronous", "normal")
            .unwrap();
        assert!(matches!(
            check_durable(&connection),
            Err(StoreErrorCause::Unsafe(_))
        ));
    }
}
