//! Command line in, exit code out.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use spendwatch::cli::{self, Arguments};
use spendwatch::process;
use tikv_jemallocator::Jemalloc;

/// The system's keeps freed memory in one pool for each thread: after the history was read that was twice of what is in use.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What hangs at the end (a write to a pipe that nobody reads) is waited for so long, and then left behind.
const LAST_WAIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // Before any secret is read. What goes on after a failure is no less safe than without this.
    if let Err(error) = process::forbid_core_dumps() {
        eprintln!("warning: a core dump of this process could hold secrets: {error}");
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where not even that can be written there is nobody to tell.
            let _ = error.print();
            let words: Vec<String> = std::env::args_os()
                .skip(1)
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            return if error.use_stderr() {
                cli::wrong_usage(&words)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let environment = std::env::vars_os().filter_map(ours).collect();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let exit = runtime.block_on(cli::run(arguments, &environment));
            runtime.shutdown_timeout(LAST_WAIT);
            exit
        }
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A variable as text. One that is not Unicode is none of ours, unless it bears our name: then it is told as wrong, not
/// passed over.
fn ours((name, value): (OsString, OsString)) -> Option<(String, String)> {
    let name = name.into_string().ok()?;
    match value.into_string() {
        Ok(value) => Some((name, value)),
        Err(value) if name.starts_with("SPENDWATCH_") => {
            Some((name, value.to_string_lossy().into_owned()))
        }
        Err(_) => None,
    }
}
