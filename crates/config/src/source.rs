//! Sources of secrets. The configuration holds only sources; `secrets` resolves them to values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use spendwatch_base::secret::Secret;

/// Environment variables, passed as an argument so that tests can set them.
pub type Environment = BTreeMap<String, String>;

/// Source of a secret.
#[derive(Debug, Clone)]
pub enum SecretSource {
    Literal(Secret),
    Env(String),
    File(PathBuf),
    /// The output of a program, run without a shell.
    Command(SecretCommand),
    Aws(AwsSecret),
}

/// A program that prints a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCommand {
    pub argv: Vec<String>,
    /// Names of variables that it receives in addition to `PATH`, `HOME` and `LANG`.
    pub environment: Vec<String>,
}

/// A secret of AWS Secrets Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSecret {
    pub name: String,
    /// Field of a JSON secret. `None` reads `anthropic_admin_key`, or the whole text if it is not a JSON object.
    pub field: Option<String>,
    /// `None` uses the region in the ARN, else the one in the environment.
    pub region: Option<String>,
}

/// Error for an AWS secret in a build without the feature `aws`; follows the key.
pub const NO_AWS: &str = "needs AWS support, which this build does not have; use a released build, one with the feature `aws`, or `command`";

impl AwsSecret {
    /// Returns the configured region, or the one in the ARN, such as `arn:aws:secretsmanager:eu-central-1:…`.
    pub fn known_region(&self) -> Option<&str> {
        let in_arn = || {
            let mut parts = self.name.strip_prefix("arn:")?.split(':');
            parts.nth(2).filter(|region| !region.is_empty())
        };
        self.region.as_deref().or_else(in_arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_configured_or_taken_from_the_arn() {
        let region = |name: &str, region: Option<&str>| {
            let secret = AwsSecret {
                name: name.to_owned(),
                field: None,
                region: region.map(str::to_owned),
            };
            secret.known_region().map(str::to_owned)
        };
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:claude-AbCdEf";
        assert_eq!(region(arn, None).as_deref(), Some("eu-central-1"));
        assert_eq!(region(arn, Some("us-east-1")).as_deref(), Some("us-east-1"));
        assert_eq!(region("prod/claude", None), None);
        assert_eq!(region("arn:aws", None), None);
    }
}
