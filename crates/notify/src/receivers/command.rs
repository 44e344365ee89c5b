//! Runs a program with the webhook's JSON on standard input; its exit code is the result.
//!
//! The program runs without a shell, with a clean environment and in its own process group. At its timeout, or when the
//! daemon stops, the whole group is killed.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{Either, select};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command as Process};
use tokio::time::timeout;

use crate::envelope::Envelope;
use crate::json::{alerts, digests};
use crate::outcome::{Delivery, SettingsError};
use crate::post;
use crate::wording::digest::DigestEnvelope;
use spendwatch_base::receiver::CommandSettings;

/// Variable with the message id, which is the same on every attempt.
pub const ID_VARIABLE: &str = "SPENDWATCH_MESSAGE_ID";
/// Maximum bytes of standard error that are kept.
const MAX_STDERR_BYTES: usize = 16 * 1024;
/// How long to wait for standard error after the program ended, because its children may keep it open.
const STDERR_TIMEOUT: Duration = Duration::from_secs(1);

// Exit codes of sysexits.h.
const EX_TEMPFAIL: i32 = 75;
const EX_NOPERM: i32 = 77;
const EX_CONFIG: i32 = 78;
// Exit codes of shells and `env` for a program that cannot be run or does not exist.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// A program that receives messages.
#[derive(Debug, Clone)]
pub struct Command {
    program: String,
    settings: CommandSettings,
}

impl Command {
    /// Checks that a program is named. Whether it exists is only known when it runs.
    pub fn new(settings: CommandSettings) -> Result<Command, SettingsError> {
        let program = settings.argv.first().filter(|word| !word.is_empty());
        match program {
            Some(program) => Ok(Command {
                program: program.clone(),
                settings,
            }),
            None => Err(SettingsError::Program),
        }
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        let argv = self.settings.argv.iter().map(String::as_str);
        std::iter::once("command").chain(argv).collect()
    }

    /// Runs the program once for the whole message.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let input = alerts::payload(envelope, envelope.facts).to_string();
        self.run_program(envelope.id, &input).await
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        let input = digests::payload(envelope).to_string();
        self.run_program(envelope.id, &input).await
    }

    async fn run_program(&self, id: &str, input: &str) -> Delivery {
        let mut child = match self.process(id).spawn() {
            Ok(child) => child,
            Err(error) => return start_failed(&error),
        };
        let mut group = ProcessGroup::for_child(&child);
        let mut stderr = Vec::new();
        let run = run(&mut child, &mut group, input.as_bytes(), &mut stderr);
        let ended = timeout(self.settings.timeout, run).await;
        let stderr = post::quote_line(&String::from_utf8_lossy(&stderr));
        match ended {
            Ok(Ok(status)) => classify(status, &stderr),
            Ok(Err(error)) => Delivery::ambiguous(format!("cannot wait for the program: {error}")),
            Err(_) => {
                let seconds = self.settings.timeout.as_secs();
                Delivery::ambiguous(with_stderr(&format!("killed after {seconds} s"), &stderr))
            }
        }
    }

    /// Discards standard output and captures standard error.
    fn process(&self, id: &str) -> Process {
        let mut process = Process::new(&self.program);
        process
            .args(self.settings.argv.iter().skip(1))
            .env_clear()
            .envs(self.settings.environment.iter().cloned())
            .env(ID_VARIABLE, id)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        process
    }
}

/// Kills a program's process group on drop, unless the program has ended: after that its id may be reused.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn for_child(child: &Child) -> ProcessGroup {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        ProcessGroup(number.and_then(Pid::from_raw))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Fails if the group is empty, which is fine.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Writes standard input and reads standard error until the program ends.
async fn run(
    child: &mut Child,
    group: &mut ProcessGroup,
    input: &[u8],
    output: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let end = async {
        let status = child.wait().await;
        group.0 = None;
        status
    };
    let transfer = async {
        tokio::join!(write_stdin(stdin, input), read_stderr(stderr, output));
    };
    match select(pin!(end), pin!(transfer)).await {
        Either::Left((Ok(status), transfer)) if !status.success() => {
            let _ = timeout(STDERR_TIMEOUT, transfer).await;
            Ok(status)
        }
        Either::Left((status, _)) => status,
        Either::Right(((), end)) => end.await,
    }
}

/// Write errors are ignored: a program need not read its input.
async fn write_stdin(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// Reads everything, so that the program never blocks, and keeps the beginning.
async fn read_stderr(stderr: Option<ChildStderr>, output: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else {
        return;
    };
    let mut chunk = vec![0; 4096];
    while let Ok(n_read @ 1..) = stderr.read(&mut chunk).await {
        let capacity = MAX_STDERR_BYTES - output.len();
        output.extend_from_slice(&chunk[..n_read.min(capacity)]);
    }
}

/// Retries if resources are exhausted; a program that cannot be run parks.
fn start_failed(error: &io::Error) -> Delivery {
    let text = format!("cannot run the program: {error}");
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TXTBSY) => {
            Delivery::retry(text)
        }
        _ => Delivery::park(text),
    }
}

fn classify(status: ExitStatus, stderr: &str) -> Delivery {
    let text = with_stderr(&format!("ended with {status}"), stderr);
    match status.code() {
        Some(0) => Delivery::Delivered,
        Some(EX_TEMPFAIL) => Delivery::retry(text),
        Some(EX_NOPERM | EX_CONFIG | NOT_EXECUTABLE | NOT_FOUND) => Delivery::park(text),
        Some(_) => Delivery::drop_message(text),
        // Killed by a signal, perhaps after it had sent the message.
        None => Delivery::ambiguous(text),
    }
}

fn with_stderr(what: &str, stderr: &str) -> String {
    if stderr.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {stderr}")
    }
}
