//! Reads the log: verifies its chain and lists operations.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use crate::chain::{ChainBreak, ChainWalk, LineLocation};
use crate::entry::{self, AuditEntry, EntryPhase};
use crate::files::{AuditError, AuditFiles};

/// Result of verifying the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    pub walk: ChainWalk,
    /// First finding.
    pub broken: Option<ChainBreak>,
    pub n_files: usize,
}

/// Verifies the whole chain up to the entries that exist at the start. Verifies it twice on a finding, because a file may
/// have been rotated meanwhile.
pub fn verify(files: &AuditFiles, anchor: Option<&str>) -> Result<ChainReport, AuditError> {
    match walk(files, anchor) {
        Ok(report) if report.broken.is_none() => Ok(report),
        Ok(_) | Err(_) => walk(files, anchor),
    }
}

fn walk(files: &AuditFiles, anchor: Option<&str>) -> Result<ChainReport, AuditError> {
    let snapshot = files.snapshot()?;
    let n_files = snapshot.files.len();
    let mut walk = ChainWalk::new(anchor, snapshot.head);
    let mut spot = LineLocation {
        file: files.path().display().to_string(),
        line: 1,
    };
    for opened in snapshot.files {
        spot = LineLocation {
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
    let head_spot = LineLocation {
        file: files.head_path().display().to_string(),
        line: 1,
    };
    walk.end(&spot, &head_spot);
    Ok(ChainReport {
        broken: walk.findings.first().cloned(),
        walk,
        n_files,
    })
}

/// Reads a line without its end, and whether it has one. Text that is not UTF-8 is replaced and matches no hash.
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
        // Of the same length, which a repair entry states.
        Err(error) => "?".repeat(error.as_bytes().len()),
    };
    Ok(Some((text, has_end)))
}

/// An operation: its intent and outcome in one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOperation {
    /// Number of its first entry.
    pub seq: u64,
    /// The first entry, with the outcome of the last; `success` is `None` without an outcome: it is running, or its process
    /// was killed.
    pub entry: AuditEntry,
    /// Hash of its last entry.
    pub hash: String,
}

/// Calls `visit` with each operation when it ends, and finally with those without an outcome, without holding a long log in
/// memory. Skips lines that are not entries, which [`verify`] reports.
pub fn each_operation(
    files: &AuditFiles,
    mut visit: impl FnMut(LoggedOperation),
) -> Result<(), AuditError> {
    let snapshot = files.snapshot()?;
    let mut open = BTreeMap::new();
    for opened in snapshot.files {
        let mut lines = BufReader::new(opened.reader());
        while let Some((line, _)) = next(&mut lines).map_err(|source| files.unreadable(source))? {
            let read = entry::parse_line(&line);
            if let Some(over) = read.and_then(|read| take(&mut open, read)) {
                visit(over);
            }
        }
    }
    open.into_values().for_each(visit);
    Ok(())
}

/// Returns the operation that this entry ends, if any.
fn take(
    open: &mut BTreeMap<u64, LoggedOperation>,
    read: entry::ParsedLine,
) -> Option<LoggedOperation> {
    let (seq, entry) = (read.link.seq, read.link.entry);
    if let (EntryPhase::Outcome, Some(of)) = (entry.phase, entry.of)
        && let Some(intent) = open.remove(&of)
    {
        return Some(LoggedOperation {
            entry: AuditEntry {
                elapsed_ms: entry.elapsed_ms,
                success: entry.success,
                error: entry.error,
                request_id: entry.request_id,
                ..intent.entry
            },
            hash: read.hash,
            seq: intent.seq,
        });
    }
    let is_intent = entry.phase == EntryPhase::Intent;
    let operation = LoggedOperation {
        seq,
        entry,
        hash: read.hash,
    };
    if is_intent {
        open.insert(seq, operation);
        return None;
    }
    Some(operation)
}
