//! Runs programs that receive or return a secret, with a minimal environment, bounded output and a time limit.

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

/// Variables that every program receives; others may contain secrets.
pub const INHERITED_VARIABLES: [&str; 3] = ["PATH", "HOME", "LANG"];
/// Maximum bytes kept of each output.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// Environment of a program. `Debug` shows only names.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChildEnvironment(BTreeMap<String, String>);

impl fmt::Debug for ChildEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Returns [`INHERITED_VARIABLES`] and the configured variables, if set.
pub fn environment(all: &BTreeMap<String, String>, listed: &[String]) -> ChildEnvironment {
    let listed = listed.iter().map(String::as_str);
    let names = INHERITED_VARIABLES.into_iter().chain(listed);
    let set = names.filter_map(|name| Some((name.to_owned(), all.get(name)?.clone())));
    ChildEnvironment(set.collect())
}

/// What to do if a program prints more than [`MAX_OUTPUT`] bytes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverflowPolicy {
    Fail,
    /// Reads and drops the rest.
    Truncate,
}

/// Output of a program that ended by itself.
#[derive(Debug)]
pub struct SubprocessOutput {
    pub status: ExitStatus,
    /// At most [`MAX_OUTPUT`] bytes.
    pub stdout: Zeroizing<Vec<u8>>,
    /// At most [`MAX_OUTPUT`] bytes.
    pub stderr: Zeroizing<Vec<u8>>,
    pub is_truncated: bool,
    /// Whether the input was written in full; `None` if there was none.
    pub input: Option<io::Result<()>>,
}

/// Why a program failed to end by itself.
#[derive(Debug, thiserror::Error)]
pub enum SubprocessError {
    /// Its process group was killed.
    #[error("did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Its process group was killed.
    #[error("printed more than {} KiB", MAX_OUTPUT / 1024)]
    TooMuch,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A running program in its own process group, which is killed on drop.
#[derive(Debug)]
pub struct Subprocess {
    child: Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
}

impl Subprocess {
    /// Starts a program with exactly this environment. Without `has_input` its standard input is empty.
    pub fn start(
        argv: &[String],
        environment: &ChildEnvironment,
        has_input: bool,
    ) -> io::Result<Subprocess> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the command is empty",
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

    /// Writes the input, reads both outputs and waits at most `limit` for the end. Does not wait for processes that the program
    /// started, even if they keep its outputs open.
    pub async fn finish(
        mut self,
        input: &[u8],
        overflow: OverflowPolicy,
        limit: Duration,
    ) -> Result<SubprocessOutput, SubprocessError> {
        match timeout(limit, self.communicate(input, overflow)).await {
            Ok(Ok(output)) => {
                // It may have left processes running on purpose, such as an agent.
                self.group = None;
                Ok(output)
            }
            Ok(Err(failure)) => {
                self.end().await;
                Err(failure)
            }
            Err(_) => {
                self.end().await;
                Err(SubprocessError::Timeout(limit))
            }
        }
    }

