//! The files of the log: the newest, older ones that were put aside, and the head beside them, which holds number and hash of
//! the newest entry and is the lock between processes.
//!
//! An entry is on the disk before the head is written: a kill between the two leaves a head that is one entry behind, which the
//! next writer repairs. A head that is newer says that entries are missing.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tracing::warn;

use crate::audit::chain::{HEAD_LOST, Head, HeadFile};
use crate::audit::entry::{self, Entry, Link, Phase, ReadLine};
use crate::private_file;

/// No line is longer, in bytes: texts in it are cut.
const MAX_LINE: u64 = 64 * 1024;

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be written: what it was to say is not done.
    #[error("the audit log `{}` cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the audit log `{}` cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    path: PathBuf,
    rotate_at: u64,
}

/// What the end of a file is like.
#[derive(Default)]
struct Tail {
    /// The newest whole entries in it, in their order.
    lines: Vec<ReadLine>,
    /// What follows them and is no line: a process was killed in the middle.
    n_torn: u64,
    /// Whether only the end of the last line is missing.
    lacks_end: bool,
}

impl Tail {
    fn head(&self) -> Option<Head> {
        self.lines.last().map(|read| Head {
            seq: read.link.seq,
            hash: read.hash.clone(),
        })
    }

    /// Whether the entries after this one follow it, as far as they can be seen.
    fn follows(&self, head: &Head) -> bool {
        let mut before = head.clone();
        let after = self.lines.iter().filter(|read| read.link.seq > head.seq);
        for (place, read) in after.enumerate() {
            let is_next = read.link.seq == before.seq + 1 && read.link.prev == before.hash;
            // The first that is seen may be a later one.
            let is_out_of_sight = place == 0 && read.link.seq > before.seq + 1;
            if !read.fits || !(is_next || is_out_of_sight) {
                return false;
            }
            before = Head {
                seq: read.link.seq,
                hash: read.hash.clone(),
            };
        }
        true
    }
}

/// The log as it is at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// All files with entries, the oldest first.
    pub files: Vec<OpenedFile>,
    pub head: HeadFile,
}

/// A file of the log.
#[derive(Debug)]
pub struct OpenedFile {
    pub path: PathBuf,
    /// Its length at that moment; later entries are not read.
    pub n_bytes: u64,
    /// The number in the name that spendwatch gave it when it was put aside.
    pub named: Option<u64>,
    file: File,
}

