//! The files of the log: the newest one, rotated ones, and the head, which contains number and hash of the newest entry and
//! is the lock between processes.
//!
//! An entry is durable before the head is written. A kill between the two leaves the head one entry behind, which the next
//! writer repairs. A head ahead of the log shows that entries are missing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tracing::warn;

use crate::chain::HEAD_LOST;
use crate::entry::{AuditEntry, EntryPhase, Link};
use crate::head::{self, ChainHead, HeadFile};
use crate::tail::{self, Tail};
use spendwatch_base::private_file;

/// Errors of the audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The operation to be logged is not executed.
    #[error("cannot write the audit log `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the audit log `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Location of the log's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFiles {
    path: PathBuf,
    rotate_at: u64,
}

/// The log at one moment.
#[derive(Debug)]
pub struct LogSnapshot {
    /// All files with entries, oldest first.
    pub files: Vec<OpenedFile>,
    pub head: HeadFile,
}

/// An open file of the log.
#[derive(Debug)]
pub struct OpenedFile {
    pub path: PathBuf,
    /// Length when it was opened; later entries are not read.
    pub n_bytes: u64,
    /// Number in the name that spendwatch gave it on rotation.
    pub named: Option<u64>,
    file: File,
}

impl OpenedFile {
    /// Returns a reader of the entries that existed when it was opened.
    pub fn reader(self) -> impl Read {
        self.file.take(self.n_bytes)
    }
}

impl AuditFiles {
    /// Names the files without opening them. `rotate_at` is in bytes.
    pub fn new(path: PathBuf, rotate_at: u64) -> AuditFiles {
        AuditFiles { path, rotate_at }
    }

    /// Returns the path of the newest file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an entry durably, and returns its head and line.
    pub fn append(&self, entry: &AuditEntry) -> Result<(ChainHead, String), AuditError> {
        self.append_locked(entry)
            .map_err(|source| self.unwritable(source))
    }

    /// Returns the newest entry according to head and log, if there is one.
    pub fn newest(&self) -> Result<Option<ChainHead>, AuditError> {
        let newest = self.find_newest();
        let newest = newest.map_err(|source| self.unreadable(source))?;
        Ok(newest.filter(|head| head.seq > 0))
    }

    fn find_newest(&self) -> io::Result<Option<ChainHead>> {
        let tail = match private_file::open_if_exists(&self.path)? {
            Some(mut file) => tail::read(&mut file)?.head(),
            None => None,
        };
        let head = match private_file::open_if_exists(&self.head_path())? {
            Some(mut file) => head::read(&mut file)?,
            None => HeadFile::Missing,
        };
        Ok(match head {
            HeadFile::Names(head) if tail.as_ref().is_none_or(|tail| head.seq > tail.seq) => {
                Some(head)
            }
            _ => tail,
        })
    }

    /// Checks whether an entry could be written, without creating a file.
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

    /// Opens all files with entries. Blocks writers meanwhile, so that files and head are consistent.
    pub fn snapshot(&self) -> Result<LogSnapshot, AuditError> {
        self.open_all().map_err(|source| self.unreadable(source))
    }

    fn open_all(&self) -> io::Result<LogSnapshot> {
        let mut lock = private_file::open_if_exists(&self.head_path())?;
        if let Some(lock) = &lock {
            // Without locks, verification is repeated on a finding.
            let _ = lock.lock_shared();
        }
        let mut older = self.older()?;
        older.sort();
        let mut files = Vec::new();
        for (_, path) in older {
            let file = private_file::open_to_read(&path)?;
            files.push(open_at_length(path, file)?);
        }
        if let Some(file) = private_file::open_if_exists(&self.path)? {
            files.push(OpenedFile {
                named: None,
                ..open_at_length(self.path.clone(), file)?
            });
        }
        let head = match &mut lock {
            Some(lock) => head::read(lock)?,
            None => HeadFile::Missing,
        };
        Ok(LogSnapshot { files, head })
    }

    /// Returns rotated files, which have the name of the newest one and a number.
    pub fn older_paths(&self) -> Vec<PathBuf> {
        let older = self.older().unwrap_or_default();
        older.into_iter().map(|(_, path)| path).collect()
    }

    /// Returns the error for a file that cannot be read.
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

    /// Returns the path of the head.
    pub fn head_path(&self) -> PathBuf {
        beside(&self.path, "head")
    }

