//! What a server says when it does not answer the question: its words, where it points to, what may help. Pure.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::anthropic::error::SpendCap;
use crate::secret::Secret;

/// What the keys that may ask begin with. Only ever a hint after a refusal, never a test.
const ADMIN_PREFIX: &str = "sk-ant-admin";

/// The codes of errors that say that a cap on spend is reached.
const CAPS: [(&str, SpendCap); 3] = [
    ("enforced_spend_limit_reached", SpendCap::Month),
    ("contract_spend_limit_reached", SpendCap::Contract),
    ("linked_organization_spend_limit_reached", SpendCap::Linked),
];
/// The code of an error that says that usage grows too fast.
const RAMP_LIMITED: &str = "ramp_limit_exceeded";
/// The codes of errors that say that the organization has no such feature.
const NOT_AVAILABLE: [&str; 2] = [
    "organization_type_not_supported",
    "organization_not_enrolled_in_beta",
];

/// The codes of errors that say that what was to be made is there already.
const IS_THERE: [&str; 2] = ["already_member", "invite_already_exists"];

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
    #[serde(default)]
    details: Option<Value>,
}

/// What the body of an error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Type, message and code, or else the body's text.
    pub text: String,
    /// Which cap on spend is reached, if one is.
    pub cap: Option<SpendCap>,
    /// Whether usage grows too fast.
    pub is_ramp: bool,
    /// Whether the organization has no such feature.
    pub is_not_available: bool,
    /// Whether what was to be made is there already.
    pub is_there: bool,
}

/// What the body of an error says.
pub fn words(body: &[u8]) -> Words {
    let plain = |text| Words {
        text,
        cap: None,
        is_ramp: false,
        is_not_available: false,
        is_there: false,
    };
    match serde_json::from_slice::<KindBody>(body) {
        Ok(KindBody { error }) => kind_words(error),
        Err(_) if body.trim_ascii().is_empty() => plain("without a word".to_owned()),
        Err(_) => plain(String::from_utf8_lossy(body).into_owned()),
    }
}

fn kind_words(error: KindError) -> Words {
    let details = error.details.unwrap_or_default();
    let code = details.get("error_code").and_then(Value::as_str);
    let mut text = error.message;
    if !error.r#type.is_empty() {
        text = format!("{}: {text}", error.r#type);
    }
    if let Some(code) = code {
        text = format!("{text} (`{code}`)");
    }
    Words {
        text,
        cap: CAPS
            .iter()
            .find(|(known, _)| code == Some(known))
            .map(|(_, cap)| *cap),
        is_ramp: code == Some(RAMP_LIMITED),
        is_not_available: code.is_some_and(|code| NOT_AVAILABLE.contains(&code)),
        is_there: code.is_some_and(|code| IS_THERE.contains(&code)),
    }
}

/// What may be wrong with a key that was refused.
pub fn hint(status: StatusCode, key: &Secret) -> Option<&'static str> {
    let is_admin = key.expose().starts_with(ADMIN_PREFIX);
    (status == StatusCode::UNAUTHORIZED && !is_admin).then_some(
        "admin keys begin with `sk-ant-admin`, which this one does not; the key of a single workspace opens nothing here",
    )
}

/// Whether the server says that asking again helps, or that it does not.
pub fn should_retry(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get("x-should-retry")?.as_bytes();
    if value.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    value.eq_ignore_ascii_case(b"false").then_some(false)
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
        let check = |body: &str, expected: &str| assert_eq!(words(body.as_bytes()).text, expected);
        check(
            r#"{"type":"error","error":{"type":"not_found_error","message":"no such workspace"}}"#,
            "not_found_error: no such workspace",
        );
        check(r#"{"error":{"message":"no"}}"#, "no");
        check(
            r#"{"error":{"type":"permission_error","message":"no","details":{"error_code":"api_key_scope_missing"}}}"#,
            "permission_error: no (`api_key_scope_missing`)",
        );
        check(r#"{"error":{"message":"no","details":"some"}}"#, "no");
        check(r#"{"error":{"message":"no","details":null}}"#, "no");
        check(r#"{"error":"no"}"#, r#"{"error":"no"}"#);
        check("<html>Bad Gateway", "<html>Bad Gateway");
        check(" \r\n", "without a word");
        assert_eq!(words(b"\xff\xfe").text, "\u{fffd}\u{fffd}");
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
