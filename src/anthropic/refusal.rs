//! What a server says when it does not answer the question: its words, where it points to, what may help. Pure.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::secret::Secret;

/// What the keys that may ask begin with. Only ever a hint after a refusal, never a test.
const ADMIN_PREFIX: &str = "sk-ant-admin";

/// The body of an error, when the server is kind.
#[derive(Deserialize)]
struct KindBody {
    error: KindError,
}

#[derive(Deserialize)]
struct KindError {
    #[serde(default)]
    r#type: String,
    message: String,
}

/// What the body of an error says: type and message, or else its text.
pub fn words(body: &[u8]) -> String {
    match serde_json::from_slice::<KindBody>(body) {
        Ok(KindBody { error }) if error.r#type.is_empty() => error.message,
        Ok(KindBody { error }) => format!("{}: {}", error.r#type, error.message),
        Err(_) if body.trim_ascii().is_empty() => "without a word".to_owned(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// What may be wrong with a key that was refused.
pub fn hint(status: StatusCode, key: &Secret) -> Option<&'static str> {
    let is_admin = key.expose().starts_with(ADMIN_PREFIX);
    (status == StatusCode::UNAUTHORIZED && !is_admin).then_some(
        "an admin key is needed, and such keys begin with `sk-ant-admin`, which this one does not",
    )
}

/// Whether the server knows that asking again will not help.
pub fn forbids_retry(headers: &HeaderMap) -> bool {
    headers
        .get("x-should-retry")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"false"))
}

/// Scheme and host of a redirect; the rest may hold anything.
pub fn destination(headers: &HeaderMap) -> String {
    let location = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok());
    match location {
        None => "an address that it does not tell".to_owned(),
        Some(location) => match Url::parse(location) {
            Ok(url) => format!("`{}`", url.origin().ascii_serialization()),
            Err(_) => "another path on itself".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_words() {
        let check = |body: &str, expected: &str| assert_eq!(words(body.as_bytes()), expected);
        check(
            r#"{"type":"error","error":{"type":"not_found_error","message":"no such workspace"}}"#,
            "not_found_error: no such workspace",
        );
        check(r#"{"error":{"message":"no"}}"#, "no");
        check(r#"{"error":"no"}"#, r#"{"error":"no"}"#);
        check("<html>Bad Gateway", "<html>Bad Gateway");
        check(" \r\n", "without a word");
        assert_eq!(words(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn where_a_redirect_leads() {
        let check = |location: Option<&str>, expected: &str| {
            let location = location.map(|to| (LOCATION, to.parse().unwrap()));
            assert_eq!(destination(&HeaderMap::from_iter(location)), expected);
        };
        check(
            Some("https://other.example:8443/a?token=b"),
            "`https://other.example:8443`",
        );
        check(Some("/login?next=%2F"), "another path on itself");
        check(None, "an address that it does not tell");
    }
}
