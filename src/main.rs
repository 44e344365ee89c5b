//! Parses the command line and returns the exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use spendwatch::cli::{self, Arguments};
use spendwatch_base::process;
use tikv_jemallocator::Jemalloc;

/// The system allocator keeps freed memory in one pool per thread, which doubled memory use after the history was read.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How long to wait at exit for blocked work, such as a write to a pipe that nobody reads.
const LAST_WAIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // Before any secret is read. After a failure the program continues, as without this protection.
    if let Err(error) = process::forbid_core_dumps() {
        eprintln!("warning: a core dump of this process could hold secrets: {error}");
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If stderr cannot be written, the error cannot be reported.
            let _ = error.print();
            let arguments: Vec<String> = std::env::args_os()
                .skip(1)
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect();
            return if error.use_stderr() {
                cli::usage_exit_code(&arguments)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let environment = std::env::vars_os().filter_map(unicode_variable).collect();
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

/// Returns a variable as text. Ignores those that are not Unicode, except our own, which are then reported as invalid.
fn unicode_variable((name, value): (OsString, OsString)) -> Option<(String, String)> {
    let name = name.into_string().ok()?;
    match value.into_string() {
        Ok(value) => Some((name, value)),
        Err(value) if name.starts_with("SPENDWATCH_") => {
            Some((name, value.to_string_lossy().into_owned()))
        }
        Err(_) => None,
    }
}
