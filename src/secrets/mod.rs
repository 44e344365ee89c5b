//! A secret's source becomes its value: at the start, at a reload, and again when the service refuses a key.

#[cfg(feature = "aws")]
pub mod field;

#[cfg(feature = "aws")]
pub mod aws;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::config::secret_file::{self, SecretFileError};
use crate::config::source::{AwsSecret, Environment, SecretSource};
use crate::secret::Secret;

/// How long a program may take to print a secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

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
        /// In words.
        reason: String,
    },
    /// AWS Secrets Manager did not give one.
    #[error("secret `{name}` of AWS Secrets Manager: {reason}")]
    Aws {
        /// Its name, or ARN.
        name: String,
        /// In words.
        reason: String,
    },
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
        SecretSource::Command(words) => run(words).await,
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

/// Without a shell, without input, and with a time limit after which it is killed.
async fn run(words: &[String]) -> Result<Secret, SecretError> {
    let program = words.first().cloned().unwrap_or_default();
    let failed = |reason: String| SecretError::Command {
        program: program.clone(),
        reason,
    };
    let mut command = tokio::process::Command::new(&program);
    command
        .args(words.iter().skip(1))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_TIMEOUT, command.output())
        .await
        .map_err(|_| {
            failed(format!(
                "printed nothing within {} s",
                COMMAND_TIMEOUT.as_secs()
            ))
        })?
        .map_err(|error| failed(error.to_string()))?;
    let stdout = Zeroizing::new(output.stdout);
    let printed = Secret::new(String::from_utf8_lossy(&stdout).trim().to_owned());
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first_line = printed.scrub(said.lines().next().unwrap_or("no message"));
        return Err(failed(format!(
            "ended with {}: {first_line}",
            output.status
        )));
    }
    if printed.expose().is_empty() {
        Err(failed("printed nothing".to_owned()))
    } else {
        Ok(printed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
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
    }
}