impl OpenedFile {
    /// Its content.
    pub fn reader(self) -> impl Read {
        self.file.take(self.n_bytes)
    }
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
        let found = self
            .tail_of_newest()
            .and_then(|tail| Ok((tail.head(), self.read_head()?)));
        let newest = match found.map_err(|source| self.unreadable(source))? {
            (Some(tail), HeadFile::Names(head)) if head.seq > tail.seq => Some(head),
            (None, HeadFile::Names(head)) => Some(head),
            (tail, _) => tail,
        };
        Ok(newest.filter(|head| head.seq > 0))
    }

    /// Looks whether an entry could be written; creates nothing.
    pub fn check(&self) -> Result<(), AuditError> {
        let check = |path: &Path| match path.symlink_metadata() {
            Ok(found) => {
                private_file::check(path, &found)?;
                private_file::check_writable(path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_file::check_writable(private_file::folder_of(path))
            }
            Err(error) => Err(error),
        };
        check(&self.head_path())
            .and_then(|()| check(&self.path))
            .map_err(|source| self.unwritable(source))
    }

    /// Opens all files with entries. Writers are held back while it is done, so that files and head belong together.
    pub fn snapshot(&self) -> Result<Snapshot, AuditError> {
        self.open_all().map_err(|source| self.unreadable(source))
    }

    fn open_all(&self) -> io::Result<Snapshot> {
        let lock = match private_file::open_to_read(&self.head_path()) {
            Ok(lock) => {
                // Where there are no locks, whoever reads looks again.
                let _ = lock.lock_shared();
                Some(lock)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut older = self.older()?;
        older.sort();
        let mut files = Vec::new();
        for (_, path) in older {
            let file = private_file::open_to_read(&path)?;
            files.push(opened(path, file)?);
        }
        match private_file::open_to_read(&self.path) {
            Ok(file) => files.push(OpenedFile {
                named: None,
                ..opened(self.path.clone(), file)?
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let head = match lock {
            Some(mut lock) => read_head_of(&mut lock)?,
            None => HeadFile::Missing,
        };
        Ok(Snapshot { files, head })
    }

    /// Files beside the newest that have its name and a number.
    pub fn older_paths(&self) -> Vec<PathBuf> {
        let older = self.older().unwrap_or_default();
        older.into_iter().map(|(_, path)| path).collect()
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

    /// The file that names the newest entry.
    pub fn head_path(&self) -> PathBuf {
        beside(&self.path, "head")
    }

    /// Holds back all other processes until it is dropped, or this process ends. Returns whether the head was created.
    fn lock(&self) -> io::Result<(File, bool)> {
        let (head, is_new) = private_file::open(&self.head_path())?;
        head.lock()?;
        Ok((head, is_new))
    }

    fn append_locked(&self, entry: &Entry) -> io::Result<(Head, String)> {
        let (mut lock, is_new) = self.lock()?;
        let mut file = private_file::open_to_append(&self.path)?;
        let found = tail(&mut file)?;
        let written = if is_new {
            HeadFile::Missing
        } else {
            read_head_of(&mut lock)?
        };
        let (mut head, is_lost) = self.newest_of(&found, &written)?;
        let is_damaged = is_lost || found.n_torn > 0;
        let mut end: &[u8] = if found.lacks_end || found.n_torn > 0 {
            b"\n"
        } else {
            b""
        };
        if found.n_torn > 0 {
            head = write(&mut file, &mended(entry, found.n_torn), &head, end)?.0;
            end = b"";
        }
        if is_lost {
            warn!(
                "the head of the audit log was missing or unreadable; continuing after entry {}",
                head.seq
            );
            head = write(&mut file, &head_lost(entry), &head, end)?.0;
            end = b"";
        }
        let is_large = file.metadata()?.len() >= self.rotate_at;
        if is_large && !is_damaged && !found.lacks_end && self.put_aside(&head)? {
            file = private_file::open_to_append(&self.path)?;
        }
        let (head, line) = write(&mut file, entry, &head, end)?;
        write_head(&mut lock, &head)?;
        if is_new {
            private_file::sync_folder_of(&self.path)?;
        }
        Ok((head, line))
    }

    /// The entry that the next one follows, and whether the head that should name it is lost.
    fn newest_of(&self, found: &Tail, written: &HeadFile) -> io::Result<(Head, bool)> {
        let newest = found.head();
        match (written, newest) {
            // Entries whose writer was killed before it wrote the head.
            (HeadFile::Names(written), Some(newest))
                if newest.seq > written.seq && found.follows(written) =>
            {
                Ok((newest, false))
            }
            // The file was put aside, or its end was cut off or exchanged: the chain goes on where it was, and that shows.
            (HeadFile::Names(written), _) => Ok((written.clone(), false)),
            (HeadFile::Empty, Some(newest)) => {
                let n_written = found
                    .lines
                    .iter()
                    .filter(|read| read.link.entry.is_of_the_operation());
                // The first writer was killed before it wrote the head.
                let is_first = n_written.count() <= 1 && found.lines[0].link.seq == 1;
                Ok((newest, !is_first))
            }
            (HeadFile::Missing | HeadFile::Unreadable, Some(newest)) => Ok((newest, true)),
            (HeadFile::Empty | HeadFile::Missing | HeadFile::Unreadable, None) => {
                let older = self.older()?.into_iter().max();
                let newest = match older {
                    Some((_, path)) => tail(&mut private_file::open_to_read(&path)?)?.head(),
                    None => None,
                };
                let is_lost = newest.is_some() || *written == HeadFile::Unreadable;
                Ok((newest.unwrap_or_else(Head::none), is_lost))
            }
        }
    }

    /// Gives the file the number of its last entry for a name, and whether that could be done: no other file is replaced.
    fn put_aside(&self, head: &Head) -> io::Result<bool> {
        let to = beside(&self.path, &format!("{:012}", head.seq));
        match rustix::fs::renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            // Not on every file system.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if to.symlink_metadata().is_err() => {
                fs::rename(&self.path, &to)?;
                Ok(true)
            }
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                warn!(
                    "`{}` already exists; the audit log is not rotated",
                    to.display()
                );
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_head(&self) -> io::Result<HeadFile> {
        match private_file::open_to_read(&self.head_path()) {
            Ok(mut head) => read_head_of(&mut head),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HeadFile::Missing),
            Err(error) => Err(error),
        }
    }

    fn tail_of_newest(&self) -> io::Result<Tail> {
        match private_file::open_to_read(&self.path) {
            Ok(mut file) => tail(&mut file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Tail::default()),
            Err(error) => Err(error),
        }
    }

    /// Files beside the newest that begin with an entry, by its number.
    fn older(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let mut found = Vec::new();
        let files = match fs::read_dir(private_file::folder_of(&self.path)) {
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
        phase: Phase::Mended,
        torn_bytes: Some(n_torn),
        ..of_the_log(entry, "audit.mend")
    }
}

/// Says that the head could not be compared with the entries before.
fn head_lost(entry: &Entry) -> Entry {
    Entry {
        success: Some(false),
        error: Some("the head was missing or unreadable".to_owned()),
        ..of_the_log(entry, HEAD_LOST)
    }
}

/// An entry about the log itself, by whoever writes another one.
fn of_the_log(entry: &Entry, action: &str) -> Entry {
    Entry {
        at: entry.at,
        phase: Phase::Done,
        of: None,
        actor: entry.actor.clone(),
        os_user: entry.os_user.clone(),
        organization: None,
        action: action.to_owned(),
        target: "audit".to_owned(),
        arguments: std::collections::BTreeMap::new(),
        elapsed_ms: None,
        success: None,
        error: None,
        request_id: None,
        torn_bytes: None,
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

fn opened(path: PathBuf, file: File) -> io::Result<OpenedFile> {
    Ok(OpenedFile {
        n_bytes: file.metadata()?.len(),
        named: number_in_name(&path),
        path,
        file,
    })
}

/// The number of the last entry, in a name that spendwatch gave. Longer ones are times of other programs.
fn number_in_name(path: &Path) -> Option<u64> {
    let number = path.extension()?.to_str()?;
    let number = number.parse().ok().filter(|_| number.len() == 12)?;
    (number < 100_000_000_000).then_some(number)
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
    let read = |line: &[u8]| entry::read(std::str::from_utf8(line).ok()?);
    let mut lines: Vec<ReadLine> = whole
        .split(|byte| *byte == b'\n')
        .filter_map(read)
        .collect();
    // Only the end of its line is missing: the entry is whole.
    let last = read(torn);
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

/// The number of the first entry of a file; `None` where its beginning holds none.
fn first_seq(path: &Path) -> Option<u64> {
    let mut start = Vec::new();
    private_file::open_to_read(path)
        .ok()?
        .take(2 * MAX_LINE)
        .read_to_end(&mut start)
        .ok()?;
    start
        .split(|byte| *byte == b'\n')
        .filter_map(|line| entry::read(std::str::from_utf8(line).ok()?))
        .map(|read| read.link.seq)
        .next()
}

fn read_head_of(file: &mut File) -> io::Result<HeadFile> {
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
            hash.len() == entry::NO_HASH.len() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Head {
            seq: seq.parse().ok()?,
            hash: is_hash.then(|| hash.to_owned())?,
        })
    };
    Ok(head().map_or(HeadFile::Unreadable, HeadFile::Names))
}

/// One write of always the same length, in place: a kill leaves the old head or the new one.
fn write_head(file: &mut File, head: &Head) -> io::Result<()> {
    let text = format!("{:020} {}\n", head.seq, head.hash);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    if file.metadata()?.len() != text.len() as u64 {
        file.set_len(text.len() as u64)?;
    }
    file.sync_data()
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
            self.report_with(None)
        }

        fn report_with(&self, anchor: Option<&str>) -> Report {
            verify(&self.files, anchor).unwrap()
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
            // Before the next writer says that the line broke off, and after.
            let is_whole = n_bytes == text.len() || n_bytes + 1 == text.len();
            let before = log.report();
            assert_eq!(before.broken, None, "at {n_bytes}");
            assert_eq!(before.walk.newest.seq, if is_whole { 3 } else { 2 });
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
        let kept = log.report_with(None).walk.newest;
        let last_put_aside = entry::read(log.text().lines().next().unwrap()).unwrap();
        fs::remove_file(beside(log.files.path(), "1")).unwrap();
        let told = log.report().broken.unwrap().to_string();
        assert!(told.contains("entries 1 to 3 are missing"), "{told}");
        let report = log.report_with(Some(&last_put_aside.link.prev));
        assert_eq!((report.broken, report.walk.has_anchor), (None, true));
        assert_eq!(report.walk.newest, kept);
    }

    #[test]
    fn a_file_that_is_missing_or_has_another_place_is_a_finding() {
        let log = log(2000);
        log.add(40);
        let (older, newest) = {
            let mut files = log.files.snapshot().unwrap().files;
            let newest = files.pop().unwrap();
            (files, newest)
        };
        assert!(older.len() > 3);
        let aside = log.folder.path().join("aside");
        for file in older.iter().chain([&newest]) {
            fs::rename(&file.path, &aside).unwrap();
            let report = log.report();
            assert_eq!(report.walk.n_findings, 1, "{:?}", report.walk.findings);
            fs::rename(&aside, &file.path).unwrap();
            assert_eq!(log.report().broken, None);
        }
        for (one, other) in [(&older[0], &older[1]), (&older[0], &newest)] {
            let exchange = || {
                fs::rename(&one.path, &aside).unwrap();
                fs::rename(&other.path, &one.path).unwrap();
                fs::rename(&aside, &other.path).unwrap();
            };
            exchange();
            assert!(log.report().broken.is_some());
            exchange();
            assert_eq!(log.report().broken, None);
        }
        fs::copy(&older[1].path, beside(log.files.path(), "7")).unwrap();
        assert!(log.report().broken.is_some());
    }

    #[test]
    fn a_file_in_the_way_is_not_replaced_when_the_log_is_rotated() {
        let log = log(2000);
        let in_the_way: Vec<PathBuf> = (1..=40)
            .map(|seq| beside(log.files.path(), &format!("{seq:012}")))
            .collect();
        for path in &in_the_way {
            fs::write(path, "another file").unwrap();
        }
        log.add(20);
        let report = log.report();
        assert_eq!(
            (report.broken, report.walk.n_entries, report.n_files),
            (None, 20, 1)
        );
        for path in &in_the_way {
            assert_eq!(fs::read(path).unwrap(), b"another file");
        }
    }

    #[test]
    fn the_last_entry_cannot_be_exchanged_while_the_head_stays() {
        let log = log(u64::MAX);
        log.add(3);
        let text = log.text();
        let mut link = entry::read(text.lines().last().unwrap()).unwrap().link;
        link.entry.actor = "somebody else".to_owned();
        let start: String = text
            .lines()
            .take(2)
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(log.files.path(), format!("{start}{}\n", link.line().0)).unwrap();
        let told = log.report().broken.unwrap().to_string();
        assert!(
            told.contains("line 3: entry 3 is not the one that was written"),
            "{told}"
        );
        // It shows for ever, not only until the head is written again.
        log.add(2);
        let told = log.report().broken.unwrap().to_string();
        assert!(
            told.contains("line 4: entry 4 does not follow the entry before it"),
            "{told}"
        );
    }

    #[test]
    fn links_are_not_followed_and_modes_are_repaired() {
        let log = log(u64::MAX);
        log.add(1);
        for path in [log.files.path().to_owned(), log.files.head_path()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            log.add(1);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let victim = log.folder.path().join("victim");
            fs::rename(&path, &victim).unwrap();
            std::os::unix::fs::symlink(&victim, &path).unwrap();
            let before = fs::read(&victim).unwrap();
            let error = log.files.append(&entry("a")).unwrap_err().to_string();
            assert!(error.contains("is a symbolic link"), "{error}");
            assert!(verify(&log.files, None).is_err());
            assert_eq!(fs::read(&victim).unwrap(), before);
            fs::rename(&victim, &path).unwrap();
        }
    }

    #[test]
    fn a_head_that_is_lost_is_made_anew_and_that_shows() {
        let log = log(u64::MAX);
        log.add(2);
        for make in [
            |path: &Path| fs::write(path, "rubbish").unwrap(),
            |path: &Path| fs::write(path, "").unwrap(),
            |path: &Path| fs::remove_file(path).unwrap(),
        ] {
            make(&log.files.head_path());
            let before = log.report();
            assert!(before.broken.is_some());
            log.add(1);
            // The log itself says that it was.
            let report = log.report();
            assert_eq!(report.walk.n_entries, before.walk.n_entries + 2);
            assert_eq!(report.walk.n_findings, before.walk.n_findings);
            let told = report.walk.findings.last().unwrap().to_string();
            assert!(
                told.contains("the head was missing or unreadable before entry"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_kill_before_the_first_head_is_written_is_no_finding() {
        let log = log(u64::MAX);
        fs::write(log.files.head_path(), "").unwrap();
        assert_eq!(log.report().broken, None);
        log.add(1);
        fs::write(log.files.head_path(), "").unwrap();
        assert_eq!(log.report().broken, None);
        log.add(1);
        assert_eq!(
            (log.report().broken, log.report().walk.n_entries),
            (None, 2)
        );
    }

    #[test]
    fn looking_whether_an_entry_can_be_written_creates_nothing() {
        let log = log(u64::MAX);
        log.files.check().unwrap();
        assert_eq!(fs::read_dir(log.folder.path()).unwrap().count(), 0);
        let nowhere = Files::new(log.folder.path().join("no/audit.jsonl"), u64::MAX);
        nowhere.check().unwrap_err();
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
