//! Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`, with the body exactly as sent.
//!
//! Each attempt is signed anew, because receivers reject old timestamps as replays.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use spendwatch_base::secret::{REDACTED, Secret};

/// A key shared with a receiver. `Debug` shows nothing.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

impl SigningKey {
    /// Parses `whsec_` followed by the base64 of 24 to 64 bytes.
    pub fn new(secret: &Secret) -> Option<SigningKey> {
        let text = secret.expose().trim().strip_prefix("whsec_")?;
        let key = STANDARD.decode(text).ok()?;
        (24..=64)
            .contains(&key.len())
            .then(|| SigningKey(Zeroizing::new(key)))
    }
}

/// Returns one signature per key over `id.timestamp.body`, or `None` without keys.
pub fn sign(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signatures: Vec<String> = keys
        .iter()
        .map(|SigningKey(key)| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    (!signatures.is_empty()).then(|| signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OLDER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn signatures_match_the_reference_library() {
        let keys: Vec<SigningKey> = [SECRET, OLDER]
            .iter()
            .filter_map(|text| SigningKey::new(&secret(text)))
            .collect();
        let body = "{\"text\":\"ü\"}";
        let signed = sign(&keys, "id-000001", 1_795_525_500, body.as_bytes()).unwrap();
        let expected: Vec<String> = [SECRET, OLDER]
            .iter()
            .map(|text| {
                let oracle = standardwebhooks::Webhook::new(text).unwrap();
                let body = body.as_bytes();
                oracle.sign("id-000001", 1_795_525_500, body).unwrap()
            })
            .collect();
        assert_eq!(signed, expected.join(" "));
        assert_eq!(sign(&[], "id-000001", 0, b""), None);
    }

    #[test]
    fn secret_is_a_prefix_and_base64_of_24_to_64_bytes() {
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_not base64 at all, but long enough",
            "whsec_c2hvcnQ=",
        ] {
            assert!(SigningKey::new(&secret(text)).is_none(), "{text}");
        }
        assert!(SigningKey::new(&secret(SECRET)).is_some());
    }
}
