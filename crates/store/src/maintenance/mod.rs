//! `store check` and `store backup`.

mod health;
pub mod retention;
mod time_correction;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::Store;
use crate::db::migrations;
use crate::db::open::{FLAGS, SIDE_FILES, beside, without_links_before};
use crate::db::pages;
use crate::db::unopened;
use crate::db::values::count_from_row;
use crate::error::{StoreError, StoreErrorCause, io};
use crate::ledger::row_ids;
use crate::stored::{alert_from_json, facts_from_json};
use spendwatch_base::private_file;

/// Maximum number of listed problems of each kind.
const MAX_NAMED: usize = 20;

/// Result of checking a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReport {
    pub version: i64,
    /// The version that this program uses. The daemon migrates an older store when it starts; until then only SQLite's own
    /// checks are made.
    pub supported: i64,
    pub n_bytes: u64,
    pub n_usage: u64,
    pub n_alerts: u64,
    pub n_messages: u64,
    pub problems: Vec<String>,
}

impl StoreReport {
    /// Whether the daemon will migrate it when it starts.
    pub fn needs_migration(&self) -> bool {
        self.version < self.supported
    }
}

impl Store {
    /// Reads everything and reports inconsistencies, without changing the store.
    pub async fn check(&self) -> Result<StoreReport, StoreError> {
        self.read(build_report).await
    }

    /// Checks a store that is not open: does not migrate it, does not create, change or remove files beside it, and does not
    /// block a daemon.
    pub async fn check_file(path: &Path) -> Result<StoreReport, StoreError> {
        let owned = path.to_owned();
        let checked = tokio::task::spawn_blocking(move || unopened::check(&owned, build_report));
        let report = checked.await.unwrap_or(Err(StoreErrorCause::Closed));
        report.map_err(|cause| cause.at_path(path.display()))
    }

    /// Copies the store into a new file of mode 0600, also while a daemon writes. Checks the copy before it gets its final name,
    /// and never overwrites a file. Returns its size in bytes.
    pub async fn backup(&self, to: &Path) -> Result<u64, StoreError> {
        let to = to.to_owned();
        self.read(move |db| copy(db, &to)).await
    }
}

fn build_report(db: &Connection) -> Result<StoreReport, StoreErrorCause> {
    let count = |sql: &str| db.query_row(sql, [], |row| count_from_row(row, 0));
    let version = migrations::version(db)?.unwrap_or(0);
    let mut problems = integrity(db)?;
    problems.extend(dangling(db)?);
    // Older versions have other tables.
    if version == migrations::SUPPORTED {
        problems.extend(unreadable(db)?);
        problems.extend(misplaced(db)?);
    }
    let rows_of = |table: &str| -> Result<u64, StoreErrorCause> {
        let sql =
            format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '{table}'");
        Ok(match count(&sql)? {
            0 => 0,
            _ => count(&format!("SELECT count(*) FROM {table}"))?,
        })
    };
    Ok(StoreReport {
        version,
        supported: migrations::SUPPORTED,
        n_bytes: count("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?,
        n_usage: rows_of("usage")?,
        n_alerts: rows_of("alerts")?,
        n_messages: rows_of("outbox")?,
        problems,
    })
}

fn texts(db: &Connection, sql: &str) -> Result<Vec<String>, StoreErrorCause> {
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Runs SQLite's own integrity check.
fn integrity(db: &Connection) -> Result<Vec<String>, StoreErrorCause> {
    let mut found = texts(db, &format!("PRAGMA integrity_check({MAX_NAMED})"))?;
    found.retain(|line| line != "ok");
    Ok(found)
}

fn dangling(db: &Connection) -> Result<Vec<String>, StoreErrorCause> {
    texts(
        db,
        &format!(
            "SELECT 'a row of table ' || \"table\" || ' refers to a missing row of ' || \"parent\"
             FROM pragma_foreign_key_check LIMIT {MAX_NAMED}"
        ),
    )
}

/// Finds stored JSON that this program cannot read.
fn unreadable(db: &Connection) -> Result<Vec<String>, StoreErrorCause> {
    let mut problems = Vec::new();
    let mut check = |sql: &str,
                     reads: fn(&str) -> Result<(), StoreErrorCause>|
     -> Result<(), StoreErrorCause> {
        let mut statement = db.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if let Err(StoreErrorCause::Corrupt(detail)) = reads(&row.get::<_, String>(1)?) {
                problems.push(format!("{name}: {detail}"));
            }
        }
        Ok(())
    };
    check(
        "SELECT 'alert ' || fingerprint, alert FROM alerts",
        |text| alert_from_json(text).map(|_| ()),
    )?;
    check("SELECT 'message ' || id, facts FROM outbox", |text| {
        facts_from_json(text).map(|_| ())
    })?;
    problems.truncate(MAX_NAMED);
    Ok(problems)
}

/// Checks invariants of spendwatch that the schema cannot express.
fn misplaced(db: &Connection) -> Result<Vec<String>, StoreErrorCause> {
    let mut problems = texts(
        db,
        &format!(
            "SELECT 'message ' || id || ' is waiting without an alert' FROM outbox o
             WHERE state = 'waiting' AND digest IS NULL AND NOT EXISTS (SELECT 1 FROM outbox_alerts a WHERE a.position = o.position)
             LIMIT {MAX_NAMED}"
        ),
    )?;
    problems.extend(texts(
        db,
        &format!(
            "SELECT 'a row of part ' || part_id || ' has a wrong hour: kind ' || kind || ', hour ' || hour
             FROM usage WHERE (kind = 1 AND (hour + 1) % 24 <> 0) OR (kind = 2 AND hour % 24 <> 0) LIMIT {MAX_NAMED}"
        ),
    )?);
    let mut organizations = db.prepare("SELECT id FROM organizations")?;
    let ids = organizations.query_map([], |row| row.get::<_, i64>(0))?;
    for id in ids.collect::<Result<Vec<_>, _>>()? {
        for part in row_ids::parts(db, id)? {
            if part.coverage.days.is_some_and(|days| days.start > days.end) {
                problems.push(format!(
                    "part {} has days that end before they start",
                    part.id
                ));
            }
        }
    }
    Ok(problems)
}

fn copy(db: &Connection, to: &Path) -> Result<u64, StoreErrorCause> {
    // SQLite would treat existing side files as part of the backup.
    for name in [""].into_iter().chain(SIDE_FILES) {
        let path = beside(to, name);
        if path.symlink_metadata().is_ok() {
            return Err(StoreErrorCause::Exists(path.display().to_string()));
        }
    }
    let partial = beside(to, ".partial");
    let copied = copy_into(db, &partial).and_then(|n_bytes| {
        match name_backup(&partial, to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(StoreErrorCause::Exists(to.display().to_string()))
            }
            named => named.map_err(io("name the backup")),
        }?;
        private_file::sync_folder_of(to).map_err(io("write the backup's name"))?;
        Ok(n_bytes)
    });
    if copied.is_err() {
        for name in [""].into_iter().chain(SIDE_FILES) {
            // The next backup replaces what cannot be removed.
            let _ = private_file::remove_if_exists(&beside(&partial, name));
        }
    }
    copied
}

