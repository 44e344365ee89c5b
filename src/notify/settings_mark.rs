//! Tells whether a notifier's settings, secrets included, are those of an earlier start, without keeping them.
//!
//! A mark is a random salt and 16 bits of an HMAC-SHA256 over the settings, keyed by the salt. That is on purpose so
//! little: whoever reads the store can rule out most guesses of a short password, but confirm none. In exchange one
//! change of 65,536 goes unseen, and then a parked receiver waits for its next probe, or the next change.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The mark of settings, with a new salt. Of `parts`, both order and bounds matter.
pub fn mark(salt: &str, parts: &[&str]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(salt.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        // The length keeps `ab`, `c` and `a`, `bc` apart.
        mac.update(&part.len().to_be_bytes());
        mac.update(part.as_bytes());
    }
    let digest = mac.finalize().into_bytes();
    format!("{salt}:{:02x}{:02x}", digest[0], digest[1])
}

/// Whether a mark is that of these settings.
pub fn is_of(mark_before: &str, parts: &[&str]) -> bool {
    mark_before
        .rsplit_once(':')
        .is_some_and(|(salt, _)| mark(salt, parts) == mark_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_its_settings_alone() {
        let before = mark(
            "salt:1",
            &["slack", "https://hooks.example.com/canary-0001"],
        );
        assert!(is_of(
            &before,
            &["slack", "https://hooks.example.com/canary-0001"]
        ));
        for other in [
            &["slack", "https://hooks.example.com/canary-0002"][..],
            &["slackhttps://hooks.example.com/", "canary-0001"],
            &["slack"],
            &[],
        ] {
            assert!(!is_of(&before, other), "{other:?}");
        }
        assert!(!is_of("", &[]) && !is_of("rubbish", &[]));
    }

    #[test]
    fn a_mark_holds_its_salt_and_four_digits() {
        let mark = mark("salt", &["password"]);
        let (salt, digits) = mark.split_once(':').unwrap();
        assert_eq!((salt, digits.len()), ("salt", 4));
    }
}
