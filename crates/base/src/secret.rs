//! Secret values, which are never shown, and their redaction from texts.

mod encodings;
pub mod redaction;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

pub const REDACTED: &str = "[redacted]";

/// Minimum length of a secret that is redacted; shorter ones would match ordinary words.
const MIN_REDACTED: usize = 6;

/// A secret text. `Debug` shows nothing, there is no `Display`, and memory is zeroized when the last clone is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps a text, which is wiped from memory when dropped.
    pub fn new(text: String) -> Secret {
        Secret(Arc::new(Zeroizing::new(text)))
    }

    /// Returns the text, for sending it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether two secrets are equal, in constant time.
    pub fn equals(&self, candidate: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// Returns a text, such as a response or an error, without this secret.
    pub fn redact(&self, text: &str) -> String {
        if self.0.len() < MIN_REDACTED {
            text.to_owned()
        } else {
            text.replace(self.0.as_str(), REDACTED)
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("sk-ant-admin-canary".to_owned());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(
            secret.redact("key sk-ant-admin-canary refused"),
            "key [redacted] refused"
        );
        assert!(secret.equals(b"sk-ant-admin-canary") && !secret.equals(b"sk-ant-admin"));
    }
}
