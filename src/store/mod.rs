//! The store: a few coarse operations over SQLite, each one transaction.
//!
//! A handle is cheap to clone. Work runs on a blocking thread, one after the other. One daemon at a time holds a store, by
//! an operating system lock that dies with the process; commands work beside it.

pub mod alerts;
pub mod error;
pub mod ledger;
pub mod maintenance;
pub mod migrations;
pub mod outbox;
pub mod shapes;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::store::error::{RowError, StoreError};

/// How long another program's write is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// A place where a test may stop the program: just before or just after a transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it is durable yet.
    BeforeCommit,
    /// All of it is durable.
    AfterCommit,
}

/// Asked at each moment of each write; `true` stops there. For tests of what a kill leaves behind.
pub type StopAt = Arc<dyn Fn(&'static str, Moment) -> bool + Send + Sync>;

/// A handle on the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    connection: Mutex<Connection>,
    stop_at: Option<StopAt>,
    /// Held for as long as the daemon lives.
    _lock: Option<File>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.inner.path.display())
    }
}

impl Store {
    /// Opens the store for the one daemon that may hold it, and makes it where it does not exist. `holder` is what a second
    /// daemon is told.
    pub fn open_for_daemon(path: &Path, holder: &str) -> Result<Store, StoreError> {
        let lock = lock(path, holder)?;
        Store::open(path, Some(lock), None)
    }

    /// The same, with places to stop at.
    pub fn open_with_stops(
        path: &Path,
        holder: &str,
        stop_at: StopAt,
    ) -> Result<Store, StoreError> {
        let lock = lock(path, holder)?;
        Store::open(path, Some(lock), Some(stop_at))
    }

    /// Opens a store that exists, beside a daemon or without one.
    pub fn open_for_command(path: &Path) -> Result<Store, StoreError> {
        if !path.exists() {
            let hint =
                "there is no store yet; `spendwatch run` makes one, or name it in [store] url";
            return Err(StoreError::NotFound(format!(
                "store `{}`: {hint}",
                path.display()
            )));
        }
        Store::open(path, None, None)
    }

    /// A store that is gone with its last handle.
    pub fn in_memory() -> Result<Store, StoreError> {
        let path = PathBuf::from("(memory)");
        let connection =
            Connection::open_in_memory().map_err(|error| StoreError::new(&path, error.into()))?;
        Store::prepare(path, connection, None, None)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn open(path: &Path, lock: Option<File>, stop_at: Option<StopAt>) -> Result<Store, StoreError> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|error| StoreError::new(path, error.into()))?;
        let is_writable = connection
            .is_readonly(rusqlite::MAIN_DB)
            .is_ok_and(|is_readonly| !is_readonly);
        if !is_writable {
            return Err(StoreError::ReadOnly {
                path: path.to_owned(),
            });
        }
        Store::prepare(path.to_owned(), connection, lock, stop_at)
    }

    fn prepare(
        path: PathBuf,
        mut connection: Connection,
        lock: Option<File>,
        stop_at: Option<StopAt>,
    ) -> Result<Store, StoreError> {
        let prepared = prepare_connection(&mut connection);
        match prepared {
            Ok(found) if found > migrations::known() => {
                return Err(StoreError::Newer {
                    path,
                    found,
                    known: migrations::known(),
                });
            }
            Ok(_) => {}
            Err(error) => return Err(StoreError::new(&path, error)),
        }
        migrations::migrate(&mut connection)
            .map_err(|error| StoreError::new(&path, error.into()))?;
        Ok(Store {
            inner: Arc::new(Inner {
                path,
                connection: Mutex::new(connection),
                stop_at,
                _lock: lock,
            }),
        })
    }

    /// One transaction that writes: all of it is durable when this returns, or none.
    pub(in crate::store) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, RowError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(move |inner, connection| {
            let stops = |moment| {
                inner
                    .stop_at
                    .as_ref()
                    .is_some_and(|stop_at| stop_at(what, moment))
            };
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(|error| StoreError::new(&inner.path, error.into()))?;
            let value = work(&transaction).map_err(|error| StoreError::new(&inner.path, error))?;
            if stops(Moment::BeforeCommit) {
                return Err(StoreError::StoppedBefore(what));
            }
            transaction
                .commit()
                .map_err(|error| StoreError::new(&inner.path, error.into()))?;
            if stops(Moment::AfterCommit) {
                return Err(StoreError::StoppedAfter(what));
            }
            Ok(value)
        })
        .await
    }

    /// One transaction that only reads: it sees one state of the store.
    pub(in crate::store) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, RowError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(move |inner, connection| {
            let transaction = connection
                .transaction()
                .map_err(|error| StoreError::new(&inner.path, error.into()))?;
            work(&transaction).map_err(|error| StoreError::new(&inner.path, error))
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            // A panic in the middle of a transaction rolled it back when it was dropped.
            let mut connection = inner
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            work(&inner, &mut connection)
        });
        match done.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::NotFound("the program is stopping".to_owned())),
            },
        }
    }
}

/// Sets the connection up, checks that the settings hold, and gives the store's format.
fn prepare_connection(connection: &mut Connection) -> Result<i64, RowError> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Two pages' worth of the default: sums over spans read much.
    connection.pragma_update(None, "cache_size", -8000)?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    let is_file = connection.path().is_some_and(|path| !path.is_empty());
    if (is_file && mode != "wal") || synchronous != 2 {
        return Err(RowError::Shape(format!(
            "durable settings do not hold: journal {mode}, synchronous {synchronous}"
        )));
    }
    Ok(migrations::found(connection)?)
}

/// The file is made by us, so that it is private from its first byte on; SQLite gives its companions the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && path.exists() => {
            Err(StoreError::ReadOnly {
                path: path.to_owned(),
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            Err(StoreError::ReadOnly {
                path: path.to_owned(),
            })
        }
        Err(source) => Err(StoreError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Takes the lock without waiting, and leaves a word about who holds it.
fn lock(path: &Path, holder: &str) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let io = |source| StoreError::Io {
        path: PathBuf::from(&name),
        source,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&name).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(io)?;
            return Err(StoreError::Held {
                path: path.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    file.write_all(holder.as_bytes()).map_err(io)?;
    Ok(file)
}
