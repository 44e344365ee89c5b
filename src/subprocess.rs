//! Rung 2: programs that take or return a secret: with a minimal environment, bounded output, and an end.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{Either, select};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Variables that every program receives; the rest of the environment may hold secrets.
pub const PASSED_ON: [&str; 3] = ["PATH", "HOME", "LANG"];
/// Maximum bytes that are kept of each output.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// How long a program has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// All variables of a program. `Debug` shows their names alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChildEnvironment(BTreeMap<String, String>);

impl fmt::Debug for ChildEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The environment of a program: [`PASSED_ON`] and the variables that the configuration lists, as far as they are set.
pub fn environment(all: &BTreeMap<String, String>, listed: &[String]) -> ChildEnvironment {
    let listed = listed.iter().map(String::as_str);
    let names = PASSED_ON.into_iter().chain(listed);
    let set = names.filter_map(|name| Some((name.to_owned(), all.get(name)?.clone())));
    ChildEnvironment(set.collect())
}

/// Whether a program may print more than [`MAX_OUTPUT`] on its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    Fails,
    /// The rest is read and dropped.
    IsDropped,
}

/// What a program that ended by itself has left.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    /// At most [`MAX_OUTPUT`] bytes.
    pub stdout: Zeroizing<Vec<u8>>,
    /// At most [`MAX_OUTPUT`] bytes.
    pub stderr: Zeroizing<Vec<u8>>,
    pub is_cut: bool,
    /// Whether the program's input was written in full; `None` where it had none.
    pub input: Option<io::Result<()>>,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its process group was ended.
    #[error("did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Its process group was ended.
    #[error("printed more than {} KiB", MAX_OUTPUT / 1024)]
    TooMuch,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A running program, in a process group of its own, which is killed when this is dropped.
#[derive(Debug)]
pub struct Subprocess {
    child: Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
}

impl Subprocess {
    /// Starts a program with exactly this environment. Without `has_input` its standard input is empty.
    pub fn start(
        words: &[String],
        environment: &ChildEnvironment,
        has_input: bool,
    ) -> io::Result<Subprocess> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no program is named",
            ));
        };
        let stdin = if has_input {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&environment.0)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Subprocess {
            group: id.and_then(Pid::from_raw),
            stdin: child.stdin.take(),
            child,
        })
    }

    /// Writes the input, reads both outputs and waits for the end, at most `limit`. Only the program itself is waited for: what it
    /// started may live on and hold its outputs open.
    pub async fn finish(
        mut self,
        input: &[u8],
        excess: Excess,
        limit: Duration,
    ) -> Result<Output, Failure> {
        match timeout(limit, self.talk(input, excess)).await {
            Ok(Ok(output)) => {
                // What it left running, such as an agent, is meant to.
                self.group = None;
                Ok(output)
            }
            Ok(Err(failure)) => {
                self.end().await;
                Err(failure)
            }
            Err(_) => {
                self.end().await;
                Err(Failure::Timeout(limit))
            }
        }
    }

    async fn talk(&mut self, input: &[u8], excess: Excess) -> Result<Output, Failure> {
        let (stdin, mut stdout, mut stderr) = (
            self.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        let (mut out, mut err) = (Kept::new(excess), Kept::new(Excess::IsDropped));
        let has_input = stdin.is_some();
        let mut fed = None;
        let status = {
            let talk = async {
                futures_util::try_join!(
                    async {
                        fed = Some(feed(stdin, input).await);
                        Ok(())
                    },
                    read(stdout.as_mut(), &mut out),
                    read(stderr.as_mut(), &mut err),
                )
            };
            match select(pin!(self.child.wait()), pin!(talk)).await {
                Either::Left((status, _)) => status?,
                Either::Right((Ok(_), wait)) => wait.await?,
                Either::Right((Err(failure), _)) => return Err(failure),
            }
        };
        // Whatever it printed is in the pipes; whoever else holds them open is not waited for.
        drain(stdout.as_ref(), &mut out)?;
        drain(stderr.as_ref(), &mut err)?;
        let unfinished = || Err(io::ErrorKind::BrokenPipe.into());
        Ok(Output {
            status,
            is_cut: out.is_cut || err.is_cut,
            stdout: out.bytes,
            stderr: err.bytes,
            input: has_input.then(|| fed.unwrap_or_else(unfinished)),
        })
    }

    /// Ends the whole process group: politely, then for certain.
    async fn end(&mut self) {
        self.signal(Signal::TERM);
        // Whether the program obeys or not, others of its group may not have.
        let _ = timeout(GRACE, self.child.wait()).await;
        self.signal(Signal::KILL);
        let _ = timeout(GRACE, self.child.wait()).await;
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group without members needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    if let Some(mut stdin) = stdin {
        stdin.write_all(input).await?;
        stdin.shutdown().await?;
    }
    Ok(())
}

/// The beginning of an output. Its memory never moves, so that no copy of a secret is left behind.
struct Kept {
    bytes: Zeroizing<Vec<u8>>,
    excess: Excess,
    is_cut: bool,
}

impl Kept {
    fn new(excess: Excess) -> Kept {
        Kept {
            bytes: Zeroizing::new(Vec::with_capacity(MAX_OUTPUT)),
            excess,
            is_cut: false,
        }
    }

    fn add(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let room = MAX_OUTPUT - self.bytes.len();
        self.bytes
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.is_cut |= chunk.len() > room;
        if self.is_cut && self.excess == Excess::Fails {
            return Err(Failure::TooMuch);
        }
        Ok(())
    }
}

/// Reads to the end, so that the program is never held up.
async fn read(
    stream: Option<&mut (impl AsyncRead + Unpin)>,
    kept: &mut Kept,
) -> Result<(), Failure> {
    let Some(stream) = stream else {
        return Ok(());
    };
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        match stream.read(chunk.as_mut()).await? {
            0 => return Ok(()),
            n_read => kept.add(&chunk[..n_read])?,
        }
    }
}

