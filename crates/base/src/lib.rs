//! Time and randomness (their only source), secrets, the HTTP client, templates, settings of receivers, private files and
//! child processes. Contains nothing about spend.

pub mod clock;
pub mod outbound;
pub mod private_file;
pub mod process;
pub mod secret;
pub mod subprocess;
pub mod template;

pub mod receiver;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, even if a thread panicked while it held the lock.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
