//! Entries and their lines. The last field is the hexadecimal SHA-256 of the line's bytes from `{` to the end of `prev`, which
//! others can recompute:
//!
//! `sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum`

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use spendwatch_base::secret::redaction::Redactor;

/// Maximum length of an argument, in characters.
const MAX_ARGUMENT: usize = 200;
/// Maximum length of an error, in characters.
const MAX_ERROR: usize = 500;
/// `prev` of the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Which part of an operation an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryPhase {
    Intent,
    Outcome,
    /// The whole of a read-only operation, or of one in a single step.
    #[default]
    Done,
    /// Follows a line that a crash cut short.
    #[serde(rename = "mended")]
    Repaired,
}

impl EntryPhase {
    /// Returns the word used in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryPhase::Intent => "intent",
            EntryPhase::Outcome => "outcome",
            EntryPhase::Done => "done",
            EntryPhase::Repaired => "mended",
        }
    }
}

/// Content of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub phase: EntryPhase,
    /// Number of the intent, for an outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    pub actor: String,
    /// User of the process.
    pub os_user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    pub action: String,
    pub target: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// Time from the intent to the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The server's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Length of the truncated line, for a repair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn_bytes: Option<u64>,
}

/// An entry with its position in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// From 1.
    pub seq: u64,
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Hash of the previous entry.
    pub prev: String,
}

/// A line of the log, with the hash that it states and whether that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedLine {
    pub link: Link,
    /// As stated in the line.
    pub hash: String,
    /// Whether the hash matches the line.
    pub fits: bool,
}

impl Link {
    /// Returns the line without its end, and its hash.
    pub fn line(&self) -> (String, String) {
        let mut body = serde_json::to_string(self).expect("an entry is texts and numbers");
        // Without the closing brace, because the hash is the last field.
        body.pop();
        let hash = hash(&body);
        body.push_str(",\"hash\":\"");
        body.push_str(&hash);
        body.push_str("\"}");
        (body, hash)
    }
}

/// Parses a line; `None` if it is not an entry.
pub fn parse_line(line: &str) -> Option<ParsedLine> {
    let (body, rest) = line.rsplit_once(",\"hash\":\"")?;
    let stated = rest.strip_suffix("\"}")?;
    let link: Link = serde_json::from_str(&format!("{body}}}")).ok()?;
    Some(ParsedLine {
        link,
        hash: stated.to_owned(),
        fits: hash(body) == stated,
    })
}

fn hash(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns arguments by name, truncated and without anything that looks like a key.
pub fn arguments(given: &[(&str, String)]) -> BTreeMap<String, String> {
    let argument = |(name, value): &(&str, String)| ((*name).to_owned(), mask(value));
    given.iter().map(argument).collect()
}

/// Truncates a text to 200 characters and redacts anything that looks like a key, in case a caller passes one by mistake.
pub fn mask(text: &str) -> String {
    cut(&masked(text), MAX_ARGUMENT)
}

/// Returns the same for an error, which may be longer.
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

    pub(crate) fn entry(target: &str) -> AuditEntry {
        AuditEntry {
            at: "2026-11-25T12:00:00Z".parse().unwrap(),
            actor: "ada".to_owned(),
            os_user: "root".to_owned(),
            organization: Some("acme".to_owned()),
            action: "keys.create".to_owned(),
            target: target.to_owned(),
            arguments: arguments(&[("workspace", "w \"1\"".to_owned())]),
            elapsed_ms: Some(12),
            success: Some(true),
            ..AuditEntry::default()
        }
    }

    #[test]
    fn lines_round_trip_with_fields_in_order() {
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
        let parsed = parse_line(&line).unwrap();
        assert_eq!((parsed.link, parsed.hash, parsed.fits), (link, hash, true));
        assert!(!parse_line(&line.replace("ada", "bob")).unwrap().fits);
        assert_eq!(parse_line(&line[..line.len() - 1]), None);
    }

    #[test]
    fn line_breaks_in_a_target_are_escaped() {
        let link = Link {
            seq: 1,
            entry: entry("a\",\"hash\":\"0\"}\n{"),
            prev: NO_HASH.to_owned(),
        };
        let (line, hash) = link.line();
        assert!(!line.contains('\n'));
        let parsed = parse_line(&line).unwrap();
        assert_eq!((parsed.link, parsed.hash, parsed.fits), (link, hash, true));
    }

    #[test]
    fn keys_are_redacted_and_texts_are_truncated() {
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

    #[test]
    fn entries_of_version_0_1_are_rewritten_byte_for_byte() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/stores/v0.1/audit.jsonl"
        );
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let read = parse_line(line).unwrap();
            assert!(read.fits, "{line}");
            assert_eq!(read.link.line().0, line);
        }
    }
}
