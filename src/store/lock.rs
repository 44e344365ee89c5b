//! One daemon per store: a lock of the operating system on a file beside it, which dies with the process.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::private_file;

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What came of trying to take it.
#[derive(Debug)]
pub(super) enum Taken {
    Held(Lock),
    /// Somebody else has it: in words.
    By(String),
}

/// The file beside a store whose lock counts.
pub(super) fn path_of(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Takes the lock or says who holds it; never waits.
pub(super) fn take(store: &Path, now: Timestamp) -> io::Result<Taken> {
    let (mut file, _) = private_file::open(&path_of(store))?;
    match file.try_lock() {
        Ok(()) => {
            let holder = format!(
                "process {} on host {} since {now}",
                std::process::id(),
                host_name()
            );
            file.set_len(0)?;
            file.write_all(holder.as_bytes())?;
            Ok(Taken::Held(Lock { _file: file }))
        }
        Err(TryLockError::WouldBlock) => Ok(Taken::By(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What the holder wrote; it may be about to write it.
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