    async fn communicate(
        &mut self,
        input: &[u8],
        overflow: OverflowPolicy,
    ) -> Result<SubprocessOutput, SubprocessError> {
        let (stdin, mut stdout, mut stderr) = (
            self.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        let (mut out, mut err) = (
            BoundedOutput::new(overflow),
            BoundedOutput::new(OverflowPolicy::Truncate),
        );
        let has_input = stdin.is_some();
        let mut input_result = None;
        let status = {
            let communication = async {
                futures_util::try_join!(
                    async {
                        input_result = Some(write_input(stdin, input).await);
                        Ok(())
                    },
                    read(stdout.as_mut(), &mut out),
                    read(stderr.as_mut(), &mut err),
                )
            };
            match select(pin!(self.child.wait()), pin!(communication)).await {
                Either::Left((status, _)) => status?,
                Either::Right((Ok(_), wait)) => wait.await?,
                Either::Right((Err(failure), _)) => return Err(failure),
            }
        };
        // The pipes contain all that it printed; other processes that keep them open are not waited for.
        drain(stdout.as_ref(), &mut out)?;
        drain(stderr.as_ref(), &mut err)?;
        let unfinished = || Err(io::ErrorKind::BrokenPipe.into());
        Ok(SubprocessOutput {
            status,
            is_truncated: out.is_truncated || err.is_truncated,
            stdout: out.bytes,
            stderr: err.bytes,
            input: has_input.then(|| input_result.unwrap_or_else(unfinished)),
        })
    }

    /// Terminates the process group by SIGTERM, then SIGKILL.
    async fn end(&mut self) {
        self.signal(Signal::TERM);
        // Even if the program ends, others of its group may not.
        let _ = timeout(GRACE, self.child.wait()).await;
        self.signal(Signal::KILL);
        let _ = timeout(GRACE, self.child.wait()).await;
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may be empty.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn write_input(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    if let Some(mut stdin) = stdin {
        stdin.write_all(input).await?;
        stdin.shutdown().await?;
    }
    Ok(())
}

/// The first [`MAX_OUTPUT`] bytes of an output. Never reallocates, so that no copy of a secret is left in memory.
struct BoundedOutput {
    bytes: Zeroizing<Vec<u8>>,
    overflow: OverflowPolicy,
    is_truncated: bool,
}

impl BoundedOutput {
    fn new(overflow: OverflowPolicy) -> BoundedOutput {
        BoundedOutput {
            bytes: Zeroizing::new(Vec::with_capacity(MAX_OUTPUT)),
            overflow,
            is_truncated: false,
        }
    }

    fn add(&mut self, chunk: &[u8]) -> Result<(), SubprocessError> {
        let n_free = MAX_OUTPUT - self.bytes.len();
        self.bytes
            .extend_from_slice(&chunk[..chunk.len().min(n_free)]);
        self.is_truncated |= chunk.len() > n_free;
        if self.is_truncated && self.overflow == OverflowPolicy::Fail {
            return Err(SubprocessError::TooMuch);
        }
        Ok(())
    }
}

/// Reads to the end, so that the program is never blocked.
async fn read(
    stream: Option<&mut (impl AsyncRead + Unpin)>,
    output: &mut BoundedOutput,
) -> Result<(), SubprocessError> {
    let Some(stream) = stream else {
        return Ok(());
    };
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        match stream.read(chunk.as_mut()).await? {
            0 => return Ok(()),
            n_read => output.add(&chunk[..n_read])?,
        }
    }
}

/// Reads what a pipe contains, without blocking.
fn drain(stream: Option<&impl AsFd>, output: &mut BoundedOutput) -> Result<(), SubprocessError> {
    let Some(stream) = stream else {
        return Ok(());
    };
    let mut chunk = Zeroizing::new([0; 4096]);
    // A process left running may print forever.
    for _ in 0..=MAX_OUTPUT / chunk.len() {
        match rustix::io::read(stream, chunk.as_mut_slice()) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(n_read) => output.add(&chunk[..n_read])?,
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
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let environment = environment(&std::env::vars().collect(), &[]);
        Subprocess::start(&argv, &environment, false).unwrap()
    }

    async fn finish(
        script: &str,
        overflow: OverflowPolicy,
        limit: Duration,
    ) -> Result<SubprocessOutput, SubprocessError> {
        shell(script).finish(&[], overflow, limit).await
    }

    #[tokio::test]
    async fn programs_get_a_minimal_environment() {
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
        let output = program
            .unwrap()
            .finish(&[], OverflowPolicy::Fail, LONG)
            .await;
        let printed = String::from_utf8(output.unwrap().stdout.to_vec()).unwrap();
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["HOME=/root", "PATH=/usr/bin:/bin", "STORE=listed"]);
    }

    #[tokio::test]
    async fn output_is_bounded() {
        let exactly = format!("head -c {MAX_OUTPUT} /dev/zero");
        let output = finish(&exactly, OverflowPolicy::Fail, LONG).await.unwrap();
        assert_eq!(
            (output.stdout.len(), output.is_truncated),
            (MAX_OUTPUT, false)
        );
        let failed = finish("exec yes", OverflowPolicy::Fail, LONG)
            .await
            .unwrap_err();
        assert_eq!(failed.to_string(), "printed more than 64 KiB");
        let more = format!("head -c {} /dev/zero", 3 * MAX_OUTPUT);
        let output = finish(&more, OverflowPolicy::Truncate, LONG).await.unwrap();
        assert_eq!(
            (output.stdout.len(), output.is_truncated),
            (MAX_OUTPUT, true)
        );
        let loud = format!("{more} >&2; echo secret");
        let output = finish(&loud, OverflowPolicy::Fail, LONG).await.unwrap();
        assert_eq!(output.stdout.as_slice(), b"secret\n");
    }

    #[tokio::test]
    async fn background_processes_are_not_waited_for() {
        for left in ["sleep 100 &", "(sleep 100 &) &", "setsid sleep 100 &"] {
            let output = finish(&format!("{left} echo secret"), OverflowPolicy::Fail, LONG).await;
            assert_eq!(output.unwrap().stdout.as_slice(), b"secret\n", "{left}");
        }
    }

    #[tokio::test]
    async fn the_process_group_is_killed_at_the_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(status.unwrap().success());
        for script in [
            "sleep 100 & sleep 100",
            "(sleep 100 &) & wait; sleep 100",
            // Ignores SIGTERM.
            "trap '' TERM; sleep 100 & sleep 100; sleep 100",
        ] {
            let path = pipe.clone();
            // The pipe ends when the last process of the group ends.
            let ended = std::thread::spawn(move || {
                let mut text = String::new();
                fs::File::open(path).unwrap().read_to_string(&mut text)
            });
            let script = format!("exec 9>'{}'; {script}", pipe.display());
            let limit = Duration::from_millis(300);
            let failed = finish(&script, OverflowPolicy::Fail, limit)
                .await
                .unwrap_err();
            assert!(matches!(failed, SubprocessError::Timeout(_)), "{failed}");
            ended.join().unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn dropping_kills_the_process_group() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(status.unwrap().success());
        let program = shell(&format!(
            "exec 9>'{}'; sleep 100 & sleep 100",
            pipe.display()
        ));
        let mut reader = fs::File::open(&pipe).unwrap();
        drop(program);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
