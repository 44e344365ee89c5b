//! Opens the file of a store, and checks that it is one and that commits to it are durable.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::db::migrations::{self, SUPPORTED};
use crate::error::{StoreErrorCause, io};
use spendwatch_base::private_file;

/// How long a write waits for a write by another process.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Size to which the write-ahead log is truncated after it has grown, in bytes.
pub(crate) const LOG_SIZE_LIMIT: i64 = 64 * 1024 * 1024;
/// Capacity of the statement cache; exceeds the number of distinct statements.
pub(crate) const N_STATEMENTS: usize = 128;

pub(crate) const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX)
    .union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// Creates an empty file that only its owner can read, unless it exists.
pub(crate) fn create(path: &Path) -> Result<(), StoreErrorCause> {
    match private_file::create_new(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io("create it")(error)),
        _ => Ok(()),
    }
}

/// Suffixes of the files that SQLite keeps beside a store.
pub(crate) const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

/// Resolves links in all path components but the last, so that SQLite can reject a link there.
pub(crate) fn without_links_before(path: &Path) -> PathBuf {
    let folder = private_file::folder_of(path).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        // SQLite reports the error.
        (Err(_), _) | (_, None) => path.to_owned(),
    }
}

/// Opens a file and checks that commits to it are durable. SQLite gives its side files the mode of the store.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreErrorCause> {
    for ending in [""].into_iter().chain(SIDE_FILES) {
        private_file::secure(&beside(path, ending)).map_err(io("use its files"))?;
    }
    let connection = Connection::open_with_flags(without_links_before(path), FLAGS)?;
    if connection.is_readonly("main")? {
        return Err(StoreErrorCause::ReadOnly);
    }
    // Before anything is changed: the file may belong to another program.
    check_version(&connection)?;
    configure(&connection)?;
    check_durable(&connection)?;
    Ok(connection)
}

pub(crate) fn configure(connection: &Connection) -> Result<(), StoreErrorCause> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_SIZE_LIMIT, |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

pub(crate) fn check_durable(connection: &Connection) -> Result<(), StoreErrorCause> {
    let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if journal != "wal" {
        return Err(StoreErrorCause::Unsafe(format!(
            "its journal mode is `{journal}`, not `wal`"
        )));
    }
    if synchronous != 2 {
        return Err(StoreErrorCause::Unsafe(format!(
            "`synchronous` is {synchronous}, not 2"
        )));
    }
    Ok(())
}

/// Returns the version of a store that this program can use, 0 if it is empty.
pub(crate) fn check_version(connection: &Connection) -> Result<i64, StoreErrorCause> {
    match migrations::version(connection)? {
        None => Err(StoreErrorCause::NotAStore(
            "a database of another program".to_owned(),
        )),
        Some(found) if found > SUPPORTED => Err(StoreErrorCause::Newer {
            found,
            supported: SUPPORTED,
        }),
        Some(version) => Ok(version),
    }
}
