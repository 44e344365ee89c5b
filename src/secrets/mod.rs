//! Resolves secret sources to their values: at the start, at a reload, and when the server rejects a key.

#[cfg(feature = "aws")]
pub mod field;

#[cfg(feature = "aws")]
pub mod aws;

use std::path::Path;
use std::time::Duration;

use spendwatch_base::secret::Secret;
use spendwatch_base::subprocess::{self, OverflowPolicy, Subprocess};
use spendwatch_config::secret_file::{self, SecretFileError};
use spendwatch_config::source::{AwsSecret, Environment, SecretCommand, SecretSource};

/// Maximum run time of a secret command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum characters quoted from a command's error output.
const MAX_QUOTED: usize = 200;

/// Why a secret cannot be resolved. Names the source, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not set, or empty.
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    #[error(transparent)]
    File(#[from] SecretFileError),
    #[error("secret command `{program}`: {reason}")]
    Command { program: String, reason: String },
    #[error("AWS Secrets Manager, secret `{name}`: {reason}")]
    Aws { name: String, reason: String },
}

/// Returns the value of a secret, read anew from its source at each call. Errors name the source.
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
        SecretSource::Aws(secret) => read_aws(secret).await,
    }
}

#[cfg(feature = "aws")]
async fn read_aws(secret: &AwsSecret) -> Result<Secret, SecretError> {
    // Boxed, because the SDK's future is large.
    let result = Box::pin(aws::read(secret)).await;
    result.map_err(|error| SecretError::Aws {
        name: secret.name.clone(),
        reason: error.to_string(),
    })
}

/// Unreachable, because the configuration rejects AWS secrets without the feature.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "the same as with the feature")]
async fn read_aws(secret: &AwsSecret) -> Result<Secret, SecretError> {
    Err(SecretError::Aws {
        name: secret.name.clone(),
        reason: spendwatch_config::source::NO_AWS.to_owned(),
    })
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let secret = secret_file::read(path)?;
    if secret_file::is_read_by_others(path) {
        tracing::warn!(
            "others can read the secret file `{}`; run `chmod go-r` on it",
            path.display()
        );
    }
    Ok(secret)
}

/// Runs a command without a shell and without input; at the time limit, its process group is killed.
async fn run(command: &SecretCommand, environment: &Environment) -> Result<Secret, SecretError> {
    let failed = |reason: String| SecretError::Command {
        program: command.argv.first().cloned().unwrap_or_default(),
        reason,
    };
    let environment = subprocess::environment(environment, &command.environment);
    let running = Subprocess::start(&command.argv, &environment, false)
        .map_err(|error| failed(error.to_string()))?;
    let output = running
        .finish(&[], OverflowPolicy::Fail, COMMAND_TIMEOUT)
        .await
        .map_err(|failure| failed(failure.to_string()))?;
    let printed =
        std::str::from_utf8(&output.stdout).map(|text| Secret::new(text.trim().to_owned()));
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let first_line = message.lines().next().unwrap_or("no message");
        let first_line: String = first_line.chars().take(MAX_QUOTED).collect();
        let quoted = match &printed {
            Ok(printed) => printed.redact(&first_line),
            // A secret that is not UTF-8 cannot be redacted.
            Err(_) => "message not shown".to_owned(),
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
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
            environment: Vec::new(),
        })
    }

    #[tokio::test]
    async fn sources_are_resolved() {
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
    async fn commands_get_only_the_listed_variables() {
        let environment: Environment = [("LISTED", "canary-listed"), ("OTHER", "canary-other")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let script = "printf '%s' \"$LISTED-$OTHER-$CARGO_MANIFEST_DIR\"";
        let source = SecretSource::Command(SecretCommand {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            environment: vec!["LISTED".to_owned()],
        });
        let secret = resolve(&source, &environment).await.unwrap();
        assert_eq!(secret.expose(), "canary-listed--");
    }

    #[tokio::test]
    async fn errors_name_the_source_and_not_the_secret() {
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
