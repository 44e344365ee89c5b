//! What every part of the process stands on: the only source of time and randomness, secrets, the HTTP client, templates,
//! private files and child processes. Knows nothing of spend.

pub mod clock;
pub mod outbound;
pub mod private_file;
pub mod process;
pub mod secret;
pub mod subprocess;
pub mod template;
