//! Verifies the chain line by line, without IO.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::entry::{self, AuditEntry, EntryPhase, ParsedLine};
use crate::head::{ChainHead, HeadFile};

/// Location of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineLocation {
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// A finding and its location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`, line {}: {problem}", spot.file, spot.line)]
pub struct ChainBreak {
    pub spot: LineLocation,
    pub problem: ChainProblem,
}

/// How a line breaks the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainProblem {
    #[error("is not an entry")]
    NoEntry,
    #[error("entry {seq} was changed: its hash does not match")]
    Changed { seq: u64 },
    #[error("entry {seq} does not follow entry {before}: entries are missing or out of order")]
    Jump {
        seq: u64,
        /// Number of the previous entry.
        before: u64,
    },
    #[error("entry {seq} does not follow the previous entry: that one was replaced")]
    Exchanged { seq: u64 },
    /// Older files are missing and not replaced by an anchor.
    #[error(
        "the log begins with entry {seq}: entries 1 to {} are missing; if they are stored elsewhere, pass the hash of the last of \
         them as `--anchor`",
        seq - 1
    )]
    NoBeginning {
        /// Number of the first existing entry.
        seq: u64,
    },
    #[error("the log ends with entry {seq}, but entry {written} was written: the end was removed")]
    CutOff {
        /// Number of the last existing entry.
        seq: u64,
        /// Number of the last written entry.
        written: u64,
    },
    /// A rotated file was renamed, or its end was changed.
    #[error("the file is named after entry {named}, but ends with entry {seq}")]
    Misnamed { named: u64, seq: u64 },
    #[error("entry {seq} was replaced: the head has another hash for it")]
    NotTheHead { seq: u64 },
    /// More entries follow the head than a kill can explain.
    #[error(
        "the head names entry {head}, but the log ends with entry {seq}: entries were added without it, or it was replaced by \
         an older one"
    )]
    HeadIsOld {
        /// The entry that it names; 0 if it is empty.
        head: u64,
        seq: u64,
    },
    #[error("the head is missing, so it cannot be checked whether the end of the log was removed")]
    NoHead,
    #[error("is not a valid head: number and hash of an entry expected")]
    BadHead,
    /// An entry records that the head was missing or unreadable.
    #[error(
        "the head was missing or unreadable before entry {seq}: entries before it may have been removed"
    )]
    HeadWasLost { seq: u64 },
}

/// Action of the entry by which a writer records that it found no usable head.
pub const HEAD_LOST: &str = "audit.head_lost";

/// Maximum number of stored findings; all are counted.
const MAX_FINDINGS: usize = 100;

/// State and findings of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainWalk {
    pub n_entries: u64,
    /// Number of lines truncated by a kill, each followed by an entry that records it.
    pub n_torn: u64,
    /// The first existing entry.
    pub first: Option<(u64, Timestamp)>,
    pub newest: ChainHead,
    pub newest_at: Option<Timestamp>,
    /// Intents without an outcome by number, with action and target.
    pub open: BTreeMap<u64, String>,
    /// Whether the anchor is the hash of an entry, or of the entry directly before the first.
    pub has_anchor: bool,
    /// In the order of the log.
    pub findings: Vec<ChainBreak>,
    /// Including those not stored.
    pub n_findings: usize,
    /// Whether the last line is truncated, which the next writer will record.
    pub is_torn_at_end: bool,
    /// Number of entries after the head, without those that a writer adds when it finds damage.
    pub n_after_head: u64,
    anchor: Option<String>,
    head: HeadFile,
    /// A line that is no entry; whether it is allowed depends on the next line or the end.
    torn: Option<TornLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TornLine {
    spot: LineLocation,
    line: String,
    has_end: bool,
}

impl ChainWalk {
    /// Starts a verification. `anchor` is the hash of an entry that was stored elsewhere.
    pub fn new(anchor: Option<&str>, head: HeadFile) -> ChainWalk {
        ChainWalk {
            anchor: anchor.map(str::to_lowercase),
            head,
            ..ChainWalk::default()
        }
    }

    /// Returns whether missing older files are the only finding.
    pub fn is_only_without_beginning(&self) -> bool {
        let only = |broken: &ChainBreak| matches!(broken.problem, ChainProblem::NoBeginning { .. });
        self.n_findings == 1 && self.findings.iter().all(only)
    }