/// Renames the backup without replacing a file that appeared meanwhile.
fn name_backup(partial: &Path, to: &Path) -> std::io::Result<()> {
    match rustix::fs::renameat_with(CWD, partial, CWD, to, RenameFlags::NOREPLACE) {
        // Not on every file system.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(partial, to)?;
            fs::remove_file(partial)
        }
        named => Ok(named?),
    }
}

fn copy_into(db: &Connection, partial: &Path) -> Result<u64, StoreErrorCause> {
    for name in SIDE_FILES {
        private_file::remove_if_exists(&beside(partial, name))
            .map_err(io("remove what is beside the backup's file"))?;
    }
    let file =
        private_file::create_or_replace(partial).map_err(io("create the backup's partial file"))?;
    let mut target = Connection::open_with_flags(without_links_before(partial), FLAGS)?;
    pages::copy(db, &mut target)?;
    // One file without a log beside it.
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    let verdict = texts(&target, "PRAGMA quick_check")?;
    if verdict != ["ok"] {
        return Err(StoreErrorCause::Corrupt(verdict.join("; ")));
    }
    target.close().map_err(|(_, error)| error)?;
    let measured = |error| io("write the backup")(error);
    file.sync_all().map_err(measured)?;
    let (ours, named) = (
        file.metadata().map_err(measured)?,
        fs::symlink_metadata(partial).map_err(measured)?,
    );
    if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
        let exchanged = std::io::Error::other("another program exchanged the file meanwhile");
        return Err(measured(exchanged));
    }
    Ok(ours.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{ORGANIZATION, at, record_hour, store};
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_backup_made_during_writes_is_a_valid_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let daemon = Store::open_for_daemon(&path, at(0)).unwrap();
        daemon
            .load_organization(&ORGANIZATION.into(), at(0), at(0))
            .await
            .unwrap();
        let command = Store::open_for_command(&path, at(0)).unwrap();
        let to = dir.path().join("backup.db");
        let writes = async {
            for hour in 0..30 {
                record_hour(&daemon, "w", hour, 1).await.unwrap();
            }
        };
        let (_, size) = tokio::join!(writes, command.backup(&to));
        let metadata = fs::metadata(&to).unwrap();
        assert_eq!(metadata.len(), size.unwrap());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let error = command.backup(&to).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("already exists; choose another name"),
            "{error}"
        );

        let copy = Store::open_for_daemon(&to, at(0)).unwrap();
        assert_eq!(copy.check().await.unwrap().problems, Vec::<String>::new());
        let state = copy
            .load_organization(&ORGANIZATION.into(), at(9), at(0))
            .await
            .unwrap();
        assert_eq!(state.resume_state.store_began, at(0));
        assert_eq!(daemon.check().await.unwrap().n_usage, 30);
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert!(!names.contains(&"backup.db.partial".into()), "{names:?}");
    }

    #[tokio::test]
    async fn inconsistencies_are_reported() {
        let store = store().await;
        record_hour(&store, "w", 0, 1).await.unwrap();
        assert!(store.check().await.unwrap().problems.is_empty());
        let damage = "PRAGMA foreign_keys = 0;
            UPDATE usage SET part_id = 77, kind = 2, hour = 1;
            UPDATE parts SET days_start = 6, days_end = 5;
            INSERT INTO alerts VALUES ('f00', 1, 'r', 'firing', '', NULL, '', 1, '{}');
            INSERT INTO outbox (id, organization_id, notifier, state, facts, created_at, next_attempt, expires)
                VALUES ('m', 1, 'n', 'waiting', '[]', '', '', '')";
        let damaged = store
            .inner
            .writer
            .run(move |db| Ok(db.execute_batch(damage)?));
        damaged.await.unwrap();
        let problems = store.check().await.unwrap().problems;
        let expected = [
            "a row of table usage refers to a missing row of parts",
            "alert f00: an alert: missing field `identity`",
            "message m is waiting without an alert",
            "a row of part 77 has a wrong hour: kind 2, hour 1",
            "part 1 has days that end before they start",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
    }
}
