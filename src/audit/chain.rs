//! The chain: whether each entry follows the one before, and where that ends. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::audit::entry::{self, Entry, NO_HASH, Phase, ReadLine};

/// The newest entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number, from 1.
    pub seq: u64,
    pub hash: String,
}

impl Head {
    /// Before the first entry.
    pub fn none() -> Head {
        Head {
            seq: 0,
            hash: NO_HASH.to_owned(),
        }
    }
}

/// What the file beside the log says about the newest entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadFile {
    /// There is no such file.
    Missing,
    /// It was created, and not written yet.
    Empty,
    /// Its content has another form.
    Unreadable,
    /// The newest entry when it was written.
    Names(Head),
}

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// Something that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`, line {}: {problem}", spot.file, spot.line)]
pub struct Broken {
    pub spot: Spot,
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("is no entry")]
    NoEntry,
    /// Its content is not that of its hash.
    #[error("entry {seq} was changed: its hash does not fit it")]
    Changed { seq: u64 },
    /// Something between was taken out, or put in.
    #[error("entry {seq} does not follow entry {before}: entries are missing, or out of order")]
    Jump {
        seq: u64,
        /// That of the one before.
        before: u64,
    },
    /// The one before was another one.
    #[error("entry {seq} does not follow the entry before it: that one was exchanged")]
    Exchanged { seq: u64 },
    /// Older files are not there, and no anchor replaces them.
    #[error(
        "the log begins with entry {seq}: entries 1 to {} are missing; if they are kept elsewhere, pass the hash of the last of \
         them as `--anchor`",
        seq - 1
    )]
    NoBeginning {
        /// The number of the first entry that is there.
        seq: u64,
    },
    /// The end is missing.
    #[error(
        "the log ends with entry {seq}, though entry {written} was written: the end was cut off"
    )]
    CutOff {
        /// The last that is there.
        seq: u64,
        /// The last that was written.
        written: u64,
    },
    /// A file that was put aside has another name than spendwatch gave it, or another end.
    #[error("the file is named after entry {named}, but ends with entry {seq}")]
    Misnamed {
        /// The number in its name.
        named: u64,
        /// Its last entry.
        seq: u64,
    },
    /// The entry that the head names is another one.
    #[error("entry {seq} is not the one that was written: the head has another hash for it")]
    NotTheHead { seq: u64 },
    /// More entries follow the head than a kill can leave.
    #[error(
        "the head names entry {head}, but the log goes on to entry {seq}: entries were added without it, or it was replaced by \
         an older one"
    )]
    HeadIsOld {
        /// The entry that it names; 0 where it is empty.
        head: u64,
        /// The newest entry.
        seq: u64,
    },
    /// The head was removed.
    #[error(
        "the head is missing, though the log has entries: whether its end was cut off cannot be checked"
    )]
    NoHead,
    /// The head has another content.
    #[error("is no head: it does not hold the number and hash of an entry")]
    BadHead,
    /// An entry says that the head was missing or unreadable when it was written.
    #[error(
        "the head was missing or unreadable before entry {seq}: entries before it may have been cut off"
    )]
    HeadWasLost {
        /// The entry that says so.
        seq: u64,
    },
}

/// The action of the entry by which a writer records that it found no usable head.
pub const HEAD_LOST: &str = "audit.head_lost";

/// No more findings are kept; the others are counted.
const MAX_FINDINGS: usize = 100;

/// What a walk along the chain has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    pub n_entries: u64,
    /// Lines that broke off when a process was killed, each followed by an entry that says so.
    pub n_torn: u64,
    /// The first entry that is there.
    pub first: Option<(u64, Timestamp)>,
    /// The newest entry.
    pub newest: Head,
    /// When the newest was written.
    pub newest_at: Option<Timestamp>,
    /// Intents without an outcome, by number: what was done, and to what.
    pub open: BTreeMap<u64, String>,
    /// Whether the entry that was asked for stands in it, or directly before its beginning.
    pub has_anchor: bool,
    /// What does not hold, in the order of the log.
    pub findings: Vec<Broken>,
    /// Including those that were not kept.
    pub n_findings: usize,
    /// Whether the last line broke off, and the next writer will say so.
    pub is_torn_at_end: bool,
    /// Entries after the one that the head names, without those that a writer adds when it finds damage.
    pub n_after_head: u64,
    anchor: Option<String>,
    head: HeadFile,
    /// A line that is no entry: the next one, or the end, says whether it may stand there.
    torn: Option<Torn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Torn {
    spot: Spot,
    line: String,
    has_end: bool,
}