    fn append_locked(&self, entry: &AuditEntry) -> io::Result<(ChainHead, String)> {
        let (mut lock, is_new) = private_file::open(&self.head_path())?;
        // Excludes other processes until the file is dropped or this process ends.
        lock.lock()?;
        let mut file = private_file::open_to_append(&self.path)?;
        let found = tail::read(&mut file)?;
        let written = if is_new {
            HeadFile::Missing
        } else {
            head::read(&mut lock)?
        };
        let (mut head, is_lost) = self.newest_of(&found, &written)?;
        let is_damaged = is_lost || found.n_torn > 0;
        let mut end: &[u8] = if found.lacks_end || found.n_torn > 0 {
            b"\n"
        } else {
            b""
        };
        if found.n_torn > 0 {
            head = write(&mut file, &repair_entry(entry, found.n_torn), &head, end)?.0;
            end = b"";
        }
        if is_lost {
            warn!(
                "the head of the audit log was missing or unreadable; continuing after entry {}",
                head.seq
            );
            head = write(&mut file, &head_lost_entry(entry), &head, end)?.0;
            end = b"";
        }
        let is_large = file.metadata()?.len() >= self.rotate_at;
        if is_large && !is_damaged && !found.lacks_end && self.rotate(&head)? {
            file = private_file::open_to_append(&self.path)?;
        }
        let (head, line) = write(&mut file, entry, &head, end)?;
        head::write(&mut lock, &head)?;
        if is_new {
            private_file::sync_folder_of(&self.path)?;
        }
        Ok((head, line))
    }

    /// Returns the entry that the next one follows, and whether the head is lost.
    fn newest_of(&self, found: &Tail, written: &HeadFile) -> io::Result<(ChainHead, bool)> {
        let newest = found.head();
        match (written, newest) {
            // Entries whose writer was killed before writing the head.
            (HeadFile::Names(written), Some(newest))
                if newest.seq > written.seq && found.follows(written) =>
            {
                Ok((newest, false))
            }
            // The file was rotated, or its end was removed or replaced. Continuing after the head makes that detectable.
            (HeadFile::Names(written), _) => Ok((written.clone(), false)),
            (HeadFile::Empty, Some(newest)) => {
                let n_written = found
                    .lines
                    .iter()
                    .filter(|read| read.link.entry.is_of_the_operation());
                // The first writer was killed before writing the head.
                let is_first = n_written.count() <= 1 && found.lines[0].link.seq == 1;
                Ok((newest, !is_first))
            }
            (HeadFile::Missing | HeadFile::Unreadable, Some(newest)) => Ok((newest, true)),
            (HeadFile::Empty | HeadFile::Missing | HeadFile::Unreadable, None) => {
                let older = self.older()?.into_iter().max();
                let newest = match older {
                    Some((_, path)) => tail::read(&mut private_file::open_to_read(&path)?)?.head(),
                    None => None,
                };
                let is_lost = newest.is_some() || *written == HeadFile::Unreadable;
                Ok((newest.unwrap_or_else(ChainHead::default), is_lost))
            }
        }
    }

    /// Renames the file after its last entry, unless that would replace another file. Returns whether it was renamed.
    fn rotate(&self, head: &ChainHead) -> io::Result<bool> {
        let to = beside(&self.path, &format!("{:012}", head.seq));
        match rustix::fs::renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            // Not supported on every file system.
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

    /// Returns rotated files by the number of their first entry.
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
                .is_some_and(is_rotated_name);
            if is_beside && let Some(seq) = tail::first_seq(&path) {
                found.push((seq, path));
            }
        }
        Ok(found)
    }
}

/// Returns whether a suffix is a number or a date, as spendwatch and `logrotate` append them, unlike that of a copy.
fn is_rotated_name(rest: &str) -> bool {
    let number = rest.strip_prefix(['.', '-']);
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|sign| sign.is_ascii_digit())
    })
}

/// Creates the entry that records a truncated line.
fn repair_entry(entry: &AuditEntry, n_torn: u64) -> AuditEntry {
    AuditEntry {
        phase: EntryPhase::Repaired,
        torn_bytes: Some(n_torn),
        ..log_entry(entry, "audit.mend")
    }
}

/// Creates the entry that records a missing or unreadable head.
fn head_lost_entry(entry: &AuditEntry) -> AuditEntry {
    AuditEntry {
        success: Some(false),
        error: Some("the head was missing or unreadable".to_owned()),
        ..log_entry(entry, HEAD_LOST)
    }
}

/// Creates an entry about the log itself, with the actor of the entry to be written.
fn log_entry(entry: &AuditEntry, action: &str) -> AuditEntry {
    AuditEntry {
        at: entry.at,
        actor: entry.actor.clone(),
        os_user: entry.os_user.clone(),
        action: action.to_owned(),
        target: "audit".to_owned(),
        ..AuditEntry::default()
    }
}

/// Writes `end`, which terminates the previous line, and a line. If that fails, the file is truncated again.
fn write(
    file: &mut File,
    entry: &AuditEntry,
    before: &ChainHead,
    end: &[u8],
) -> io::Result<(ChainHead, String)> {
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
        // If this fails too, the next writer repairs it.
        let _ = file.set_len(n_before);
        return Err(error);
    }
    let head = ChainHead {
        seq: link.seq,
        hash,
    };
    Ok((head, line))
}

fn open_at_length(path: PathBuf, file: File) -> io::Result<OpenedFile> {
    Ok(OpenedFile {
        n_bytes: file.metadata()?.len(),
        named: number_in_name(&path),
        path,
        file,
    })
}

/// Parses the number of the last entry from a name given by spendwatch. Longer numbers are timestamps of other programs.
fn number_in_name(path: &Path) -> Option<u64> {
    let number = path.extension()?.to_str()?;
    let number = number.parse().ok().filter(|_| number.len() == 12)?;
    (number < 100_000_000_000).then_some(number)
}

