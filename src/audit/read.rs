//! Reads the log: whether its chain holds, and what was done, operation by operation.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use jiff::Timestamp;

use crate::audit::chain::{Broken, Spot, Walk};
use crate::audit::entry::{self, Phase};
use crate::audit::files::{AuditError, Files};

/// What was found along the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub walk: Walk,
    /// The first finding.
    pub broken: Option<Broken>,
    pub n_files: usize,
}

/// Walks the whole chain, up to what was written when it began. What seems to be broken is looked at twice: a file may have been put
/// aside meanwhile.
pub fn verify(files: &Files, anchor: Option<&str>) -> Result<Report, AuditError> {
    match walk(files, anchor) {
        Ok(report) if report.broken.is_none() => Ok(report),
        Ok(_) | Err(_) => walk(files, anchor),
    }
}

fn walk(files: &Files, anchor: Option<&str>) -> Result<Report, AuditError> {
    let snapshot = files.snapshot()?;
    let n_files = snapshot.files.len();
    let mut walk = Walk::new(anchor, snapshot.head);
    let mut spot = Spot {
        file: files.path().display().to_string(),
        line: 1,
    };
    for opened in snapshot.files {
        spot = Spot {
            file: opened.path.display().to_string(),
            line: 0,
        };
        let named = opened.named;
        let mut lines = BufReader::new(opened.reader());
        while let Some((line, has_end)) =
            next(&mut lines).map_err(|source| files.unreadable(source))?
        {
            spot.line += 1;
            walk.step(&spot, &line, has_end);
        }
        if let Some(named) = named {
            walk.end_of_file(&spot, named);
        }
        spot.line += 1;
    }
    let head_spot = Spot {
        file: files.head_path().display().to_string(),
        line: 1,
    };
    walk.end(&spot, &head_spot);
    Ok(Report {
        broken: walk.findings.first().cloned(),
        walk,
        n_files,
    })
}

/// A line without its end, and whether it has one; what is no text is shown as such, and fits no hash.
fn next(lines: &mut impl BufRead) -> std::io::Result<Option<(String, bool)>> {
    let mut bytes = Vec::new();
    if lines.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let has_end = bytes.last() == Some(&b'\n');
    if has_end {
        bytes.pop();
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // As long as it was, since its length is told where it was mended.
        Err(error) => "?".repeat(error.as_bytes().len()),
    };
    Ok(Some((text, has_end)))
}

/// One operation: its intent and its outcome together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOperation {
    /// The number of its first entry.
    pub seq: u64,
    pub at: Timestamp,
    pub actor: String,
    /// As whom the process ran.
    pub os_user: String,
    pub organization: Option<String>,
    pub action: String,
    pub target: String,
    pub arguments: BTreeMap<String, String>,
    pub elapsed_ms: Option<u64>,
    /// `None` while there is no outcome: it is under way, or its process was killed.
    pub success: Option<bool>,
    pub error: Option<String>,
    /// By which the service finds the request again.
    pub request_id: Option<String>,
    /// The hash of its last entry.
    pub hash: String,
}

/// Tells each operation once it is over, and at the end those that are not: of a long log never all are held at once. Lines that
/// are no entries are passed over, since [`verify`] tells them.
pub fn each_operation(files: &Files, mut told: impl FnMut(OneOperation)) -> Result<(), AuditError> {
    let snapshot = files.snapshot()?;
    let mut open = BTreeMap::new();
    for opened in snapshot.files {
        let mut lines = BufReader::new(opened.reader());
        while let Some((line, _)) = next(&mut lines).map_err(|source| files.unreadable(source))? {
            let read = entry::read(&line);
            if let Some(over) = read.and_then(|read| take(&mut open, read)) {
                told(over);
            }
        }
    }
    open.into_values().for_each(told);
    Ok(())
}

/// An operation that this entry ends, if it ends one.
fn take(open: &mut BTreeMap<u64, OneOperation>, read: entry::ReadLine) -> Option<OneOperation> {
    let (seq, entry) = (read.link.seq, read.link.entry);
    if let (Phase::Outcome, Some(of)) = (entry.phase, entry.of)
        && let Some(intent) = open.remove(&of)
    {
        return Some(OneOperation {
            elapsed_ms: entry.elapsed_ms,
            success: entry.success,
            error: entry.error,
            request_id: entry.request_id,
            hash: read.hash,
            ..intent
        });
    }
    let is_intent = entry.phase == Phase::Intent;
    let operation = OneOperation {
        seq,
        at: entry.at,
        actor: entry.actor,
        os_user: entry.os_user,
        organization: entry.organization,
        action: entry.action,
        target: entry.target,
        arguments: entry.arguments,
        elapsed_ms: entry.elapsed_ms,
        success: entry.success,
        error: entry.error,
        request_id: entry.request_id,
        hash: read.hash,
    };
    if is_intent {
        open.insert(seq, operation);
        return None;
    }
    Some(operation)
}