    fn add_finding(&mut self, spot: &LineLocation, problem: ChainProblem) {
        self.n_findings += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(ChainBreak {
                spot: spot.clone(),
                problem,
            });
        }
    }

    /// Verifies the next line, given without its line end. After a finding, verification continues from there.
    pub fn step(&mut self, spot: &LineLocation, line: &str, has_end: bool) {
        let Some(read) = entry::parse_line(line) else {
            if let Some(torn) = self.torn.take() {
                self.add_finding(&torn.spot, ChainProblem::NoEntry);
            }
            self.torn = Some(TornLine {
                spot: spot.clone(),
                line: line.to_owned(),
                has_end,
            });
            return;
        };
        if let Some(torn) = self.torn.take() {
            let n_bytes = u64::try_from(torn.line.len()).unwrap_or(u64::MAX);
            let is_mended = read.link.entry.phase == EntryPhase::Repaired
                && read.link.entry.torn_bytes == Some(n_bytes);
            if is_mended {
                self.n_torn += 1;
            } else {
                self.add_finding(&torn.spot, ChainProblem::NoEntry);
            }
        }
        let problem = self.problem_of(&read);
        let holds = problem.is_none();
        if let Some(problem) = problem {
            self.add_finding(spot, problem);
        }
        self.take(spot, read, holds);
    }

    fn problem_of(&mut self, read: &ParsedLine) -> Option<ChainProblem> {
        let (seq, before) = (read.link.seq, self.newest.seq);
        if !read.fits {
            return Some(ChainProblem::Changed { seq });
        }
        if self.first.is_none() && seq > 1 {
            // The anchor is the last entry of older files that are stored elsewhere.
            if self.anchor.as_ref() == Some(&read.link.prev) {
                self.has_anchor = true;
                return None;
            }
            return Some(ChainProblem::NoBeginning { seq });
        }
        if seq != before + 1 {
            return Some(ChainProblem::Jump { seq, before });
        }
        (read.link.prev != self.newest.hash).then_some(ChainProblem::Exchanged { seq })
    }

    /// Verifies the end of a rotated file, which is named after its last entry.
    pub fn end_of_file(&mut self, spot: &LineLocation, named: u64) {
        let seq = self.newest.seq;
        if named != seq {
            self.add_finding(spot, ChainProblem::Misnamed { named, seq });
        }
    }

    /// Verifies the end of the log against the head. A kill between writing an entry and the head leaves the head one entry
    /// behind; a kill while writing an entry leaves a truncated line.
    pub fn end(&mut self, spot: &LineLocation, head_spot: &LineLocation) {
        let next = format!("{{\"seq\":{},", self.newest.seq + 1);
        if let Some(torn) = self.torn.take() {
            let is_begun = torn.line.starts_with(&next) || next.starts_with(&torn.line);
            if is_begun && !torn.has_end {
                self.is_torn_at_end = true;
            } else {
                self.add_finding(&torn.spot, ChainProblem::NoEntry);
            }
        }
        let seq = self.newest.seq;
        let head = match &self.head {
            HeadFile::Missing if self.first.is_some() => {
                return self.add_finding(head_spot, ChainProblem::NoHead);
            }
            HeadFile::Unreadable => return self.add_finding(head_spot, ChainProblem::BadHead),
            HeadFile::Names(head) => head.seq,
            HeadFile::Missing | HeadFile::Empty => 0,
        };
        if head > seq {
            let written = head;
            self.add_finding(spot, ChainProblem::CutOff { seq, written });
        } else if self.n_after_head > 1 {
            self.add_finding(head_spot, ChainProblem::HeadIsOld { head, seq });
        }
    }

    fn take(&mut self, spot: &LineLocation, read: ParsedLine, holds: bool) {
        let ParsedLine { link, hash, .. } = read;
        let (seq, entry) = (link.seq, link.entry);
        self.n_entries += u64::from(holds);
        self.first.get_or_insert((seq, entry.at));
        self.newest_at = Some(entry.at);
        self.has_anchor |= holds && self.anchor.as_deref() == Some(hash.as_str());
        let (is_another, is_after) = match &self.head {
            HeadFile::Names(head) => (head.seq == seq && head.hash != hash, seq > head.seq),
            HeadFile::Missing | HeadFile::Empty | HeadFile::Unreadable => (false, true),
        };
        if is_another {
            self.add_finding(spot, ChainProblem::NotTheHead { seq });
        }
        if is_after && entry.is_of_the_operation() {
            self.n_after_head += 1;
        }
        if entry.action == HEAD_LOST {
            self.add_finding(spot, ChainProblem::HeadWasLost { seq });
        }
        match entry.phase {
            EntryPhase::Intent => {
                self.open
                    .insert(seq, format!("{} `{}`", entry.action, entry.target));
            }
            EntryPhase::Outcome => {
                if let Some(intent) = entry.of {
                    self.open.remove(&intent);
                }
            }
            EntryPhase::Done | EntryPhase::Repaired => {}
        }
        self.newest = ChainHead { seq, hash };
    }
}

