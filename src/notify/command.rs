//! A program of one's own: it gets the webhook's JSON on its standard input, and its exit code is the answer.
//!
//! It runs without a shell, with a clean environment, and in a process group of its own: when its time is over, or the
//! daemon stops, everything that it started is killed with it.

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

use crate::notify::digest::Letter;
use crate::notify::envelope::Envelope;
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::webhook;
use crate::notify::formatting;

/// The variable that holds the message's id, the same on every attempt.
pub const ID_VARIABLE: &str = "SPENDWATCH_MESSAGE_ID";
/// What a program gets of the daemon's environment, which may hold secrets.
pub const PASSED_ON: [&str; 3] = ["PATH", "HOME", "LANG"];
/// More of what a program says is not quoted.
const MAX_QUOTED: usize = 200;
/// More of what a program says is not kept, in bytes.
const MAX_KEPT: usize = 16 * 1024;
/// How long what a program said is waited for after its end: what it started may hold the line open.
const LAST_WORDS: Duration = Duration::from_secs(1);

// What sysexits.h calls them.
const EX_TEMPFAIL: i32 = 75;
const EX_NOPERM: i32 = 77;
const EX_CONFIG: i32 = 78;
// What shells and `env` say of a program that cannot be run, or is not there.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// What a command notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// After so long it is killed.
    pub timeout: Duration,
    /// Its whole environment, besides the message's id.
    pub environment: Vec<(String, String)>,
}

/// A program.
#[derive(Debug, Clone)]
pub struct Command {
    program: String,
    settings: Settings,
}

impl Command {
    /// Looks whether a program is named. That it is there is seen when it is run.
    pub fn new(settings: Settings) -> Result<Command, SettingsError> {
        let program = settings.words.first().filter(|word| !word.is_empty());
        match program {
            Some(program) => Ok(Command {
                program: program.clone(),
                settings,
            }),
            None => Err(SettingsError::Program),
        }
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        let words = self.settings.words.iter().map(String::as_str);
        std::iter::once("command").chain(formatting).collect()
    }

    /// Runs it once, for the whole message.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let input = webhook::payload(envelope, envelope.facts).to_string();
        self.start(envelope.id, &input).await
    }

    /// Runs it once, for a digest.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        let input = webhook::digest_payload(letter).to_string();
        self.start(letter.id, &input).await
    }

    async fn start(&self, id: &str, input: &str) -> Delivery {
        let mut child = match self.process(id).spawn() {
            Ok(child) => child,
            Err(error) => return not_started(&error),
        };
        let mut group = Group::of(&child);
        let mut said = Vec::new();
        let talk = run(&mut child, &mut group, input.as_bytes(), &mut said);
        match timeout(self.settings.timeout, talk).await {
            Ok(Ok(status)) => judge(status, &quote(&said)),
            Ok(Err(error)) => Delivery::ambiguous(format!("the program is lost: {error}")),
            Err(_) => {
                let seconds = self.settings.timeout.as_secs();
                Delivery::ambiguous(with_words(
                    &format!("not done within {seconds} s, and killed"),
                    &quote(&said),
                ))
            }
        }
    }

    /// What it prints goes nowhere; what it says of errors is read.
    fn process(&self, id: &str) -> Process {
        let mut process = Process::new(&self.program);
        process
            .args(self.settings.words.iter().skip(1))
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

/// Kills a program and all that it started, unless the program came to its own end. Until then its number is taken by
/// no other.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Group(number.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Nobody is left in it: all the better.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Feeds it and listens to it until it ends.
async fn run(
    child: &mut Child,
    group: &mut Group,
    input: &[u8],
    said: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let end = async {
        let status = child.wait().await;
        group.0 = None;
        status
    };
    let talk = async {
        tokio::join!(feed(stdin, input), listen(stderr, said));
    };
    match select(pin!(end), pin!(talk)).await {
        Either::Left((Ok(status), talk)) if !status.success() => {
            let _ = timeout(LAST_WORDS, talk).await;
            Ok(status)
        }
        Either::Left((status, _)) => status,
        Either::Right(((), end)) => end.await,
    }
}

/// A program that reads nothing, or not all, has its reasons.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// Reads to the end, so that the program is never held up, and keeps the beginning.
async fn listen(stderr: Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else {
        return;
    };
    let mut chunk = vec![0; 4096];
    while let Ok(n_read @ 1..) = stderr.read(&mut chunk).await {
        let room = MAX_KEPT - said.len();
        said.extend_from_slice(&chunk[..n_read.min(room)]);
    }
}

/// What the machine is short of comes back; a program that cannot be run does not.
fn not_started(error: &io::Error) -> Delivery {
    let told = format!("the program cannot be run: {error}");
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TXTBSY) => {
            Delivery::retry(told)
        }
        _ => Delivery::park(told),
    }
}

fn judge(status: ExitStatus, said: &str) -> Delivery {
    let told = with_words(&format!("ended with {status}"), said);
    match status.code() {
        Some(0) => Delivery::Delivered,
        Some(EX_TEMPFAIL) => Delivery::retry(told),
        Some(EX_NOPERM | EX_CONFIG | NOT_EXECUTABLE | NOT_FOUND) => Delivery::park(told),
        Some(_) => Delivery::drop_message(told),
        // Killed by a signal, in the midst of whatever it did.
        None => Delivery::ambiguous(told),
    }
}

fn with_words(what: &str, said: &str) -> String {
    if said.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {said}")
    }
}

/// On one line, without control characters, at most 200 characters.
fn quote(said: &[u8]) -> String {
    let line = formatting::line(&String::from_utf8_lossy(said));
    match line.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
