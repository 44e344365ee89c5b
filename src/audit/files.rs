//! The files of the log: the newest, older ones that were put aside, and the head beside them, which holds number and hash of
//! the newest entry and is the lock between processes.
//!
//! An entry is on the disk before the head is written: a kill between the two leaves a head that is older than the log, which
//! is as it should be. A head that is newer says that entries are missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::audit::chain::Head;
use crate::audit::entry::{self, Entry, Link, Phase};

/// No line is longer, in bytes: texts in it are cut.
const MAX_LINE: u64 = 64 * 1024;

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be written: what it was to say is not done.
    #[error("the audit log `{}` cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("the audit log `{}` cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    path: PathBuf,
    rotate_at: u64,
}

/// What the end of a file is like.
struct Tail {
    /// The newest whole entry in it.
    head: Option<Head>,
    /// What follows it and is no line: a process was killed in the middle.
    n_torn: u64,
    /// Whether only the end of the last line is missing.
    lacks_end: bool,
}

impl Files {
    /// Touches nothing yet. `rotate_at` is in bytes.
    pub fn new(path: PathBuf, rotate_at: u64) -> Files {
        Files { path, rotate_at }
    }

    /// The newest file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry to the chain; when this returns, it is on the disk. Gives its place and its line.
    pub fn append(&self, entry: &Entry) -> Result<(Head, String), AuditError> {
        self.append_locked(entry)
            .map_err(|source| self.unwritable(source))
    }

    /// The newest entry, by head and log; `None` where there is none.
    pub fn newest(&self) -> Result<Option<Head>, AuditError> {
        let head = read_head(&self.head_path());
        let tail = match File::open(&self.path) {
            Ok(mut file) => {
                tail(&mut file)
                    .map_err(|source| self.unreadable(source))?
                    .head
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(self.unreadable(source)),
        };
        let newer = match (tail, head) {
            (Some(tail), Some(head)) if head.seq > tail.seq => Some(head),
            (Some(tail), _) => Some(tail),
            (None, head) => head,
        };
        Ok(newer.filter(|head| head.seq > 0))
    }

    /// Looks whether an entry could be written.
    pub fn check(&self) -> Result<(), AuditError> {
        let writable = self
            .lock()
            .and_then(|_lock| open_to_append(&self.path).map(|_| ()));
        writable.map_err(|source| self.unwritable(source))
    }

    /// All files with entries, the oldest first; and what the head says was written.
    pub fn all(&self) -> Result<(Vec<PathBuf>, Option<Head>), AuditError> {
        let mut older = self.older().map_err(|source| self.unreadable(source))?;
        older.sort_by_key(|(seq, _)| *seq);
        let mut files: Vec<PathBuf> = older.into_iter().map(|(_, path)| path).collect();
        if self.path.exists() {
            files.push(self.path.clone());
        }
        Ok((files, read_head(&self.head_path())))
    }

    /// Why a file cannot be read.
    pub fn unreadable(&self, source: io::Error) -> AuditError {
        AuditError::Read {
            path: self.path.clone(),
            source,
        }
    }

    fn unwritable(&self, source: io::Error) -> AuditError {
        AuditError::Write {
            path: self.path.clone(),
            source,
        }
    }

    fn head_path(&self) -> PathBuf {
        beside(&self.path, "head")
    }

    /// Holds back all other processes until it is dropped, or this process ends.
    fn lock(&self) -> io::Result<File> {
        let head = ours(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false),
        )
        .open(self.head_path())?;
        head.lock()?;
        Ok(head)
    }

    fn append_locked(&self, entry: &Entry) -> io::Result<(Head, String)> {
        let mut lock = self.lock()?;
        let mut file = open_to_append(&self.path)?;
        let found = tail(&mut file)?;
        let written = read_head_of(&mut lock);
        let mut head = match (found.head, written) {
            // The file was put aside, or its end was cut off: the chain goes on where it was, and a gap shows.
            (Some(found), Some(written)) if written.seq > found.seq => written,
            (Some(found), _) => found,
            (None, written) => written.unwrap_or_else(Head::none),
        };
        if found.n_torn > 0 {
            head = write(&mut file, &mended(entry, found.n_torn), &head, b"\n")?.0;
        }
        let end: &[u8] = if found.lacks_end { b"\n" } else { b"" };
        if file.metadata()?.len() >= self.rotate_at && found.n_torn == 0 && !found.lacks_end {
            fs::rename(&self.path, beside(&self.path, &format!("{:012}", head.seq)))?;
            file = open_to_append(&self.path)?;
        }
        let (head, line) = write(&mut file, entry, &head, end)?;
        write_head(&mut lock, &head)?;
        Ok((head, line))
    }