impl Walk {
    /// Nothing was read yet. `anchor` is the hash of an entry that was noted elsewhere.
    pub fn new(anchor: Option<&str>, head: HeadFile) -> Walk {
        Walk {
            n_entries: 0,
            n_torn: 0,
            first: None,
            newest: Head::none(),
            newest_at: None,
            open: BTreeMap::new(),
            has_anchor: false,
            findings: Vec::new(),
            n_findings: 0,
            is_torn_at_end: false,
            n_after_head: 0,
            anchor: anchor.map(str::to_lowercase),
            head,
            torn: None,
        }
    }

    /// Whether nothing is wrong but that older files are not there.
    pub fn is_only_without_beginning(&self) -> bool {
        let only = |broken: &Broken| matches!(broken.problem, Problem::NoBeginning { .. });
        self.n_findings == 1 && self.findings.iter().all(only)
    }

    fn report(&mut self, spot: &Spot, problem: Problem) {
        self.n_findings += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Broken {
                spot: spot.clone(),
                problem,
            });
        }
    }

    /// Goes on by one line, without its end. After a finding the chain is followed from there.
    pub fn step(&mut self, spot: &Spot, line: &str, has_end: bool) {
        let Some(read) = entry::read(line) else {
            if let Some(torn) = self.torn.take() {
                self.report(&torn.spot, Problem::NoEntry);
            }
            self.torn = Some(Torn {
                spot: spot.clone(),
                line: line.to_owned(),
                has_end,
            });
            return;
        };
        if let Some(torn) = self.torn.take() {
            let n_bytes = u64::try_from(torn.line.len()).unwrap_or(u64::MAX);
            let is_mended = read.link.entry.phase == Phase::Mended
                && read.link.entry.torn_bytes == Some(n_bytes);
            if is_mended {
                self.n_torn += 1;
            } else {
                self.report(&torn.spot, Problem::NoEntry);
            }
        }
        let problem = self.problem_of(&read);
        let holds = problem.is_none();
        if let Some(problem) = problem {
            self.report(spot, problem);
        }
        self.take(spot, read, holds);
    }

    fn problem_of(&mut self, read: &ReadLine) -> Option<Problem> {
        let (seq, before) = (read.link.seq, self.newest.seq);
        if !read.fits {
            return Some(Problem::Changed { seq });
        }
        if self.first.is_none() && seq > 1 {
            // The older files are kept elsewhere: then the chain goes on from their last entry.
            if self.anchor.as_ref() == Some(&read.link.prev) {
                self.has_anchor = true;
                return None;
            }
            return Some(Problem::NoBeginning { seq });
        }
        if seq != before + 1 {
            return Some(Problem::Jump { seq, before });
        }
        (read.link.prev != self.newest.hash).then_some(Problem::Exchanged { seq })
    }

    /// At the end of a file that spendwatch has named after its last entry.
    pub fn end_of_file(&mut self, spot: &Spot, named: u64) {
        let seq = self.newest.seq;
        if named != seq {
            self.report(spot, Problem::Misnamed { named, seq });
        }
    }

    /// At the end of the log: nothing is missing that was written. A kill between an entry and the head leaves a head that is one
    /// entry behind; a kill within an entry leaves the beginning of its line.
    pub fn end(&mut self, spot: &Spot, head_spot: &Spot) {
        let next = format!("{{\"seq\":{},", self.newest.seq + 1);
        if let Some(torn) = self.torn.take() {
            let is_begun = torn.line.starts_with(&next) || next.starts_with(&torn.line);
            if is_begun && !torn.has_end {
                self.is_torn_at_end = true;
            } else {
                self.report(&torn.spot, Problem::NoEntry);
            }
        }
        let seq = self.newest.seq;
        let head = match &self.head {
            HeadFile::Missing if self.first.is_some() => {
                return self.report(head_spot, Problem::NoHead);
            }
            HeadFile::Unreadable => return self.report(head_spot, Problem::BadHead),
            HeadFile::Names(head) => head.seq,
            HeadFile::Missing | HeadFile::Empty => 0,
        };
        if head > seq {
            let written = head;
            self.report(spot, Problem::CutOff { seq, written });
        } else if self.n_after_head > 1 {
            self.report(head_spot, Problem::HeadIsOld { head, seq });
        }
    }

    fn take(&mut self, spot: &Spot, read: ReadLine, holds: bool) {
        let ReadLine { link, hash, .. } = read;
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
            self.report(spot, Problem::NotTheHead { seq });
        }
        if is_after && entry.is_of_the_operation() {
            self.n_after_head += 1;
        }
        if entry.action == HEAD_LOST {
            self.report(spot, Problem::HeadWasLost { seq });
        }
        match entry.phase {
            Phase::Intent => {
                self.open
                    .insert(seq, format!("{} `{}`", entry.action, entry.target));
            }
            Phase::Outcome => {
                if let Some(intent) = entry.of {
                    self.open.remove(&intent);
                }
            }
            Phase::Done | Phase::Mended => {}
        }
        self.newest = Head { seq, hash };
    }
}

