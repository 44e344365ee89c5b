//! Looking after the store: checking it and copying it while a daemon runs.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::store::error::{RowError, StoreError};
use crate::store::{Store, migrations};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The format.
    pub format: i64,
    /// Rows in the ledger.
    pub n_buckets: u64,
    /// Messages that wait.
    pub n_waiting: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<String>,
}

impl Store {
    /// Reads all of the store and compares it with its indices and its own rules.
    pub async fn check(&self) -> Result<Report, StoreError> {
        self.read(|transaction| {
            let mut problems = Vec::new();
            let mut statement = transaction.prepare("PRAGMA integrity_check(20)")?;
            for line in statement.query_map([], |row| row.get::<_, String>(0))? {
                let line = line?;
                if line != "ok" {
                    problems.push(line);
                }
            }
            let count = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
            let rules = [
                ("rows point to nothing", "SELECT count(*) FROM pragma_foreign_key_check"),
                ("amounts are not normal", "SELECT count(*) FROM buckets WHERE spend_rest NOT BETWEEN 0 AND 999999"),
                (
                    "waiting messages name no alert",
                    "SELECT count(*) FROM outbox WHERE state = 0 AND place NOT IN (SELECT place FROM outbox_alerts)",
                ),
            ];
            for (what, sql) in rules {
                let n = count(sql)?;
                if n > 0 {
                    problems.push(format!("{what}: {n}"));
                }
            }
            Ok(Report {
                format: migrations::found(transaction)?,
                n_buckets: u64::try_from(count("SELECT count(*) FROM buckets")?).unwrap_or(0),
                n_waiting: u64::try_from(count("SELECT count(*) FROM outbox WHERE state = 0")?).unwrap_or(0),
                problems,
            })
        })
        .await
    }

    /// Copies the store into a new file of mode 0600, while a daemon may write, and checks the copy.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to: PathBuf = to.to_owned();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&to).map_err(|source| StoreError::Io {
            path: to.clone(),
            source,
        })?;
        self.with(move |inner, connection| {
            let copy = || -> Result<(), RowError> {
                let mut target = Connection::open(&to)?;
                let backup = Backup::new(connection, &mut target)?;
                backup.run_to_completion(1000, Duration::ZERO, None)?;
                drop(backup);
                let verdict: String =
                    target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
                if verdict == "ok" {
                    Ok(())
                } else {
                    Err(RowError::Shape(format!("the copy is damaged: {verdict}")))
                }
            };
            copy().map_err(|error| StoreError::new(&inner.path, error))
        })
        .await
    }
}
