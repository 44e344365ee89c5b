//! One entry and its line. The line without its last field is what the hash is of: SHA-256 over its bytes from `{` to the end of
//! `prev`, written in hexadecimal, so that others can recompute it:
//!
//! `sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum`

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::secret::redaction::Redactor;

/// No argument is longer, in characters.
const MAX_ARGUMENT: usize = 200;
/// No error is longer, in characters.
const MAX_ERROR: usize = 500;
/// Before the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where in an operation an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Intent,
    /// It was done, or was not.
    Outcome,
    /// It was done in one step, or only looked at.
    Done,
    /// The line before broke off; the log goes on here.
    Mended,
}

impl Phase {
    /// As it stands in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Intent => "intent",
            Phase::Outcome => "outcome",
            Phase::Done => "done",
            Phase::Mended => "mended",
        }
    }
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    /// Where in an operation it stands.
    pub phase: Phase,
    /// The number of the intent that it is the outcome of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    pub actor: String,
    /// As whom the process ran.
    pub os_user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    pub action: String,
    pub target: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// From the intent to the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// By which the service finds the request again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Of what was mended: how long the line is that broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn_bytes: Option<u64>,
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Counted from 1.
    pub seq: u64,
    #[serde(flatten)]
    pub entry: Entry,
    /// The hash of the entry before.
    pub prev: String,
}

/// A line as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLine {
    pub link: Link,
    /// As it stands in the line.
    pub hash: String,
    /// Whether the hash is that of the line.
    pub fits: bool,
}

impl Link {
    /// The line, without its end, and the hash in it.
    pub fn line(&self) -> (String, String) {
        let mut body = serde_json::to_string(self).expect("an entry is texts and numbers");
        // Without the brace at its end: the hash is the last field.
        body.pop();
        let hash = hash(&body);
        body.push_str(",\"hash\":\"");
        body.push_str(&hash);
        body.push_str("\"}");
        (body, hash)
    }
}

/// Reads a line; `None` where it is none.
pub fn read(line: &str) -> Option<ReadLine> {
    let (body, rest) = line.rsplit_once(",\"hash\":\"")?;
    let told = rest.strip_suffix("\"}")?;
    let link: Link = serde_json::from_str(&format!("{body}}}")).ok()?;
    Some(ReadLine {
        link,
        hash: told.to_owned(),
        fits: hash(body) == told,
    })
}

fn hash(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Arguments by name, each cut, and without anything that looks like a key.
pub fn arguments(told: &[(&str, String)]) -> BTreeMap<String, String> {
    let argument = |(name, value): &(&str, String)| ((*name).to_owned(), mask(value));
    told.iter().map(argument).collect()
}

/// A text cut at 200 characters, and without anything that looks like a key: nobody hands one over, and if somebody did, it
/// would stand here for years.
pub fn mask(text: &str) -> String {
    cut(&masked(text), MAX_ARGUMENT)
}

/// An error, which may be longer.
pub fn error_text(text: &str) -> String {
    cut(&masked(text), MAX_ERROR)
}

fn cut(text: &str, max_chars: usize) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(max_chars).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

fn masked(text: &str) -> String {
    Redactor::new([]).text(text).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(target: &str) -> Entry {
        Entry {
            at: "2026-11-25T12:00:00Z".parse().unwrap(),
            phase: Phase::Done,
            of: None,
            actor: "ada".to_owned(),
            os_user: "root".to_owned(),
            organization: Some("acme".to_owned()),
            action: "keys.create".to_owned(),
            target: target.to_owned(),
            arguments: arguments(&[("workspace", "w \"1\"".to_owned())]),
            elapsed_ms: Some(12),
            success: Some(true),
            error: None,
            request_id: None,
            torn_bytes: None,
        }
    }

    #[test]
    fn a_line_has_its_fields_in_order_and_is_read_again() {
        let link = Link {
            seq: 7,
            entry: entry("ci"),
            prev: NO_HASH.to_owned(),
        };
        let (line, hash) = link.line();
        let body = line.split(",\"hash\"").next().unwrap();
        assert_eq!(
            body,
            r#"{"seq":7,"at":"2026-11-25T12:00:00Z","phase":"done","actor":"ada","os_user":"root","organization":"acme","action":"keys.create","target":"ci","arguments":{"workspace":"w \"1\""},"elapsed_ms":12,"success":true,"prev":"0000000000000000000000000000000000000000000000000000000000000000""#
        );
        assert_eq!(hash, super::hash(body));
        let told = read(&line).unwrap();
        assert_eq!((told.link, told.hash, told.fits), (link, hash, true));
        assert!(!read(&line.replace("ada", "bob")).unwrap().fits);
        assert_eq!(read(&line[..line.len() - 1]), None);
    }

    #[test]
    fn a_target_cannot_end_its_line() {
        let link = Link {
            seq: 1,
            entry: entry("a\",\"hash\":\"0\"}\n{"),
            prev: NO_HASH.to_owned(),
        };
        let (line, hash) = link.line();
        assert!(!line.contains('\n'));
        let told = read(&line).unwrap();
        assert_eq!((told.link, told.hash, told.fits), (link, hash, true));
    }

    #[test]
    fn nothing_that_looks_like_a_key_is_written_and_nothing_is_long() {
        assert_eq!(
            mask("key sk-ant-admin01-Ab_c9, and sk-ant-"),
            "key [redacted], and [redacted]"
        );
        assert_eq!(
            mask("sk%2Dant%2DAb_c9 c2stYW50LUFiX2M5"),
            "[redacted] [redacted]"
        );
        assert_eq!(mask("sk-ant-api03-Ab1...9xAA"), "sk-ant-api03-Ab1...9xAA");
        assert_eq!(mask(&"ä".repeat(201)), format!("{}…", "ä".repeat(200)));
        assert_eq!(mask(&"ä".repeat(200)), "ä".repeat(200));
    }
}
