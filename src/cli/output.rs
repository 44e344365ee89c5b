//! Data for standard output, where a reader that is gone is no fault of ours.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Writes a text, then ends as told. A closed pipe is fine, as for any command before `head`; a full disk is not.
pub fn print(text: &str, exit: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => exit,
    }
}
