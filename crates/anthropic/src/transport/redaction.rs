//! Redacts every response of the Admin API before it is decoded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use spendwatch_base::secret::Secret;
use spendwatch_base::secret::redaction::Redactor;

/// Cursors of pages, which are sent back to the server and never shown.
const CURSORS: [&[u8]; 3] = [b"next_page", b"first_id", b"last_id"];
/// Maximum number of remembered redacted ids.
const MAX_ALIASES: usize = 10_000;

/// The secrets that one client redacts.
#[derive(Debug)]
pub struct Redaction(Mutex<State>);

#[derive(Debug)]
struct State {
    key: Secret,
    others: Vec<Secret>,
    redactor: Arc<Redactor>,
    aliases: Aliases,
}

impl Redaction {
    /// Redacts this key, and anything that looks like an Anthropic key.
    pub fn new(key: &Secret) -> Redaction {
        Redaction(Mutex::new(State {
            key: key.clone(),
            others: Vec::new(),
            redactor: Arc::new(Redactor::new([key])),
            aliases: Aliases::default(),
        }))
    }

    /// Replaces the key, for example after a 401. The previous one is no longer redacted, except by its pattern.
    pub fn set_key(&self, key: &Secret) {
        let mut state = self.lock();
        state.key = key.clone();
        state.rebuild();
    }

    /// Replaces the other configured secrets.
    pub fn set_others(&self, others: Vec<Secret>) {
        let mut state = self.lock();
        state.others = others;
        state.rebuild();
    }

    /// Returns a text without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let redactor = Arc::clone(&self.lock().redactor);
        redactor.text(text)
    }

    /// Returns a server's text in one line, without secrets and control characters, cut to `max_chars`.
    pub fn sanitize(&self, text: &str, max_chars: usize) -> String {
        let redacted = self.text(text);
        let mut plain = redacted
            .chars()
            .map(|c| if is_harmful(c) { ' ' } else { c });
        let mut short: String = plain.by_ref().take(max_chars).collect();
        if plain.next().is_some() {
            short.push('…');
        }
        short.trim().to_owned()
    }

    /// Returns a response without secrets, except in the member `secret`, which contains a new key.
    pub fn body(&self, body: Zeroizing<Vec<u8>>, secret: Option<&str>) -> Zeroizing<Vec<u8>> {
        let redactor = Arc::clone(&self.lock().redactor);
        let mut aliases = Aliases::default();
        let redacted = redacted(&body, secret, &redactor, &mut aliases);
        if !aliases.0.is_empty() {
            let mut state = self.lock();
            for (replacement, original) in aliases.0 {
                state.aliases.add(&replacement, original.expose());
            }
        }
        redacted.unwrap_or(body)
    }

    /// Returns the original of a redacted id.
    pub fn original(&self, id: &str) -> Option<Secret> {
        self.lock().aliases.0.get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rebuild(&mut self) {
        let secrets = std::iter::once(&self.key).chain(&self.others);
        self.redactor = Arc::new(Redactor::new(secrets));
    }
}

/// Original ids by their redacted ones, so that requests can still use them.
#[derive(Debug, Default)]
struct Aliases(HashMap<String, Secret>);

impl Aliases {
    fn add(&mut self, replacement: &str, original: &str) {
        if self.0.len() < MAX_ALIASES && !self.0.contains_key(replacement) {
            let original = Secret::new(original.to_owned());
            self.0.insert(replacement.to_owned(), original);
        }
    }
}

/// Redacts the strings of a JSON text; returns `None` if there is nothing to redact. All other bytes, even of invalid JSON, are
/// unchanged. The member `secret` contains a new key and is skipped.
fn redacted(
    body: &[u8],
    secret: Option<&str>,
    redactor: &Redactor,
    aliases: &mut Aliases,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut redacted = Zeroizing::new(Vec::new());
    let mut n_copied = 0;
    let mut member: &[u8] = b"";
    let mut at = 0;
    while let Some(start) = position(body, at, |byte| byte == b'"') {
        let (end, has_escapes) = end_of_string(body, start + 1);
        let raw = &body[start + 1..end];
        at = end + 1;
        let is_member = is_followed_by_colon(body, at);
        if is_member {
            member = raw;
        }
        let is_skipped = !is_member
            && (CURSORS.contains(&member) || secret.is_some_and(|name| name.as_bytes() == member));
        if is_skipped || !(has_escapes || redactor.may_contain(raw)) {
            continue;
        }
        let text = unescaped(raw, has_escapes);
        let is_id = is_member || is_id(member);
        let replacement = if is_id {
            redactor.id(&text)
        } else {
            redactor.text(&text)
        };
        if let Cow::Owned(replacement) = &replacement {
            if is_id {
                aliases.add(replacement, &text);
            }
            redacted.extend_from_slice(&body[n_copied..start]);
            let quoted = serde_json::Value::from(replacement.as_str()).to_string();
            redacted.extend_from_slice(quoted.as_bytes());
            n_copied = at.min(body.len());
        }
    }
    (n_copied > 0).then(|| {
        redacted.extend_from_slice(&body[n_copied..]);
        redacted
    })
}

