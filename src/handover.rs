//! Where a secret goes that is told once: to exactly one place, which is opened before the secret is made. A place that stays
//! unused leaves nothing behind.

use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::private_file;
use crate::secret::Secret;
use crate::subprocess::{ChildEnvironment, Excess, Subprocess};

/// So long a command may take for a secret: it may ask somebody for a passphrase.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Where a secret is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handover {
    /// Into a file that is not there yet.
    File(PathBuf),
    /// To the standard input of a command, run by the shell.
    Command {
        line: String,
        /// All variables that it receives.
        environment: ChildEnvironment,
    },
    /// Onto the terminal that standard output is.
    Terminal,
}

/// A place that waits for its secret.
#[derive(Debug)]
pub struct Opened(Place);

#[derive(Debug)]
enum Place {
    File(NewFile),
    Command(Box<Subprocess>),
    Terminal,
}

/// A file that is removed unless it got its secret.
#[derive(Debug)]
struct NewFile {
    file: File,
    path: PathBuf,
    is_filled: bool,
}

/// Why a secret does not reach its place. Never shows the secret.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A file is there: it is never written over.
    #[error("`{}` is there already; a secret goes into a file of its own: name another one", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or written.
    #[error("cannot write the secret to `{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The command cannot be started, fails, or does not end.
    #[error("the command for the secret {0}")]
    Command(String),
    /// There is no terminal.
    #[error(
        "a new key's secret is shown once, and standard output is no terminal; say where it goes: `--secret-out FILE` or \
         `--secret-to-command CMD`"
    )]
    NoTerminal,
    /// The terminal does not take it.
    #[error("cannot write the secret to the terminal: {0}")]
    Terminal(io::Error),
}

impl Handover {
    /// Opens the place; from now on it can take a secret.
    pub fn open(&self) -> Result<Opened, HandoverError> {
        let place = match self {
            Handover::File(path) => Place::File(new_file(path)?),
            Handover::Command { line, environment } => {
                Place::Command(Box::new(start(line, environment)?))
            }
            Handover::Terminal if io::stdout().is_terminal() => Place::Terminal,
            Handover::Terminal => return Err(HandoverError::NoTerminal),
        };
        Ok(Opened(place))
    }

    /// Takes back what was handed over, where that can be done: its key opens nothing any more.
    pub fn take_back(&self) {
        if let Handover::File(path) = self {
            // A file that cannot be removed holds what opens nothing.
            let _ = std::fs::remove_file(path);
        }
    }

    /// In words, after "the secret is".
    pub fn told(&self) -> String {
        match self {
            Handover::File(path) => format!("in `{}`", path.display()),
            Handover::Command { .. } => "with the command that was named".to_owned(),
            Handover::Terminal => "shown once, on the terminal".to_owned(),
        }
    }
}

impl Opened {
    /// Hands the secret over: without a line end, so that it is the same for every reader. It is on the disk when this returns.
    pub async fn give(self, secret: &Secret) -> Result<(), HandoverError> {
        match self.0 {
            Place::File(file) => file.fill(secret),
            Place::Command(child) => feed(*child, secret).await,
            Place::Terminal => show(secret).map_err(HandoverError::Terminal),
        }
    }
}

fn new_file(path: &Path) -> Result<NewFile, HandoverError> {
    match private_file::create_new(path) {
        Ok(file) => Ok(NewFile {
            file,
            path: path.to_owned(),
            is_filled: false,
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(HandoverError::Exists(path.to_owned()))
        }
        Err(source) => Err(HandoverError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

impl NewFile {
    fn fill(mut self, secret: &Secret) -> Result<(), HandoverError> {
        let failed = |source| HandoverError::File {
            path: self.path.clone(),
            source,
        };
        self.file
            .write_all(secret.expose().as_bytes())
            .and_then(|()| self.file.sync_all())
            .and_then(|()| private_file::sync_folder_of(&self.path))
            .map_err(failed)?;
        self.is_filled = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_filled {
            // What cannot be removed is empty, or holds what opens nothing any more.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn start(line: &str, environment: &ChildEnvironment) -> Result<Subprocess, HandoverError> {
    let words = ["/bin/sh", "-c", line].map(str::to_owned);
    Subprocess::start(&words, environment, true)
        .map_err(|error| HandoverError::Command(format!("cannot be started: {error}")))
}

async fn feed(command: Subprocess, secret: &Secret) -> Result<(), HandoverError> {
    let failed = HandoverError::Command;
    let input = secret.expose().as_bytes();
    let output = command
        .finish(input, Excess::IsDropped, COMMAND_TIMEOUT)
        .await
        .map_err(|failure| failed(failure.to_string()))?;
    // What it prints goes to standard error, since standard output is for data; where that cannot be written, it is lost.
    for printed in [&output.stdout, &output.stderr] {
        let printed = secret.scrub(&String::from_utf8_lossy(printed));
        let _ = io::stderr().write_all(printed.as_bytes());
    }
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)));
    }
    output
        .input
        .unwrap_or(Ok(()))
        .map_err(|error| failed(format!("did not take all of it: {error}")))
}

fn show(secret: &Secret) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(b"\n    ")?;
    stdout.write_all(secret.expose().as_bytes())?;
    stdout.write_all(b"\n\nThis is the only time that it is shown.\n")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::subprocess;

    fn canary() -> Secret {
        Secret::new("sk-ant-api03-canary".to_owned())
    }

    fn command(line: String) -> Handover {
        let environment = subprocess::environment(&std::env::vars().collect(), &[]);
        Handover::Command { line, environment }
    }

    #[tokio::test]
    async fn a_command_receives_a_minimal_environment_and_is_not_waited_for_by_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("got");
        let all = [("PATH", "/usr/bin:/bin"), ("TOKEN", "canary")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let place = Handover::Command {
            line: format!("cat > /dev/null; env > '{}'; sleep 100 &", path.display()),
            environment: subprocess::environment(&all, &[]),
        };
        assert!(!format!("{place:?}").contains("/usr/bin"));
        place.open().unwrap().give(&canary()).await.unwrap();
        let got = std::fs::read_to_string(&path).unwrap();
        assert!(
            got.contains("PATH=/usr/bin:/bin") && !got.contains("TOKEN"),
            "{got}"
        );
    }

    #[tokio::test]
    async fn a_file_is_new_and_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = Handover::File(folder.path().join("key"));
        let opened = place.open().unwrap();
        assert!(matches!(place.open(), Err(HandoverError::Exists(_))));
        opened.give(&canary()).await.unwrap();
        let path = folder.path().join("key");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "sk-ant-api03-canary"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(place.open(), Err(HandoverError::Exists(_))));
    }

    #[tokio::test]
    async fn a_file_that_stays_unused_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        drop(Handover::File(path.clone()).open().unwrap());
        assert!(!path.exists());
        let nowhere = Handover::File(folder.path().join("no/key"));
        assert!(nowhere.open().is_err());
    }

    #[tokio::test]
    async fn a_command_gets_the_secret_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("got");
        let line = format!("cat > '{}'", path.display());
        let opened = command(line).open().unwrap();
        opened.give(&canary()).await.unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "sk-ant-api03-canary"
        );
    }

    #[tokio::test]
    async fn a_command_that_fails_shows_nothing() {
        for line in ["cat > /dev/null; exit 3", "exit 1", "no-such-program-here"] {
            let opened = command(line.to_owned()).open().unwrap();
            let error = opened.give(&canary()).await.unwrap_err().to_string();
            assert!(
                error.starts_with("the command for the secret ended with exit status"),
                "{error}"
            );
            assert!(!error.contains("canary"));
        }
    }
}
