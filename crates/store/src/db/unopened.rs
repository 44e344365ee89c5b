//! Reads a store without changing it or any file beside it: no migration, no checkpoint, no new log or index.
//!
//! SQLite has three ways to do so, depending on the situation:
//!
//! - Without a write-ahead log, only the file is read (`immutable`).
//! - With a log and its index, a daemon may be running: its index is read, but not written (`readonly_shm`). An index left
//!   behind by a kill is rebuilt in memory.
//! - With a log but no index, as in a copy, no daemon is running: the index is built in memory (no locks, exclusive mode).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::db::open::{BUSY_TIMEOUT, beside, check_version, without_links_before};
use crate::error::{StoreErrorCause, io};
use spendwatch_base::private_file;

/// Maximum number of attempts when a daemon starts or stops meanwhile.
const MAX_ATTEMPTS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadMode {
    FileAlone,
    BesideIndex,
    OwnIndex,
}

/// Changes when another program writes to a file.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    way: ReadMode,
    changed: (i64, i64, u64),
}

/// Reads one consistent state of a store. Repeats `work` if another program changed the store in a way that could have made
/// its state inconsistent.
pub(crate) fn check<T>(
    path: &Path,
    work: impl Fn(&Connection) -> Result<T, StoreErrorCause>,
) -> Result<T, StoreErrorCause> {
    for _ in 0..MAX_ATTEMPTS {
        let before = state(path).map_err(unreadable)?;
        let done = read(path, before.way, &work);
        let after = state(path).map_err(unreadable)?;
        let is_stable = match before.way {
            // Locks protect the state being read.
            ReadMode::BesideIndex => after.way == ReadMode::BesideIndex,
            ReadMode::FileAlone | ReadMode::OwnIndex => after == before,
        };
        if is_stable {
            return done;
        }
    }
    Err(StoreErrorCause::Busy)
}

fn unreadable(error: std::io::Error) -> StoreErrorCause {
    match error.kind() {
        ErrorKind::NotFound => StoreErrorCause::Missing,
        _ => io("read its files")(error),
    }
}

fn state(path: &Path) -> std::io::Result<FileState> {
    // Links are rejected here as elsewhere.
    let found = fs::symlink_metadata(path)?;
    private_file::check_kind(path, &found)?;
    let length = |ending: &str| -> std::io::Result<Option<u64>> {
        let path = beside(path, ending);
        match fs::symlink_metadata(&path) {
            Ok(found) => {
                private_file::check_kind(&path, &found)?;
                Ok(Some(found.len()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let journal = length("-journal")?.unwrap_or(0);
    if journal > 0 {
        return Err(std::io::Error::other(
            "an interrupted write has not been rolled back yet (`-journal`), which the next start of `spendwatch run` does",
        ));
    }
    let way = match (length("-wal")?, length("-shm")?) {
        (None | Some(0), _) => ReadMode::FileAlone,
        (Some(_), Some(_)) => ReadMode::BesideIndex,
        (Some(_), None) => ReadMode::OwnIndex,
    };
    Ok(FileState {
        way,
        changed: (found.mtime(), found.mtime_nsec(), found.len()),
    })
}

fn read<T>(
    path: &Path,
    way: ReadMode,
    work: impl Fn(&Connection) -> Result<T, StoreErrorCause>,
) -> Result<T, StoreErrorCause> {
    let parameters = match way {
        ReadMode::FileAlone => "immutable=1",
        ReadMode::BesideIndex => "readonly_shm=1",
        // With the parameter `nolock`, SQLite would not read the log.
        ReadMode::OwnIndex => "vfs=unix-none",
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let uri = format!(
        "{}?mode=ro&{parameters}",
        uri_of(&without_links_before(path))
    );
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Otherwise the last connection that closes the log writes it into the store.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if way == ReadMode::OwnIndex {
        connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
    }
    check_version(&connection)?;
    let tx = connection.unchecked_transaction()?;
    work(&tx)
}

/// Escapes every byte with a meaning in a URI.
fn uri_of(path: &Path) -> String {
    let absolute: PathBuf = if path.is_absolute() {
        path.to_owned()
    } else {
        Path::new(".").join(path)
    };
    let mut uri = String::from(if path.is_absolute() {
        "file://"
    } else {
        "file:"
    });
    for byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Store;
    use crate::samples::{ORGANIZATION, at, record_hour};

    /// Returns contents, modes and times of all files in a folder, without the memory that a daemon shares with its readers.
    fn contents(folder: &Path, is_live: bool) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64)> {
        let files = fs::read_dir(folder).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let found = path.metadata().unwrap();
            let bytes = fs::read(&path).unwrap();
            (
                path,
                (bytes, found.mode(), found.mtime(), found.mtime_nsec()),
            )
        });
        files
            .filter(|(path, _)| !is_live || !path.to_string_lossy().ends_with("-shm"))
            .collect()
    }

    async fn filled(path: &Path) -> Store {
        let store = Store::open_for_daemon(path, at(0)).unwrap();
        let name = ORGANIZATION.into();
        store.load_organization(&name, at(0), at(0)).await.unwrap();
        record_hour(&store, "w", 0, 7).await.unwrap();
        store
    }

    async fn check_unchanged(path: &Path, n_usage: u64, is_live: bool) {
        let folder = path.parent().unwrap();
        let before = contents(folder, is_live);
        let report = Store::check_file(path).await.unwrap();
        assert_eq!(
            (report.n_usage, report.problems),
            (n_usage, Vec::<String>::new())
        );
        let after = contents(folder, is_live);
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>()
        );
        assert!(after == before, "a file was changed");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap();
        let report = Store::check_file(path).await;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(report.unwrap().n_usage, n_usage);
        assert!(contents(folder, is_live) == before, "a file was changed");
    }

    #[tokio::test]
    async fn a_check_changes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (live, killed, copied) = (
            dir.path().join("live"),
            dir.path().join("killed"),
            dir.path().join("copied"),
        );
        for folder in [&live, &killed, &copied] {
            fs::create_dir(folder).unwrap();
        }
        let path = live.join("a store?#%.db");
        let store = filled(&path).await;
        check_unchanged(&path, 1, true).await;
        // As left by a kill, and as copied.
        for (folder, endings) in [
            (&killed, vec!["", "-wal", "-shm"]),
            (&copied, vec!["", "-wal"]),
        ] {
            for ending in endings {
                let copy = beside(&folder.join("s.db"), ending);
                fs::copy(beside(&path, ending), &copy).unwrap();
            }
            check_unchanged(&folder.join("s.db"), 1, false).await;
        }
        // The daemon is not blocked.
        record_hour(&store, "w", 1, 7).await.unwrap();
        check_unchanged(&path, 2, true).await;
        drop(store);
        check_unchanged(&path, 2, false).await;
        let missing = Store::check_file(&live.join("none.db")).await.unwrap_err();
        assert!(
            matches!(missing.cause, StoreErrorCause::Missing),
            "{missing}"
        );
        assert!(!live.join("none.db").exists());
    }

    #[tokio::test]
    async fn older_stores_are_not_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(include_str!("migrations/0001.sql"))
            .unwrap();
        db.pragma_update(None, "application_id", 0x5370_5761)
            .unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        drop(db);
        check_unchanged(&path, 0, false).await;
        let report = Store::check_file(&path).await.unwrap();
        assert_eq!((report.version, report.needs_migration()), (1, true));
    }
}
