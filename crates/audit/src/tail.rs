//! The ends of the log's files, which are read instead of whole files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::entry::{self, ParsedLine};
use crate::head::ChainHead;
use spendwatch_base::private_file;

/// Upper bound for the length of a line, in bytes, since texts in it are truncated.
const MAX_LINE: u64 = 64 * 1024;

/// End of a file.
#[derive(Default)]
pub struct Tail {
    /// The last complete entries.
    pub lines: Vec<ParsedLine>,
    /// Number of bytes of a truncated line after them, left by a kill.
    pub n_torn: u64,
    /// Whether only the line end of the last entry is missing.
    pub lacks_end: bool,
}

impl Tail {
    /// Returns the last entry.
    pub fn head(&self) -> Option<ChainHead> {
        self.lines.last().map(ChainHead::of)
    }

    /// Returns whether the entries after `head` in this tail follow it.
    pub fn follows(&self, head: &ChainHead) -> bool {
        let mut before = head.clone();
        let after = self.lines.iter().filter(|read| read.link.seq > head.seq);
        for (place, read) in after.enumerate() {
            let is_next = read.link.seq == before.seq + 1 && read.link.prev == before.hash;
            // The tail may begin with a later entry.
            let is_beyond_tail = place == 0 && read.link.seq > before.seq + 1;
            if !read.fits || !(is_next || is_beyond_tail) {
                return false;
            }
            before = ChainHead::of(read);
        }
        true
    }
}

/// Reads only the end of a file.
pub fn read(file: &mut File) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(2 * MAX_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let n_whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |place| place + 1);
    let (whole, torn) = bytes.split_at(n_whole);
    let mut lines: Vec<ParsedLine> = whole
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect();
    // The entry is complete, only its line end is missing.
    let last = parse(torn);
    let lacks_end = last.is_some();
    lines.extend(last);
    Ok(Tail {
        lines,
        n_torn: if lacks_end {
            0
        } else {
            torn.len().try_into().unwrap_or(u64::MAX)
        },
        lacks_end,
    })
}

/// Returns the number of a file's first entry, if it begins with one.
pub fn first_seq(path: &Path) -> Option<u64> {
    let mut start = Vec::new();
    private_file::open_to_read(path)
        .ok()?
        .take(2 * MAX_LINE)
        .read_to_end(&mut start)
        .ok()?;
    start
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .map(|read| read.link.seq)
        .next()
}

fn parse(line: &[u8]) -> Option<ParsedLine> {
    entry::parse_line(std::str::from_utf8(line).ok()?)
}
