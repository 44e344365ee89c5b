//! Decodes error responses, including redirects. Pure.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::error::SpendCap;
use spendwatch_base::secret::Secret;

/// Prefix of admin keys. Used only for a hint after a key was rejected.
const ADMIN_PREFIX: &str = "sk-ant-admin";

/// Error codes with a meaning of their own.
const CODES: [(&str, ErrorCode); 8] = [
    (
        "enforced_spend_limit_reached",
        ErrorCode::SpendCap(SpendCap::Month),
    ),
    (
        "contract_spend_limit_reached",
        ErrorCode::SpendCap(SpendCap::Contract),
    ),
    (
        "linked_organization_spend_limit_reached",
        ErrorCode::SpendCap(SpendCap::Linked),
    ),
    ("ramp_limit_exceeded", ErrorCode::RampLimited),
    ("organization_type_not_supported", ErrorCode::NotAvailable),
    ("organization_not_enrolled_in_beta", ErrorCode::NotAvailable),
    ("already_member", ErrorCode::AlreadyExists),
    ("invite_already_exists", ErrorCode::AlreadyExists),
];

/// What an error code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    SpendCap(SpendCap),
    RampLimited,
    /// The organization does not have the feature.
    NotAvailable,
    /// The object to create already exists.
    AlreadyExists,
}

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

/// Decodes an error body: type, message and code, and the meaning of the code if it is known. Of another body, its text.
pub fn parse(body: &[u8]) -> (String, Option<ErrorCode>) {
    let Ok(ErrorBodyWire { error }) = serde_json::from_slice(body) else {
        let text = if body.trim_ascii().is_empty() {
            "no message".to_owned()
        } else {
            String::from_utf8_lossy(body).into_owned()
        };
        return (text, None);
    };
    let details = error.details.unwrap_or_default();
    let code = details.get("error_code").and_then(Value::as_str);
    let mut text = error.message;
    if !error.r#type.is_empty() {
        text = format!("{}: {text}", error.r#type);
    }
    if let Some(code) = code {
        text = format!("{text} (`{code}`)");
    }
    let known = CODES.iter().find(|(known, _)| code == Some(known));
    (text, known.map(|(_, meaning)| *meaning))
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
        let check = |body: &str, expected: &str| assert_eq!(parse(body.as_bytes()).0, expected);
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
        assert_eq!(parse(b"\xff\xfe").0, "\u{fffd}\u{fffd}");
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
