//! Ensures one daemon per store by an operating system lock on a file beside it, which ends with the process.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use spendwatch_base::private_file;

/// Released when dropped.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

#[derive(Debug)]
pub(crate) enum LockAttempt {
    Acquired(StoreLock),
    /// Describes the holder: process, host and start time.
    HeldBy(String),
}

pub(crate) fn lock_path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Tries to lock a store without waiting.
pub(crate) fn try_lock(store: &Path, now: Timestamp) -> io::Result<LockAttempt> {
    let (mut file, _) = private_file::open(&lock_path(store))?;
    match file.try_lock() {
        Ok(()) => {
            let holder = format!(
                "process {} on host {} since {now}",
                std::process::id(),
                host_name()
            );
            file.set_len(0)?;
            file.write_all(holder.as_bytes())?;
            Ok(LockAttempt::Acquired(StoreLock { _file: file }))
        }
        Err(TryLockError::WouldBlock) => Ok(LockAttempt::HeldBy(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the holder's description, which may not be written yet.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(1024).read_to_string(&mut text));
    match read {
        Ok(n_bytes) if n_bytes > 0 => text,
        Ok(_) | Err(_) => "another process".to_owned(),
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
