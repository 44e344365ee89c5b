//! The audit log. An operation is logged before its request is sent (intent) and after the response (outcome). Each
//! entry contains the hash of the previous one, so that changes and removals are detected.
//!
//! Only this module can create an [`Intent`], so a function that takes one knows that the intent was logged.

pub mod entry;
pub mod os_user;

pub mod head;

pub mod chain;
mod tail;

pub mod files;

pub mod read;

mod syslog;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::entry::{AuditEntry, EntryPhase, mask};
use crate::files::{AuditError, AuditFiles};
use crate::head::ChainHead;
use crate::read::LoggedOperation;
use spendwatch_base::clock::Clock;

/// Location of the log, and who writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The newest file; older ones are beside it.
    pub file: PathBuf,
    /// Size above which the file is rotated, in bytes.
    pub rotate_at: u64,
    /// Datagram socket to which entries are also sent.
    pub syslog: Option<PathBuf>,
    /// The actor's name as given by themselves; by default the user of the operating system.
    pub actor: Option<String>,
}

/// The audit log. Clones and other processes may write to the same files.
#[derive(Debug, Clone)]
pub struct AuditLog(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    files: AuditFiles,
    actor: String,
    os_user: String,
    /// Datagram socket to which entries are copied; `None` for no copy.
    syslog: Option<PathBuf>,
    clock: Clock,
}

/// An operation to log. Must not contain secrets.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// Its name in the configuration; `None` if the operation concerns all.
    pub organization: Option<&'a str>,
    /// For example `keys.create`.
    pub action: &'a str,
    /// An id, or the name of something to be created.
    pub target: &'a str,
    /// By name; values are truncated to 200 characters.
    pub arguments: &'a [(&'a str, String)],
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct OperationOutcome<'a> {
    /// `None` for success.
    pub error: Option<&'a str>,
    /// The server's id of the request.
    pub request_id: Option<&'a str>,
}

impl OperationOutcome<'_> {
    fn added_to(&self, entry: AuditEntry) -> AuditEntry {
        AuditEntry {
            success: Some(self.error.is_none()),
            error: self.error.map(entry::error_text),
            request_id: self.request_id.map(mask),
            ..entry
        }
    }
}

/// Proof that an intent was logged.
#[derive(Debug)]
pub struct Intent {
    seq: u64,
    entry: AuditEntry,
    began: Duration,
}

impl AuditLog {
    /// Creates a log without opening its files.
    pub fn new(settings: AuditSettings, clock: Clock) -> AuditLog {
        let os_user = os_user::os_user();
        AuditLog(Arc::new(Inner {
            files: AuditFiles::new(settings.file, settings.rotate_at),
            actor: settings.actor.unwrap_or_else(|| os_user.clone()),
            os_user,
            syslog: settings.syslog,
            clock,
        }))
    }

    /// Returns the actor of new entries.
    pub fn actor(&self) -> &str {
        &self.0.actor
    }

    /// Returns the same log with another actor.
    #[must_use]
    pub fn with_actor(&self, actor: &str) -> AuditLog {
        AuditLog(Arc::new(Inner {
            actor: actor.to_owned(),
            ..Inner::clone(&self.0)
        }))
    }

    /// Logs an intent durably. If this fails, the operation must not be executed.
    pub fn begin(&self, operation: &Operation<'_>) -> Result<Intent, AuditError> {
        let entry = AuditEntry {
            phase: EntryPhase::Intent,
            ..self.entry(operation)
        };
        Ok(Intent {
            seq: self.append(&entry)?.seq,
            entry,
            began: self.0.clock.monotonic(),
        })
    }

