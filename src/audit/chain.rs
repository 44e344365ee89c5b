//! The chain: whether each entry follows the one before, and where that ends. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::audit::entry::{self, NO_HASH, Phase, ReadLine};

/// The newest entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number, from 1.
    pub seq: u64,
    /// Its hash, in hexadecimal.
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

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
}

/// The first link that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`, line {}: {problem}", spot.file, spot.line)]
pub struct Broken {
    /// Where.
    pub spot: Spot,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is no entry.
    #[error("is no entry")]
    NoEntry,
    /// Its content is not that of its hash.
    #[error("entry {seq} was changed: its hash does not fit it")]
    Changed {
        /// Its number.
        seq: u64,
    },
    /// Something between was taken out, or put in.
    #[error("entry {seq} does not follow entry {before}: entries are missing, or out of order")]
    Jump {
        /// Its number.
        seq: u64,
        /// That of the one before.
        before: u64,
    },
    /// The one before was another one.
    #[error("entry {seq} does not follow the entry before it: that one was exchanged")]
    Exchanged {
        /// Its number.
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
}

/// What a walk along the chain has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Entries that hold.
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
    /// Whether the entry that was asked for stands in it.
    pub has_anchor: bool,
    anchor: Option<String>,
    /// A line that broke off, if the next entry says so: where it stands, and its bytes.
    torn: Option<(Spot, u64)>,
}

impl Walk {
    /// Nothing was read yet. `anchor` is the hash of an entry that was noted elsewhere.
    pub fn new(anchor: Option<&str>) -> Walk {
        Walk {
            n_entries: 0,
            n_torn: 0,
            first: None,
            newest: Head::none(),
            newest_at: None,
            open: BTreeMap::new(),
            has_anchor: false,
            anchor: anchor.map(str::to_lowercase),
            torn: None,
        }
    }

    /// Goes on by one line, without its end.
    pub fn step(&mut self, spot: &Spot, line: &str) -> Result<(), Broken> {
        let broken = |problem| {
            Err(Broken {
                spot: spot.clone(),
                problem,
            })
        };
        let Some(read) = entry::read(line) else {
            if let Some((spot, _)) = self.torn.take() {
                let problem = Problem::NoEntry;
                return Err(Broken { spot, problem });
            }
            self.torn = Some((spot.clone(), line.len().try_into().unwrap_or(u64::MAX)));
            return Ok(());
        };
        let seq = read.link.seq;
        if let Some((torn, n_bytes)) = self.torn.take() {
            let is_mended = read.link.entry.phase == Phase::Mended
                && read.link.entry.torn_bytes == Some(n_bytes);
            if !is_mended {
                return Err(Broken {
                    spot: torn,
                    problem: Problem::NoEntry,
                });
            }
            self.n_torn += 1;
        }
        if !read.fits {
            return broken(Problem::Changed { seq });
        }
        let before = self.newest.seq;
        // The oldest files may have been put elsewhere: then the chain is known from the first entry that is there.
        if self.n_entries > 0 || seq == 1 {
            if seq != before + 1 {
                return broken(Problem::Jump { seq, before });
            }
            if read.link.prev != self.newest.hash {
                return broken(Problem::Exchanged { seq });
            }
        }
        self.take(read);
        Ok(())
    }

    /// At the end: nothing is torn, and nothing is missing that was written.
    pub fn end(&self, spot: &Spot, written: Option<&Head>) -> Result<(), Broken> {
        if let Some((spot, _)) = &self.torn {
            return Err(Broken {
                spot: spot.clone(),
                problem: Problem::NoEntry,
            });
        }
        match written {
            Some(head) if head.seq > self.newest.seq => Err(Broken {
                spot: spot.clone(),
                problem: Problem::CutOff {
                    seq: self.newest.seq,
                    written: head.seq,
                },
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn take(&mut self, read: ReadLine) {
        let ReadLine { link, hash, .. } = read;
        let (seq, entry) = (link.seq, link.entry);
        self.n_entries += 1;
        self.first.get_or_insert((seq, entry.at));
        self.newest_at = Some(entry.at);
        self.has_anchor |= self.anchor.as_deref() == Some(hash.as_str());
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

    fn walk(lines: &[String], written: Option<u64>) -> Result<Walk, String> {
        let spot = |place: usize| Spot {
            file: "audit".to_owned(),
            line: place + 1,
        };
        let mut walk = Walk::new(None);
        for (place, line) in lines.iter().enumerate() {
            walk.step(&spot(place), line)
                .map_err(|broken| broken.to_string())?;
        }
        let head = written.map(|seq| Head {
            seq,
            hash: String::new(),
        });
        walk.end(&spot(lines.len()), head.as_ref())
            .map_err(|broken| broken.to_string())?;
        Ok(walk)
    }

    #[test]
    fn a_whole_chain_holds() {
        let told = walk(&chain(5), Some(5)).unwrap();
        assert_eq!((told.n_entries, told.newest.seq, told.n_torn), (5, 5, 0));
        let without_its_beginning = walk(&chain(5)[2..], Some(5)).unwrap();
        assert_eq!(without_its_beginning.first.map(|(seq, _)| seq), Some(3));
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
