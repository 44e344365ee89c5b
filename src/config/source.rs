//! Where a secret comes from. The configuration knows sources; values are resolved elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::secret::{REDACTED, Secret};

/// The environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// A secret's source.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// In plain text.
    Literal(Secret),
    /// An environment variable.
    Env(String),
    /// A file's content.
    File(PathBuf),
    /// What a program prints; run without a shell.
    Command(Vec<String>),
}

impl SecretSource {
    /// Whether a program has to be run for it.
    pub fn is_command(&self) -> bool {
        matches!(self, SecretSource::Command(_))
    }
}

/// As the configuration would write it, without the secret.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Literal(_) => write!(f, "\"{REDACTED}\""),
            SecretSource::Env(name) => write!(f, "{{ env = {name:?} }}"),
            SecretSource::File(path) => write!(f, "{{ file = {:?} }}", path.display().to_string()),
            SecretSource::Command(words) => {
                let program = words.first().map_or("", String::as_str);
                write!(f, "{{ command = [{program:?}, …] }}")
            }
        }
    }
}
