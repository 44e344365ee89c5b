//! Where a secret comes from. The configuration knows sources; values are resolved elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secret::Secret;

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
