//! Detects whether a notifier's settings, secrets included, changed since an earlier start, without storing them.
//!
//! A mark is a random salt and 16 bits of an HMAC-SHA256 over the settings, keyed by the salt. So few bits let a reader of
//! the store rule out most guesses of a short password, but confirm none. In exchange, one change in 65,536 is missed; then a
//! parked notifier waits for its next probe or the next change.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Computes a mark with a new salt. Order and boundaries of `parts` matter.
pub fn compute(salt: &str, parts: &[&str]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(salt.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        // The length distinguishes `ab`, `c` from `a`, `bc`.
        mac.update(&part.len().to_be_bytes());
        mac.update(part.as_bytes());
    }
    let digest = mac.finalize().into_bytes();
    format!("{salt}:{:02x}{:02x}", digest[0], digest[1])
}

/// Returns whether a mark belongs to these settings.
pub fn matches(mark: &str, parts: &[&str]) -> bool {
    mark.rsplit_once(':')
        .is_some_and(|(salt, _)| compute(salt, parts) == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_matches_only_its_settings() {
        let before = compute(
            "salt:1",
            &["slack", "https://hooks.example.com/canary-0001"],
        );
        assert!(matches(
            &before,
            &["slack", "https://hooks.example.com/canary-0001"]
        ));
        for other in [
            &["slack", "https://hooks.example.com/canary-0002"][..],
            &["slackhttps://hooks.example.com/", "canary-0001"],
            &["slack"],
            &[],
        ] {
            assert!(!matches(&before, other), "{other:?}");
        }
        assert!(!matches("", &[]) && !matches("rubbish", &[]));
    }

    #[test]
    fn mark_is_a_salt_and_four_digits() {
        let mark = compute("salt", &["password"]);
        let (salt, digits) = mark.split_once(':').unwrap();
        assert_eq!((salt, digits.len()), ("salt", 4));
    }
}
