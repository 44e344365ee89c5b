//! A secret's source becomes its value: at the start, at a reload, and again when the service refuses a key.

#[cfg(feature = "aws")]
pub mod field;

#[cfg(feature = "aws")]
pub mod aws;

use std::path::Path;
use std::time::Duration;

use crate::config::secret_file::{self, SecretFileError};
use crate::config::source::{AwsSecret, Environment, SecretCommand, SecretSource};
use crate::secret::Secret;
use crate::subprocess::{self, Excess, Subprocess};

/// How long a program may take to print a secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// More of a program's error is not quoted, in characters.
const MAX_QUOTED: usize = 200;

/// Why a secret is not to be had. Names the source, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or empty.
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    /// The file gives none.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The program did not print one.
    #[error("secret command `{program}`: {reason}")]
    Command {
        /// Its first word.
        program: String,
        reason: String,
    },
    /// AWS Secrets Manager did not give one.
    #[error("secret `{name}` of AWS Secrets Manager: {reason}")]
    Aws { name: String, reason: String },
}

/// Reads a secret from where it is.
pub async fn resolve(
    source: &SecretSource,
    environment: &Environment,
) -> Result<Secret, SecretError> {
    match source {
        SecretSource::Literal(secret) => Ok(secret.clone()),
        SecretSource::Env(name) => match environment.get(name).map(|value| value.trim()) {
            Some(value) if !value.is_empty() => Ok(Secret::new(value.to_owned())),
            Some(_) | None => Err(SecretError::Unset(name.clone())),
        },
        SecretSource::File(path) => read_file(path),
        SecretSource::Command(command) => run(command, environment).await,
        SecretSource::Aws(secret) => of_aws(secret).await,
    }
}

#[cfg(feature = "aws")]
async fn of_aws(secret: &AwsSecret) -> Result<Secret, SecretError> {
    // On the heap: what the SDK makes of a request is large.
    let told = Box::pin(aws::read(secret)).await;
    told.map_err(|error| SecretError::Aws {
        name: secret.name.clone(),
        reason: error.to_string(),
    })
}

/// The configuration has refused it already.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "the same as with the feature")]
async fn of_aws(secret: &AwsSecret) -> Result<Secret, SecretError> {
    Err(SecretError::Aws {
        name: secret.name.clone(),
        reason: crate::config::source::NO_AWS.to_owned(),
    })
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let secret = secret_file::read(path)?;
    if secret_file::is_read_by_others(path) {
        tracing::warn!(
            "secret file `{}` may be read by others; `chmod go-r` it",
            path.display()
        );
    }
    Ok(secret)
}

/// Without a shell and without input; at the time limit its whole process group is ended.
async fn run(command: &SecretCommand, environment: &Environment) -> Result<Secret, SecretError> {
    let failed = |reason: String| SecretError::Command {
        program: command.words.first().cloned().unwrap_or_default(),
        reason,
    };
    let environment = subprocess::environment(environment, &command.environment);
    let running = Subprocess::start(&command.words, &environment, false)
        .map_err(|error| failed(error.to_string()))?;
    let output = running
        .finish(&[], Excess::Fails, COMMAND_TIMEOUT)
        .await
        .map_err(|failure| failed(failure.to_string()))?;
    let printed =
        std::str::from_utf8(&output.stdout).map(|text| Secret::new(text.trim().to_owned()));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first_line = said.lines().next().unwrap_or("no message");
        let first_line: String = first_line.chars().take(MAX_QUOTED).collect();
        let quoted = match &printed {
            Ok(printed) => printed.scrub(&first_line),
            // It cannot be looked for in what is quoted.
            Err(_) => "its message is not shown".to_owned(),
        };
        return Err(failed(format!("ended with {}: {quoted}", output.status)));
    }
    match printed {
        Ok(printed) if printed.expose().is_empty() => Err(failed("printed nothing".to_owned())),
        Ok(printed) => Ok(printed),
        Err(_) => Err(failed("printed text that is not UTF-8".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command(SecretCommand {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            environment: Vec::new(),
        })
    }

    #[tokio::test]
    async fn each_source_gives_its_secret() {
        let environment: Environment = [("KEY".to_owned(), " canary-env \n".to_owned())].into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "canary-file\n").unwrap();
        let sources = [
            (SecretSource::Env("KEY".into()), "canary-env"),
            (SecretSource::File(path), "canary-file"),
            (command(&["printf", "canary-command"]), "canary-command"),
        ];
        for (source, expected) in sources {
            assert_eq!(
                resolve(&source, &environment).await.unwrap().expose(),
                expected
            );
        }
    }

    #[tokio::test]
    async fn a_command_sees_only_the_variables_that_are_listed() {
        let environment: Environment = [("LISTED", "canary-listed"), ("OTHER", "canary-other")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let script = "printf '%s' \"$LISTED-$OTHER-$CARGO_MANIFEST_DIR\"";
        let source = SecretSource::Command(SecretCommand {
            words: ["sh", "-c", script].map(str::to_owned).into(),
            environment: vec!["LISTED".to_owned()],
        });
        let secret = resolve(&source, &environment).await.unwrap();
        assert_eq!(secret.expose(), "canary-listed--");
    }

    #[tokio::test]
    async fn what_gives_none_says_why_and_shows_nothing() {
        let environment = Environment::new();
        let check = async |source: SecretSource, expected: &str| {
            assert_eq!(
                resolve(&source, &environment)
                    .await
                    .unwrap_err()
                    .to_string(),
                expected
            );
        };
        check(
            SecretSource::Env("KEY".into()),
            "environment variable `KEY` is not set",
        )
        .await;
        let script = "printf canary-secret; echo no canary-secret here >&2; exit 3";
        let expected = "secret command `sh`: ended with exit status: 3: no [redacted] here";
        check(command(&["sh", "-c", script]), expected).await;
        check(command(&["true"]), "secret command `true`: printed nothing").await;
        let much = "secret command `yes`: printed more than 64 KiB";
        check(command(&["yes"]), much).await;
        let binary = "secret command `printf`: printed text that is not UTF-8";
        check(command(&["printf", "canary\\377"]), binary).await;
        let missing = "secret command `no-such-program`: No such file or directory (os error 2)";
        check(command(&["no-such-program"]), missing).await;
    }
}
