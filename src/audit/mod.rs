//! Rung 3: the audit log. Whatever is done stands in it before it is sent (intent) and after it was answered (outcome), each
//! entry chained to the one before by its hash, so that nothing can be changed or taken out unseen.
//!
//! Nobody else can make an [`Intent`]: who wants one as an argument can be sure that it stands in the log.

pub mod entry;
pub mod who;

// The chain, line by line; the files that it stands in.
pub mod chain;

pub mod files;

pub mod read;

mod syslog;

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::audit::chain::Head;
use crate::audit::entry::{Entry, Phase, mask};
use crate::audit::files::{AuditError, Files};
use crate::audit::read::OneOperation;
use crate::audit::syslog::Syslog;
use crate::clock::Clock;

/// Where the log is, and who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The newest file; older ones stand beside it.
    pub file: PathBuf,
    /// A file that is larger is put aside, in bytes.
    pub rotate_at: u64,
    /// Where entries go besides; a datagram socket.
    pub syslog: Option<PathBuf>,
    /// Who asks for it, as they say themselves; the user of the operating system where they do not.
    pub actor: Option<String>,
}

/// The audit log. Clones write to the same files, as other processes do.
#[derive(Debug, Clone)]
pub struct AuditLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Files,
    actor: String,
    os_user: String,
    syslog: Option<Syslog>,
    clock: Clock,
}

/// What is done, and to what. None of it is a secret.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// As the configuration names it; `None` for what concerns all.
    pub organization: Option<&'a str>,
    /// Like `keys.create`.
    pub action: &'a str,
    /// An id, or what will have one.
    pub target: &'a str,
    /// By name; each is cut at 200 characters.
    pub arguments: &'a [(&'a str, String)],
}

/// How it ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended<'a> {
    /// Why it failed; `None` is success.
    pub error: Option<&'a str>,
    /// By which the service finds the request again.
    pub request_id: Option<&'a str>,
}

/// The proof that an intent stands in the log.
#[derive(Debug)]
pub struct Intent {
    seq: u64,
    organization: Option<String>,
    action: String,
    target: String,
    began: Duration,
}

impl AuditLog {
    /// Touches nothing yet.
    pub fn new(settings: Settings, clock: Clock) -> AuditLog {
        let os_user = who::os_user();
        AuditLog(Arc::new(Inner {
            files: Files::new(settings.file, settings.rotate_at),
            actor: settings.actor.unwrap_or_else(|| os_user.clone()),
            os_user,
            syslog: settings.syslog.map(Syslog::new),
            clock,
        }))
    }

    /// Who writes into it.
    pub fn actor(&self) -> &str {
        &self.0.actor
    }

    /// The same log, written by somebody else.
    #[must_use]
    pub fn by(&self, actor: &str) -> AuditLog {
        let inner = &self.0;
        AuditLog(Arc::new(Inner {
            files: inner.files.clone(),
            actor: actor.to_owned(),
            os_user: inner.os_user.clone(),
            syslog: inner.syslog.clone(),
            clock: inner.clock.clone(),
        }))
    }

    /// Writes that something will be done. When this returns it is on the disk; where it fails, nothing may be done.
    pub fn begin(&self, operation: &Operation<'_>) -> Result<Intent, AuditError> {
        let head = self.append(Phase::Intent, operation, None, &Ended::default(), None)?;
        Ok(Intent {
            seq: head.seq,
            organization: operation.organization.map(str::to_owned),
            action: operation.action.to_owned(),
            target: operation.target.to_owned(),
            began: self.0.clock.running(),
        })
    }

    /// Writes how it ended.
    #[expect(clippy::needless_pass_by_value, reason = "an intent has one outcome")]
    pub fn end(&self, intent: Intent, ended: &Ended<'_>) -> Result<(), AuditError> {
        let took = self.0.clock.running().saturating_sub(intent.began);
        let operation = Operation {
            organization: intent.organization.as_deref(),
            action: &intent.action,
            target: &intent.target,
            arguments: &[],
        };
        self.append(
            Phase::Outcome,
            &operation,
            Some(intent.seq),
            ended,
            Some(took),
        )?;
        Ok(())
    }

