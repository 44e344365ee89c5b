//! Decodes error responses, including redirects. Pure.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::error::SpendCap;
use spendwatch_base::secret::Secret;

/// Prefix of admin keys. Used only for a hint after a key was rejected.
const ADMIN_PREFIX: &str = "sk-ant-admin";

/// Error codes of reached spend caps.
const CAPS: [(&str, SpendCap); 3] = [
    ("enforced_spend_limit_reached", SpendCap::Month),
    ("contract_spend_limit_reached", SpendCap::Contract),
    ("linked_organization_spend_limit_reached", SpendCap::Linked),
];
const RAMP_LIMITED: &str = "ramp_limit_exceeded";
/// Error codes of features that the organization does not have.
const NOT_AVAILABLE: [&str; 2] = [
    "organization_type_not_supported",
    "organization_not_enrolled_in_beta",
];

/// Error codes of objects that already exist.
const ALREADY_EXISTS: [&str; 2] = ["already_member", "invite_already_exists"];

#[derive(Deserialize)]
struct ErrorBodyWire {
    error: ErrorWire,
}

#[derive(Deserialize)]
struct ErrorWire {
    #[serde(default)]
    r#type: String,
    message: String,
    #[serde(default)]
    details: Option<Value>,
}

/// A decoded error body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// Type, message and code; for other bodies, their text.
    pub text: String,
    /// The spend cap that was reached.
    pub cap: Option<SpendCap>,
    pub is_ramp_limited: bool,
    pub is_not_available: bool,
    /// The object to create already exists.
    pub already_exists: bool,
}

/// Decodes an error body.
pub fn parse(body: &[u8]) -> ErrorResponse {
    let plain = |text| ErrorResponse {
        text,
        cap: None,
        is_ramp_limited: false,
        is_not_available: false,
        already_exists: false,
    };
    match serde_json::from_slice::<ErrorBodyWire>(body) {
        Ok(ErrorBodyWire { error }) => from_wire(error),
        Err(_) if body.trim_ascii().is_empty() => plain("no message".to_owned()),
        Err(_) => plain(String::from_utf8_lossy(body).into_owned()),
    }
}

fn from_wire(error: ErrorWire) -> ErrorResponse {
    let details = error.details.unwrap_or_default();
    let code = details.get("error_code").and_then(Value::as_str);
    let mut text = error.message;
    if !error.r#type.is_empty() {
        text = format!("{}: {text}", error.r#type);
    }
    if let Some(code) = code {
        text = format!("{text} (`{code}`)");
    }
    ErrorResponse {
        text,
        cap: CAPS
            .iter()
            .find(|(known, _)| code == Some(known))
            .map(|(_, cap)| *cap),
        is_ramp_limited: code == Some(RAMP_LIMITED),
        is_not_available: code.is_some_and(|code| NOT_AVAILABLE.contains(&code)),
        already_exists: code.is_some_and(|code| ALREADY_EXISTS.contains(&code)),
    }
}

/// Returns a hint about a rejected key.
pub fn key_hint(status: StatusCode, key: &Secret) -> Option<&'static str> {
    let is_admin = key.expose().starts_with(ADMIN_PREFIX);
    (status == StatusCode::UNAUTHORIZED && !is_admin).then_some(
        "admin keys start with `sk-ant-admin`, but this one does not; a workspace's API key is not accepted here",
    )
}

/// Returns the `x-should-retry` header.
pub fn should_retry(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get("x-should-retry")?.as_bytes();
    if value.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    value.eq_ignore_ascii_case(b"false").then_some(false)
}

/// Returns scheme and host of a redirect; the rest of the URL could contain secrets.
pub fn redirect_target(headers: &HeaderMap) -> String {
    let location = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok());
    match location {
        None => "an unknown address".to_owned(),
        Some(location) => match Url::parse(location) {
            Ok(url) => format!("`{}`", url.origin().ascii_serialization()),
            Err(_) => "another path on the same server".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_decoded() {
        let check = |body: &str, expected: &str| assert_eq!(parse(body.as_bytes()).text, expected);
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
        check(" \r\n", "no message");
        assert_eq!(parse(b"\xff\xfe").text, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn redirect_targets() {
        let check = |location: Option<&str>, expected: &str| {
            let location = location.map(|to| (LOCATION, to.parse().unwrap()));
            assert_eq!(redirect_target(&HeaderMap::from_iter(location)), expected);
        };
        check(
            Some("https://other.example:8443/a?token=b"),
            "`https://other.example:8443`",
        );
        check(Some("/login?next=%2F"), "another path on the same server");
        check(None, "an unknown address");
    }
}