    /// Logs the outcome of an intent.
    pub fn end(&self, intent: Intent, ended: &OperationOutcome<'_>) -> Result<(), AuditError> {
        let took = self.0.clock.monotonic().saturating_sub(intent.began);
        let entry = AuditEntry {
            at: self.0.clock.now(),
            phase: EntryPhase::Outcome,
            of: Some(intent.seq),
            arguments: BTreeMap::new(),
            elapsed_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            ..intent.entry
        };
        self.append(&ended.added_to(entry))?;
        Ok(())
    }

    /// Executes a local operation between its intent and its outcome. `judge` returns why a successful call had no effect, if it
    /// had none.
    pub async fn audited<T, E: Display>(
        &self,
        operation: &Operation<'_>,
        done: impl Future<Output = Result<T, E>>,
        judge: impl Fn(&T) -> Option<String>,
    ) -> Result<Result<T, E>, AuditError> {
        let intent = self.begin(operation)?;
        let result = done.await;
        let error = match &result {
            Ok(value) => judge(value),
            Err(error) => Some(error.to_string()),
        };
        let ended = OperationOutcome {
            error: error.as_deref(),
            request_id: None,
        };
        // The operation was executed, so a missing outcome is only a warning.
        if let Err(error) = self.end(intent, &ended) {
            warn!(
                "cannot write the outcome of `{}` to the audit log: {error}",
                operation.action
            );
        }
        Ok(result)
    }

    /// Logs a read-only operation with a single entry.
    pub fn record(
        &self,
        operation: &Operation<'_>,
        ended: &OperationOutcome<'_>,
    ) -> Result<(), AuditError> {
        self.append(&ended.added_to(self.entry(operation)))?;
        Ok(())
    }

    /// Returns the newest entry, if there is a log.
    pub fn newest(&self) -> Result<Option<ChainHead>, AuditError> {
        self.0.files.newest()
    }

    /// Checks whether entries can be written, without writing one.
    pub fn check(&self) -> Result<(), AuditError> {
        self.0.files.check()
    }

    /// Returns the log's files.
    pub fn files(&self) -> &AuditFiles {
        &self.0.files
    }

    /// Calls `visit` with each successful operation of an action in an organization.
    pub fn each_success(
        &self,
        organization: &str,
        action: &str,
        mut visit: impl FnMut(LoggedOperation),
    ) -> Result<(), AuditError> {
        read::each_operation(&self.0.files, |operation| {
            let entry = &operation.entry;
            let is_there = entry.organization.as_deref() == Some(organization);
            if is_there && entry.action == action && entry.success == Some(true) {
                visit(operation);
            }
        })
    }

    /// Returns the entry of an operation without an outcome.
    fn entry(&self, operation: &Operation<'_>) -> AuditEntry {
        AuditEntry {
            at: self.0.clock.now(),
            actor: mask(&self.0.actor),
            os_user: self.0.os_user.clone(),
            organization: operation.organization.map(str::to_owned),
            action: operation.action.to_owned(),
            target: mask(operation.target),
            arguments: entry::arguments(operation.arguments),
            ..AuditEntry::default()
        }
    }

    fn append(&self, entry: &AuditEntry) -> Result<ChainHead, AuditError> {
        let (head, line) = self.0.files.append(entry)?;
        self.forward(entry, &head, &line);
        Ok(head)
    }

    /// Writes an entry to the process log, and to syslog if configured.
    fn forward(&self, entry: &AuditEntry, head: &ChainHead, line: &str) {
        info!(
            target: "spendwatch::audit",
            seq = head.seq,
            hash = head.hash.as_str(),
            phase = entry.phase.as_str(),
            actor = entry.actor.as_str(),
            action = entry.action.as_str(),
            thing = entry.target.as_str(),
            success = entry.success,
            duration_ms = entry.elapsed_ms,
            "{} `{}`: {}",
            entry.action,
            entry.target,
            entry.phase.as_str(),
        );
        if let Some(syslog) = &self.0.syslog
            && let Err(error) = syslog::send(syslog, entry.at, line)
        {
            warn!("cannot send audit entries to syslog: {error}");
        }
    }
}
