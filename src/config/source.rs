//! Where a secret comes from. The configuration knows sources; values are resolved elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secret::Secret;

/// The environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// A secret's source.
#[derive(Debug, Clone)]
pub enum SecretSource {
    Literal(Secret),
    Env(String),
    File(PathBuf),
    /// What a program prints; run without a shell.
    Command(SecretCommand),
    /// A secret of AWS Secrets Manager.
    Aws(AwsSecret),
}

/// A program that prints a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCommand {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Names of the variables that it receives besides `PATH`, `HOME` and `LANG`.
    pub environment: Vec<String>,
}

/// A secret of AWS Secrets Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSecret {
    pub name: String,
    /// Of a JSON object; `None` is `anthropic_admin_key`, or the text itself where it is no object.
    pub field: Option<String>,
    /// Where it is; `None` is what the ARN says, or the environment.
    pub region: Option<String>,
}

/// What is said of such a secret where this program was built without it.
pub const NO_AWS: &str = "needs AWS support, which this build has not: use one with the feature `aws`, as those that are released have it, or `command`";

impl AwsSecret {
    /// As it is configured, or as the ARN says: `arn:aws:secretsmanager:eu-central-1:…`.
    pub fn known_region(&self) -> Option<&str> {
        let of_arn = || {
            let mut pieces = self.name.strip_prefix("arn:")?.split(':');
            pieces.nth(2).filter(|region| !region.is_empty())
        };
        self.region.as_deref().or_else(of_arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_named_or_stands_in_the_arn() {
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