impl AuditEntry {
    /// Returns whether the entry belongs to an operation, and is not one that a writer adds when it finds damage.
    pub fn is_of_the_operation(&self) -> bool {
        self.phase != EntryPhase::Repaired && self.action != HEAD_LOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Link;
    use crate::entry::tests::entry;

    fn chain(n: u64) -> Vec<String> {
        let mut head = ChainHead::default();
        let lines = (1..=n).map(|seq| {
            let link = Link {
                seq,
                entry: entry(&format!("key {seq}")),
                prev: head.hash.clone(),
            };
            let (line, hash) = link.line();
            head = ChainHead { seq, hash };
            line
        });
        lines.collect()
    }

    fn walk_with(lines: &[String], head: HeadFile, anchor: Option<&str>) -> ChainWalk {
        let spot = |file: &str, place: usize| LineLocation {
            file: file.to_owned(),
            line: place + 1,
        };
        let mut walk = ChainWalk::new(anchor, head);
        for (place, line) in lines.iter().enumerate() {
            walk.step(&spot("audit", place), line, true);
        }
        walk.end(&spot("audit", lines.len()), &spot("head", 0));
        walk
    }

    fn findings_of(walk: &ChainWalk) -> Vec<String> {
        walk.findings.iter().map(ToString::to_string).collect()
    }

    fn names(lines: &[String], seq: usize) -> HeadFile {
        let read = entry::parse_line(&lines[seq - 1]).unwrap();
        HeadFile::Names(ChainHead::of(&read))
    }

    fn walk(lines: &[String], written: Option<u64>) -> Result<ChainWalk, String> {
        let whole = chain(5);
        let head = match written {
            Some(seq) => names(&whole, usize::try_from(seq).unwrap()),
            None => names(&whole, 5),
        };
        let walk = walk_with(lines, head, None);
        match walk.findings.first() {
            Some(broken) => Err(broken.to_string()),
            None => Ok(walk),
        }
    }

    #[test]
    fn an_intact_chain_has_no_findings() {
        let verified = walk(&chain(5), Some(5)).unwrap();
        assert_eq!(
            (verified.n_entries, verified.newest.seq, verified.n_torn),
            (5, 5, 0)
        );
        let nothing = walk_with(&[], HeadFile::Missing, None);
        assert_eq!(findings_of(&nothing), Vec::<String>::new());
    }

    #[test]
    fn a_missing_beginning_is_a_finding_without_an_anchor() {
        let lines = chain(5);
        let head = names(&lines, 5);
        let findings = findings_of(&walk_with(&lines[2..], head.clone(), None));
        let expected = "`audit`, line 1: the log begins with entry 3: entries 1 to 2 are missing; if they are stored elsewhere, \
                        pass the hash of the last of them as `--anchor`";
        assert_eq!(findings, [expected]);
        let last_kept = entry::parse_line(&lines[1]).unwrap().hash;
        let anchored = walk_with(&lines[2..], head.clone(), Some(&last_kept));
        assert_eq!(
            (findings_of(&anchored), anchored.has_anchor),
            (vec![], true)
        );
        let another = entry::parse_line(&lines[0]).unwrap().hash;
        let anchored = walk_with(&lines[2..], head, Some(&another));
        assert_eq!(
            (findings_of(&anchored).len(), anchored.has_anchor),
            (1, false)
        );
    }

    #[test]
    fn the_head_is_compared_with_its_entry() {
        let lines = chain(5);
        let check = |head: HeadFile, expected: &[&str]| {
            assert_eq!(findings_of(&walk_with(&lines, head, None)), expected);
        };
        check(names(&lines, 5), &[]);
        // A kill between writing an entry and the head.
        check(names(&lines, 4), &[]);
        let old = "`head`, line 1: the head names entry 3, but the log ends with entry 5: entries were added without it, or \
                   it was replaced by an older one";
        check(names(&lines, 3), &[old]);
        check(HeadFile::Empty, &[&old.replace("entry 3", "entry 0")]);
        check(
            HeadFile::Missing,
            &[
                "`head`, line 1: the head is missing, so it cannot be checked whether the end of the log was removed",
            ],
        );
        check(
            HeadFile::Unreadable,
            &["`head`, line 1: is not a valid head: number and hash of an entry expected"],
        );
        let other = |seq| {
            HeadFile::Names(ChainHead {
                seq,
                hash: "ab".repeat(32),
            })
        };
        check(
            other(5),
            &["`audit`, line 5: entry 5 was replaced: the head has another hash for it"],
        );
        check(
            other(4),
            &["`audit`, line 4: entry 4 was replaced: the head has another hash for it"],
        );
        let cut = "`audit`, line 6: the log ends with entry 5, but entry 6 was written: the end was removed";
        check(other(6), &[cut]);
        assert_eq!(
            findings_of(&walk_with(&[], other(6), None)),
            [cut.replace("line 6", "line 1")
                .replace("entry 5", "entry 0")]
        );
        let one = walk_with(&lines[..1], HeadFile::Empty, None);
        assert_eq!(findings_of(&one), Vec::<String>::new());
    }

    #[test]
    fn all_findings_are_reported() {
        let mut lines = chain(9);
        let head = names(&lines, 9);
        lines[1] = lines[1].replace("ada", "bob");
        lines.remove(4);
        lines.insert(6, "rubbish".to_owned());
        let findings = findings_of(&walk_with(&lines, head, None));
        assert_eq!(
            findings,
            [
                "`audit`, line 2: entry 2 was changed: its hash does not match",
                "`audit`, line 5: entry 6 does not follow entry 4: entries are missing or out of order",
                "`audit`, line 7: is not an entry",
            ]
        );
    }

    #[test]
    fn a_truncated_last_line_is_accepted_after_a_kill() {
        let lines = chain(6);
        let check = |last: &str, has_end: bool, is_accepted: bool| {
            let mut walk = ChainWalk::new(None, names(&lines, 5));
            let spot = LineLocation {
                file: "audit".to_owned(),
                line: 1,
            };
            for line in &lines[..5] {
                walk.step(&spot, line, true);
            }
            walk.step(&spot, last, has_end);
            walk.end(&spot, &spot);
            assert_eq!(walk.findings.is_empty(), is_accepted, "{last}");
            assert_eq!(walk.is_torn_at_end, is_accepted, "{last}");
        };
        check("{\"se", false, true);
        check(&lines[5][..40], false, true);
        check(&lines[5][..40], true, false);
        check(&lines[4][..40], false, false);
        check("rubbish", false, false);
    }

    #[test]
    fn every_change_is_reported_with_its_location() {
        let check = |change: fn(&mut Vec<String>), written, expected: &str| {
            let mut lines = chain(5);
            change(&mut lines);
            assert_eq!(walk(&lines, written).unwrap_err(), expected);
        };
        check(
            |lines| lines[2] = lines[2].replace("ada", "bob"),
            None,
            "`audit`, line 3: entry 3 was changed: its hash does not match",
        );
        check(
            |lines| {
                lines.remove(2);
            },
            None,
            "`audit`, line 3: entry 4 does not follow entry 2: entries are missing or out of order",
        );
        check(
            |lines| lines.swap(1, 2),
            None,
            "`audit`, line 2: entry 3 does not follow entry 1: entries are missing or out of order",
        );
        check(
            |lines| lines.truncate(3),
            Some(5),
            "`audit`, line 4: the log ends with entry 3, but entry 5 was written: the end was removed",
        );
        check(
            |lines| lines.insert(2, "rubbish".to_owned()),
            None,
            "`audit`, line 3: is not an entry",
        );
        check(
            |lines| lines.push("rub".to_owned()),
            None,
            "`audit`, line 6: is not an entry",
        );
        // Rebuilt from the third entry on, with matching hashes.
        check(
            |lines| {
                let mut link = entry::parse_line(&lines[2]).unwrap().link;
                link.entry.actor = "bob".to_owned();
                lines[2] = link.line().0;
            },
            None,
            "`audit`, line 4: entry 4 does not follow the previous entry: that one was replaced",
        );
    }

    #[test]
    fn every_bit_flip_is_detected() {
        let lines = chain(2);
        for place in 0..lines[0].len() {
            let mut bytes = lines[0].clone().into_bytes();
            bytes[place] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            assert!(
                walk(&[changed, lines[1].clone()], None).is_err(),
                "at {place}"
            );
        }
    }
}