    /// Files beside the newest that begin with an entry, by its number.
    fn older(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let folder = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let mut found = Vec::new();
        let files = match fs::read_dir(folder.unwrap_or(Path::new("."))) {
            // Where no log can be there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            files => files?,
        };
        for file in files {
            let path = file?.path();
            let is_beside = path
                .file_name()
                .and_then(|other| other.to_str())
                .and_then(|other| other.strip_prefix(&*name))
                .is_some_and(is_put_aside);
            if is_beside && let Some(seq) = first_seq(&path) {
                found.push((seq, path));
            }
        }
        Ok(found)
    }
}

/// What is put aside has a number or a day behind its name, as ours and those of `logrotate` have; a copy has something else.
fn is_put_aside(rest: &str) -> bool {
    let number = rest.strip_prefix(['.', '-']);
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|sign| sign.is_ascii_digit())
    })
}

/// Says that the line before broke off.
fn mended(entry: &Entry, n_torn: u64) -> Entry {
    Entry {
        at: entry.at,
        phase: Phase::Mended,
        of: None,
        actor: entry.actor.clone(),
        os_user: entry.os_user.clone(),
        organization: None,
        action: "audit.mend".to_owned(),
        target: "audit".to_owned(),
        arguments: std::collections::BTreeMap::new(),
        elapsed_ms: None,
        success: None,
        error: None,
        request_id: None,
        torn_bytes: Some(n_torn),
    }
}

/// Writes one line, after what ends the line before; where that fails, nothing of it stays.
fn write(file: &mut File, entry: &Entry, before: &Head, end: &[u8]) -> io::Result<(Head, String)> {
    let link = Link {
        seq: before.seq + 1,
        entry: entry.clone(),
        prev: before.hash.clone(),
    };
    let (line, hash) = link.line();
    let n_before = file.metadata()?.len();
    let whole = [end, line.as_bytes(), b"\n"].concat();
    let written = file.write_all(&whole).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // What cannot be undone is mended by the next writer.
        let _ = file.set_len(n_before);
        return Err(error);
    }
    let head = Head {
        seq: link.seq,
        hash,
    };
    Ok((head, line))
}

fn open_to_append(path: &Path) -> io::Result<File> {
    ours(OpenOptions::new().read(true).append(true).create(true)).open(path)
}

/// For our own eyes alone.
fn ours(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// `audit.jsonl` → `audit.jsonl.head`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Reads the end of a file, and no more.
fn tail(file: &mut File) -> io::Result<Tail> {
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
    let newest = |lines: &[u8]| {
        let lines = lines.split(|byte| *byte == b'\n').rev();
        lines.filter_map(head_of).next()
    };
    // Only the end of its line is missing: the entry is whole.
    if let Some(head) = head_of(torn) {
        return Ok(Tail {
            head: Some(head),
            n_torn: 0,
            lacks_end: true,
        });
    }
    Ok(Tail {
        head: newest(whole),
        n_torn: torn.len().try_into().unwrap_or(u64::MAX),
        lacks_end: false,
    })
}

fn head_of(line: &[u8]) -> Option<Head> {
    let read = entry::read(std::str::from_utf8(line).ok()?)?;
    Some(Head {
        seq: read.link.seq,
        hash: read.hash,
    })
}

/// The number of the first entry of a file; `None` where it begins with none.
fn first_seq(path: &Path) -> Option<u64> {
    let mut start = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_LINE)
        .read_to_end(&mut start)
        .ok()?;
    let line = start.split(|byte| *byte == b'\n').next()?;
    head_of(line).map(|head| head.seq)
}

fn read_head(path: &Path) -> Option<Head> {
    read_head_of(&mut File::open(path).ok()?)
}

/// What is no head is none: the log itself tells the newest entry.
fn read_head_of(file: &mut File) -> Option<Head> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(1024).read_to_string(&mut text).ok()?;
    let (seq, hash) = text.trim_end().split_once(' ')?;
    let is_hash =
        hash.len() == entry::NO_HASH.len() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Head {
        seq: seq.parse().ok()?,
        hash: is_hash.then(|| hash.to_owned())?,
    })
}