    /// Does something of our own between its intent and its outcome. `judge` tells why it is not done though it did not fail.
    pub async fn around<T, E: Display>(
        &self,
        operation: &Operation<'_>,
        done: impl Future<Output = Result<T, E>>,
        judge: impl Fn(&T) -> Option<String>,
    ) -> Result<Result<T, E>, AuditError> {
        let intent = self.begin(operation)?;
        let told = done.await;
        let error = match &told {
            Ok(told) => judge(told),
            Err(error) => Some(error.to_string()),
        };
        let ended = Ended {
            error: error.as_deref(),
            request_id: None,
        };
        // It is done: that only its intent stands in the log is told, and keeps nothing back.
        if let Err(error) = self.end(intent, &ended) {
            warn!(
                "the outcome of `{}` does not stand in the audit log: {error}",
                operation.action
            );
        }
        Ok(told)
    }

    /// Writes one entry for what was only looked at.
    pub fn note(&self, operation: &Operation<'_>, ended: &Ended<'_>) -> Result<(), AuditError> {
        self.append(Phase::Done, operation, None, ended, None)?;
        Ok(())
    }

    /// The newest entry; `None` where there is no log yet.
    pub fn newest(&self) -> Result<Option<Head>, AuditError> {
        self.0.files.newest()
    }

    /// Looks whether entries can be written, without writing one.
    pub fn check(&self) -> Result<(), AuditError> {
        self.0.files.check()
    }

    /// The log's files.
    pub fn files(&self) -> &Files {
        &self.0.files
    }

    /// Each time an action ended well in an organization.
    pub fn each_success(
        &self,
        organization: &str,
        action: &str,
        mut told: impl FnMut(OneOperation),
    ) -> Result<(), AuditError> {
        read::each_operation(&self.0.files, |operation| {
            let is_there = operation.organization.as_deref() == Some(organization);
            if is_there && operation.action == action && operation.success == Some(true) {
                told(operation);
            }
        })
    }

    fn append(
        &self,
        phase: Phase,
        operation: &Operation<'_>,
        of: Option<u64>,
        ended: &Ended<'_>,
        took: Option<Duration>,
    ) -> Result<Head, AuditError> {
        let inner = &self.0;
        let is_over = phase != Phase::Intent;
        let entry = Entry {
            at: inner.clock.now(),
            phase,
            of,
            actor: mask(&inner.actor),
            os_user: inner.os_user.clone(),
            organization: operation.organization.map(str::to_owned),
            action: operation.action.to_owned(),
            target: mask(operation.target),
            arguments: entry::arguments(operation.arguments),
            elapsed_ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            success: is_over.then_some(ended.error.is_none()),
            error: ended.error.map(entry::error_text),
            request_id: ended.request_id.map(mask),
            torn_bytes: None,
        };
        let (head, line) = inner.files.append(&entry)?;
        self.tell(&entry, &head, &line);
        Ok(head)
    }

    /// The same to the log of the process, and to syslog where that is asked for.
    fn tell(&self, entry: &Entry, head: &Head, line: &str) {
        info!(
            target: "spendwatch::audit",
            seq = head.seq,
            hash = head.hash.as_str(),
            phase = entry.phase.word(),
            actor = entry.actor.as_str(),
            action = entry.action.as_str(),
            thing = entry.target.as_str(),
            success = entry.success,
            duration_ms = entry.elapsed_ms,
            "{} `{}`: {}",
            entry.action,
            entry.target,
            entry.phase.word(),
        );
        if let Some(syslog) = &self.0.syslog
            && let Err(error) = syslog.send(entry.at, line)
        {
            warn!("syslog takes no audit entries: {error}");
        }
    }
}