/// For example `audit.jsonl` → `audit.jsonl.head`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::entry::parse_line;
    use crate::entry::tests::entry;
    use crate::read::{ChainReport, verify};

    struct Log {
        folder: tempfile::TempDir,
        files: AuditFiles,
    }

    fn log(rotate_at: u64) -> Log {
        let folder = tempfile::tempdir().unwrap();
        let files = AuditFiles::new(folder.path().join("audit.jsonl"), rotate_at);
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

        fn report(&self) -> ChainReport {
            self.report_with(None)
        }

        fn report_with(&self, anchor: Option<&str>) -> ChainReport {
            verify(&self.files, anchor).unwrap()
        }
    }

    #[test]
    fn a_kill_at_any_byte_of_a_line_is_repaired_and_recorded() {
        let log = log(u64::MAX);
        log.add(3);
        let (text, head) = (log.text(), fs::read(log.files.head_path()).unwrap());
        let n_before = text.trim_end().rfind('\n').unwrap() + 1;
        for n_bytes in n_before..=text.len() {
            fs::write(log.files.path(), &text[..n_bytes]).unwrap();
            // The head is written last, so a kill leaves the previous one.
            let older = format!(
                "{:020} {}\n",
                2,
                parse_line(text.lines().nth(1).unwrap()).unwrap().hash
            );
            fs::write(log.files.head_path(), older).unwrap();
            // Before and after the next writer records the truncated line.
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
    fn a_removed_end_is_detected_before_and_after_the_next_entry() {
        let log = log(u64::MAX);
        log.add(5);
        let text = log.text();
        let three: String = text
            .lines()
            .take(3)
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(log.files.path(), three).unwrap();
        let finding = log.report().broken.unwrap().to_string();
        assert!(
            finding.ends_with(
                "the log ends with entry 3, but entry 5 was written: the end was removed"
            ),
            "{finding}"
        );
        log.add(1);
        let finding = log.report().broken.unwrap().to_string();
        assert!(
            finding.contains("entry 6 does not follow entry 3"),
            "{finding}"
        );
    }

    #[test]
    fn the_chain_continues_after_rotation() {
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
    fn files_rotated_by_other_programs_are_read() {
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
        let newest = log.report_with(None).walk.newest;
        let last_put_aside = parse_line(log.text().lines().next().unwrap()).unwrap();
        fs::remove_file(beside(log.files.path(), "1")).unwrap();
        let finding = log.report().broken.unwrap().to_string();
        assert!(finding.contains("entries 1 to 3 are missing"), "{finding}");
        let report = log.report_with(Some(&last_put_aside.link.prev));
        assert_eq!((report.broken, report.walk.has_anchor), (None, true));
        assert_eq!(report.walk.newest, newest);
    }

    #[test]
    fn missing_and_misplaced_files_are_findings() {
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
    fn rotation_does_not_replace_files() {
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
    fn replacing_the_last_entry_is_detected_by_the_head() {
        let log = log(u64::MAX);
        log.add(3);
        let text = log.text();
        let mut link = parse_line(text.lines().last().unwrap()).unwrap().link;
        link.entry.actor = "somebody else".to_owned();
        let start: String = text
            .lines()
            .take(2)
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(log.files.path(), format!("{start}{}\n", link.line().0)).unwrap();
        let finding = log.report().broken.unwrap().to_string();
        assert!(
            finding.contains("line 3: entry 3 was replaced"),
            "{finding}"
        );
        // It remains detectable after the head is written again.
        log.add(2);
        let finding = log.report().broken.unwrap().to_string();
        assert!(
            finding.contains("line 4: entry 4 does not follow the previous entry"),
            "{finding}"
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
    fn a_lost_head_is_recreated_and_recorded() {
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
            // The log records it.
            let report = log.report();
            assert_eq!(report.walk.n_entries, before.walk.n_entries + 2);
            assert_eq!(report.walk.n_findings, before.walk.n_findings);
            let finding = report.walk.findings.last().unwrap().to_string();
            assert!(
                finding.contains("the head was missing or unreadable before entry"),
                "{finding}"
            );
        }
    }

    #[test]
    fn a_kill_before_the_first_head_is_no_finding() {
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
    fn checking_creates_no_file() {
        let log = log(u64::MAX);
        log.files.check().unwrap();
        assert_eq!(fs::read_dir(log.folder.path()).unwrap().count(), 0);
        let nowhere = AuditFiles::new(log.folder.path().join("no/audit.jsonl"), u64::MAX);
        nowhere.check().unwrap_err();
    }

    #[test]
    fn a_rebuilt_chain_is_detected_only_by_an_anchor() {
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
    fn write_errors_are_reported() {
        let log = log(u64::MAX);
        let nowhere = AuditFiles::new(log.folder.path().join("no/audit.jsonl"), u64::MAX);
        let error = nowhere.append(&entry("a")).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write the audit log `") && error.contains("No such file"),
            "{error}"
        );
    }
}
