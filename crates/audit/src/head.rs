//! The head: number and hash of the newest entry of a log, and the file that contains them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::entry::{NO_HASH, ParsedLine};

/// The newest entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainHead {
    /// From 1; 0 if the log is empty.
    pub seq: u64,
    pub hash: String,
}

impl Default for ChainHead {
    fn default() -> ChainHead {
        ChainHead {
            seq: 0,
            hash: NO_HASH.to_owned(),
        }
    }
}

impl ChainHead {
    /// Returns the head after an entry.
    pub fn of(read: &ParsedLine) -> ChainHead {
        ChainHead {
            seq: read.link.seq,
            hash: read.hash.clone(),
        }
    }
}

/// Content of the head file, which names the newest entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HeadFile {
    #[default]
    Missing,
    /// Created, but not written yet.
    Empty,
    Unreadable,
    Names(ChainHead),
}

/// Reads the head from its start. A torn or foreign content is a variant, not an error.
pub fn read(file: &mut File) -> io::Result<HeadFile> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(1024).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(HeadFile::Empty);
    }
    let head = || {
        let text = std::str::from_utf8(&bytes).ok()?;
        let (seq, hash) = text.trim_end().split_once(' ')?;
        let is_hash =
            hash.len() == NO_HASH.len() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(ChainHead {
            seq: seq.parse().ok()?,
            hash: is_hash.then(|| hash.to_owned())?,
        })
    };
    Ok(head().map_or(HeadFile::Unreadable, HeadFile::Names))
}

/// Writes the head in place with a single write of constant length, so that a kill leaves the old or the new one.
pub fn write(file: &mut File, head: &ChainHead) -> io::Result<()> {
    let text = format!("{:020} {}\n", head.seq, head.hash);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    if file.metadata()?.len() != text.len() as u64 {
        file.set_len(text.len() as u64)?;
    }
    file.sync_data()
}