/// Returns whether a member identifies something; redacted ids stay distinct.
fn is_id(member: &[u8]) -> bool {
    matches!(member, b"id" | b"ids" | b"model" | b"models")
        || member.ends_with(b"_id")
        || member.ends_with(b"_ids")
}

/// Returns whether a character is a control character or changes the text direction.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn position(body: &[u8], from: usize, predicate: impl Fn(u8) -> bool) -> Option<usize> {
    let rest = body.get(from..)?;
    Some(from + rest.iter().position(|byte| predicate(*byte))?)
}

/// Returns where a string ends and whether it has escapes.
fn end_of_string(body: &[u8], start: usize) -> (usize, bool) {
    let (mut at, mut has_escapes) = (start, false);
    while let Some(found) = position(body, at, |byte| matches!(byte, b'"' | b'\\')) {
        if body[found] == b'"' {
            return (found, has_escapes);
        }
        has_escapes = true;
        at = found + 2;
    }
    (body.len(), has_escapes)
}

fn is_followed_by_colon(body: &[u8], at: usize) -> bool {
    position(body, at, |byte| !byte.is_ascii_whitespace()).is_some_and(|at| body[at] == b':')
}

/// Returns the text of a string; invalid escapes stay as they are.
fn unescaped(raw: &[u8], has_escapes: bool) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(raw);
    if !has_escapes {
        return text;
    }
    match serde_json::from_str(&format!("\"{text}\"")) {
        Ok(plain) => Cow::Owned(plain),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(body: &str) -> (String, Aliases) {
        let redactor = Redactor::new(&[]);
        let mut aliases = Aliases::default();
        let redacted = redacted(body.as_bytes(), Some("key"), &redactor, &mut aliases);
        let redacted = redacted.map_or(body.to_owned(), |redacted| {
            String::from_utf8(redacted.to_vec()).unwrap()
        });
        (redacted, aliases)
    }

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(redact(body).0, expected);
    }

    #[test]
    fn server_texts_are_sanitized() {
        let redaction = Redaction::new(&Secret::new("canary-of-a-gateway".to_owned()));
        let check = |text: &str, expected: &str| assert_eq!(redaction.sanitize(text, 20), expected);
        check("plain", "plain");
        check("  a\nb\u{1b}[31m ", "a b [31m");
        check("key canary-of-a-gateway", "key [redacted]");
        check("key sk-ant-admin-canary", "key [redacted]");
        check("Y2FuYXJ5LW9mLWEtZ2F0ZXdheQ==", "[redacted]");
        check("sk%2Dant%2Dcanary!", "[redacted]");
        check("left\u{202e}thgir", "left thgir");
        check(&"ä".repeat(30), &format!("{}…", "ä".repeat(20)));
    }

    #[test]
    fn only_strings_are_redacted() {
        check(
            r#"{"name" : "a sk-ant-Canary" , "n": 1.50, "tags":{"sk":"\u0073k-ant-Canary"}}"#,
            r#"{"name" : "a [redacted]" , "n": 1.50, "tags":{"sk":"[redacted]"}}"#,
        );
        for same in [
            r#"{"name":"a \"b\" \\","partial_key_hint":"sk-ant-api03-Ab1...9xAA"}"#,
            r#"{"name":"\ud83d","more":"ü"}"#,
            r#"{"last_id":"sk-ant-a","next_page":"sk-ant-b","key":"sk-ant-c"}"#,
            r#"{"name":"abc"#,
            r#"{"name":"abc\"#,
            "",
            "\"",
        ] {
            check(same, same);
        }
        check(r#"{"name":"sk-ant-a"#, r#"{"name":"[redacted]""#);
        check(r#"["\ud83d sk-ant-Canary"]"#, r#"["\\ud83d [redacted]"]"#);
    }

    #[test]
    fn redacted_ids_stay_distinct_and_are_remembered() {
        let (body, aliases) = redact(
            r#"{"data":[{"id":"sk-ant-a"},{"id":"sk-ant-b"},{"workspace_id":"sk-ant-a"}],"sk-ant-c":{"models":["sk-ant-d"]}}"#,
        );
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        let id = |pointer: &str| value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let (first, second) = (id("/data/0/id"), id("/data/1/id"));
        assert!(first.starts_with("redacted-") && first != second);
        assert_eq!(first, id("/data/2/workspace_id"));
        assert_eq!(aliases.0[&first].expose(), "sk-ant-a");
        assert!(!body.contains("sk-ant"), "{body}");
    }
}