impl Entry {
    /// Whether it is not one that a writer adds because it found damage.
    pub fn is_of_the_operation(&self) -> bool {
        self.phase != Phase::Mended && self.action != HEAD_LOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::Link;
    use crate::audit::entry::tests::entry;

    fn chain(n: u64) -> Vec<String> {
        let mut head = Head::none();
        let lines = (1..=n).map(|seq| {
            let link = Link {
                seq,
                entry: entry(&format!("key {seq}")),
                prev: head.hash.clone(),
            };
            let (line, hash) = link.line();
            head = Head { seq, hash };
            line
        });
        lines.collect()
    }

    fn walk_with(lines: &[String], head: HeadFile, anchor: Option<&str>) -> Walk {
        let spot = |file: &str, place: usize| Spot {
            file: file.to_owned(),
            line: place + 1,
        };
        let mut walk = Walk::new(anchor, head);
        for (place, line) in lines.iter().enumerate() {
            walk.step(&spot("audit", place), line, true);
        }
        walk.end(&spot("audit", lines.len()), &spot("head", 0));
        walk
    }

    fn told_of(walk: &Walk) -> Vec<String> {
        walk.findings.iter().map(ToString::to_string).collect()
    }

    fn names(lines: &[String], seq: usize) -> HeadFile {
        let read = entry::read(&lines[seq - 1]).unwrap();
        HeadFile::Names(Head {
            seq: read.link.seq,
            hash: read.hash,
        })
    }

    fn walk(lines: &[String], written: Option<u64>) -> Result<Walk, String> {
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
    fn a_whole_chain_holds() {
        let told = walk(&chain(5), Some(5)).unwrap();
        assert_eq!((told.n_entries, told.newest.seq, told.n_torn), (5, 5, 0));
        let nothing = walk_with(&[], HeadFile::Missing, None);
        assert_eq!(told_of(&nothing), Vec::<String>::new());
    }

    #[test]
    fn a_missing_beginning_is_a_finding_unless_an_anchor_replaces_it() {
        let lines = chain(5);
        let head = names(&lines, 5);
        let told = told_of(&walk_with(&lines[2..], head.clone(), None));
        let expected = "`audit`, line 1: the log begins with entry 3: entries 1 to 2 are missing; if they are kept elsewhere, \
                        pass the hash of the last of them as `--anchor`";
        assert_eq!(told, [expected]);
        let last_kept = entry::read(&lines[1]).unwrap().hash;
        let anchored = walk_with(&lines[2..], head.clone(), Some(&last_kept));
        assert_eq!((told_of(&anchored), anchored.has_anchor), (vec![], true));
        let another = entry::read(&lines[0]).unwrap().hash;
        let anchored = walk_with(&lines[2..], head, Some(&another));
        assert_eq!((told_of(&anchored).len(), anchored.has_anchor), (1, false));
    }

    #[test]
    fn the_head_is_compared_with_the_entry_that_it_names() {
        let lines = chain(5);
        let check = |head: HeadFile, expected: &[&str]| {
            assert_eq!(told_of(&walk_with(&lines, head, None)), expected);
        };
        check(names(&lines, 5), &[]);
        // A kill between an entry and the head.
        check(names(&lines, 4), &[]);
        let old = "`head`, line 1: the head names entry 3, but the log goes on to entry 5: entries were added without it, or \
                   it was replaced by an older one";
        check(names(&lines, 3), &[old]);
        check(HeadFile::Empty, &[&old.replace("entry 3", "entry 0")]);
        check(
            HeadFile::Missing,
            &[
                "`head`, line 1: the head is missing, though the log has entries: whether its end was cut off cannot be checked",
            ],
        );
        check(
            HeadFile::Unreadable,
            &["`head`, line 1: is no head: it does not hold the number and hash of an entry"],
        );
        let other = |seq| {
            HeadFile::Names(Head {
                seq,
                hash: "ab".repeat(32),
            })
        };
        check(
            other(5),
            &[
                "`audit`, line 5: entry 5 is not the one that was written: the head has another hash for it",
            ],
        );
        check(
            other(4),
            &[
                "`audit`, line 4: entry 4 is not the one that was written: the head has another hash for it",
            ],
        );
        let cut = "`audit`, line 6: the log ends with entry 5, though entry 6 was written: the end was cut off";
        check(other(6), &[cut]);
        assert_eq!(
            told_of(&walk_with(&[], other(6), None)),
            [cut.replace("line 6", "line 1")
                .replace("entry 5", "entry 0")]
        );
        let one = walk_with(&lines[..1], HeadFile::Empty, None);
        assert_eq!(told_of(&one), Vec::<String>::new());
    }

    #[test]
    fn every_finding_is_named_and_the_chain_is_followed_after_it() {
        let mut lines = chain(9);
        let head = names(&lines, 9);
        lines[1] = lines[1].replace("ada", "bob");
        lines.remove(4);
        lines.insert(6, "rubbish".to_owned());
        let told = told_of(&walk_with(&lines, head, None));
        assert_eq!(
            told,
            [
                "`audit`, line 2: entry 2 was changed: its hash does not fit it",
                "`audit`, line 5: entry 6 does not follow entry 4: entries are missing, or out of order",
                "`audit`, line 7: is no entry",
            ]
        );
    }

    #[test]
    fn a_last_line_without_an_end_is_accepted_where_a_kill_can_have_left_it() {
        let lines = chain(6);
        let check = |last: &str, has_end: bool, is_accepted: bool| {
            let mut walk = Walk::new(None, names(&lines, 5));
            let spot = Spot {
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
    fn every_change_is_named_where_it_is() {
        let check = |change: fn(&mut Vec<String>), written, expected: &str| {
            let mut lines = chain(5);
            change(&mut lines);
            assert_eq!(walk(&lines, written).unwrap_err(), expected);
        };
        check(
            |lines| lines[2] = lines[2].replace("ada", "bob"),
            None,
            "`audit`, line 3: entry 3 was changed: its hash does not fit it",
        );
        check(
            |lines| {
                lines.remove(2);
            },
            None,
            "`audit`, line 3: entry 4 does not follow entry 2: entries are missing, or out of order",
        );
        check(
            |lines| lines.swap(1, 2),
            None,
            "`audit`, line 2: entry 3 does not follow entry 1: entries are missing, or out of order",
        );
        check(
            |lines| lines.truncate(3),
            Some(5),
            "`audit`, line 4: the log ends with entry 3, though entry 5 was written: the end was cut off",
        );
        check(
            |lines| lines.insert(2, "rubbish".to_owned()),
            None,
            "`audit`, line 3: is no entry",
        );
        check(
            |lines| lines.push("rub".to_owned()),
            None,
            "`audit`, line 6: is no entry",
        );
        // A new chain from the third entry on, with hashes that fit.
        check(
            |lines| {
                let mut link = entry::read(&lines[2]).unwrap().link;
                link.entry.actor = "bob".to_owned();
                lines[2] = link.line().0;
            },
            None,
            "`audit`, line 4: entry 4 does not follow the entry before it: that one was exchanged",
        );
    }

    #[test]
    fn every_bit_counts() {
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
