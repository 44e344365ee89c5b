//! A value that is never shown, and what scrubs such values out of texts.

pub mod redaction;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Shown wherever a secret would stand.
pub const REDACTED: &str = "[redacted]";

/// Shorter secrets are not searched for in foreign texts: they would hide harmless words.
const MIN_SCRUBBED: usize = 6;

/// A secret text. `Debug` shows nothing, there is no `Display`, and the memory is wiped at the last drop.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over a text.
    pub fn new(text: String) -> Secret {
        Secret(Arc::new(Zeroizing::new(text)))
    }

    /// The text itself: for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether two secrets are equal, in time that does not depend on where they differ.
    pub fn equals(&self, candidate: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// A foreign text (an answer's body, an error) without this secret.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.len() < MIN_SCRUBBED {
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
    fn a_secret_does_not_show() {
        let secret = Secret::new("sk-ant-admin-canary".to_owned());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(
            secret.scrub("key sk-ant-admin-canary refused"),
            "key [redacted] refused"
        );
        assert!(secret.equals(b"sk-ant-admin-canary") && !secret.equals(b"sk-ant-admin"));
    }
}
