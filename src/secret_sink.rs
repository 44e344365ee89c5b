//! Destination of a new secret, which is available only once. It is opened before the secret is created, receives it exactly once,
//! and leaves nothing behind if it stays unused.

use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spendwatch_base::private_file;
use spendwatch_base::secret::Secret;
use spendwatch_base::subprocess::{ChildEnvironment, OverflowPolicy, Subprocess};

/// Maximum run time of a command, which may prompt for a passphrase.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Where to write a new secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSink {
    File(PathBuf),
    /// The standard input of a shell command.
    Command {
        line: String,
        environment: ChildEnvironment,
    },
    /// Standard output, which must be a terminal.
    Terminal,
}

/// An open sink, ready to receive its secret.
#[derive(Debug)]
pub enum OpenSink {
    File(NewFile),
    Command(Box<Subprocess>),
    Terminal,
}

/// A new file that is removed on drop unless the secret was written to it.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    is_written: bool,
}

/// Why a secret could not be written. Contains no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretSinkError {
    #[error("`{}` already exists; choose a new file for the secret", .0.display())]
    Exists(PathBuf),
    #[error("cannot write the secret to `{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The command cannot be started, fails, or does not end in time.
    #[error("the `--secret-to-command` command {0}")]
    Command(String),
    #[error(
        "standard output is not a terminal to show the new key's secret on; pass `--secret-out FILE` or \
         `--secret-to-command CMD`"
    )]
    NoTerminal,
    #[error("cannot write the secret to the terminal: {0}")]
    Terminal(io::Error),
}

impl SecretSink {
    /// Opens the sink.
    pub fn open(&self) -> Result<OpenSink, SecretSinkError> {
        Ok(match self {
            SecretSink::File(path) => OpenSink::File(new_file(path)?),
            SecretSink::Command { line, environment } => {
                OpenSink::Command(Box::new(start(line, environment)?))
            }
            SecretSink::Terminal if io::stdout().is_terminal() => OpenSink::Terminal,
            SecretSink::Terminal => return Err(SecretSinkError::NoTerminal),
        })
    }

    /// Removes a written secret, if possible, after its key was revoked.
    pub fn discard(&self) {
        if let SecretSink::File(path) = self {
            // If this fails, the remaining secret is of a revoked key.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Returns a description that follows "the secret is".
    pub fn description(&self) -> String {
        match self {
            SecretSink::File(path) => format!("in `{}`", path.display()),
            SecretSink::Command { .. } => "with the `--secret-to-command` command".to_owned(),
            SecretSink::Terminal => "on the terminal, shown once".to_owned(),
        }
    }
}

impl OpenSink {
    /// Writes the secret without a line end; a file is on disk when this returns.
    pub async fn write(self, secret: &Secret) -> Result<(), SecretSinkError> {
        match self {
            OpenSink::File(file) => file.write(secret),
            OpenSink::Command(child) => feed(*child, secret).await,
            OpenSink::Terminal => show(secret).map_err(SecretSinkError::Terminal),
        }
    }
}

fn new_file(path: &Path) -> Result<NewFile, SecretSinkError> {
    match private_file::create_new(path) {
        Ok(file) => Ok(NewFile {
            file,
            path: path.to_owned(),
            is_written: false,
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(SecretSinkError::Exists(path.to_owned()))
        }
        Err(source) => Err(SecretSinkError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

impl NewFile {
    fn write(mut self, secret: &Secret) -> Result<(), SecretSinkError> {
        let failed = |source| SecretSinkError::File {
            path: self.path.clone(),
            source,
        };
        self.file
            .write_all(secret.expose().as_bytes())
            .and_then(|()| self.file.sync_all())
            .and_then(|()| private_file::sync_folder_of(&self.path))
            .map_err(failed)?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_written {
            // If this fails, the file is empty or contains the secret of a revoked key.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn start(line: &str, environment: &ChildEnvironment) -> Result<Subprocess, SecretSinkError> {
    let argv = ["/bin/sh", "-c", line].map(str::to_owned);
    Subprocess::start(&argv, environment, true)
        .map_err(|error| SecretSinkError::Command(format!("cannot be started: {error}")))
}

async fn feed(command: Subprocess, secret: &Secret) -> Result<(), SecretSinkError> {
    let failed = SecretSinkError::Command;
    let input = secret.expose().as_bytes();
    let output = command
        .finish(input, OverflowPolicy::Truncate, COMMAND_TIMEOUT)
        .await
        .map_err(|failure| failed(failure.to_string()))?;
    // Its output goes to standard error, because standard output is for data; errors of writing are ignored.
    for printed in [&output.stdout, &output.stderr] {
        let printed = secret.redact(&String::from_utf8_lossy(printed));
        let _ = io::stderr().write_all(printed.as_bytes());
    }
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)));
    }
    output
        .input
        .unwrap_or(Ok(()))
        .map_err(|error| failed(format!("did not read the whole secret: {error}")))
}

fn show(secret: &Secret) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(b"\n    ")?;
    stdout.write_all(secret.expose().as_bytes())?;
    stdout.write_all(b"\n\nThe secret is not shown again.\n")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use spendwatch_base::subprocess;

    fn canary() -> Secret {
        Secret::new("sk-ant-api03-canary".to_owned())
    }

    fn command(line: String) -> SecretSink {
        let environment = subprocess::environment(&std::env::vars().collect(), &[]);
        SecretSink::Command { line, environment }
    }

    #[tokio::test]
    async fn commands_get_a_minimal_environment_and_may_leave_processes_running() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("received");
        let all = [("PATH", "/usr/bin:/bin"), ("TOKEN", "canary")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let sink = SecretSink::Command {
            line: format!("cat > /dev/null; env > '{}'; sleep 100 &", path.display()),
            environment: subprocess::environment(&all, &[]),
        };
        assert!(!format!("{sink:?}").contains("/usr/bin"));
        sink.open().unwrap().write(&canary()).await.unwrap();
        let received = std::fs::read_to_string(&path).unwrap();
        assert!(
            received.contains("PATH=/usr/bin:/bin") && !received.contains("TOKEN"),
            "{received}"
        );
    }

    #[tokio::test]
    async fn files_are_new_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let sink = SecretSink::File(folder.path().join("key"));
        let opened = sink.open().unwrap();
        assert!(matches!(sink.open(), Err(SecretSinkError::Exists(_))));
        opened.write(&canary()).await.unwrap();
        let path = folder.path().join("key");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "sk-ant-api03-canary"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(sink.open(), Err(SecretSinkError::Exists(_))));
    }

    #[tokio::test]
    async fn unused_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        drop(SecretSink::File(path.clone()).open().unwrap());
        assert!(!path.exists());
        let unwritable = SecretSink::File(folder.path().join("no/key"));
        assert!(unwritable.open().is_err());
    }

    #[tokio::test]
    async fn commands_get_only_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("received");
        let line = format!("cat > '{}'", path.display());
        let opened = command(line).open().unwrap();
        opened.write(&canary()).await.unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "sk-ant-api03-canary"
        );
    }

    #[tokio::test]
    async fn errors_of_commands_do_not_contain_the_secret() {
        for line in ["cat > /dev/null; exit 3", "exit 1", "no-such-program-here"] {
            let opened = command(line.to_owned()).open().unwrap();
            let error = opened.write(&canary()).await.unwrap_err().to_string();
            assert!(
                error.starts_with("the `--secret-to-command` command ended with exit status"),
                "{error}"
            );
            assert!(!error.contains("canary"));
        }
    }
}
