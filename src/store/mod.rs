//! The store: ledger, alerts and outbox in one SQLite file, behind few coarse operations.
//!
//! A thread owns the connection that writes, another one reads beside it. Every write is one transaction, durable when
//! the operation returns. A database server for several replicas can stand beside this without a change above it.

// In reading order: what is listed uses only what stands above its group.
pub mod error;

mod compiled;
mod json;
mod migrations;
mod values;

mod shapes;

mod facts;

mod files;
mod lock;
mod pages;
mod worker;

mod names;

pub mod rows;

pub mod ledger;
pub mod recording;
mod uses;

pub mod directory;
pub mod engine;
mod threads;

pub mod digests;
pub mod retention;

pub mod times;

pub mod alerts;
pub mod notifiers;

pub mod outbox;
pub mod quiet;

pub mod fallbacks;

pub mod decisions;
pub mod messages;

mod unopened;

mod health;
pub mod maintenance;
pub mod organization;
pub mod overview;
pub mod resent;

#[cfg(test)]
mod samples;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::private_file;
use crate::store::compiled::Compiled;
use crate::store::error::{Cause, StoreError};
use crate::store::files::{Failures, Files};
use crate::store::lock::{Lock, Taken};
use crate::store::migrations::{SUPPORTED, Version};
use crate::store::worker::Worker;

/// How long a write waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// To what the write-ahead log is cut back after it has grown.
const LOG_SIZE_LIMIT: i64 = 64 * 1024 * 1024;
/// More than there are different statements.
const N_STATEMENTS: usize = 128;

/// A handle to an open store. Cheap to clone; the last one closes it, and waits for what is being written.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    faults: Faults,
}

// Dropped in this order: both connections are closed before the lock goes.
#[derive(Debug)]
struct Inner {
    reader: Option<Worker>,
    writer: Worker,
    path: String,
    compiled: Arc<Mutex<Compiled>>,
    /// `None` for a store that is in no file of its own.
    files: Option<Files>,
    failures: Failures,
    _lock: Option<Lock>,
}

/// When a fault injection is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// All is written, nothing is committed.
    BeforeCommit,
    /// It is committed, and the caller does not know yet.
    AfterCommit,
}

/// Fault injection: is asked before and after the commit of every write, with the operation's name. At `true` the write
/// fails with [`StoreError::Stopped`], as if the program had been killed there. The default never stops.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<StopsAt>>);