/// Reads what is in a pipe already.
fn drain(stream: Option<&impl AsFd>, kept: &mut Kept) -> Result<(), Failure> {
    let Some(stream) = stream else {
        return Ok(());
    };
    let mut chunk = Zeroizing::new([0; 4096]);
    // A process that was left behind may print for ever.
    for _ in 0..=MAX_OUTPUT / chunk.len() {
        match rustix::io::read(stream, chunk.as_mut_slice()) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(n_read) => kept.add(&chunk[..n_read])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Subprocess {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let environment = environment(&std::env::vars().collect(), &[]);
        Subprocess::start(&words, &environment, false).unwrap()
    }

    async fn finish(script: &str, excess: Excess, limit: Duration) -> Result<Output, Failure> {
        shell(script).finish(&[], excess, limit).await
    }

    #[tokio::test]
    async fn a_program_receives_no_more_than_a_minimal_environment() {
        let all: BTreeMap<String, String> = [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/root"),
            ("ANTHROPIC_ADMIN_KEY", "canary"),
            ("STORE", "listed"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let listed = ["STORE".to_owned(), "UNSET".to_owned()];
        let program = Subprocess::start(&["env".to_owned()], &environment(&all, &listed), false);
        let output = program.unwrap().finish(&[], Excess::Fails, LONG).await;
        let printed = String::from_utf8(output.unwrap().stdout.to_vec()).unwrap();
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["HOME=/root", "PATH=/usr/bin:/bin", "STORE=listed"]);
    }

    #[tokio::test]
    async fn output_is_bounded() {
        let exactly = format!("head -c {MAX_OUTPUT} /dev/zero");
        let output = finish(&exactly, Excess::Fails, LONG).await.unwrap();
        assert_eq!((output.stdout.len(), output.is_cut), (MAX_OUTPUT, false));
        // It would go on for ever.
        let failed = finish("exec yes", Excess::Fails, LONG).await.unwrap_err();
        assert_eq!(failed.to_string(), "printed more than 64 KiB");
        let more = format!("head -c {} /dev/zero", 3 * MAX_OUTPUT);
        let output = finish(&more, Excess::IsDropped, LONG).await.unwrap();
        assert_eq!((output.stdout.len(), output.is_cut), (MAX_OUTPUT, true));
        let loud = format!("{more} >&2; echo secret");
        let output = finish(&loud, Excess::Fails, LONG).await.unwrap();
        assert_eq!(output.stdout.as_slice(), b"secret\n");
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_not_waited_for() {
        for left in ["sleep 100 &", "(sleep 100 &) &", "setsid sleep 100 &"] {
            let output = finish(&format!("{left} echo secret"), Excess::Fails, LONG).await;
            assert_eq!(output.unwrap().stdout.as_slice(), b"secret\n", "{left}");
        }
    }

    #[tokio::test]
    async fn at_the_time_limit_the_whole_process_group_ends() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for script in [
            "sleep 100 & sleep 100",
            "(sleep 100 &) & wait; sleep 100",
            // Deaf to SIGTERM.
            "trap '' TERM; sleep 100 & sleep 100; sleep 100",
        ] {
            let path = pipe.clone();
            // Every process of the group holds the pipe open; its end is read when the last one has ended.
            let ended = std::thread::spawn(move || {
                let mut text = String::new();
                fs::File::open(path).unwrap().read_to_string(&mut text)
            });
            let script = format!("exec 9>'{}'; {script}", pipe.display());
            let limit = Duration::from_millis(300);
            let failed = finish(&script, Excess::Fails, limit).await.unwrap_err();
            assert!(matches!(failed, Failure::Timeout(_)), "{failed}");
            ended.join().unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_program_that_is_given_up_ends_with_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let program = shell(&format!(
            "exec 9>'{}'; sleep 100 & sleep 100",
            pipe.display()
        ));
        let mut reader = fs::File::open(&pipe).unwrap();
        drop(program);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