/// One write of always the same length, in place.
fn write_head(file: &mut File, head: &Head) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{:020} {}\n", head.seq, head.hash).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::audit::entry::tests::entry;
    use crate::audit::read::{Report, verify};

    struct Log {
        folder: tempfile::TempDir,
        files: Files,
    }

    fn log(rotate_at: u64) -> Log {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().join("audit.jsonl"), rotate_at);
        Log { folder, files }
    }

    impl Log {
        fn add(&self, n: u64) {
            for place in 0..n {
                self.files.append(&entry(&format!("key {place}"))).unwrap();
            }
        }

        fn text(&self) -> String {
            fs::read_to_string(self.files.path()).unwrap()
        }

        fn report(&self) -> Report {
            verify(&self.files, None).unwrap()
        }
    }

    #[test]
    fn a_kill_at_any_byte_of_a_line_is_mended_and_told() {
        let log = log(u64::MAX);
        log.add(3);
        let (text, head) = (log.text(), fs::read(log.files.head_path()).unwrap());
        let n_before = text.trim_end().rfind('\n').unwrap() + 1;
        for n_bytes in n_before..=text.len() {
            fs::write(log.files.path(), &text[..n_bytes]).unwrap();
            // The head is written last: a kill leaves that of the entry before.
            let older = format!(
                "{:020} {}\n",
                2,
                entry::read(text.lines().nth(1).unwrap()).unwrap().hash
            );
            fs::write(log.files.head_path(), older).unwrap();
            log.add(1);
            let report = log.report();
            assert_eq!(report.broken, None, "at {n_bytes}");
            let is_torn = n_bytes > n_before && n_bytes + 1 < text.len();
            assert_eq!(report.walk.n_torn, u64::from(is_torn), "at {n_bytes}");
        }
        drop(head);
    }

    #[test]
    fn an_end_that_was_cut_off_is_seen_before_and_after_the_next_entry() {
        let log = log(u64::MAX);
        log.add(5);
        let text = log.text();
        let three: String = text
            .lines()
            .take(3)
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(log.files.path(), three).unwrap();
        let told = log.report().broken.unwrap().to_string();
        assert!(
            told.ends_with(
                "the log ends with entry 3, though entry 5 was written: the end was cut off"
            ),
            "{told}"
        );
        log.add(1);
        let told = log.report().broken.unwrap().to_string();
        assert!(told.contains("entry 6 does not follow entry 3"), "{told}");
    }

    #[test]
    fn files_are_put_aside_and_the_chain_goes_on() {
        let log = log(2000);
        log.add(40);
        let report = log.report();
        assert_eq!((report.broken, report.walk.n_entries), (None, 40));
        assert!(report.n_files > 3, "{}", report.n_files);
        for file in fs::read_dir(log.folder.path()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_somebody_else_puts_aside_is_followed() {
        let log = log(u64::MAX);
        log.add(3);
        fs::copy(log.files.path(), beside(log.files.path(), "bak")).unwrap();
        fs::rename(log.files.path(), beside(log.files.path(), "1")).unwrap();
        assert_eq!(log.files.newest().unwrap().unwrap().seq, 3);
        log.add(2);
        let report = log.report();
        assert_eq!(
            (report.broken, report.walk.n_entries, report.n_files),
            (None, 5, 2)
        );
        fs::remove_file(beside(log.files.path(), "1")).unwrap();
        let report = log.report();
        assert_eq!(report.broken, None);
        assert_eq!(report.walk.first.map(|(seq, _)| seq), Some(4));
    }

    #[test]
    fn a_head_that_is_rubbish_is_made_anew() {
        let log = log(u64::MAX);
        log.add(2);
        fs::write(log.files.head_path(), "rubbish").unwrap();
        log.add(1);
        assert_eq!(
            (
                log.report().broken,
                log.files.newest().unwrap().unwrap().seq
            ),
            (None, 3)
        );
    }

    #[test]
    fn a_chain_that_was_rebuilt_is_known_by_an_anchor_alone() {
        let (first, second) = (log(u64::MAX), log(u64::MAX));
        first.add(3);
        let anchor = first.files.newest().unwrap().unwrap().hash;
        second.files.append(&entry("another")).unwrap();
        second.add(2);
        assert!(verify(&first.files, Some(&anchor)).unwrap().walk.has_anchor);
        let rebuilt = verify(&second.files, Some(&anchor)).unwrap();
        assert_eq!((rebuilt.broken, rebuilt.walk.has_anchor), (None, false));
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let log = log(u64::MAX);
        let nowhere = Files::new(log.folder.path().join("no/audit.jsonl"), u64::MAX);
        let error = nowhere.append(&entry("a")).unwrap_err().to_string();
        assert!(
            error.starts_with("the audit log `") && error.contains("No such file"),
            "{error}"
        );
    }
}