type StopsAt = dyn Fn(&'static str, Moment) -> bool + Send + Sync;

impl Faults {
    /// Stops wherever `stops` says so.
    pub fn new(stops: impl Fn(&'static str, Moment) -> bool + Send + Sync + 'static) -> Faults {
        Faults(Some(Arc::new(stops)))
    }

    fn pass(&self, operation: &'static str, moment: Moment) -> Result<(), Cause> {
        match &self.0 {
            Some(stops) if stops(operation, moment) => Err(Cause::Stopped(
                operation,
                match moment {
                    Moment::BeforeCommit => "before",
                    Moment::AfterCommit => "after",
                },
            )),
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
    /// Opens a store for the one daemon that may work on it, and makes it where there is none. Blocks while it brings an
    /// older store up to date; never waits for another daemon.
    pub fn open_for_daemon(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
        let shown = path.display().to_string();
        // The lock's file stands beside the store: what is wrong with the directory shows here first.
        let taken = lock::take(path, now).map_err(|error| {
            Cause::Io("lock it (is its directory there and writable?)", error).at(&shown)
        })?;
        let lock = match taken {
            Taken::Held(lock) => lock,
            Taken::By(holder) => {
                return Err(StoreError::Held {
                    path: shown,
                    holder,
                });
            }
        };
        create(path).map_err(|error| Cause::Io("create it", error).at(&shown))?;
        let mut writer = connect(path, &shown)?;
        match check_version(&writer, &shown)? {
            Version::Of(SUPPORTED) | Version::Foreign => {}
            Version::Of(_) | Version::Empty => {
                migrations::migrate(&mut writer).map_err(|cause| cause.at(&shown))?;
            }
        }
        Store::start(path, shown, writer, Some(lock))
    }

    /// Opens an existing store for a command; works beside a daemon. `now` is noted while an older store is brought up to
    /// date, which nobody else may hold then.
    pub fn open_for_command(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
        let shown = path.display().to_string();
        if !path.exists() {
            return Err(StoreError::Missing { path: shown });
        }
        let mut writer = connect(path, &shown)?;
        let found = match check_version(&writer, &shown)? {
            Version::Of(version) => version,
            Version::Empty | Version::Foreign => 0,
        };
        if found < SUPPORTED {
            let taken =
                lock::take(path, now).map_err(|error| Cause::Io("lock it", error).at(&shown))?;
            let _lock = match taken {
                Taken::Held(lock) => lock,
                Taken::By(holder) => {
                    return Err(StoreError::Older {
                        path: shown,
                        found,
                        supported: SUPPORTED,
                        holder,
                    });
                }
            };
            migrations::migrate(&mut writer).map_err(|cause| cause.at(&shown))?;
        }
        Store::start(path, shown, writer, None)
    }

    /// A store that lives in memory and goes with its last handle.
    pub fn in_memory() -> Result<Store, StoreError> {
        Store::private(":memory:".to_owned(), || Ok(Connection::open_in_memory()?))
    }

    /// A copy of the store at a path, as it is now; an empty one where there is no store. It goes with its last handle, and
    /// what is written to it nobody else ever sees: SQLite keeps it in memory, and what does not fit there in a file
    /// without a name.
    pub fn private_copy(path: &Path) -> Result<Store, StoreError> {
        let shown = path.display().to_string();
        let is_there = path
            .try_exists()
            .map_err(|error| Cause::Io("look for it", error).at(&shown))?;
        let source = if is_there {
            let source = connect(path, &shown)?;
            let version = check_version(&source, &shown)?;
            (version != Version::Empty).then_some(source)
        } else {
            None
        };
        Store::private(shown, move || {
            // The empty name is SQLite's for a private database.
            let mut copy = Connection::open("")?;
            if let Some(source) = source {
                pages::copy(&source, &mut copy)?;
            }
            Ok(copy)
        })
    }

    fn private(
        shown: String,
        open: impl FnOnce() -> Result<Connection, Cause>,
    ) -> Result<Store, StoreError> {
        let open = || -> Result<Worker, Cause> {
            let mut writer = open()?;
            settle(&writer)?;
            migrations::migrate(&mut writer)?;
            Worker::start("store", writer).map_err(|error| Cause::Io("start its thread", error))
        };
        let writer = open().map_err(|cause| cause.at(&shown))?;
        Ok(Store {
            inner: Arc::new(Inner {
                reader: None,
                writer,
                path: shown,
                compiled: Arc::default(),
                files: None,
                failures: Failures::default(),
                _lock: None,
            }),
            faults: Faults::default(),
        })
    }

    /// The same store, with a fault injection in the writes of this handle and its clones.
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Store {
        Store { faults, ..self }
    }

    /// The store's file, as it is shown to people.
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// What reads silences shares this.
    fn compiled(&self) -> Arc<Mutex<Compiled>> {
        Arc::clone(&self.inner.compiled)
    }

    fn start(
        path: &Path,
        shown: String,
        writer: Connection,
        lock: Option<Lock>,
    ) -> Result<Store, StoreError> {
        let start = |name, connection| {
            Worker::start(name, connection)
                .map_err(|error| Cause::Io("start its thread", error).at(&shown))
        };
        let reader = connect(path, &shown)?;
        reader
            .pragma_update(None, "query_only", true)
            .map_err(|error| Cause::Sqlite(error).at(&shown))?;
        let files = Files::of(path).map_err(|error| Cause::Io("look at it", error).at(&shown))?;
        let writer = start("store-writer", writer)?;
        let reader = start("store-reader", reader)?;
        Ok(Store {
            inner: Arc::new(Inner {
                reader: Some(reader),
                writer,
                path: shown,
                compiled: Arc::default(),
                files: Some(files),
                failures: Failures::default(),
                _lock: lock,
            }),
            faults: Faults::default(),
        })
    }

    /// One transaction: whole or not at all, durable when it returns.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let faults = self.faults.clone();
        let done = self.inner.writer.run(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            faults.pass(operation, Moment::BeforeCommit)?;
            tx.commit()?;
            faults.pass(operation, Moment::AfterCommit)?;
            Ok(value)
        });
        done.await.map_err(|cause| cause.at(&self.inner.path))
    }

    /// Every other reading waits while `work` is under way.
    #[cfg(test)]
    pub(crate) async fn held_up(&self, work: impl FnOnce() + Send + 'static) {
        let done = self.read(move |_| {
            work();
            Ok(())
        });
        done.await.expect("nothing to fail");
    }

    /// Reads one consistent state, beside what is being written.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.inner.reader.as_ref().unwrap_or(&self.inner.writer);
        let done = reader.run(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&tx)
        });
        done.await.map_err(|cause| cause.at(&self.inner.path))
    }
}

/// An empty file that nobody else may read, unless there is one.
fn create(path: &Path) -> io::Result<()> {
    match private_file::create_new(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The names of the files that SQLite keeps beside a store.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The path of a file beside a store.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

/// A path in which only the last component may be a link, so that SQLite can refuse that one.
fn without_links_before(path: &Path) -> PathBuf {
    let folder = private_file::folder_of(path).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        // SQLite says what is wrong with it.
        (Err(_), _) | (_, None) => path.to_owned(),
    }
}

/// Opens a file and sees to it that what is committed stays. SQLite gives its side files the mode of the store.
fn connect(path: &Path, shown: &str) -> Result<Connection, StoreError> {
    for ending in [""].into_iter().chain(SIDE_FILES) {
        private_file::secure(&beside(path, ending))
            .map_err(|error| Cause::Io("use its files", error).at(shown))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(without_links_before(path), flags)
        .map_err(|error| Cause::Sqlite(error).at(shown))?;
    let is_read_only = connection
        .is_readonly("main")
        .map_err(|error| Cause::Sqlite(error).at(shown))?;
    if is_read_only {
        return Err(StoreError::ReadOnly {
            path: shown.to_owned(),
        });
    }
    // A foreign file is not even switched to another journal.
    check_version(&connection, shown)?;
    settle(&connection)
        .and_then(|()| check_durable(&connection))
        .map_err(|cause| cause.at(shown))?;
    Ok(connection)
}

fn settle(connection: &Connection) -> Result<(), Cause> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_SIZE_LIMIT, |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn check_durable(connection: &Connection) -> Result<(), Cause> {
    let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if journal != "wal" {
        return Err(Cause::Unsafe(format!(
            "its journal is `{journal}` and not `wal`"
        )));
    }
    if synchronous != 2 {
        return Err(Cause::Unsafe(format!(
            "`synchronous` is {synchronous} and not 2"
        )));
    }
    Ok(())
}

fn check_version(connection: &Connection, shown: &str) -> Result<Version, StoreError> {
    let version = migrations::version(connection).map_err(|cause| cause.at(shown))?;
    let path = shown.to_owned();
    match version {
        Version::Foreign => Err(StoreError::NotAStore {
            path,
            detail: "a database of another program".to_owned(),
        }),
        Version::Of(found) if found > SUPPORTED => Err(StoreError::Newer {
            path,
            found,
            supported: SUPPORTED,
        }),
        Version::Of(_) | Version::Empty => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::span::{Hour, HourSpan};
    use crate::store::samples::{ORGANIZATION, at, record_hour};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;

    fn daemon(path: &Path) -> Result<Store, StoreError> {
        Store::open_for_daemon(path, at(0))
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        let shown = path.display().to_string();
        for opened in [daemon(path), Store::open_for_command(path, at(0))] {
            let told = opened.unwrap_err().to_string().replace(&shown, "PATH");
            assert!(told.contains(expected), "{told}");
        }
    }

    #[tokio::test]
    async fn a_second_daemon_is_told_who_holds_the_store_and_a_command_works_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let first = daemon(&path).unwrap();
        let told = daemon(&path).unwrap_err().to_string();
        let holder = format!("held by process {} on host ", std::process::id());
        assert!(
            told.contains(&holder) && told.contains(&at(0).to_string()),
            "{told}"
        );
        let command = Store::open_for_command(&path, at(1)).unwrap();
        first
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        assert_eq!(
            command.organizations().await.unwrap(),
            [ORGANIZATION.into()]
        );
        drop((first, command));
        daemon(&path).unwrap();
    }

    #[tokio::test]
    async fn a_private_copy_has_everything_and_gives_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let all = HourSpan {
            start: Hour::from_count(0),
            end: Hour::from_count(1_000_000),
        };
        let name = ORGANIZATION.into();
        let empty = Store::private_copy(&path).unwrap();
        assert_eq!(empty.organizations().await.unwrap(), []);
        assert!(!path.exists());
        let store = daemon(&path).unwrap();
        store.load_organization(&name, at(0), at(0)).await.unwrap();
        record_hour(&store, "w", 0, 7).await.unwrap();
        let before = store.sums(&name, all).await.unwrap();
        // Also beside the daemon, of what stands in its log.
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
    async fn what_is_committed_is_there_after_a_restart() {
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
        assert_eq!(after.engine.store_began, at(0));
        assert_eq!(after.recorded.len(), 1);
    }

    #[tokio::test]
    async fn all_files_are_for_the_owner_alone() {
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
    fn a_newer_store_and_foreign_files_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let newer = dir.path().join("newer.db");
        drop(daemon(&newer).unwrap());
        Connection::open(&newer)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        check_refused(
            &newer,
            &format!("has version 99, this program knows versions up to {SUPPORTED}"),
        );

        let foreign = dir.path().join("foreign.db");
        Connection::open(&foreign)
            .unwrap()
            .execute_batch("CREATE TABLE mine (x)")
            .unwrap();
        let before = std::fs::read(&foreign).unwrap();
        check_refused(&foreign, "`PATH` is not a store of spendwatch");
        assert_eq!(std::fs::read(&foreign).unwrap(), before);

        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "no database at all, ".repeat(100)).unwrap();
        check_refused(&text, "`PATH` is not a store of spendwatch");

        let missing = dir.path().join("missing.db");
        let told = Store::open_for_command(&missing, at(0))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("there is no store") && !missing.exists(),
            "{told}"
        );
        let told = daemon(&dir.path().join("no/such/dir.db"))
            .unwrap_err()
            .to_string();
        assert!(told.contains("is its directory there"), "{told}");
    }

    #[tokio::test]
    async fn a_damaged_store_is_told_as_such() {
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
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(
            error.to_string().contains("spendwatch store check"),
            "{error}"
        );
    }

    /// Runs a pragma on the connection that writes.
    async fn pragma(store: &Store, sql: &'static str) {
        let done = store
            .inner
            .writer
            .run(move |connection| Ok(connection.query_row(sql, [], |_| Ok(())).ok()));
        done.await.unwrap();
    }

    #[tokio::test]
    async fn a_full_and_a_read_only_store_say_so_and_lose_nothing() {
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
            matches!(failed, Some(StoreError::Full { .. })),
            "{failed:?}"
        );
        pragma(&store, "PRAGMA max_page_count = 1000000").await;
        record_hour(&store, "w", 1, 7).await.unwrap();

        pragma(&store, "PRAGMA query_only = 1").await;
        let error = record_hour(&store, "w", 2, 7).await.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        pragma(&store, "PRAGMA query_only = 0").await;
        record_hour(&store, "w", 1, 0).await.unwrap();
        let after = store
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        assert_eq!(after.recorded, before.recorded);
    }

    #[tokio::test]
    async fn a_store_that_another_program_keeps_locked_is_busy_and_goes_on_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let store = daemon(&path).unwrap();
        pragma(&store, "PRAGMA busy_timeout = 1").await;
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = store.set_last_run("x", at(0)).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
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
        let moments: Vec<Moment> = asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, moment)| *moment)
            .collect();
        assert_eq!(
            moments,
            [
                Moment::BeforeCommit,
                Moment::BeforeCommit,
                Moment::AfterCommit
            ]
        );
    }

    #[test]
    fn side_files_and_guarantees_are_those_that_are_promised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        drop(daemon(&path).unwrap());
        let connection = connect(&path, "s.db").unwrap();
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
        assert!(matches!(check_durable(&connection), Err(Cause::Unsafe(_))));
    }
}
